import { describe, expect, test } from 'vitest'
import { FLAT, SHUTDOWN, VGCF, VMASST_CMD, VMASST_TYPE } from '../../../../../src/abi/index.ts'
import { EXIT } from '../../../../../src/machine/index.ts'
import { GPR, PAGE_FAULT, RFLAGS, SEGMENT, VECTOR } from '../../../../../src/x86/index.ts'
import { PvGuest, BASE } from '../../../../support/pv-guest.ts'
import { FLAT_CODE_64, FLAT_DATA } from '../../../../../src/hypervisor/guests/pv/pv-vcpu.ts'
import type { SegmentState } from '../../../../../src/machine/index.ts'
import type { Step } from '../../../../../src/testing/index.ts'

const trap = (vector: number, flags = 0) => ({ vector, flags, cs: FLAT.KERNEL_CS64, address: BigInt(0x3000 + vector * 16) })
const TRAPS = [0, 3, 6, 7, 13, 14].map((vector) => trap(vector)).concat([trap(0x80, 3), trap(0x81, 1), trap(0x90, 4)])

const upcallMask = (guest: PvGuest): number => guest.view.getUint8(guest.host.hypervisor.domainInfo(guest.domid).sharedInfoFrame * 4096 + 1)
const setMask = (guest: PvGuest, mask: number): void =>
  guest.view.setUint8(guest.host.hypervisor.domainInfo(guest.domid).sharedInfoFrame * 4096 + 1, mask)
/** The state right after the exit: the script ends the run there, so that it can be looked at. */
const rip = (guest: PvGuest): number => guest.processor.registers.rip()

/** Enters user mode by the iret hypercall, with a frame on the kernel's stack. */
function enterUser(guest: PvGuest, frame: { flags?: bigint; rflags?: bigint; cs?: bigint } = {}): void {
  const { registers } = guest.processor
  const stack = guest.at(30, 0x800)
  const values = [
    7n, 11n, 12n, frame.flags ?? 0n, 0x5000n, frame.cs ?? BigInt(FLAT.USER_CS64), frame.rflags ?? 0x3202n, BigInt(guest.at(20)),
    BigInt(FLAT.USER_SS),
  ]
  values.forEach((value, i) => guest.view.setBigUint64(guest.place(30, 0x800 + i * 8), value, true))
  guest.run(() => {
    registers.set(GPR.rsp, stack, 0)
    registers.set(GPR.rax, 23, 0)
    return { reason: EXIT.SYSCALL }
  })
}

describe('a trap in kernel mode', () => {
  test('pushes a frame on the running stack and goes to the guest\'s handler', () => {
    const guest = PvGuest.boot({ traps: TRAPS })
    const { registers } = guest.processor
    setMask(guest, 0)
    const before = guest.at(25, 0x108)
    guest.run((r) => {
      r.set(GPR.rsp, before, 0)
      r.set(GPR.rcx, 0xc, 1)
      r.set(GPR.r11, 0x11, 2)
      r.setRip(0x1234, 0)
      return { reason: EXIT.EXCEPTION, vector: VECTOR.DE }
    })
    expect(rip(guest)).toBe(0x3000)
    expect(guest.stack(7)).toEqual([0x1_0000_000cn, 0x2_0000_0011n, 0x1234n, BigInt(FLAT.KERNEL_CS64 & ~3), 0x202n, BigInt(before), BigInt(FLAT.KERNEL_SS)])
    // 16-byte aligned before the frame of seven words.
    expect(registers.low(GPR.rsp)).toBe(guest.at(25, 0x100) - 56)
  })

  test('pushes the error code where the vector has one, and shows the saved mask and the virtual IF', () => {
    const guest = PvGuest.boot({ traps: TRAPS })
    setMask(guest, 1)
    guest.run(() => ({ reason: EXIT.EXCEPTION, vector: VECTOR.GP, errorCode: 0x18 }))
    const [, , error, , cs, flags] = guest.stack(8)
    expect(error).toBe(0x18n)
    expect(cs! >> 32n).toBe(1n)
    expect(flags! & 0x200n).toBe(0n)
  })

  test('tells a page fault\'s address and which of its modes it was in', () => {
    const guest = PvGuest.boot({ traps: TRAPS })
    const errorCode = PAGE_FAULT.USER | PAGE_FAULT.WRITE
    guest.run(() => ({ reason: EXIT.EXCEPTION, vector: VECTOR.PF, errorCode, address: -0x1000 }))
    expect(guest.stack(3)[2]).toBe(BigInt(PAGE_FAULT.WRITE))
    const info = guest.host.hypervisor.domainInfo(guest.domid).sharedInfoFrame * 4096
    expect(guest.view.getBigInt64(info + 16, true)).toBe(-0x1000n)
  })

  test('masks events where the trap table says so', () => {
    const guest = PvGuest.boot({ traps: [trap(0, 4)] })
    setMask(guest, 0)
    guest.run(() => ({ reason: EXIT.EXCEPTION, vector: VECTOR.DE }))
    expect(upcallMask(guest)).toBe(1)
  })

  test('crashes the domain when there is no handler, or no stack to enter it on', () => {
    for (const prepare of [() => ({ traps: [] }), () => ({ traps: TRAPS })]) {
      const guest = PvGuest.boot(prepare())
      guest.run((r) => {
        r.set(GPR.rsp, 0x500, 0)
        return { reason: EXIT.EXCEPTION, vector: VECTOR.DE }
      })
      expect(guest.host.hypervisor.domainInfo(guest.domid)).toMatchObject({ crashed: true, shutdownReason: SHUTDOWN.crash })
      guest.destroy()
      expect(guest.host.hypervisor.hostInfo().freeFrames).toBe(guest.host.freeAtBoot)
      expect(guest.processor.destroyed).toBe(true)
    }
  })
})

