/**
 * Debian's Linux is saved, restored on another host and moved while it runs, with a disk and a network interface of
 * ours: its processes go on, and its own front-ends connect again.
 */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { optionalDecompressor } from '../../src/decompress/index.ts'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { Host, MemoryFiles, type Domain } from '../../src/index.ts'
import { transportPair } from '../../src/toolstack/index.ts'
import { type ImageRecord, SaveStreamReader, readHead } from '../../src/toolstack/stream/index.ts'
import { blankFrames } from '../support/blank-frames.ts'
import { kernelLog } from '../support/dmesg.ts'
import { ByteCollector } from '../support/byte-collector.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { busyboxInitramfs } from '../../src/testing/index.ts'
import { LinuxGuest } from '../support/linux.ts'
import { buildNative } from '../support/native-build.ts'
import { pingResponder } from '../support/ping.ts'
import { verifyStream } from '../support/verify-stream.ts'

const missing = whyMissing('linux', 'linuxModules', 'busybox', 'verifyStream', 'xenPython')

/** Counts in the background from the start, so that it can be seen that a process has gone on, and tells when time goes back. */
const SCRIPT = `
insmod /m/xen-blkfront.ko
insmod /m/xen-netfront.ko
sleep 1
ifconfig eth0 10.0.0.1 netmask 255.255.255.0 up
touch /tmp/back
(i=0; last=0; while true; do
  i=$((i+1)); echo $i > /tmp/count; now=$(cut -d' ' -f1 /proc/uptime | tr -d .)
  [ $now -lt $last ] && echo $last $now >> /tmp/back
  last=$now; sleep 0.05
done) &
dd if=/dev/urandom of=/tmp/memory bs=64k count=64 2>/dev/null
md5sum < /tmp/memory > /tmp/sum
echo all set
exec sh -i
`
const PATIENCE = 600_000

/** A 32-bit program, which enters the kernel by an entry of its own; absent where nothing builds one. */
const compat = buildNative(fileURLToPath(new URL('../guests/compat.c', import.meta.url)), [
  '-m32', '-static', '-nostdlib', '-ffreestanding', '-fno-pic', '-no-pie', '-fno-stack-protector', '-O2',
])

const store = new MemoryBlockStore(4 << 20)

function ramdisk(): Uint8Array {
  const module = (path: string): Uint8Array => readFileSync(`${guestFile('linuxModules')!}/kernel/drivers/${path}`)
  return busyboxInitramfs({
    busybox: readFileSync(guestFile('busybox')!), script: SCRIPT,
    files: {
      'm/xen-blkfront.ko': module('block/xen-blkfront.ko'), 'm/xen-netfront.ko': module('net/xen-netfront.ko'),
      ...(compat.path === undefined ? {} : { 'bin/compat': readFileSync(compat.path) }),
    },
  })
}

/** A host whose processors' time-stamp counters run at 10^9 ticks a second unless told otherwise. */
async function boot(seed: number, instructionsPerSecond = 1e9): Promise<Host> {
  const host = await Host.boot({
    memory: 200, dom0Memory: 16, seed, instructionsPerSecond, decompress: optionalDecompressor, openDisk: () => store,
    files: new MemoryFiles({ linux: readFileSync(guestFile('linux')!), disk: ramdisk() }),
  })
  await host.createDomain({ name: 'responder', memory: 8, kernel: pingResponder([10, 0, 0, 9]), nics: ['mac=00:16:3e:00:00:09'] })
  return host
}

/** Everything that should still work after a journey; `token` is what is written to the disk. */
async function check(host: Host, domain: Domain, token: string): Promise<void> {
  const linux = new LinuxGuest(host, domain)
  const before = await linux.run('cat /tmp/count')
  expect(Number(await linux.run('sleep 0.3; cat /tmp/count'))).toBeGreaterThan(Number(before))
  expect(await linux.run('md5sum < /tmp/memory | cmp - /tmp/sum && echo same')).toBe('same')
  await linux.run(`echo ${token} | dd of=/dev/xvda conv=fsync 2>/dev/null; echo 3 > /proc/sys/vm/drop_caches`)
  expect(await linux.run('head -n 1 /dev/xvda')).toBe(token)
  expect(new TextDecoder().decode(store.bytes.subarray(0, token.length))).toBe(token)
  expect(await linux.run('ping -c 2 -i 0.2 -W 2 10.0.0.9')).toContain('2 packets transmitted, 2 packets received')
  expect(await linux.run(kernelLog('WARNING|BUG:|Oops|as unstable'))).toBe('')
  expect(await linux.run('cat /tmp/back')).toBe('')
  if (compat.path !== undefined) expect(await linux.run('/bin/compat | grep own')).toBe('own entry 1')
}

