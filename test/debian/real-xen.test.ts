/**
 * Saved domains exchanged with real Xen 4.17, which runs in QEMU: a Debian Linux that it saved goes on here and is saved again; a kernel that was saved here
 * goes on there.
 */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { busyboxInitramfs } from '../../src/testing/index.ts'
import { Host } from '../../src/toolstack/index.ts'
import { guestFile } from '../support/guests.ts'
import { RealXen, whyNoRealXen } from '../support/real-xen.ts'
import { verifyStream } from '../support/verify-stream.ts'

const missing = whyNoRealXen()
const PATIENCE = 400_000
/** Its processor has instructions that are not offered here. */
const OPTIONS = { trust: 'all', cpuPolicy: 'mask' } as const
const DESCRIPTION = 'name="linux"\nmemory=128\nvcpus=2\nkernel="/root/vmlinuz"\nramdisk="/root/disk.cpio"\ncmdline="console=hvc0 panic=-1 rdinit=/init"\n'
const SCRIPT = 'stty cols 2000\necho "initramfs: ready"\nexec setsid cttyhack sh\n'

/** All that is written to it. */
function sink() {
  const chunks: Uint8Array[] = []
  return { write: (chunk: Uint8Array) => void chunks.push(chunk.slice()), bytes: () => new Uint8Array(Buffer.concat(chunks)) }
}

/** The embedded kernel, saved here once it runs. */
async function savedHere(): Promise<Uint8Array> {
  const host = await Host.boot({ memory: 64, dom0Memory: 16 })
  const domain = await host.createDomain({ name: 'mini', memory: 16 })
  await domain.console.waitFor('mini> ')
  const target = sink()
  await domain.save(target)
  await host.shutdown()
  return target.bytes()
}

describe.skipIf(missing !== undefined)(`real Xen${missing ?? ''}`, { timeout: PATIENCE }, () => {
  let xen: RealXen
  let file: Uint8Array
  beforeAll(async () => {
    const ramdisk = busyboxInitramfs({ busybox: readFileSync(guestFile('busybox')!), script: SCRIPT })
    xen = await RealXen.boot({
      'root/vmlinuz': readFileSync(guestFile('linux')!), 'root/disk.cpio': ramdisk, 'root/linux.cfg': DESCRIPTION, 'root/mini.save': await savedHere(),
    }, 200 << 20)
    await xen.run('xl create /root/linux.cfg')
    await xen.type('xl console linux')
    await xen.waitFor('/ # ')
    // Two processes are in the midst of something.
    await xen.type('kept=yes; (i=0; while :; do i=$((i+1)); echo $i > /tmp/count; done) & while :; do cat /bin/busybox | md5sum > /tmp/new; mv /tmp/new /tmp/sum; done & echo ready-$((6*7))')
    await xen.waitFor('ready-42')
    xen.write('\x1d')
    await xen.waitFor('dom0# ')
    await xen.run('xl save linux /tmp/linux.save')
    file = await xen.file('/tmp/linux.save')
  }, PATIENCE)
  afterAll(() => xen?.end())

  test('a Linux with two vCPUs that it saved goes on here, with its console and its processes, and is saved again as its checker has it', async () => {
    const host = await Host.boot({ memory: 320, dom0Memory: 16 })
    await expect(host.restore(file, { trust: 'all' })).rejects.toMatchObject({ code: 'NOT_SUPPORTED', message: expect.stringContaining('pclmulqdq') as string })
    const domain = await host.restore(file, OPTIONS)
    const { console } = domain
    await console.write('echo it is kept: $kept, on $(grep -c ^processor /proc/cpuinfo)\r')
    await console.waitFor('\nit is kept: yes, on 2\n', { timeout: '10s' })
    // What it found on an ordinary processor there it goes on using.
    await console.write('echo it has $(for f in xsave rdtscp fsgsbase; do grep -qw $f /proc/cpuinfo && echo $f; done)\r')
    await console.waitFor('\nit has xsave rdtscp fsgsbase\n', { timeout: '10s' })
    // A file that is being written is empty.
    await console.write('n() { v=; while [ -z "$v" ]; do v=$(cat /tmp/count); done; echo $v; }; a=$(n); sleep 0.2; [ $(n) -gt $a ] && echo it "counts"\r')
    await console.waitFor('\nit counts\n', { timeout: '10s' })
    await console.write('rm /tmp/sum; while [ ! -s /tmp/sum ]; do sleep 0.1; done; [ "$(cat /tmp/sum)" = "$(md5sum < /bin/busybox)" ] && echo it "sums"\r')
    await console.waitFor('\nit sums\n', { timeout: '10s' })
    expect(console.text()).not.toMatch(/Oops|BUG:|WARNING:|Call Trace/)
    const target = sink()
    await domain.save(target)
    expect(verifyStream(target.bytes())).toMatchObject({ status: 0 })
    const again = await host.restore(target.bytes(), OPTIONS)
    await again.console.write('echo and $kept again\r')
    await again.console.waitFor('\nand yes again\n', { timeout: '10s' })
    await host.shutdown()
  })

  test('a kernel that was saved here goes on there', async () => {
    expect(await xen.run('xl restore /root/mini.save; xl list')).toMatch(/mini +\d+ +16 /)
    await xen.type('xl console mini')
    await xen.waitFor('mini: restored')
    await xen.type('echo on real Xen')
    await xen.waitFor('\non real Xen')
    xen.write('\x1d')
    await xen.waitFor('dom0# ')
    await xen.run('xl destroy mini')
  })
})
