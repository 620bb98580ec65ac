/**
 * Debian's kernel, the same file as for PV guests, as a PVH guest with a disk and a network interface: to its shell, as on real Xen, with
 * memory that comes on demand and vCPUs that come and go. Save and migration are in linux-save.test.ts.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { compareDmesg } from '../support/dmesg.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { NEWER_KERNEL, NOT_HERE_PVH, ONLY_HERE_PVH } from '../support/linux-differences.ts'
import { LINUX_FILES, SECOND, bootLinuxHost, createLinux, type LinuxGuest } from '../support/linux.ts'
import { pingResponder } from '../support/ping.ts'

const missing = whyMissing(...LINUX_FILES, 'linuxModules')
const PATIENCE = 600_000
const onXen = readFileSync(new URL('../golden/linux-pvh-console-xen-4.17.txt', import.meta.url), 'utf8')

const COMPLAINTS = /WARNING:|BUG:|Oops|Call Trace|soft lockup|rcu.*stall|Stale IRR/

/** A guest with its disk. */
interface Started {
  readonly linux: LinuxGuest
  readonly store: MemoryBlockStore
}

async function withLinux(domain: object, work: (started: Started) => Promise<void>): Promise<void> {
  const store = new MemoryBlockStore(1 << 20)
  const host = await bootLinuxHost({ openDisk: () => store })
  const module = (path: string): Uint8Array => readFileSync(`${guestFile('linuxModules')!}/kernel/drivers/${path}`)
  try {
    await host.createDomain({ name: 'responder', memory: 8, kernel: pingResponder([10, 0, 0, 9]), nics: ['mac=00:16:3e:00:00:09'] })
    const linux = await createLinux(host, {
      domain: { type: 'pvh', memory: 160, disks: ['/images/one,raw,xvda,w'], nics: ['mac=00:16:3e:00:00:01'], ...domain },
      files: { 'm/xen-blkfront.ko': module('block/xen-blkfront.ko'), 'm/xen-netfront.ko': module('net/xen-netfront.ko') },
    })
    await linux.ready()
    await work({ linux, store })
    expect(linux.domain.console.text()).not.toMatch(COMPLAINTS)
    expect(host.hypervisor.checkInvariants()).toEqual([])
  } finally {
    await host.shutdown()
  }
}

/** The disk holds what Linux has written, and somebody answers on the network. */
async function usesDevices({ linux, store }: Started): Promise<void> {
  await linux.run('insmod /m/xen-blkfront.ko; insmod /m/xen-netfront.ko; sleep 1; ifconfig eth0 10.0.0.1 netmask 255.255.255.0 up')
  await linux.run('dd if=/dev/urandom of=/dev/xvda bs=64k count=16 conv=fsync 2>/dev/null; echo 3 > /proc/sys/vm/drop_caches')
  expect(await linux.run('md5sum < /dev/xvda')).toContain(createHash('md5').update(store.bytes).digest('hex'))
  expect(await linux.run('ping -c 2 -i 0.2 -W 2 10.0.0.9')).toContain('2 packets transmitted, 2 packets received')
}

describe.skipIf(missing !== undefined)(`Linux as a PVH guest${missing ?? ''}`, { timeout: PATIENCE }, () => {
  test('two vCPUs and memory on demand come up as on real Xen, and follow their targets', async () => {
    await withLinux({ vcpus: 2, maxMemory: 192 }, async ({ linux, store }) => {
      const { domain } = linux
      const text = domain.console.text()
      expect(text).toMatch(/Booting kernel on Xen PVH/)
      const { missing: lost, added } = compareDmesg(text, onXen)
      const unknown = (lines: readonly string[], known: readonly RegExp[]): readonly string[] =>
        lines.filter((line) => ![...known, ...NEWER_KERNEL].some((pattern) => pattern.test(line)))
      expect(unknown(lost, NOT_HERE_PVH)).toEqual([])
      expect(unknown(added, ONLY_HERE_PVH)).toEqual([])
      expect(await linux.run('cat /sys/hypervisor/guest_type /sys/hypervisor/properties/features')).toBe('PVH\n00012305')
      await usesDevices({ linux, store })
      await domain.setVcpus(1, { wait: true, timeout: 30 * SECOND })
      expect(await linux.run('nproc')).toBe('1')
      await domain.setVcpus(2)
      await linux.run('sleep 1; echo 1 > /sys/devices/system/cpu/cpu1/online')
      expect(await linux.run('nproc')).toBe('2')
      expect(await domain.shutdown({ timeout: 60 * SECOND })).toBe('poweroff')
    })
  })

  test.each([1, 4, 8])('%i vCPUs come up, run, and use disk and network', async (vcpus) => {
    await withLinux({ vcpus, localTime: true, timeOffset: 86_400 }, async ({ linux, store }) => {
      expect(await linux.run('date -u +%Y-%m-%d')).toBe('2005-10-25')
      linux.domain.sysrq('h')
      await linux.domain.console.waitFor('sysrq: HELP', { timeout: 10 * SECOND })
      linux.domain.trigger('nmi', { vcpu: vcpus - 1 })
      // It asks port 0x61 for the reason, and there is nothing.
      await linux.domain.console.waitFor(/NMI: .* for reason ff on CPU/, { timeout: 10 * SECOND })
      expect(await linux.run('nproc')).toBe(String(vcpus))
      const ran = await linux.run(`for cpu in $(seq 0 ${vcpus - 1}); do taskset -c $cpu sh -c 'cut -d" " -f39 /proc/self/stat'; done`)
      expect(ran.split('\n').map(Number)).toEqual(Array.from({ length: vcpus }, (_, cpu) => cpu))
      await usesDevices({ linux, store })
      const before = await linux.run('free | grep Mem: | tr -s " " | cut -d" " -f2')
      await linux.domain.setMemTarget(150, { timeout: 60 * SECOND })
      expect(Number(before) - Number(await linux.run('free | grep Mem: | tr -s " " | cut -d" " -f2'))).toBe(10240)
    })
  })
})
