import { describe, expect, test } from 'vitest'
import { VcpuInfo } from '../../../../../src/abi/index.ts'
import type { TscInfo } from '../../../../../src/hypervisor/index.ts'
import { MSR } from '../../../../../src/x86/index.ts'
import { CodeGuest } from '../../../../support/code-guest.ts'

/** A counter of 2.5 GHz that has counted for a year. */
const YEAR = 365n * 24n * 3_600_000_000_000n
const ELSEWHERE: TscInfo = { mode: 0, kilohertz: 2_500_000, nanoseconds: YEAR, incarnation: 3 }

/** What an instruction leaves in EDX:EAX. */
function read(guest: CodeGuest, listing = 'rdtsc'): bigint {
  guest.run(listing)
  return guest.get('rdx') << 32n | guest.get('rax')
}
const timeLeaf = (guest: CodeGuest): number[] => {
  guest.run('movabs $0x40000003,%rax; mov $0,%ecx; cpuid')
  return (['rax', 'rbx', 'rcx', 'rdx'] as const).map((name) => Number(guest.get(name)))
}

describe('the time-stamp counter of a PV guest', () => {
  test('is the host\'s, and CPUID says so', () => {
    const guest = new CodeGuest()
    expect(read(guest)).toBe(0n)
    // Runs of 2,000 instructions, of a nanosecond and a tick each.
    expect(read(guest)).toBe(2000n)
    expect(timeLeaf(guest)).toEqual([6, 0, 1_000_000, 1])
    expect(guest.hypervisor.getTscInfo(guest.domid)).toMatchObject({ mode: 0, kilohertz: 1_000_000, incarnation: 1 })
  })

  test('goes on at the frequency and from the count that it had elsewhere, in RDTSC, RDTSCP, RDMSR and the time record', () => {
    const guest = new CodeGuest()
    guest.hypervisor.setTscInfo(guest.domid, ELSEWHERE)
    const first = read(guest)
    expect(first).toBe(YEAR * 5n / 2n)
    expect([read(guest), read(guest, 'rdtscp')].map((now) => now - first)).toEqual([5000n, 10_000n])
    // The hypervisor takes its time over it.
    const late = Number(read(guest, `mov $${MSR.TSC},%ecx; rdmsr`) - first) - 15_000
    expect(late).toBeGreaterThanOrEqual(0)
    expect(late).toBeLessThan(2500)
    const { view } = guest.machine.memory
    const at = VcpuInfo.time.at(guest.hypervisor.domainInfo(guest.domid).sharedInfoFrame * 4096)
    const { tscTimestamp, tscToSystemMul, tscShift } = VcpuInfo.time.layout
    expect(tscTimestamp.get(view, at) - YEAR * 5n / 2n < 1_000_000n).toBe(true)
    // 1e9 / 2.5e9 of a tick's nanosecond, in 32 bits of a fraction of 2^shift.
    expect(tscToSystemMul.get(view, at) * 2 ** tscShift.get(view, at) / 2 ** 32).toBeCloseTo(0.4, 6)
    expect(timeLeaf(guest)).toEqual([7, 0, 2_500_000, 4])
    const info = guest.hypervisor.getTscInfo(guest.domid)
    expect(info).toMatchObject({ mode: 0, kilohertz: 2_500_000, incarnation: 4 })
    expect(info.nanoseconds - YEAR < 100_000n).toBe(true)
  })

  test.each([
    ['always of its own', { ...ELSEWHERE, mode: 1, kilohertz: 0 }, [7, 1, 1_000_000, 4], 1_000_000],
    ['never of its own', { ...ELSEWHERE, mode: 2 }, [6, 2, 1_000_000, 4], 0],
    ['at the host\'s frequency', { ...ELSEWHERE, kilohertz: 1_000_000 }, [6, 0, 1_000_000, 4], 1_000_000],
  ])('is %s where tools say so', (_, info, leaf, kilohertz) => {
    const guest = new CodeGuest()
    guest.hypervisor.setTscInfo(guest.domid, info)
    expect(timeLeaf(guest)).toEqual(leaf)
    expect(guest.hypervisor.getTscInfo(guest.domid).kilohertz).toBe(kilohertz)
  })

  test.each([{ mode: 3 }, { kilohertz: 999 }, { kilohertz: 100_000_001 }])('does not become %o', (wrong) => {
    const { hypervisor, domid } = new CodeGuest()
    const before = hypervisor.getTscInfo(domid)
    expect(() => hypervisor.setTscInfo(domid, { ...ELSEWHERE, ...wrong })).toThrowError(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    expect(hypervisor.getTscInfo(domid)).toEqual(before)
  })
})

describe('the entries of 32-bit system calls of a PV guest', () => {
  const entries = {
    syscall32: { address: 0xffff_ffff_8102_7f10n, selector: 0, masksEvents: true }, sysenter: { address: 0xffff_ffff_8102_8000n, selector: 0xe033, masksEvents: false },
  }

  test('are told and set from outside', () => {
    const { hypervisor, domid } = new CodeGuest()
    hypervisor.setVcpuEntries(domid, 0, entries)
    expect(hypervisor.getVcpuEntries(domid, 0)).toEqual(entries)
    expect(() => hypervisor.setVcpuEntries(domid, 0, { ...entries, sysenter: { ...entries.sysenter, address: 1n << 62n } })).toThrowError(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    expect(hypervisor.getVcpuEntries(domid, 0)).toEqual(entries)
  })
})
