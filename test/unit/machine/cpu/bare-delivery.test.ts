import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../src/machine/index.ts'
import { PTE, RFLAGS, SEGMENT, VECTOR } from '../../../../src/x86/index.ts'
import { assemble } from '../../../support/assembler.ts'
import { AT, BareBench, SELECTOR, handlerOf } from '../../../support/bare.ts'

const PAGE_READ_ONLY = PTE.PRESENT | PTE.USER
const rights = (b: BareBench): [cs: number, ss: number, interrupts: boolean] => [
  b.cpu.registers.segment(SEGMENT.cs).selector, b.cpu.registers.segment(SEGMENT.ss).selector,
  (b.cpu.registers.flags() & RFLAGS.IF) !== 0,
]

/** A kernel in ring 3 with interrupts on, so that the flags show what a gate does. */
function inRing3(): BareBench {
  const b = new BareBench()
  b.enterRing3()
  b.cpu.registers.setFlags(RFLAGS.IF)
  return b
}

describe('interrupts through the IDT', () => {
  test('INT n in ring 0 pushes a frame on the stack in use, aligned to 16', () => {
    const b = new BareBench()
    b.set('rsp', AT.STACK0 - 0x7f8)
    expect([b.run('int $0x40'), b.handled]).toEqual([EXIT.HALT, 0x40])
    expect(b.frame(5)).toEqual([AT.CODE + 2, SELECTOR.CODE0, RFLAGS.FIXED, AT.STACK0 - 0x7f8, SELECTOR.DATA0])
    expect(b.get('rsp')).toBe(AT.STACK0 - 0x800 - 40)
  })

  test('from ring 3 the handler runs in ring 0 on the stack of the TSS, with a null stack segment', () => {
    const b = inRing3()
    b.gate(0x40, { target: handlerOf(0x40), dpl: 3 })
    expect([b.run('int $0x40'), b.handled]).toEqual([EXIT.HALT, 0x40])
    expect(b.frame(5)).toEqual(
      [AT.CODE + 2, SELECTOR.CODE3, RFLAGS.FIXED | RFLAGS.IF, AT.STACK3 - 0x100, SELECTOR.DATA3])
    expect(b.get('rsp')).toBe(AT.STACK0 - 40)
    expect(rights(b)).toEqual([SELECTOR.CODE0, 0, false])
  })

  test('a trap gate leaves interrupts on', () => {
    const b = inRing3()
    b.gate(0x40, { target: handlerOf(0x40), dpl: 3, kind: 'TRAP' })
    b.run('int $0x40')
    expect(rights(b)[2]).toBe(true)
  })

  test('an interrupt stack is taken whatever the ring', () => {
    const b = new BareBench()
    b.gate(0x40, { target: handlerOf(0x40), ist: 1 })
    b.run('int $0x40')
    expect([b.handled, b.get('rsp'), b.frame(5)[3]]).toEqual([0x40, AT.STACK_IST - 40, AT.STACK0 - 0x800])
    expect(rights(b)).toEqual([SELECTOR.CODE0, SELECTOR.DATA0, false])
  })

  test('conforming code keeps the ring and the stack', () => {
    const b = inRing3()
    b.gate(0x40, { target: AT.DATA, selector: SELECTOR.CONFORMING, dpl: 3 })
    b.write(AT.DATA, assemble('ud2'))
    b.run('int $0x40')
    // UD2 there is delivered with the frame of ring 3.
    expect([b.handled, b.frame(2)]).toEqual([VECTOR.UD, [AT.DATA, SELECTOR.CONFORMING | 3]])
  })

  test('the accessed bit of the handler code segment is set in the table', () => {
    const b = new BareBench()
    b.run('int $0x40')
    expect(b.readByte(AT.GDT + SELECTOR.CODE0 + 5)).toBe(0x9b)
  })

  const gates: readonly [string, (b: BareBench) => void, number, number][] = [
    ['a gate closed to ring 3', () => {}, VECTOR.GP, 0x40 * 8 + 2],
    ['an absent gate', (b) => b.gate(0x40, { target: 0, flags: 0x6e00 }), VECTOR.NP, 0x40 * 8 + 2],
    ['a gate of another kind', (b) => b.gate(0x40, { target: 0, flags: 0xe500 }), VECTOR.GP, 0x40 * 8 + 2],
    ['a vector beyond the limit', (b) => (b.cpu.system.idt = { ...b.cpu.system.idt, limit: 0x3ff }), VECTOR.GP, 0x40 * 8 + 2],
    ['a gate to a null selector', (b) => b.gate(0x40, { target: 0, selector: 0, dpl: 3 }), VECTOR.GP, 0],
    ['a gate to data', (b) => b.gate(0x40, { target: 0, selector: SELECTOR.DATA0, dpl: 3 }), VECTOR.GP, SELECTOR.DATA0],
    ['a gate to 32-bit code', (b) => b.gate(0x40, { target: 0, selector: SELECTOR.CODE0_32, dpl: 3 }), VECTOR.GP,
      SELECTOR.CODE0_32],
    ['a gate to a selector outside the table', (b) => b.gate(0x40, { target: 0, selector: 0x100, dpl: 3 }), VECTOR.GP, 0x100],
    ['a target that is not canonical', (b) => b.gate(0x40, { target: 2 ** 48, dpl: 3 }), VECTOR.GP, 0],
  ]
  test.each(gates)('%s is a fault at the INT', (_, prepare, vector, code) => {
    const b = inRing3()
    prepare(b)
    b.run('int $0x40')
    expect([b.handled, b.frame(2)]).toEqual([vector, [code, AT.CODE]])
    expect(b.frame(5)[4]).toBe(AT.STACK3 - 0x100)
  })

  test('a target that is not canonical in a gate open to all faults with no external bit', () => {
    const b = new BareBench()
    b.gate(0x40, { target: 2 ** 47 })
    b.run('int $0x40')
    expect([b.handled, b.frame(1)]).toEqual([VECTOR.GP, [0]])
  })
})

