/**
 * Debian's Linux as a protected domain, as both kinds of guest: its host is lost, or the process of its host is killed, and its processes, its memory, its disk and
 * its network go on at the standby.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { optionalDecompressor } from '../../src/decompress/index.ts'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { busyboxInitramfs } from '../../src/testing/index.ts'
import { Host, memoryArbiter, MemoryFiles, transportPair, type ProtectOperation } from '../../src/toolstack/index.ts'
import { kernelLog } from '../support/dmesg.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { LinuxGuest } from '../support/linux.ts'
import { pingResponder } from '../support/ping.ts'
import { ENOUGH, failOver } from '../support/remus/failover.ts'
import { LINUX_KINDS, SHORT_KINDS } from '../support/remus/served-kinds.ts'

const missing = whyMissing('linux', 'linuxModules', 'busybox')

/** Counts in the background, and notes where time goes back. */
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

function files(): MemoryFiles {
  const module = (path: string): Uint8Array => readFileSync(`${guestFile('linuxModules')!}/kernel/drivers/${path}`)
  const disk = busyboxInitramfs({
    busybox: readFileSync(guestFile('busybox')!), script: SCRIPT,
    files: { 'm/xen-blkfront.ko': module('block/xen-blkfront.ko'), 'm/xen-netfront.ko': module('net/xen-netfront.ko') },
  })
  return new MemoryFiles({ linux: readFileSync(guestFile('linux')!), disk })
}

async function boot(seed: number, store: MemoryBlockStore): Promise<Host> {
  const host = await Host.boot({ memory: 200, dom0Memory: 16, seed, decompress: optionalDecompressor, openDisk: () => store, files: files() })
  await host.createDomain({ name: 'responder', memory: 8, kernel: pingResponder([10, 0, 0, 9]), nics: ['mac=00:16:3e:00:00:09'] })
  return host
}

/** Resolves when so many further epochs are acknowledged. */
const epochs = (protection: ProtectOperation, count: number): Promise<void> => new Promise((resolve, reject) => {
  let left = count
  protection.progress.on('acknowledged', () => {
    left -= 1
    if (left === 0) resolve()
  })
  protection.catch(reject)
})

const textOf = ({ bytes }: MemoryBlockStore, length: number): string => new TextDecoder().decode(bytes.subarray(0, length))

describe.skipIf(missing !== undefined).each(['pv', 'pvh'] as const)(`Debian's Linux as %s${missing ?? ''}`, { timeout: 600_000 }, (type) => {
  test('goes on at its standby when its host is lost', async () => {
    const stores = [new MemoryBlockStore(1 << 20), new MemoryBlockStore(1 << 20)] as const
    const [primary, standby] = [await boot(1, stores[0]), await boot(2, stores[1])]
    const domain = await primary.createDomain({
      name: 'linux', type, kernel: 'linux', ramdisk: 'disk', memory: 128, vcpus: 2, commandLine: 'console=hvc0 panic=-1',
      disks: ['/images/one,raw,xvda,w'], nics: ['mac=00:16:3e:00:00:01'],
    })
    await domain.console.waitFor(/all set[^]*\/ # /)
    const linux = new LinuxGuest(primary, domain)
    await linux.run('echo before | dd of=/dev/xvda conv=fsync 2>/dev/null')

    const { ends, cut } = transportPair()
    const arbiter = memoryArbiter()
    const standing = standby.standBy(ends[1], { arbiter, trust: 'all' })
    const protection = domain.protect(ends[0], { arbiter, interval: '100ms' })
    await epochs(protection, 2)
    await linux.run('echo within | dd of=/dev/xvda conv=fsync 2>/dev/null; touch /tmp/within')
    expect(await linux.run('ping -c 2 -i 0.2 -W 2 10.0.0.9')).toContain('2 packets transmitted, 2 packets received')
    const counted = Number(await linux.run('cat /tmp/count'))
    await epochs(protection, 2)
    expect(textOf(stores[1], 6)).toBe('within')
    const granted = new Promise((resolve) => standing.progress.on('taking-over', resolve))
    cut()
    await granted

    const there = (await standing)!
    expect((await protection).end).toBe('failed-over')
    expect(primary.domains().map(({ name }) => name)).toEqual(['responder'])
    const survivor = new LinuxGuest(standby, there)
    expect(Number(await survivor.run('cat /tmp/count'))).toBeGreaterThanOrEqual(counted)
    expect(await survivor.run('ls /tmp/within; md5sum < /tmp/memory | cmp - /tmp/sum && echo same')).toBe('/tmp/within\nsame')
    await survivor.run('echo behind | dd of=/dev/xvda conv=fsync 2>/dev/null')
    expect([textOf(stores[0], 6), textOf(stores[1], 6)]).toEqual(['within', 'behind'])
    expect(await survivor.run('ping -c 2 -i 0.2 -W 2 10.0.0.9')).toContain('2 packets transmitted, 2 packets received')
    expect(await survivor.run(kernelLog('WARNING|BUG:|Oops'))).toBe('')
    expect(await survivor.run('cat /tmp/back')).toBe('')
    await primary.shutdown()
    await standby.shutdown()
  })
})

for (const kind of LINUX_KINDS) describe.skipIf(kind.missing !== undefined)(`${kind.name}${kind.missing ?? ''}`, { timeout: 600_000 }, () => {
  test('goes on in another process when its own is killed, and nobody outside can tell', async () => {
    const { end, kind: survivor, before, behind, violations } = await failOver(kind)
    expect({ end, survivor, violations }).toEqual({ end: 'SIGKILL', survivor: kind.hypervisorKind, violations: [] })
    // The last one may have been on its way when the process was no more.
    expect(Math.min(before + 1, behind)).toBeGreaterThanOrEqual(ENOUGH)
  })
})

describe.each(SHORT_KINDS.map((kind) => [`${kind.name}${kind.missing ?? ''}`, kind] as const))('a %s', { timeout: 120_000 }, (_, kind) => {
  test.skipIf(kind.missing !== undefined)('goes on in another process when its own is stopped, and there alone when that wakes', async () => {
    const { end, violations, behind } = await failOver(kind, 'SIGSTOP')
    expect({ end, violations }).toEqual({ end: 'failed-over', violations: [] })
    expect(behind).toBeGreaterThanOrEqual(2 * ENOUGH)
  })
})
