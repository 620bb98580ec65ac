/**
 * Debian's kernel, the same file as for PV guests, as a PVH guest: to its shell, as on real Xen, with memory that comes on
 * demand and vCPUs that come and go. Disk, network, save and migration are in linux-save.test.ts.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { compareDmesg } from '../support/dmesg.ts'
import { whyMissing } from '../support/guests.ts'
import { NEWER_KERNEL, NOT_HERE_PVH, ONLY_HERE_PVH } from '../support/linux-differences.ts'
import { LINUX_FILES, SECOND, bootLinux, type LinuxGuest } from '../support/linux.ts'

const wanted = process.env['CI'] === 'true' || process.env['LINUX_TESTS'] === '1'
const missing = wanted ? whyMissing(...LINUX_FILES) : ' (SKIPPED: set LINUX_TESTS=1)'
const PATIENCE = 600_000
const onXen = readFileSync(new URL('../golden/linux-pvh-console-xen-4.17.txt', import.meta.url), 'utf8')

async function withLinux(domain: object, work: (linux: LinuxGuest) => Promise<void>): Promise<void> {
  const linux = await bootLinux({ domain: { type: 'pvh', memory: 160, ...domain } })
  try {
    await linux.ready()
    await work(linux)
    expect(linux.host.hypervisor.checkInvariants()).toEqual([])
  } finally {
    await linux.host.shutdown()
  }
}

describe.skipIf(missing !== undefined)(`Linux as a PVH guest${missing ?? ''}`, { timeout: PATIENCE }, () => {
  test('two vCPUs and memory on demand come up as on real Xen, and follow their targets', async () => {
    await withLinux({ vcpus: 2, maxMemory: 192 }, async (linux) => {
      const { domain } = linux
      const text = domain.console.text()
      expect(text).toMatch(/Booting kernel on Xen PVH/)
      expect(text).not.toMatch(/WARNING:|BUG:|Oops|Call Trace|soft lockup|rcu.*stall|Stale IRR/)
      const { missing: lost, added } = compareDmesg(text, onXen)
      const unknown = (lines: readonly string[], known: readonly RegExp[]): readonly string[] =>
        lines.filter((line) => ![...known, ...NEWER_KERNEL].some((pattern) => pattern.test(line)))
      expect(unknown(lost, NOT_HERE_PVH)).toEqual([])
      expect(unknown(added, ONLY_HERE_PVH)).toEqual([])
      expect(await linux.run('cat /sys/hypervisor/guest_type /sys/hypervisor/properties/features')).toBe('PVH\n00012305')
      await domain.setVcpus(1, { wait: true, timeout: 30 * SECOND })
      expect(await linux.run('nproc')).toBe('1')
      await domain.setVcpus(2)
      await linux.run('sleep 1; echo 1 > /sys/devices/system/cpu/cpu1/online')
      expect(await linux.run('nproc')).toBe('2')
      expect(await domain.shutdown({ timeout: 60 * SECOND })).toBe('poweroff')
    })
  })

  test.each([1, 4, 8])('%i vCPUs come up and run', async (vcpus) => {
    await withLinux({ vcpus }, async (linux) => {
      expect(await linux.run('nproc')).toBe(String(vcpus))
      const ran = await linux.run(`for cpu in $(seq 0 ${vcpus - 1}); do taskset -c $cpu sh -c 'cut -d" " -f39 /proc/self/stat'; done`)
      expect(ran.split('\n').map(Number)).toEqual(Array.from({ length: vcpus }, (_, cpu) => cpu))
      const before = await linux.run('free | grep Mem: | tr -s " " | cut -d" " -f2')
      await linux.domain.setMemTarget(150, { timeout: 60 * SECOND })
      expect(Number(before) - Number(await linux.run('free | grep Mem: | tr -s " " | cut -d" " -f2'))).toBe(10240)
    })
  })
})
