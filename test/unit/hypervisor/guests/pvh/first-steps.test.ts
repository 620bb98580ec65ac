/** A PVH guest's first steps: entry, hypercalls by VMMCALL, CPUID and MSRs, its end. */
import { describe, expect, test, vi } from 'vitest'
import { ERRNO, HVM_PARAM, HYPERVISOR, SHUTDOWN } from '../../../../../src/abi/index.ts'
import { CODE, PvhTestGuest, START_INFO } from '../../../../support/pvh-guest.ts'

// The first machine of a process has its interpreter compiled.
vi.setConfig({ testTimeout: 60_000 })

const D = 0x13_0000

describe('a PVH guest', () => {
  test('is entered in protected mode with the start info\'s address, and halts for good with interrupts off', () => {
    const g = new PvhTestGuest(`mov %ebx,${D}; mov %cr0,%eax; mov %eax,${D + 4}; mov %cs,%eax; mov %eax,${D + 8}; pushf; pop %eax; mov %eax,${D + 12}; cli; hlt`)
    g.run()
    expect([g.read32(D), g.read32(D + 4), g.read32(D + 12)]).toEqual([START_INFO, 0x11, 2])
    expect(g.hypervisor.domainInfo(g.domid)).toMatchObject({ kind: 'pvh', shutdown: true, shutdownReason: SHUTDOWN.poweroff })
    expect(g.problems()).toEqual([])
  })

  test('makes hypercalls by VMMCALL with the arguments of 32-bit code', () => {
    const g = new PvhTestGuest(`
      mov $${HYPERVISOR.xen_version},%eax; mov $0,%ebx; mov $0,%ecx; vmmcall; mov %eax,${D}
      mov $${HYPERVISOR.xen_version},%eax; mov $6,%ebx; mov $${D + 16},%ecx; vmmcall; mov %eax,${D + 4}
      mov $${HYPERVISOR.mmu_update},%eax; vmmcall; mov %eax,${D + 8}
      cli; hlt`)
    g.run()
    expect([g.read32(D), g.read32(D + 4), g.read32(D + 8) | 0]).toEqual([0x4_0011, 0, -ERRNO.ENOSYS])
    expect(g.read32(D + 20)).toBe(0x1_2305)
  })

  test('finds Xen by CPUID, and has its hypercall page written by an MSR', () => {
    const g = new PvhTestGuest(`
      mov $0x40000000,%eax; cpuid; mov %ebx,${D}; mov $0x40000004,%eax; mov $0,%ecx; cpuid; mov %eax,${D + 4}; mov %ecx,${D + 8}
      mov $0x40000002,%eax; cpuid; mov %ebx,%ecx; mov $0x140000,%eax; mov $0,%edx; wrmsr
      mov $0,%ebx; mov $0x140220,%eax; call *%eax; mov %eax,${D + 12}; cli; hlt`)
    g.run()
    expect([g.read32(D), g.read32(D + 4), g.read32(D + 8), g.read32(D + 12)]).toEqual([0x566e_6558, 0x5c, g.domid, 0x4_0011])
    expect(g.read32(0x14_0000)).toBe(0xb8)
  })

  test('ends by a triple fault as its parameter says', () => {
    const g = new PvhTestGuest(`ud2`)
    expect(g.hypervisor.getHvmParam(g.domid, HVM_PARAM.TRIPLE_FAULT_REASON)).toBe(BigInt(SHUTDOWN.reboot))
    g.run()
    expect(g.hypervisor.domainInfo(g.domid)).toMatchObject({ shutdown: true, shutdownReason: SHUTDOWN.reboot })
    expect(g.problems()).toEqual([])
  })

  test('reads ones from ports and from where nothing lies', () => {
    const g = new PvhTestGuest(`mov $0x42,%edx; in (%dx),%al; movzbl %al,%eax; mov %eax,${D}; mov 0x80000000,%eax; mov %eax,${D + 4}; movl $1,0x80000000; cli; hlt`)
    g.run()
    expect([g.read32(D), g.read32(D + 4)]).toEqual([0xff, 0xffff_ffff])
    g.hypervisor.destroyDomain(g.domid)
    expect(g.hypervisor.hostInfo().freeFrames).toBe(g.host.freeAtBoot)
    expect(g.problems()).toEqual([])
    expect(CODE).toBe(0x10_0000)
  })
})
