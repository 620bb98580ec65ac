import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../src/machine/index.ts'
import { CR0, CR4, DR6, DR7, MSR, RFLAGS, SEGMENT, VECTOR } from '../../../../src/x86/index.ts'
import { assemble } from '../../../support/assembler.ts'
import { AT, BareBench, SELECTOR, handlerOf } from '../../../support/bare.ts'
import { CODE, CpuBench, DATA } from '../../../support/cpu.ts'

/** DR7 for breakpoint 0: kind (0 execute, 1 write, 2 port, 3 read or write) and length field (0, 1, 3, 2: 1, 2, 4, 8). */
const watch = (kind: number, length: number): number => DR7.ONES | 3 | (kind << 16) | (length << 18)

/** Steps of a program under the trap flag: rip after each, by budgets of plenty. */
function trace(b: CpuBench, count: number): number[] {
  const seen: number[] = []
  for (let i = 0; i < count; i += 1) {
    const { registers } = b.cpu
    registers.setFlags(registers.flags() | RFLAGS.TF)
    expect([b.cpu.run(1000), b.cpu.exit.vector, b.cpu.executed]).toEqual([EXIT.EXCEPTION, VECTOR.DB, 1])
    expect(registers.debugLow(6)).toBe((DR6.ONES | DR6.BS) >>> 0)
    registers.setDebug(6, DR6.ONES, 0)
    seen.push(registers.rip() - CODE)
  }
  return seen
}

/** A hosted program with the trap flag on, run until the host has seen `count` exits. */
function hosted(code: string): CpuBench {
  const b = new CpuBench({ descriptors: { read: flatDescriptor } })
  b.write(CODE, assemble(code))
  return b
}

function flatDescriptor(selector: number, out: Uint32Array): boolean {
  out[0] = 0xffff
  out[1] = (selector & 0xfff8) === 0x28 ? 0x00cf_f300 : 0x00af_fb00
  return selector < 0x100
}

describe('single step of a hosted processor', () => {
  test('comes behind each instruction, also where one dispatch would do for two', () => {
    // mov ecx,2; L: dec ecx; jnz L (a pair); cmp eax,1; je +0 (a pair); nop
    expect(trace(hosted('mov $2,%ecx; 1: dec %ecx; jne 1b; cmp $1,%eax; je 2f; 2: nop'), 8)).toEqual([5, 7, 5, 7, 9, 12, 14, 15])
  })

  test('comes behind each repetition of a string instruction', () => {
    const b = hosted('rep stos %al,%es:(%rdi); nop')
    b.set('rcx', 3)
    b.set('rdi', DATA)
    expect(trace(b, 4)).toEqual([0, 0, 2, 3])
    expect([...b.read(DATA, 4)].slice(3)).toEqual([0])
    const none = hosted('rep stos %al,%es:(%rdi); nop')
    expect(trace(none, 1)).toEqual([2])
  })

  test('POPF that sets the flag is not traced itself, POPF that clears it is', () => {
    // pushf; or [rsp],TF; popf; inc eax; pushf; and [rsp],~TF; popf; nop
    const b = hosted('pushf; orq $0x100,(%rsp); popf; inc %eax; pushf; andq $0xfffffffffffffeff,(%rsp); popf; nop; syscall')
    const ends: number[] = []
    while (b.cpu.run(1000) === EXIT.EXCEPTION) ends.push(b.cpu.registers.rip() - CODE)
    expect(ends).toEqual([12, 13, 21, 22])
    expect(b.cpu.registers.rip()).toBe(CODE + 25)
  })

  test('a load of SS puts it off behind the next instruction', () => {
    const b = hosted('mov %ecx,%ss; inc %eax; inc %eax')
    b.set('rcx', 0x2b)
    b.cpu.registers.setFlags(RFLAGS.TF)
    expect([b.cpu.run(1000), b.cpu.registers.rip() - CODE, b.cpu.executed]).toEqual([EXIT.EXCEPTION, 4, 2])
  })

  test('of a fault nothing is told but the fault', () => {
    const b = hosted('mov (%rdi),%eax')
    b.set('rdi', 0x123_0000)
    b.cpu.registers.setFlags(RFLAGS.TF)
    expect([b.cpu.run(10), b.cpu.exit.vector, b.cpu.registers.debugLow(6)]).toEqual([EXIT.EXCEPTION, VECTOR.PF, DR6.ONES])
  })

  test('SYSCALL and INT go to the host untraced', () => {
    const b = hosted('syscall; int $0x40; nop')
    b.cpu.registers.setFlags(RFLAGS.TF)
    expect([b.cpu.run(10), b.cpu.run(10), b.cpu.exit.vector, b.cpu.run(10)]).toEqual(
      [EXIT.SYSCALL, EXIT.INTERRUPT, 0x40, EXIT.EXCEPTION])
    expect(b.cpu.registers.rip()).toBe(CODE + 5)
  })

  test('the trap belongs to the instruction: the last of a budget is told in the same run', () => {
    const b = hosted('nop; nop')
    b.cpu.registers.setFlags(RFLAGS.TF)
    expect([b.cpu.run(1), b.cpu.executed, b.cpu.registers.rip()]).toEqual([EXIT.EXCEPTION, 1, CODE + 1])
  })

  test('costs no instruction of the budget and loses none', () => {
    const b = hosted('inc %eax; inc %eax; inc %eax; syscall')
    b.cpu.registers.setFlags(RFLAGS.TF)
    let executed = 0
    while (b.cpu.run(1000) !== EXIT.SYSCALL) executed += b.cpu.executed
    expect([executed + b.cpu.executed, b.get('rax')]).toEqual([4, 3n])
  })
})

