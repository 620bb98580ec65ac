/** What makers do differently: ours is AMD's, as CPUID says. The oracle compares it where the processor underneath is one of AMD's. */
import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../src/machine/index.ts'
import { MSR, SEGMENT, VECTOR } from '../../../../src/x86/index.ts'
import { AT, BareBench } from '../../../support/bare.ts'
import { CODE, CpuBench, DATA, STACK_END } from '../../../support/cpu.ts'

const LONG_CODE = 0x33
const descriptors = {
  read: (selector: number, out: Uint32Array): boolean => {
    out.set([0xffff, 0x00af_fb00])
    return selector === LONG_CODE
  },
}

describe('far pointers with REX.W', () => {
  test.each([['lgs rax, [rsi]', 'lgs (%rsi),%rax'], ['lfs rax, [rsi]', 'lfs (%rsi),%rax']])('%s reads 32 bits of offset and the selector behind them', (_, code) => {
    const bench = new CpuBench()
    bench.write(DATA, [0x44, 0x33, 0x22, 0x81, 0, 0, 0xff, 0xff, 0xff, 0xff])
    bench.set('rsi', DATA)
    bench.set('rax', -1n)
    expect(bench.run(`${code}; syscall`)).toBe(EXIT.SYSCALL)
    expect(bench.get('rax')).toBe(0x8122_3344n)
  })

  test.each([['ljmp [rsi]', '.byte 0x48,0xff,0x2e', 0], ['lcall [rsi]', '.byte 0x48,0xff,0x1e', 16], ['lcall [rsi] without', 'lcall *(%rsi)', 8]])('%s does, too; what it keeps on the stack is as wide as the prefix says', (_, code, pushed) => {
    const bench = new CpuBench({ descriptors })
    const target = CODE + 0x100
    bench.write(DATA, [target & 0xff, target >> 8 & 0xff, target >> 16, 0, LONG_CODE, 0, 0xff, 0xff, 0xff, 0xff])
    bench.write(target, [0x0f, 0x05])
    bench.set('rsi', DATA)
    const before = bench.get('rsp')
    expect(bench.run(code)).toBe(EXIT.SYSCALL)
    expect([bench.cpu.registers.rip(), bench.cpu.registers.segment(SEGMENT.cs).selector, before - bench.get('rsp')])
      .toEqual([target + 2, LONG_CODE, BigInt(pushed)])
  })
})

describe('near branches of 64-bit code with an operand-size prefix', () => {
  /** Where it goes, or is fetched from: everything below 64 KiB is unmapped. */
  function goesTo(code: string, prepare: (bench: CpuBench) => void = () => {}): { to: number; bench: CpuBench } {
    const bench = new CpuBench()
    prepare(bench)
    expect(bench.run(code)).toBe(EXIT.EXCEPTION)
    expect(bench.cpu.exit.vector).toBe(VECTOR.PF)
    return { to: bench.cpu.exit.address, bench }
  }

  test.each([
    ['jmp rel8', '.byte 0x66,0xeb,0x10', 0x13], ['jmp rel16', '.byte 0x66,0xe9,0x10,0x20', 0x2014], ['je, taken', 'xor %eax,%eax; .byte 0x66,0x74,0x10', 0x15], ['jne rel16, taken', 'or $1,%eax; .byte 0x66,0x0f,0x85,0x10,0x20', 0x2018],
    ['loop', 'xor %ecx,%ecx; inc %ecx; inc %ecx; .byte 0x66,0xe2,0x10', 0x19], ['jrcxz', 'xor %ecx,%ecx; .byte 0x66,0xe3,0x10', 0x15],
  ])('%s is cut to 16 bits', (_, code, to) => expect(goesTo(code).to).toBe(to))

  test('those that are not taken go on behind themselves', () => {
    const bench = new CpuBench()
    // JRCXZ with rcx = 0, taken, is another matter.
    bench.set('rcx', 1)
    expect(bench.run('xor %eax,%eax; .byte 0x66,0x75,0x10; .byte 0x66,0xe2,0x10; syscall')).toBe(EXIT.SYSCALL)
    expect([bench.get('rcx'), bench.cpu.registers.rip()]).toEqual([0n, CODE + 10])
  })

  test('call keeps two bytes on the stack, ret takes two', () => {
    const { to, bench } = goesTo('.byte 0x66,0xe8,0x10,0x20')
    expect([to, bench.get('rsp'), bench.read(STACK_END - 258, 2)]).toEqual([0x2014, BigInt(STACK_END - 258), Uint8Array.of(4, 0)])
    const back = goesTo('retw $8', (b) => b.write(STACK_END - 256, [0x78, 0x56, 0x34]))
    expect([back.to, back.bench.get('rsp')]).toEqual([0x5678, BigInt(STACK_END - 246)])
  })

  test('an operand is one of 16 bits', () => {
    expect(goesTo('jmp *%ax', (b) => b.set('rax', 0x1234_5678)).to).toBe(0x5678)
    expect(goesTo('jmpw *(%rsi)', (b) => {
      b.set('rsi', DATA)
      b.write(DATA, [0x21, 0x43, 0x65])
    }).to).toBe(0x4321)
  })

  test('REX.W wins: they are as long as ever', () => {
    const bench = new CpuBench()
    bench.write(CODE + 0x20, [0x0f, 0x05])
    expect(bench.run('.byte 0x66,0x48,0xe9,0x19,0,0,0')).toBe(EXIT.SYSCALL)
    expect(bench.cpu.registers.rip()).toBe(CODE + 0x22)
  })
})

describe('SYSCALL outside of 64-bit mode', () => {
  const SHORT_CODE = { selector: 0x23, baseLow: 0x1000, baseHigh: 0, limit: 0xffff_ffff, attributes: 0xc0fb }

  test('is an exit of 32-bit code, too, with the offset behind it as rip', () => {
    const bench = new CpuBench()
    bench.write(CODE, [0x0f, 0x05])
    bench.cpu.registers.setSegment(SEGMENT.cs, SHORT_CODE)
    bench.jump(CODE - 0x1000)
    expect([bench.cpu.run(10), bench.cpu.registers.rip()]).toEqual([EXIT.SYSCALL, CODE - 0x1000 + 2])
  })

  test('goes to CSTAR on a bare processor in long mode, and SYSRET back to 32-bit code', () => {
    const bench = new BareBench()
    const { cpu } = bench
    for (const [register, low, high] of [[MSR.STAR, 0, 0x0013_0008], [MSR.CSTAR, AT.CODE + 0x100, 0], [MSR.LSTAR, AT.CODE + 0x200, 0]] as const) {
      expect(cpu.system.setMsr(register, low, high)).toBe(true)
    }
    // The kernel's entry: mov esi, ecx; sysret. The program's code behind its call: ud2.
    bench.write(AT.CODE + 0x100, [0x89, 0xce, 0x0f, 0x07])
    bench.enterRing3()
    cpu.registers.setSegment(SEGMENT.cs, { ...SHORT_CODE, baseLow: 0 })
    bench.run('syscall; ud2', 5)
    expect([bench.handled, bench.get('rsi'), bench.frame(2)]).toEqual([VECTOR.UD, AT.CODE + 2, [AT.CODE + 2, 0x13 | 3]])
  })
})