describe('int n', () => {
  const cases: [string, number, number][] = [
    ['breakpoints always', 3, 0x3000 + 3 * 16],
    ['what the kernel may call', 0x81, 0x3000 + 0x81 * 16],
    ['anything else as a general protection fault', 0x91, 0x3000 + 13 * 16],
  ]
  test.each(cases)('delivers %s', (_name, vector, target) => {
    const guest = PvGuest.boot({ traps: TRAPS })
    guest.run((r) => {
      r.setRip(0x1002, 0)
      return { reason: EXIT.INTERRUPT, vector }
    })
    expect(rip(guest)).toBe(target)
    if (target === 0x3000 + 13 * 16) expect(guest.stack(4).slice(2)).toEqual([BigInt(vector * 8 + 2), 0x1000n])
    else expect(guest.stack(3)[2]).toBe(0x1002n)
  })
})

describe('the two modes', () => {
  function withUser(): PvGuest {
    const guest = PvGuest.boot({ traps: TRAPS })
    const op = guest.at(1)
    guest.view.setUint32(guest.place(1), 15, true)
    guest.view.setBigUint64(guest.place(1, 8), BigInt(guest.user), true)
    expect(guest.hypercall('mmuext_op', op, 1, 0, 0x7ff0)).toBe(0)
    return guest
  }

  test('iret goes to user mode: other page tables, GS bases swapped, ring 3, no I/O privilege', () => {
    const guest = withUser()
    enterUser(guest)
    const { registers } = guest.processor
    expect(rip(guest)).toBe(0x5000)
    expect(registers.controlLow(3)).toBe(guest.user * 4096)
    expect(registers.segment(SEGMENT.gs).baseLow).toBe(0x2222_0000)
    expect(registers.kernelGsBaseLow()).toBe(0x1111_0000)
    expect(registers.low(GPR.rax)).toBe(7)
    expect([registers.low(GPR.r11), registers.low(GPR.rcx)]).toEqual([11, 12])
    expect(registers.flags() & RFLAGS.IOPL).toBe(0)
    expect(registers.segment(SEGMENT.cs).selector).toBe(FLAT.USER_CS64)
  })

  test('a syscall from user mode enters the callback on the kernel\'s stack', () => {
    const guest = withUser()
    enterUser(guest)
    guest.run((r) => {
      r.setRip(0x5010, 0)
      r.setFlags(0x602)
      return { reason: EXIT.SYSCALL }
    })
    const { registers } = guest.processor
    expect(rip(guest)).toBe(0x2200)
    expect(registers.controlLow(3)).toBe(guest.l4 * 4096)
    expect(registers.segment(SEGMENT.gs).baseLow).toBe(0x1111_0000)
    expect(registers.flags() & RFLAGS.DF).toBe(0)
    const [rcx, , pushed, cs, , rsp] = guest.stack(7)
    expect([rcx, pushed]).toEqual([0x5010n, 0x5010n])
    expect(cs! & 0xffffn).toBe(BigInt(FLAT.USER_CS64))
    expect(rsp).toBe(BigInt(guest.at(20)))
  })

  /** Segments of the guest's own making: 64-bit code and 32-bit code beside the flat ones, and data with a base. */
  const OWN_CODE = { selector: 0x0f, baseLow: 0x1000, baseHigh: 0, limit: 0xffff, attributes: 0xa0fb }
  const OWN_SHORT = { ...OWN_CODE, attributes: 0x40fb }
  const OWN_STACK = { selector: 0x17, baseLow: 0x2000, baseHigh: 0, limit: 0xffff, attributes: 0x40f3 }
  const syscallFrom = (code: SegmentState, number?: number): Step => (r) => {
    r.setSegment(SEGMENT.cs, code)
    r.setSegment(SEGMENT.ss, OWN_STACK)
    r.setRip(0x5012, 0)
    if (number !== undefined) r.set(GPR.rax, number, 0)
    return { reason: EXIT.SYSCALL }
  }
  const XEN_VERSION_NUMBER = 17

  test('a hypercall leaves flat code and stack segments, whatever the kernel had', () => {
    const guest = PvGuest.boot({ traps: TRAPS })
    guest.run(syscallFrom(OWN_CODE, XEN_VERSION_NUMBER))
    const { registers } = guest.processor
    expect([registers.segment(SEGMENT.cs), registers.segment(SEGMENT.ss)]).toEqual([FLAT_CODE_64, FLAT_DATA])
    expect([rip(guest), registers.low(GPR.rax)]).toEqual([0x5012, 0x0004_0011])
  })

  test('a syscall from user mode tells its handler of the flat segments, not of those that were in force', () => {
    const guest = withUser()
    enterUser(guest)
    guest.run(syscallFrom(OWN_CODE))
    const [, , , cs, , , ss] = guest.stack(7)
    expect([cs! & 0xffffn, ss]).toEqual([BigInt(FLAT.KERNEL_CS64), BigInt(FLAT.KERNEL_SS)])
  })

  test('a syscall of 32-bit code is no hypercall even in kernel mode: it goes to the entry for such', () => {
    const guest = PvGuest.boot({ traps: TRAPS })
    const op = guest.at(1)
    const [TYPE_SYSCALL32, REGISTER] = [7, 0]
    guest.view.setUint32(guest.place(1), TYPE_SYSCALL32, true)
    guest.view.setBigUint64(guest.place(1, 8), 0x2400n, true)
    expect(guest.hypercall('callback_op', REGISTER, op)).toBe(0)
    guest.run(syscallFrom(OWN_SHORT, XEN_VERSION_NUMBER))
    const [rcx, , pushed, cs, , , ss] = guest.stack(7)
    expect([rip(guest), rcx, pushed]).toEqual([0x2400, 0x5012n, 0x5012n])
    expect([cs! & 0xffffn, ss]).toEqual([BigInt(FLAT.USER_CS32 & ~3), BigInt(FLAT.KERNEL_SS)])
  })

  test('a syscall for which the guest has no entry is an undefined instruction', () => {
    const guest = PvGuest.boot({ traps: TRAPS })
    guest.run(syscallFrom(OWN_SHORT))
    expect(rip(guest)).toBe(0x3000 + VECTOR.UD * 16)
    expect(guest.stack(3)[2]).toBe(0x5010n)
    expect(guest.host.hypervisor.domainInfo(guest.domid).crashed).toBe(false)
  })

  test('a fault in user mode carries the USER bit and enters on the kernel\'s stack', () => {
    const guest = withUser()
    enterUser(guest)
    guest.run(() => ({ reason: EXIT.EXCEPTION, vector: VECTOR.PF, errorCode: PAGE_FAULT.USER, address: 0x42 }))
    expect(rip(guest)).toBe(0x3000 + 14 * 16)
    expect(guest.stack(3)[2]).toBe(BigInt(PAGE_FAULT.USER))
    expect(guest.processor.registers.low(GPR.rsp)).toBe(BASE + 31 * 4096 - 64)
  })

  test('a crash over a fault in user mode says so, though its bounce has gone to the kernel', () => {
    const guest = withUser()
    enterUser(guest)
    guest.run(() => ({ reason: EXIT.EXCEPTION, vector: VECTOR.AC, errorCode: 0 }))
    const report = guest.host.hypervisor.crashReport(guest.domid)
    expect(report?.reason).toBe('alignment check in user mode; the guest has no handler for it')
    expect(report?.exception).toMatchObject({ fromUser: true, rip: 0x5000 })
  })

  test('iret without user tables, or from a stack that cannot be read, crashes the domain', () => {
    const first = PvGuest.boot({ traps: TRAPS })
    enterUser(first)
    expect(first.host.hypervisor.domainInfo(first.domid).crashed).toBe(true)
    const second = withUser()
    second.run((r) => {
      r.set(GPR.rsp, 0x1000, 0)
      r.set(GPR.rax, 23, 0)
      return { reason: EXIT.SYSCALL }
    })
    expect(second.host.hypervisor.domainInfo(second.domid).crashed).toBe(true)
  })

  test('iret to a code segment that does not exist faults at the target', () => {
    const guest = withUser()
    enterUser(guest, { cs: 0x4bn })
    expect(rip(guest)).toBe(0x3000 + 13 * 16)
    expect(guest.stack(4).slice(2)).toEqual([0x48n, 0x5000n])
  })

  test('VGCF_in_syscall returns as SYSRET does', () => {
    const guest = withUser()
    enterUser(guest, { flags: BigInt(VGCF.in_syscall) })
    const { registers } = guest.processor
    expect(registers.low(GPR.rcx)).toBe(0x5000)
    expect(registers.low(GPR.r11) & RFLAGS.IF).toBe(RFLAGS.IF)
  })
})