describe('exceptions', () => {
  const faults: readonly [string, string, number, number | undefined][] = [
    ['UD2', 'ud2', VECTOR.UD, undefined],
    ['a division by zero', 'xor %edx,%edx; div %edx', VECTOR.DE, undefined],
    ['HLT in ring 3', 'hlt', VECTOR.GP, 0],
    ['a bad selector', 'mov $0xfffe,%ax; mov %eax,%ds', VECTOR.GP, 0xfffc],
  ]
  test.each(faults)('%s comes with rip at the instruction and RF set', (_, code, vector, errorCode) => {
    const b = inRing3()
    b.run(code)
    expect(b.handled).toBe(vector)
    const frame = b.frame(6)
    if (errorCode !== undefined) expect(frame.shift()).toBe(errorCode)
    const last = code.startsWith('xor %edx,%edx') ? 2 : code.startsWith('mov $0xfffe') ? 4 : 0
    expect(frame.slice(0, 2)).toEqual([AT.CODE + last, SELECTOR.CODE3])
    expect(frame[2]! & (RFLAGS.RF | RFLAGS.IF)).toBe(RFLAGS.RF | RFLAGS.IF)
    expect(b.cpu.registers.flags() & (RFLAGS.RF | RFLAGS.TF | RFLAGS.IF)).toBe(0)
  })

  test('INT3 and INTO are traps: rip is behind, RF is clear', () => {
    const b = inRing3()
    b.gate(VECTOR.BP, { target: handlerOf(VECTOR.BP), dpl: 3 })
    b.run('int3')
    expect([b.handled, b.frame(1), b.frame(3)[2]! & RFLAGS.RF]).toEqual([VECTOR.BP, [AT.CODE + 1], 0])
  })

  test('INT1 needs no open gate', () => {
    const b = inRing3()
    b.run('int1')
    expect([b.handled, b.frame(1)]).toEqual([VECTOR.DB, [AT.CODE + 1]])
  })

  test('a page fault leaves its address in CR2 and tells who did what', () => {
    const b = inRing3()
    b.map(AT.DATA, PAGE_READ_ONLY)
    b.set('rdi', AT.DATA + 8)
    b.run('mov %rax,(%rdi)')
    expect([b.handled, b.frame(2)]).toEqual([VECTOR.PF, [7, AT.CODE]])
    expect(b.cpu.registers.controlLow(2)).toBe(AT.DATA + 8)
  })

  test('a fetch from a page that is not there faults at the target', () => {
    const b = inRing3()
    b.set('rax', 0x7000_0000)
    b.run('jmp *%rax')
    expect([b.handled, b.frame(2), b.cpu.registers.controlLow(2)]).toEqual([VECTOR.PF, [0x14, 0x7000_0000], 0x7000_0000])
  })

  test('ring 3 does not reach pages of ring 0, ring 0 does', () => {
    const b = inRing3()
    b.map(AT.DATA, PTE.PRESENT | PTE.WRITABLE)
    b.set('rdi', AT.DATA)
    b.run('mov (%rdi),%rax')
    expect([b.handled, b.frame(1)]).toEqual([VECTOR.PF, [5]])
    const kernel = new BareBench()
    kernel.map(AT.DATA, PTE.PRESENT | PTE.WRITABLE)
    kernel.set('rdi', AT.DATA)
    expect([kernel.run('mov %rax,(%rdi); hlt'), kernel.handled, kernel.cpu.registers.rip()]).toEqual([EXIT.HALT, -1, AT.CODE + 4])
  })

  test('ring 0 writes to read-only pages only while CR0.WP is clear', () => {
    const b = new BareBench()
    b.map(AT.DATA, PAGE_READ_ONLY)
    b.set('rdi', AT.DATA)
    b.run('mov %rax,(%rdi); hlt')
    expect([b.handled, b.frame(1)]).toEqual([VECTOR.PF, [3]])
    const open = new BareBench()
    open.map(AT.DATA, PAGE_READ_ONLY)
    open.set('rdi', AT.DATA)
    const { registers } = open.cpu
    registers.setControl(0, (registers.controlLow(0) & ~0x1_0000) >>> 0, 0)
    open.run('mov %rax,(%rdi); hlt')
    expect(open.handled).toBe(-1)
  })

  test('the tables are reached from ring 3 though their pages belong to ring 0', () => {
    const b = inRing3()
    for (const page of [AT.GDT, AT.IDT, AT.TSS, AT.STACK0 - 4096]) b.map(page, PTE.PRESENT | PTE.WRITABLE)
    b.run('ud2')
    expect(b.handled).toBe(VECTOR.UD)
  })

  test('each delivery counts as one instruction of the budget, and none goes beyond it', () => {
    const b = new BareBench()
    b.write(handlerOf(VECTOR.UD), assemble('nop; hlt'))
    expect([b.run('nop; ud2', 1), b.cpu.executed, b.cpu.registers.rip()]).toEqual([EXIT.BUDGET, 1, AT.CODE + 1])
    expect([b.cpu.run(1), b.cpu.executed, b.cpu.registers.rip()]).toEqual([EXIT.BUDGET, 1, handlerOf(VECTOR.UD)])
    expect([b.cpu.run(9), b.cpu.executed]).toEqual([EXIT.HALT, 2])
  })

  test('a handler that faults for ever comes to the end of the budget', () => {
    const b = new BareBench()
    b.gate(VECTOR.UD, { target: AT.DATA, ist: 1 })
    b.write(AT.DATA, assemble('ud2'))
    expect([b.run('ud2', 1000), b.cpu.executed]).toEqual([EXIT.BUDGET, 1000])
  })
})

