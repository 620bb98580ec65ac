/**
 * Kernels of Debian's that the other tests do not use, each to its shell: the one for clouds, the one of the next
 * release, and the one with real-time preemption, which starts as a PVH guest alone: docs/differences-from-xen.md.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { guestFile, whyMissing, type GuestFile } from '../support/guests.ts'
import { bootLinux } from '../support/linux.ts'

const PATIENCE = 300_000
const KERNELS: readonly (readonly [GuestFile, 'pv' | 'pvh', number, RegExp])[] = [
  ['linuxCloud', 'pv', 1, /^Linux \(none\) 6\.1\.\S*-cloud-amd64 /],
  ['linux612', 'pv', 1, /^Linux \(none\) 6\.12\.\S*-amd64 /],
  ['linux612', 'pv', 2, /^Linux \(none\) 6\.12\.\S*-amd64 #1 SMP/],
  ['linuxCloud', 'pvh', 1, /^Linux \(none\) 6\.1\.\S*-cloud-amd64 /],
  ['linux612', 'pvh', 2, /^Linux \(none\) 6\.12\.\S*-amd64 #1 SMP/],
  ['linuxRt', 'pvh', 1, /^Linux \(none\) 6\.1\.\S*-rt-amd64 .* PREEMPT_RT/],
]
const missing = whyMissing('linuxCloud', 'linux612', 'linuxRt', 'busybox')

describe.skipIf(missing !== undefined)(`Debian's other kernels${missing ?? ''}`, { timeout: PATIENCE }, () => {
  test.each(KERNELS)('%s boots as %s on %i vCPUs to a shell that answers, and warns of nothing', async (file, type, vcpus, name) => {
    const linux = await bootLinux({ domain: { type, kernel: readFileSync(guestFile(file)!), vcpus } })
    try {
      await linux.ready()
      expect(await linux.run('uname -a')).toMatch(name)
      expect(await linux.run('grep -c ^processor /proc/cpuinfo')).toBe(String(vcpus))
      expect(await linux.run('dd if=/dev/urandom bs=4k count=16 2>/dev/null | gzip | gunzip | wc -c')).toBe('65536')
      expect(linux.domain.console.text()).not.toMatch(/WARNING:|BUG:|Oops|Call Trace|soft lockup|rcu.*stall/)
      expect(linux.host.hypervisor.checkInvariants()).toEqual([])
    } finally {
      await linux.host.shutdown()
    }
  }, PATIENCE)
})