const VCPU = ['vcpu-basic', 'vcpu-extended', 'vcpu-xsave']
/** What real Xen writes of such a guest with two vCPUs, in its order. */
const PV_RECORDS = [
  'pv-info', 'cpuid-policy', 'msr-policy', 'static-data-end', 'p2m-frames', 'page-data', 'tsc-info', 'shared-info', ...VCPU, ...VCPU, 'end',
]
const HVM_RECORDS = ['cpuid-policy', 'msr-policy', 'static-data-end', 'page-data', 'tsc-info', 'hvm-context', 'hvm-params', 'end']

/** What a file's image holds, rounds of pages as one; and which features of an ordinary processor its guest was shown. */
async function inside(bytes: Uint8Array): Promise<{ readonly features: string[]; readonly records: string[] }> {
  const reader = new SaveStreamReader([bytes])
  await readHead(reader)
  await reader.readImageHeader()
  const all: ImageRecord[] = []
  do all.push(await reader.readImageRecord()); while (all.at(-1)!.type !== 'end')
  const leaves = all.flatMap((record) => (record.type === 'cpuid-policy' ? record.leaves : []))
  const shown = (leaf: number, register: 'ebx' | 'ecx' | 'edx', bit: number): boolean => (leaves.find((one) => one.leaf === leaf)![register] >>> bit & 1) === 1
  const features = [['fsgsbase', shown(7, 'ebx', 0)], ['rdtscp', shown(0x8000_0001, 'edx', 27)], ['xsave', shown(1, 'ecx', 26)]] as const
  return {
    features: features.flatMap(([name, isShown]) => (isShown ? [name] : [])),
    records: all.map(({ type }) => type).filter((type, i, types) => type !== types[i - 1]),
  }
}

describe.skipIf(missing !== undefined).each(['pv', 'pvh'] as const)(`Debian's Linux as %s${missing ?? ''}`, { timeout: PATIENCE }, (type) => {
  let [first, second]: (Host | undefined)[] = []
  let linux: Domain
  let file: Uint8Array

  beforeAll(async () => {
    first = await boot(1)
    linux = await first.createDomain({
      name: 'linux', type, kernel: 'linux', ramdisk: 'disk', memory: 128, vcpus: 2, commandLine: 'console=hvc0 panic=-1',
      disks: ['/images/one,raw,xvda,w'], nics: ['mac=00:16:3e:00:00:01'],
    })
    // Not before its prompt: what is typed earlier is echoed twice.
    await linux.console.waitFor(/all set[^]*\/ # /)
    await check(first, linux, 'fresh')
  }, PATIENCE)
  afterAll(async () => {
    await first?.shutdown()
    await second?.shutdown()
  })

  test('goes on when a save is cancelled', async () => {
    await linux.save(new ByteCollector(), { afterwards: 'resume' })
    await check(first!, linux, 'cancelled')
  })

  test('is saved in a form that Xen accepts, and goes on on another host', async () => {
    const target = new ByteCollector()
    await linux.save(target)
    file = target.bytes()
    expect(verifyStream(file)).toMatchObject({ status: 0 })
    expect(await inside(file)).toEqual({ features: ['fsgsbase', 'rdtscp', 'xsave'], records: type === 'pv' ? PV_RECORDS : HVM_RECORDS })
    second = await boot(2, 7e8)
    linux = await second.restore(file, { trust: 'all' })
    await check(second, linux, 'restored')
    expect(linux.info().onlineVcpus).toBe(2)
  })

  test('moves while it runs', async () => {
    const { ends } = transportPair()
    const receiving = first!.receiveMigration(ends[1], { trust: 'all' })
    const { count, wrong } = blankFrames(second!, linux.id)
    expect(wrong).toEqual([])
    expect(count).toBeGreaterThan(1000)
    const summary = await linux.migrate(ends[0], { zeros: 'omitted' })
    linux = await receiving
    expect(summary.rounds).toBeGreaterThan(1)
    expect(summary.finalPages).toBeLessThan(8192)
    await check(first!, linux, 'moved')
    expect(await linux.shutdown()).toBe('poweroff')
    await first!.settled()
    expect(first!.hypervisor.checkInvariants()).toEqual([])
  })
})