describe('events', () => {
  test('enter the callback when they are not masked, and mask further ones', () => {
    const guest = PvGuest.boot()
    setMask(guest, 0)
    const info = guest.host.hypervisor.domainInfo(guest.domid).sharedInfoFrame * 4096
    guest.run(() => {
      guest.view.setUint8(info, 1)
      return { reason: EXIT.SYSCALL }
    })
    expect(rip(guest)).toBe(0x2000)
    expect(upcallMask(guest)).toBe(1)
    expect(guest.stack(7)[3]! >> 32n).toBe(0n)
  })

  test('wait while they are masked', () => {
    const guest = PvGuest.boot()
    setMask(guest, 1)
    guest.view.setUint8(guest.host.hypervisor.domainInfo(guest.domid).sharedInfoFrame * 4096, 1)
    const start = rip(guest)
    guest.run()
    expect(rip(guest)).toBe(start)
  })
})

describe('privileged instructions', () => {
  const privileged = (request: object): Step => (r) => {
    r.setRip(0x1000, 0)
    return { reason: EXIT.PRIVILEGED, request: { length: 2, ...request } }
  }

  test('CPUID tells of the hypervisor, with and without the prefix', () => {
    const guest = PvGuest.boot()
    const { registers } = guest.processor
    guest.run((r) => {
      r.set(GPR.rax, 0x4000_0000, 0)
      return privileged({ operation: 'cpuid' })(r)
    })
    const text = [GPR.rbx, GPR.rcx, GPR.rdx].map((r) => registers.low(r))
    expect(text).toEqual([0x566e_6558, 0x6558_4d4d, 0x4d4d_566e])
    expect(rip(guest)).toBe(0x1002)
    const code = [0x0f, 0x0b, 0x78, 0x65, 0x6e, 0x0f, 0xa2]
    guest.host.memory.bytes.set(code, guest.place(2))
    guest.run((r) => {
      r.set(GPR.rax, 1, 0)
      r.setRip(guest.at(2), 0)
      return { reason: EXIT.EXCEPTION, vector: VECTOR.UD }
    })
    expect(registers.low(GPR.rcx) >>> 31).toBe(1)
    expect(rip(guest)).toBe(guest.at(2) + 7)
  })

  test('CR3 reads as the kernel\'s table, CR0 has the bits of a running kernel', () => {
    const guest = PvGuest.boot()
    const { registers } = guest.processor
    guest.run(privileged({ operation: 'read-cr', register: 3, general: GPR.rbx }))
    expect(registers.low(GPR.rbx)).toBe(guest.l4 * 4096)
    guest.run(privileged({ operation: 'read-cr', register: 0, general: GPR.rbx }))
    expect(registers.low(GPR.rbx)).toBe(0x8005_0033)
  })

  test('in and cli depend on the I/O privilege level that the guest has set', () => {
    const guest = PvGuest.boot({ traps: TRAPS })
    guest.run(privileged({ operation: 'cli', length: 1 }))
    expect(rip(guest)).toBe(0x3000 + 13 * 16)
    guest.view.setUint32(guest.place(1), 1, true)
    expect(guest.hypercall('physdev_op', 6, guest.at(1))).toBe(0)
    guest.run(privileged({ operation: 'cli', length: 1 }))
    expect(rip(guest)).toBe(0x1001)
    guest.run(privileged({ operation: 'in', size: 1, port: 0x71 }))
    expect(guest.processor.registers.low(GPR.rax) & 0xff).toBe(0xff)
  })

  test.each([['0x40', 0x40], ['0x42', 0x42], ['0x43', 0x43], ['0x61', 0x61], ['0x3f8', 0x3f8]])('port %s has no device, nor a timer: reads are ones whatever was written, in the size that was asked for', (_name, port) => {
    const guest = PvGuest.boot({ traps: TRAPS })
    const { registers } = guest.processor
    guest.view.setUint32(guest.place(1), 1, true)
    expect(guest.hypercall('physdev_op', 6, guest.at(1))).toBe(0)
    for (const [size, low, high] of [[1, 0x1234_56ff, 0x9abc_def0], [2, 0x1234_ffff, 0x9abc_def0], [4, 0xffff_ffff, 0]] as const) {
      registers.set(GPR.rax, 0x1234_5600, 0x9abc_def0)
      guest.run(privileged({ operation: 'out', size, port }))
      guest.run(privileged({ operation: 'in', size, port }))
      expect([registers.low(GPR.rax), registers.high(GPR.rax)]).toEqual([low, high])
    }
  })

  const faults: [string, object][] = [
    ['hlt', { operation: 'hlt' }], ['swapgs', { operation: 'swapgs' }], ['ltr and the like', { operation: 'other' }],
    ['out without I/O privilege', { operation: 'out', size: 1, port: 0x60 }],
    ['a change of CR0 beyond TS', { operation: 'write-cr', register: 0, general: GPR.r15 }],
  ]
  test.each(faults)('%s faults as #GP(0) at the instruction', (_name, request) => {
    const guest = PvGuest.boot({ traps: TRAPS })
    guest.run(privileged(request))
    expect(rip(guest)).toBe(0x3000 + 13 * 16)
    expect(guest.stack(4).slice(2)).toEqual([0n, 0x1000n])
  })

  test('an unknown MSR reads as zero until the guest can take the fault', () => {
    const early = PvGuest.boot()
    early.run((r) => {
      r.set(GPR.rcx, 0x1a0, 0)
      r.set(GPR.rax, 5, 0)
      return privileged({ operation: 'rdmsr' })(r)
    })
    expect(early.processor.registers.low(GPR.rax)).toBe(0)
    const later = PvGuest.boot({ traps: TRAPS })
    later.run((r) => {
      r.set(GPR.rcx, 0x1a0, 0)
      return privileged({ operation: 'rdmsr' })(r)
    })
    expect(rip(later)).toBe(0x3000 + 13 * 16)
  })

  test('#NM clears the guest\'s TS before it is delivered', () => {
    const guest = PvGuest.boot({ traps: TRAPS })
    expect(guest.hypercall('fpu_taskswitch', 1)).toBe(0)
    expect(guest.processor.registers.controlLow(0) & 8).toBe(8)
    guest.run(() => ({ reason: EXIT.EXCEPTION, vector: VECTOR.NM }))
    expect(guest.processor.registers.controlLow(0) & 8).toBe(0)
    expect(rip(guest)).toBe(0x3000 + 7 * 16)
  })
})

