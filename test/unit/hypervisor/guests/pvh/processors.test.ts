/** Several vCPUs of a PVH guest: INIT and start-up, interrupts between them, and first registers by hypercall. */
import { describe, expect, test, vi } from 'vitest'
import { ERRNO, HYPERVISOR, SHUTDOWN, VCPUOP, VCPU_HVM_MODE, VcpuHvmContext } from '../../../../../src/abi/index.ts'
import { assemble } from '../../../../support/assembler.ts'
import { CODE, PvhTestGuest } from '../../../../support/pvh-guest.ts'

// The first machine of a process has its interpreter compiled.
vi.setConfig({ testTimeout: 60_000 })

const D = 0x13_0000
const TRAMPOLINE = 0x9_9000
const ICR = 0x830

/** Code that writes a register of the local APIC by its MSR, and that switches x2APIC mode on. */
const wrmsr = (register: number, low: number, high = 0): string => `mov $${register},%ecx; mov $${low},%eax; mov $${high},%edx; wrmsr;`
const X2APIC = 'mov $0x1b,%ecx; rdmsr; or $0xc00,%eax; wrmsr;'
const call = (number: number, ...args: readonly number[]): string =>
  `mov $${number},%eax; ${args.map((value, i) => `mov $${value},%${['ebx', 'ecx', 'edx'][i]!};`).join(' ')} vmmcall;`
const END = 'cli; hlt'

/** A guest of two vCPUs, the second of which finds code in real mode at the trampoline. */
function pair(listing: string, trampoline: string): PvhTestGuest {
  const guest = new PvhTestGuest(`jmp .`, { vcpus: 2, physicalCpus: 2 })
  guest.write(TRAMPOLINE, assemble(trampoline, { codeSize: 16 }))
  guest.write(CODE, assemble(listing, { origin: CODE, codeSize: 32 }))
  return guest
}

/** Lets both run, in short turns: whoever spins spins to the end of a run. */
function inTurn(guest: PvhTestGuest): void {
  for (let turn = 0; turn < 12; turn += 1) guest.run(20_000)
}

describe('an application processor', () => {
  test('starts in real mode by INIT and a start-up interrupt', () => {
    const g = pair(
      `${X2APIC} ${wrmsr(ICR, 0xc500, 2)} ${wrmsr(ICR, 0x8500, 2)} ${wrmsr(ICR, 0x4699, 2)} 1: cmpl $0,${0x500}; je 1b; ${END}`,
      'mov %cs,%ax; mov $0,%bx; mov %bx,%ds; mov %ax,0x504; movl $1,0x500; cli; hlt')
    inTurn(g)
    expect([g.read32(0x500), g.read32(0x504)]).toEqual([1, TRAMPOLINE >>> 4])
    expect(g.hypervisor.domainInfo(g.domid).shutdownReason).toBe(SHUTDOWN.poweroff)
    expect(g.problems()).toEqual([])
  })

  test.each([['MONITOR', 0xc8], ['MWAIT', 0xc9]])('does not know %s, which CPUID does not offer', (_, last) => {
    // mov eax, 1; cpuid; mov [D], ecx; the instruction, which without handlers ends the guest.
    const g = new PvhTestGuest(`mov $1,%eax; cpuid; and $8,%ecx; add $7,%ecx; mov %ecx,${D}; mov $0x1ff,%eax; nop; nop; nop; ${END}`)
    const at = g.code.findIndex((byte, i) => byte === 0x90 && g.code[i + 1] === 0x90)
    g.write(CODE + at, [0x0f, 0x01, last])
    g.run()
    expect([g.read32(D), g.hypervisor.domainInfo(g.domid).shutdownReason]).toEqual([7, SHUTDOWN.reboot])
    expect(g.problems()).toEqual([])
  })

  test('takes no second start-up while it runs, and goes down by INIT', () => {
    const start = wrmsr(ICR, 0x4699, 2)
    const g = pair(
      `${X2APIC} ${start} 1: cmpl $0,0x500; je 1b; ${start} ${call(HYPERVISOR.vcpu_op, VCPUOP.is_up, 1)} mov %eax,${D}
       ${wrmsr(ICR, 0xc500, 2)} ${call(HYPERVISOR.vcpu_op, VCPUOP.is_up, 1)} mov %eax,${D + 4}
       ${start} ${call(HYPERVISOR.vcpu_op, VCPUOP.is_up, 1)} mov %eax,${D + 8}; 2: cmpl $2,0x500; jne 2b; ${END}`,
      'mov $0,%bx; mov %bx,%ds; addl $1,0x500; jmp .')
    inTurn(g)
    expect([g.read32(D), g.read32(D + 4), g.read32(D + 8), g.read32(0x500)]).toEqual([1, 0, 1, 2])
    expect(g.problems()).toEqual([])
  })

  test('starts with registers of a hypercall\'s, which are judged', () => {
    const bytes = new Uint8Array(VcpuHvmContext.size)
    const view = new DataView(bytes.buffer)
    const at = D + 0x100
    const g = pair(
      `${call(HYPERVISOR.vcpu_op, VCPUOP.initialise, 1, at + 0x200)} mov %eax,${D}
       ${call(HYPERVISOR.vcpu_op, VCPUOP.up, 1)} mov %eax,${D + 4}
       ${call(HYPERVISOR.vcpu_op, VCPUOP.initialise, 1, at)} mov %eax,${D + 8}
       ${call(HYPERVISOR.vcpu_op, VCPUOP.initialise, 1, at)} mov %eax,${D + 12}
       ${call(HYPERVISOR.vcpu_op, VCPUOP.up, 1)} 1: cmpl $0,0x500; je 1b; ${END}`, 'jmp .')
    const registers = VcpuHvmContext.x86_32
    const fields = {
      eax: 7, eip: 0x14_0000, cr0: 0x11, csLimit: 0xffff_ffff, dsLimit: 0xffff_ffff, ssLimit: 0xffff_ffff, esLimit: 0xffff_ffff, trLimit: 0x67,
      csAr: 0xc9b, dsAr: 0xc93, ssAr: 0xc93, esAr: 0xc93, trAr: 0x8b,
    }
    VcpuHvmContext.mode.set(view, 0, VCPU_HVM_MODE['32B'])
    registers.layout.encode(view, registers.at(0), fields)
    g.write(at, bytes)
    registers.layout.encode(view, registers.at(0), { ...fields, csAr: 0xc93 })
    g.write(at + 0x200, bytes)
    g.write(0x14_0000, assemble('mov %eax,0x500; cli; hlt', { origin: 0x14_0000, codeSize: 32 }))
    inTurn(g)
    expect([D, D + 4, D + 8, D + 12].map((place) => g.read32(place) | 0)).toEqual([-ERRNO.EINVAL, -ERRNO.EINVAL, 0, -ERRNO.EEXIST])
    expect(g.read32(0x500)).toBe(7)
    expect(g.problems()).toEqual([])
  })
})

