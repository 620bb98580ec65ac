/** The bare processor in 32-bit protected mode: gates of 8 bytes, stacks with segments, paging of two levels or none. */
import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../src/machine/index.ts'
import { CR0, EFER, MSR, RFLAGS, SEGMENT, VECTOR } from '../../../../src/x86/index.ts'
import { assemble as assembleFor } from '../../../support/assembler.ts'
import { AT, BareBench, SELECTOR, handlerOf } from '../../../support/bare.ts'

const CODE3_32 = 0x1b
const CODE_16 = 0x78
const INTERRUPT_32 = 0x8e00
const TRAP_32 = 0x8f00
const INTERRUPT_16 = 0x8600

/** A 32-bit kernel without paging, with handlers of one HLT. */
class LegacyBench extends BareBench {
  protected override readonly codeSize = 32

  constructor() {
    super()
    const { registers, system } = this.cpu
    registers.setControl(0, (CR0.PE | CR0.ET | CR0.NE | CR0.AM) >>> 0, 0)
    system.setMsr(MSR.EFER, EFER.NXE, 0)
    this.descriptor(SELECTOR.CODE0_32, 0xffff, 0x00cf_9b00)
    this.descriptor(CODE_16, 0xffff, 0x0000_9b00)
    this.ring(0)
    this.write32(AT.TSS + 4, AT.STACK0)
    this.write32(AT.TSS + 8, SELECTOR.DATA0)
    for (let vector = 0; vector < 64; vector += 1) this.legacyGate(vector, INTERRUPT_32)
    system.idt = { baseLow: AT.IDT, baseHigh: 0, limit: 0x1ff }
  }

  legacyGate(vector: number, flags: number, target = handlerOf(vector), selector: number = SELECTOR.CODE0_32): void {
    this.write32(AT.IDT + vector * 8, (target & 0xffff) | selector << 16)
    this.write32(AT.IDT + vector * 8 + 4, (target & 0xffff_0000) | flags)
  }

  ring(ring: 0 | 3): void {
    const { registers } = this.cpu
    const level = ring << 5
    const flat = { baseLow: 0, baseHigh: 0, limit: 0xffff_ffff }
    const data = ring === 0 ? SELECTOR.DATA0 : SELECTOR.DATA3
    for (const index of [SEGMENT.ss, SEGMENT.ds, SEGMENT.es]) {
      registers.setSegment(index, { ...flat, selector: data, attributes: 0xc093 | level })
    }
    registers.setSegment(SEGMENT.cs, {
      ...flat, selector: ring === 0 ? SELECTOR.CODE0_32 : CODE3_32, attributes: 0xc09b | level,
    })
    this.set('rsp', (ring === 0 ? AT.STACK0 : AT.STACK3) - 0x104)
  }

  words(count: number): number[] {
    const top = this.get('rsp')
    return Array.from({ length: count }, (_, i) => this.read64(top + i * 4) % 2 ** 32)
  }
}

const assemble = (listing: string): Uint8Array => assembleFor(listing, { codeSize: 32 })