describe('writable page tables', () => {
  const fault = (guest: PvGuest, slot: number): Step => () =>
    ({ reason: EXIT.EXCEPTION, vector: VECTOR.PF, errorCode: PAGE_FAULT.PRESENT | PAGE_FAULT.WRITE | PAGE_FAULT.USER, address: guest.tableAt(3) + slot * 8 })

  function enabled(): PvGuest {
    const guest = PvGuest.boot({ traps: TRAPS })
    expect(guest.hypercall('vm_assist', VMASST_CMD.enable, VMASST_TYPE.writable_pagetables)).toBe(0)
    return guest
  }

  test('take what the instruction would write, and check it', () => {
    const guest = enabled()
    const target = guest.frames[50]!
    guest.run(fault(guest, 300), () => {
      guest.processor.registers.setRip(0x1008, 0)
      return { reason: EXIT.BUDGET, store: [target * 4096 + 0x63, 0] }
    })
    expect(rip(guest)).toBe(0x1008)
    expect(guest.peek(guest.l1, 300)[0] >>> 12).toBe(target)
    expect(guest.host.hypervisor.frameInfo(target)).toMatchObject({ type: 'writable', typeCount: 1 })
    expect(guest.host.problems()).toEqual([])
  })

  test('undo the instruction when an entry is refused, and give the guest its fault', () => {
    const guest = enabled()
    guest.run(fault(guest, 300), (r) => {
      r.set(GPR.rbx, 99, 0)
      r.setRip(0x1008, 0)
      return { reason: EXIT.BUDGET, store: [guest.l1 * 4096 + 0x63, 0] }
    })
    expect(rip(guest)).toBe(0x3000 + 14 * 16)
    expect(guest.stack(4)[3]).toBe(0x1000n)
    expect(guest.peek(guest.l1, 300)).toEqual([0, 0])
    expect(guest.processor.registers.low(GPR.rbx)).toBe(0)
    expect(guest.host.problems()).toEqual([])
  })

  test('are not for guests that have not asked, nor for tables above level 1', () => {
    const plain = PvGuest.boot({ traps: TRAPS })
    plain.run(fault(plain, 300))
    expect(rip(plain)).toBe(0x3000 + 14 * 16)
    const guest = enabled()
    guest.run(() => ({ reason: EXIT.EXCEPTION, vector: VECTOR.PF, errorCode: 3, address: guest.tableAt(2) }))
    expect(rip(guest)).toBe(0x3000 + 14 * 16)
  })
})