describe('faults while a fault is delivered', () => {
  test('a page fault on the stack of a page fault is a double fault, on its own stack', () => {
    const b = inRing3()
    b.map(AT.STACK0 - 4096, 0)
    b.gate(VECTOR.DF, { target: handlerOf(VECTOR.DF), ist: 1 })
    b.set('rdi', 0x700_0000)
    b.run('mov (%rdi),%rax')
    expect([b.handled, b.frame(3)]).toEqual([VECTOR.DF, [0, AT.CODE, SELECTOR.CODE3]])
    expect(b.cpu.registers.controlLow(2)).toBe(AT.STACK0 - 8)
  })

  test('a fault on the way to a benign exception is delivered in its place', () => {
    const b = inRing3()
    b.gate(VECTOR.UD, { target: 0, flags: 0xe00 })
    b.run('ud2')
    expect([b.handled, b.frame(2)]).toEqual([VECTOR.NP, [VECTOR.UD * 8 + 3, AT.CODE]])
  })

  test('two contributory exceptions are a double fault', () => {
    const b = inRing3()
    b.gate(VECTOR.GP, { target: 0, flags: 0xe00 })
    b.run('hlt')
    expect([b.handled, b.frame(2)]).toEqual([VECTOR.DF, [0, AT.CODE]])
  })

  test('a double fault that cannot be delivered shuts the processor down for good', () => {
    const b = inRing3()
    b.cpu.system.idt = { baseLow: 0, baseHigh: 0, limit: 0 }
    expect(b.run('nop; ud2')).toBe(EXIT.SHUTDOWN)
    expect(b.cpu.exit.reason).toBe(EXIT.SHUTDOWN)
    expect(b.cpu.registers.rip()).toBe(AT.CODE + 1)
    b.cpu.interrupt(0x40)
    expect([b.cpu.run(100), b.cpu.executed]).toEqual([EXIT.SHUTDOWN, 0])
  })

  test('a task-state segment too short for the stack is named in the error code', () => {
    const b = inRing3()
    b.cpu.system.tr = { ...b.cpu.system.tr, limit: 7 }
    b.gate(VECTOR.TS, { target: handlerOf(VECTOR.TS), ist: 0 })
    // Neither #UD nor #TS finds a stack: double fault, and that neither.
    expect(b.run('ud2')).toBe(EXIT.SHUTDOWN)
  })
})