describe('32-bit protected mode', () => {
  test('INT n in ring 0 pushes three words where the stack stands', () => {
    const b = new LegacyBench()
    expect([b.run('int $32'), b.handled]).toEqual([EXIT.HALT, 0x20])
    expect(b.words(3)).toEqual([AT.CODE + 2, SELECTOR.CODE0_32, RFLAGS.FIXED])
    expect(b.get('rsp')).toBe(AT.STACK0 - 0x104 - 12)
  })

  test('from ring 3 the stack of the TSS is taken and the old one pushed', () => {
    const b = new LegacyBench()
    b.ring(3)
    b.cpu.registers.setFlags(RFLAGS.IF)
    b.legacyGate(0x20, TRAP_32 | 0x6000)
    b.run('int $32')
    expect([b.handled, b.get('rsp')]).toEqual([0x20, AT.STACK0 - 20])
    expect(b.words(5)).toEqual([AT.CODE + 2, CODE3_32, RFLAGS.FIXED | RFLAGS.IF, AT.STACK3 - 0x104, SELECTOR.DATA3])
    expect([SEGMENT.cs, SEGMENT.ss].map((index) => b.cpu.registers.segment(index).selector)).toEqual(
      [SELECTOR.CODE0_32, SELECTOR.DATA0])
    expect(b.cpu.registers.flags() & RFLAGS.IF).toBe(RFLAGS.IF)
  })

  test('faults bring their error code, and IRET goes back to ring 3', () => {
    const b = new LegacyBench()
    b.ring(3)
    // The HLT that faulted is stepped over.
    b.write(handlerOf(VECTOR.GP), assemble('add $4,%esp; incl (%esp); iret'))
    b.legacyGate(0x20, INTERRUPT_32 | 0x6000)
    b.run('hlt; int $32')
    expect([b.handled, b.words(5)[0], b.words(5)[3]]).toEqual([0x20, AT.CODE + 3, AT.STACK3 - 0x104])
  })

  test('a 16-bit gate pushes words of 16 bits', () => {
    const b = new LegacyBench()
    b.legacyGate(0x20, INTERRUPT_16, 0x8800)
    b.write(0x8800, assemble('hlt'))
    b.run('int $32')
    const [first, second] = b.words(2)
    expect([b.cpu.registers.rip(), first! & 0xffff, first! >>> 16, second! & 0xffff]).toEqual(
      [0x8801, (AT.CODE + 2) & 0xffff, SELECTOR.CODE0_32, RFLAGS.FIXED])
  })

  test('a bad stack in the TSS is told by #TS, an absent one by #SS', () => {
    for (const [high, vector] of [[0x00cf_9b00, VECTOR.TS], [0x00cf_1300, VECTOR.SS]] as const) {
      const b = new LegacyBench()
      b.ring(3)
      // Faults are handled in ring 3, for they find no stack either.
      b.descriptor(SELECTOR.CONFORMING, 0xffff, 0x00cf_9f00)
      for (const fault of [VECTOR.TS, VECTOR.SS]) b.legacyGate(fault, INTERRUPT_32, AT.DATA + fault * 16, SELECTOR.CONFORMING)
      b.write(AT.DATA + vector * 16, assemble('1: jmp 1b'))
      b.descriptor(SELECTOR.DATA0, 0xffff, high)
      b.run('ud2', 10)
      expect([b.cpu.registers.rip(), b.words(2)]).toEqual([AT.DATA + vector * 16, [SELECTOR.DATA0 | 1, AT.CODE]])
    }
  })

  test('a call gate copies parameters to the inner stack, far RET drops them on both', () => {
    const b = new LegacyBench()
    b.ring(3)
    b.descriptor(SELECTOR.GATE, 0x8800 | SELECTOR.CODE0_32 << 16, 0x8c00 | 3 << 13 | 2)
    b.write(0x8800, assemble('mov 0x8(%esp),%eax; mov 0xc(%esp),%ebx; mov 0x10(%esp),%ecx; lret $8'))
    b.legacyGate(0x20, INTERRUPT_32 | 0x6000)
    b.run(`push $11; push $22; lcall $${SELECTOR.GATE | 3},$0; int $0x20`)
    expect([b.handled, b.get('rax'), b.get('rbx'), b.get('rcx')]).toEqual([0x20, 22, 11, AT.STACK3 - 0x104 - 8])
    expect(b.words(5)[3]).toBe(AT.STACK3 - 0x104)
  })

  test('single step and external interrupts work as in long mode', () => {
    const b = new LegacyBench()
    b.cpu.registers.setFlags(RFLAGS.TF | RFLAGS.IF)
    b.run('nop; nop')
    expect([b.handled, b.words(1)]).toEqual([VECTOR.DB, [AT.CODE + 1]])
    b.cpu.interrupt(0x30)
    b.cpu.registers.setFlags(RFLAGS.IF)
    b.run('nop')
    expect([b.handled, b.words(1)]).toEqual([0x30, [AT.CODE]])
  })

  test('a triple fault shuts down', () => {
    const b = new LegacyBench()
    b.cpu.system.idt = { baseLow: 0, baseHigh: 0, limit: 0 }
    expect(b.run('ud2')).toBe(EXIT.SHUTDOWN)
  })

  test('a kernel entered flat without paging, as PVH does, goes to long mode by itself', () => {
    const b = new LegacyBench()
    b.cpu.registers.setControl(4, 0, 0)
    b.write(AT.DATA, assembleFor('movabs $0x1122334455667788,%rax; hlt', { codeSize: 64 }))
    b.run(`
      mov $0x1000,%eax; mov %eax,%cr3; mov %cr4,%eax; or $0x20,%eax; mov %eax,%cr4
      mov $0xc0000080,%ecx; rdmsr; or $0x100,%eax; wrmsr
      mov %cr0,%eax; or $0x80000000,%eax; mov %eax,%cr0; ljmp $${SELECTOR.CODE0},$${AT.DATA}`)
    expect([b.cpu.registers.rip(), b.cpu.registers.low(0)]).toEqual([AT.DATA + 11, 0x5566_7788])
    expect(b.cpu.registers.high(0)).toBe(0x1122_3344)
    expect(b.cpu.system.msr(MSR.EFER)![0] & EFER.LMA).toBe(EFER.LMA)
  })
})