describe('breakpoints of a hosted processor', () => {
  test('on an instruction stops before it, and RF lets it pass once', () => {
    const b = hosted('1: nop; nop; inc %eax; jmp 1b')
    b.cpu.registers.setDebug(0, CODE + 2, 0)
    b.cpu.registers.setDebug(7, watch(0, 0), 0)
    expect([b.cpu.run(1000), b.cpu.exit.vector, b.cpu.registers.rip(), b.cpu.executed]).toEqual(
      [EXIT.EXCEPTION, VECTOR.DB, CODE + 2, 2])
    expect(b.cpu.registers.debugLow(6) & 15).toBe(1)
    expect([b.cpu.run(1000), b.cpu.executed]).toEqual([EXIT.EXCEPTION, 0])
    b.cpu.registers.setFlags(b.cpu.registers.flags() | RFLAGS.RF)
    expect([b.cpu.run(1000), b.cpu.executed, b.get('rax')]).toEqual([EXIT.EXCEPTION, 4, 1n])
    expect(b.cpu.registers.flags() & RFLAGS.RF).toBe(0)
  })

  const accesses: readonly [string, string, number, number, number, boolean][] = [
    ['a write to the byte', 'mov %al,(%rdi); nop', 1, 0, 0, true],
    ['a read of a byte watched for writes', 'mov (%rdi),%al; nop', 1, 0, 0, false],
    ['a read of a byte watched for both', 'mov (%rdi),%al; nop', 3, 0, 0, true],
    ['a write that only overlaps', 'mov %rax,(%rdi); nop', 1, 0, 7, true],
    ['a write just before', 'mov %eax,(%rdi); nop', 1, 0, 4, false],
    ['a write into a watched eight', 'mov %al,(%rdi); nop', 1, 2, 7, true],
    ['a write into the word behind a watched one', 'mov %ax,(%rdi); nop', 1, 1, -2, false],
    ['a read and write in one', 'add %eax,(%rdi); nop', 1, 3, 0, true],
    ['a push', 'push %rax; nop', 1, 3, 0, true],
    ['a load of SSE', 'movups (%rdi),%xmm0; nop', 3, 0, 15, true],
    ['a load of x87 beyond its end', 'fldt (%rdi); nop', 3, 0, 10, false],
    ['a load of x87 at its end', 'fldt (%rdi); nop', 3, 0, 9, true],
  ]
  test.each(accesses)('%s', (_, code, kind, length, offset, isHit) => {
    const b = hosted(`${code}; syscall`)
    b.set('rdi', DATA + 64)
    b.set('rsp', DATA + 64 + 8)
    // Translations from before do not let accesses pass unseen.
    b.write(CODE + 64, assemble('mov (%rdi),%rax; mov %rax,(%rdi); syscall'))
    b.jump(CODE + 64)
    b.cpu.run(10)
    b.jump(CODE)
    b.cpu.registers.setDebug(0, DATA + 64 + offset, 0)
    b.cpu.registers.setDebug(7, watch(kind, length), 0)
    const reason = b.cpu.run(1000)
    expect(reason).toBe(isHit ? EXIT.EXCEPTION : EXIT.SYSCALL)
    if (isHit) {
      expect([b.cpu.exit.vector, b.cpu.registers.debugLow(6) & 15, b.cpu.executed]).toEqual([VECTOR.DB, 1, 1])
    }
    b.cpu.registers.setDebug(7, DR7.ONES, 0)
    expect([reason === EXIT.SYSCALL || b.cpu.run(1000) === EXIT.SYSCALL]).toEqual([true])
  })

  test('a string instruction stops at the element that is watched', () => {
    const b = hosted('rep stos %al,%es:(%rdi); syscall')
    b.set('rcx', 100)
    b.set('rdi', DATA)
    b.cpu.registers.setDebug(0, DATA + 40, 0)
    b.cpu.registers.setDebug(7, watch(1, 0), 0)
    expect([b.cpu.run(1000), b.get('rcx'), b.cpu.registers.rip()]).toEqual([EXIT.EXCEPTION, 59n, CODE])
    expect([b.cpu.run(1000), b.get('rcx')]).toEqual([EXIT.SYSCALL, 0n])
  })

  test('several at once are told together, and trap and step too', () => {
    const b = hosted('mov %al,(%rdi); nop')
    b.set('rdi', DATA)
    b.cpu.registers.setDebug(1, DATA, 0)
    b.cpu.registers.setDebug(3, DATA, 0)
    b.cpu.registers.setDebug(7, DR7.ONES | 0xcc | (1 << 20) | (3 << 28), 0)
    b.cpu.registers.setFlags(RFLAGS.TF)
    b.cpu.run(10)
    expect(b.cpu.registers.debugLow(6) & 0xe00f).toBe(DR6.BS | 0b1010)
  })
})