describe('external interrupts', () => {
  test('wait for IF, are delivered by priority, and wake from HLT', () => {
    const b = new BareBench()
    b.cpu.interrupt(0x50)
    b.cpu.interrupt(0x90)
    expect(b.run('nop; nop', 2)).toBe(EXIT.BUDGET)
    b.cpu.registers.setFlags(RFLAGS.IF)
    expect([b.cpu.run(10), b.handled, b.frame(1)]).toEqual([EXIT.HALT, 0x90, [AT.CODE + 2]])
    b.cpu.registers.setFlags(RFLAGS.IF)
    expect([b.cpu.run(10), b.handled, b.frame(1)]).toEqual([EXIT.HALT, 0x50, [handlerOf(0x90) + 1]])
    expect([b.cpu.run(10), b.cpu.executed]).toEqual([EXIT.HALT, 0])
  })

  test('CR8 holds back its class and those below', () => {
    const b = new BareBench()
    b.cpu.registers.setFlags(RFLAGS.IF)
    b.cpu.registers.setControl(8, 9, 0)
    b.cpu.interrupt(0x90)
    expect(b.run('nop; nop', 2)).toBe(EXIT.BUDGET)
    b.cpu.registers.setControl(8, 8, 0)
    expect([b.cpu.run(10), b.handled]).toEqual([EXIT.HALT, 0x90])
  })

  test('the kernel lowers CR8 and is interrupted behind that very instruction', () => {
    const b = new BareBench()
    b.cpu.registers.setFlags(RFLAGS.IF)
    b.cpu.registers.setControl(8, 15, 0)
    b.cpu.interrupt(0x90)
    b.set('rax', 0)
    b.run('nop; mov %rax,%cr8; nop; nop')
    expect([b.handled, b.frame(1)]).toEqual([0x90, [AT.CODE + 5]])
  })

  test('STI holds them back for one more instruction', () => {
    const b = new BareBench()
    b.cpu.interrupt(0x40)
    // cli; inc eax; sti; inc eax; inc eax
    b.run('cli; inc %eax; sti; inc %eax; inc %eax; hlt')
    expect([b.handled, b.frame(1), b.get('rax')]).toEqual([0x40, [AT.CODE + 6], 2])
  })

  test('STI holds nothing back when they were on', () => {
    const b = new BareBench()
    b.cpu.registers.setFlags(RFLAGS.IF)
    b.run('sti', 1)
    b.cpu.interrupt(0x40)
    expect([b.cpu.run(9), b.frame(1)]).toEqual([EXIT.HALT, [AT.CODE + 1]])
  })

  test('a load of SS holds them back for one more instruction, also across two runs', () => {
    const b = new BareBench()
    b.cpu.registers.setFlags(RFLAGS.IF)
    b.set('rdx', SELECTOR.DATA0)
    b.run('mov %edx,%ss; inc %eax; inc %eax; hlt', 1)
    b.cpu.interrupt(0x40)
    b.cpu.run(9)
    expect([b.handled, b.frame(1), b.get('rax')]).toEqual([0x40, [AT.CODE + 4], 1])
  })

  test('POPF and IRET that switch them on let them in at once', () => {
    const b = new BareBench()
    b.cpu.interrupt(0x40)
    // push 0x202; popf; inc eax
    b.run('push $0x202; popf; inc %eax; hlt')
    expect([b.handled, b.frame(1), b.get('rax')]).toEqual([0x40, [AT.CODE + 6], 0])
  })

  test('STI and HLT sleep without losing the interrupt that waits', () => {
    const b = new BareBench()
    b.cpu.interrupt(0x40)
    b.run('sti; hlt; inc %eax')
    expect([b.handled, b.frame(1)]).toEqual([0x40, [AT.CODE + 2]])
  })

  test('HLT with nothing to come ends every run at once', () => {
    const b = new BareBench()
    expect([b.run('sti; hlt'), b.cpu.executed, b.cpu.run(5), b.cpu.executed]).toEqual([EXIT.HALT, 2, EXIT.HALT, 0])
    b.cpu.interrupt(0x33)
    expect([b.cpu.run(5), b.handled, b.frame(1)]).toEqual([EXIT.HALT, 0x33, [AT.CODE + 2]])
  })

  test('an NMI asks for no IF, and the next waits for IRET', () => {
    const b = new BareBench()
    // the handler of NMI: inc eax; int 0x40 (HLT)
    b.write(handlerOf(VECTOR.NMI), assemble('inc %eax; iretq'))
    b.cpu.nmi()
    b.run('nop; hlt')
    expect([b.get('rax'), b.cpu.registers.rip()]).toEqual([1, AT.CODE + 2])
    b.write(handlerOf(VECTOR.NMI), assemble('inc %eax; hlt'))
    b.cpu.nmi()
    b.cpu.run(9)
    b.cpu.nmi()
    expect([b.cpu.run(9), b.get('rax')]).toEqual([EXIT.HALT, 2])
  })

  test('one that finds no gate becomes a fault of its own with the external bit', () => {
    const b = new BareBench()
    b.cpu.registers.setFlags(RFLAGS.IF)
    b.gate(0x40, { target: 0, flags: 0xe00 })
    b.cpu.interrupt(0x40)
    b.run('nop')
    expect([b.handled, b.frame(2)]).toEqual([VECTOR.NP, [0x40 * 8 + 3, AT.CODE]])
  })

  test('vectors that do not exist are refused', () => {
    const b = new BareBench()
    for (const vector of [-1, 256, 1.5]) expect(() => b.cpu.interrupt(vector)).toThrow(/vector/)
  })
})