describe('a local APIC', () => {
  test('answers at its page, whatever the size, and by MSRs once it is switched', () => {
    const g = new PvhTestGuest(`
      mov 0xfee00030,%eax; mov %eax,${D}; mov 0xfee00021,%al; movzbl %al,%eax; mov %eax,${D + 4}; movl $0x1ff,0xfee000f0; movw $0x55,0xfee000f0
      mov 0xfee000f0,%eax; mov %eax,${D + 8}; ${X2APIC} mov 0xfee00030,%eax; mov %eax,${D + 12}
      mov $0x803,%ecx; rdmsr; mov %eax,${D + 16}; ${END}`)
    g.run()
    expect([0, 4, 8, 12, 16].map((offset) => g.read32(D + offset))).toEqual([0x5_0014, 0, 0x55, 0xffff_ffff, 0x5_0014])
    expect(g.problems()).toEqual([])
  })

  test('has a timer, which ends a halt in virtual time', () => {
    const idt = 0x15_0000
    const g = new PvhTestGuest(`
      lidtl ${idt + 0x900}; lgdtl ${idt + 0x910}; ljmp $8,$1f; 1: mov $16,%eax; mov %eax,%ss; mov $0x11f000,%esp
      ${X2APIC} ${wrmsr(0x80f, 0x1ff)} ${wrmsr(0x83e, 0xb)} ${wrmsr(0x832, 0x40)} ${wrmsr(0x838, 1_000_000)} sti; hlt; mov $3,%eax; mov %eax,${D + 4}; ${END}
      handler: movl $1,${D}; ${wrmsr(0x80b, 0)} iret`)
    const handler = CODE + g.code.indexOf(0xc7, g.code.length - 40)
    g.write(idt + 0x40 * 8, [handler & 255, (handler >> 8) & 255, 8, 0, 0, 0x8e, (handler >> 16) & 255, handler >>> 24])
    g.write(idt + 0x900, [0xff, 7, 0, 0, 0x15, 0])
    g.write(idt + 0x910, [0x17, 0, 0, 0x0a, 0x15, 0])
    g.write(idt + 0xa08, [0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0, 0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0])
    const before = g.hypervisor.hostInfo().time
    g.run(1_000_000)
    expect([g.read32(D), g.read32(D + 4)]).toEqual([1, 3])
    expect(g.hypervisor.hostInfo().time - before).toBeGreaterThan(10_000_000)
    expect(g.problems()).toEqual([])
  })
})