describe('alignment checks', () => {
  const aligned: readonly [string, string, number, boolean][] = [
    ['a word at an odd address', 'mov (%rdi),%ax', 1, true], ['a word at an even one', 'mov (%rdi),%ax', 2, false],
    ['eight bytes at four', 'mov (%rdi),%rax', 4, true], ['four bytes at four', 'mov (%rdi),%eax', 4, false],
    ['a double at four', 'movsd (%rdi),%xmm0', 4, true], ['a byte anywhere', 'mov (%rdi),%al', 3, false], ['a write', 'mov %eax,(%rdi)', 2, true],
    ['a push to an odd stack', 'push %rax', 1, true], ['a masked store of 16 bytes at eight', 'maskmovdqu %xmm1,%xmm0', 8, false],
    ['a masked store at four', 'maskmovdqu %xmm1,%xmm0', 4, true],
  ]
  test.each(aligned)('%s in ring 3 with AC set', (_, code, offset, faults) => {
    const b = hosted(`${code}; syscall`)
    b.set('rdi', DATA + 64 + offset)
    b.set('rsp', DATA + 64 + offset)
    expect(b.cpu.run(10)).toBe(EXIT.SYSCALL)
    b.jump(CODE)
    b.set('rsp', DATA + 64 + offset)
    b.cpu.registers.setFlags(RFLAGS.AC)
    expect(b.cpu.run(10)).toBe(faults ? EXIT.EXCEPTION : EXIT.SYSCALL)
    if (faults) expect([b.cpu.exit.vector, b.cpu.exit.errorCode, b.cpu.registers.rip()]).toEqual([VECTOR.AC, 0, CODE])
    b.cpu.registers.setFlags(0)
    b.jump(CODE)
    b.set('rsp', DATA + 64 + offset)
    expect(b.cpu.run(10)).toBe(EXIT.SYSCALL)
  })

  test('are not made in ring 0, nor without CR0.AM, and the error code is pushed', () => {
    const b = new BareBench()
    b.cpu.registers.setFlags(RFLAGS.AC)
    b.set('rdi', AT.DATA + 1)
    expect([b.run('mov (%rdi),%eax; hlt'), b.handled]).toEqual([EXIT.HALT, -1])
    b.enterRing3()
    b.run('mov (%rdi),%eax')
    expect([b.handled, b.frame(2)]).toEqual([VECTOR.AC, [0, AT.CODE]])
    b.enterRing3()
    b.cpu.registers.setControl(0, (b.cpu.registers.controlLow(0) & ~CR0.AM) >>> 0, 0)
    b.run('mov (%rdi),%eax; ud2')
    expect(b.handled).toBe(VECTOR.UD)
  })
})