describe('single step over what the hypervisor carries out', () => {
  const stepped: readonly [string, NonNullable<ReturnType<Step>>][] = [
    ['a privileged instruction', { reason: EXIT.PRIVILEGED, request: { operation: 'cpuid', length: 2 } }],
    ['a hypercall', { reason: EXIT.SYSCALL }],
  ]
  test.each(stepped)('%s is followed by the trap, and DR6 tells of it', (_, end) => {
    const guest = PvGuest.boot({ traps: [trap(1)] })
    const { registers } = guest.processor
    guest.run((r) => {
      r.setFlags(RFLAGS.TF | RFLAGS.IF)
      r.setRip(0x1234, 0)
      // xen_version(XENVER_version)
      r.set(GPR.rax, 17, 0)
      return end
    })
    expect(rip(guest)).toBe(0x3010)
    expect(registers.debugLow(6) & 0x4000).toBe(0x4000)
    const [, , interrupted, , flags] = guest.stack(5)
    expect(interrupted).toBe(end.reason === EXIT.SYSCALL ? 0x1234n : 0x1236n)
    expect(flags! & 0x100n).toBe(0x100n)
    expect(registers.flags() & RFLAGS.TF).toBe(0)
  })

  test('without the flag nothing follows', () => {
    const guest = PvGuest.boot({ traps: [trap(1)] })
    guest.run((r) => {
      r.setRip(0x1234, 0)
      return { reason: EXIT.PRIVILEGED, request: { operation: 'cpuid', length: 2 } }
    })
    expect(rip(guest)).toBe(0x1236)
  })

  test('debug registers are read back, DR4 and DR5 as other names of DR6 and DR7', () => {
    const guest = PvGuest.boot({ traps: TRAPS })
    expect(guest.hypercall('set_debugreg', 7, 0x401)).toBe(0)
    expect([guest.hypercall('get_debugreg', 7), guest.hypercall('get_debugreg', 5)]).toEqual([0x401, 0x401])
    guest.processor.registers.setDebug(6, 0xffff_4ff1, 0)
    expect(guest.hypercall('get_debugreg', 4)).toBe(0xffff_4ff1)
    expect(guest.hypercall('set_debugreg', 7, 0x2001)).toBe(-1)
  })
})