describe('debug exceptions of a bare processor', () => {
  test('single step is delivered with the trap flag cleared in the handler and kept in the frame', () => {
    const b = new BareBench()
    b.cpu.registers.setFlags(RFLAGS.TF)
    b.run('nop; nop')
    expect([b.handled, b.frame(1)]).toEqual([VECTOR.DB, [AT.CODE + 1]])
    expect([b.frame(3)[2]! & (RFLAGS.TF | RFLAGS.RF), b.cpu.registers.flags() & RFLAGS.TF]).toEqual([RFLAGS.TF, 0])
    expect(b.cpu.registers.debugLow(6)).toBe((DR6.ONES | DR6.BS) >>> 0)
  })

  test('a handler that returns steps on; IRET that sets the flag is not traced itself', () => {
    const b = new BareBench()
    // #DB: inc ebx; iretq
    b.write(handlerOf(VECTOR.DB), assemble('inc %ebx; iretq'))
    b.cpu.registers.setFlags(RFLAGS.TF)
    b.run('nop; nop; nop; hlt')
    // Three NOPs and the HLT, which the trap ends; the next instruction is not there.
    expect(b.get('rbx')).toBeGreaterThanOrEqual(4)
    const clean = new BareBench()
    clean.write(handlerOf(VECTOR.DB), assemble('inc %ebx; iretq'))
    clean.cpu.registers.setFlags(RFLAGS.TF)
    // inc eax; pushf; and [rsp],~TF; popf; hlt
    clean.run('inc %eax; pushf; andq $0xfffffffffffffeff,(%rsp); popf; hlt')
    expect([clean.get('rbx'), clean.cpu.registers.rip()]).toEqual([4, AT.CODE + 13])
  })

  test('INT n clears it without a trap of its own', () => {
    const b = new BareBench()
    b.cpu.registers.setFlags(RFLAGS.TF)
    b.run('int $0x40')
    expect([b.handled, b.frame(3)[2]! & RFLAGS.TF, b.cpu.registers.debugLow(6)]).toEqual([0x40, RFLAGS.TF, DR6.ONES])
  })

  test('SYSCALL goes by the flag that it leaves', () => {
    for (const mask of [RFLAGS.TF, 0]) {
      const b = new BareBench()
      b.cpu.system.setMsr(MSR.STAR, 0, SELECTOR.CODE0)
      b.cpu.system.setMsr(MSR.LSTAR, 0x3_8000, 0)
      b.cpu.system.setMsr(MSR.SFMASK, mask, 0)
      b.write(0x3_8000, assemble('hlt'))
      b.enterRing3()
      b.cpu.registers.setFlags(RFLAGS.TF)
      b.run('syscall')
      if (mask === 0) expect([b.handled, b.frame(1)]).toEqual([VECTOR.DB, [0x3_8000]])
      else expect([b.cpu.registers.rip(), b.get('r11') & RFLAGS.TF]).toEqual([0x3_8001, RFLAGS.TF])
    }
  })

  test('SYSRET that sets it traps before the first instruction', () => {
    const b = new BareBench()
    b.cpu.system.setMsr(MSR.STAR, 0, 0x18 << 16)
    b.set('rcx', 0x3_0000)
    b.set('r11', RFLAGS.TF | 2)
    b.run('sysretq')
    expect([b.handled, b.frame(2)]).toEqual([VECTOR.DB, [0x3_0000, SELECTOR.CODE3]])
  })

  test('HLT that is stepped does not sleep', () => {
    const b = new BareBench()
    b.cpu.registers.setFlags(RFLAGS.TF)
    b.run('hlt')
    expect([b.handled, b.frame(1)]).toEqual([VECTOR.DB, [AT.CODE + 1]])
  })

  test('a data breakpoint hit by a load of SS comes behind the next instruction, in the ring that it leads to', () => {
    const b = new BareBench()
    b.enterRing3()
    b.gate(0x40, { target: 0x3_8000, dpl: 3 })
    b.write(0x3_8000, assemble('nop; hlt'))
    b.write(AT.DATA, [SELECTOR.DATA3])
    b.set('rdi', AT.DATA)
    b.cpu.registers.setDebug(0, AT.DATA, 0)
    b.cpu.registers.setDebug(7, watch(3, 0), 0)
    b.run('mov (%rdi),%ss; int $0x40')
    expect([b.handled, b.frame(2)]).toEqual([VECTOR.DB, [0x3_8000, SELECTOR.CODE0]])
  })

  test('an instruction breakpoint is a fault without RF in the frame; IRET with RF passes it', () => {
    const b = new BareBench()
    b.cpu.registers.setDebug(2, AT.CODE + 1, 0)
    b.cpu.registers.setDebug(7, DR7.ONES | 0x20, 0)
    b.run('nop; inc %eax; hlt')
    expect([b.handled, b.frame(1), b.get('rax')]).toEqual([VECTOR.DB, [AT.CODE + 1], 0])
    expect([b.frame(3)[2]! & RFLAGS.RF, b.cpu.registers.debugLow(6) & 15]).toEqual([0, 4])
    // or [rsp+16],RF; iretq
    b.write(handlerOf(VECTOR.DB) + 1, assemble('orq $0x10000,0x10(%rsp); iretq'))
    b.jump(handlerOf(VECTOR.DB) + 1)
    expect([b.cpu.run(10), b.cpu.registers.rip(), b.get('rax')]).toEqual([EXIT.HALT, AT.CODE + 4, 1])
  })

  test('a fault pushes RF, so that its instruction is not caught again on the way back', () => {
    const b = new BareBench()
    b.cpu.registers.setDebug(0, AT.CODE, 0)
    b.cpu.registers.setDebug(7, watch(0, 0), 0)
    b.cpu.registers.setFlags(RFLAGS.RF)
    b.run('ud2')
    expect([b.handled, b.frame(3)[2]! & RFLAGS.RF]).toEqual([VECTOR.UD, RFLAGS.RF])
  })

  test('a port breakpoint needs CR4.DE', () => {
    for (const extensions of [0, CR4.DE]) {
      const b = new BareBench()
      b.cpu.registers.setControl(4, b.cpu.registers.controlLow(4) | extensions, 0)
      b.set('rax', watch(2, 0))
      b.set('rbx', 0x80)
      // mov dr0,rbx; mov dr7,rax; out 0x80,al; nop; hlt
      b.run('mov %rbx,%db0; mov %rax,%db7; out %al,$0x80; nop; hlt')
      expect([b.handled, b.frame(1)[0] === AT.CODE + 8]).toEqual(extensions === 0 ? [-1, false] : [VECTOR.DB, true])
    }
  })

  test('general detection catches the next access to a debug register, once', () => {
    const b = new BareBench()
    b.set('rax', DR7.ONES | DR7.GD)
    b.run('mov %rax,%db7; mov %db0,%rbx')
    expect([b.handled, b.frame(1), b.cpu.registers.debugLow(6) & 0xe00f]).toEqual([VECTOR.DB, [AT.CODE + 3], DR6.BD])
    expect(b.cpu.registers.debugLow(7)).toBe(DR7.ONES)
  })

  test('DR4 and DR5 are other names of DR6 and DR7 unless CR4.DE is set', () => {
    const b = new BareBench()
    b.run('mov %db5,%rax; hlt')
    expect([b.handled, b.get('rax')]).toEqual([-1, DR7.ONES])
    b.cpu.registers.setControl(4, b.cpu.registers.controlLow(4) | CR4.DE, 0)
    b.run('mov %db5,%rax')
    expect(b.handled).toBe(VECTOR.UD)
  })

  test('a trap comes before an interrupt that waits, which comes before a breakpoint', () => {
    const b = new BareBench()
    b.cpu.registers.setFlags(RFLAGS.TF | RFLAGS.IF)
    b.cpu.registers.setDebug(0, AT.CODE + 1, 0)
    b.cpu.registers.setDebug(7, watch(0, 0), 0)
    b.write(AT.CODE, assemble('nop; nop'))
    b.cpu.run(1)
    b.cpu.interrupt(0x50)
    b.cpu.run(20)
    expect([b.handled, b.frame(1), b.cpu.registers.debugLow(6) & 0xe00f]).toEqual([VECTOR.DB, [AT.CODE + 1], DR6.BS])
    // Without the step the interrupt is first.
    const other = new BareBench()
    other.cpu.registers.setFlags(RFLAGS.IF)
    other.cpu.registers.setDebug(0, AT.CODE, 0)
    other.cpu.registers.setDebug(7, watch(0, 0), 0)
    other.cpu.interrupt(0x50)
    other.run('nop')
    expect([other.handled, other.frame(1)]).toEqual([0x50, [AT.CODE]])
  })

  test('waits for a budget like any delivery', () => {
    const b = new BareBench()
    b.cpu.registers.setFlags(RFLAGS.TF)
    expect([b.run('nop; nop', 1), b.cpu.registers.rip()]).toEqual([EXIT.BUDGET, AT.CODE + 1])
    expect([b.cpu.run(1), b.cpu.registers.rip(), b.cpu.executed]).toEqual([EXIT.BUDGET, handlerOf(VECTOR.DB), 1])
    expect(b.cpu.registers.segment(SEGMENT.cs).selector).toBe(SELECTOR.CODE0)
  })
})
