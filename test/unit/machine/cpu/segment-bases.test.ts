import { describe, expect, test } from 'vitest'
import { CR4, SEGMENT, VECTOR } from '../../../../src/x86/index.ts'
import { BareBench, handlerOf } from '../../../support/bare.ts'
import { CODE, CpuBench } from '../../../support/cpu.ts'
import { EXIT } from '../../../../src/machine/index.ts'

const FORMS = [
  ['rdfsbase rax', 'rdfsbase %rax'], ['rdgsbase rax', 'rdgsbase %rax'], ['wrfsbase rax', 'wrfsbase %rax'], ['wrgsbase rax', 'wrgsbase %rax'],
  ['rdfsbase eax', 'rdfsbase %eax'], ['wrgsbase eax', 'wrgsbase %eax'],
] as const

/** A hosted processor whose host lets it use the instructions. */
function allowed(): CpuBench {
  const bench = new CpuBench()
  const { registers } = bench.cpu
  registers.setControl(4, (registers.controlLow(4) | CR4.FSGSBASE) >>> 0, 0)
  return bench
}

const base = (bench: CpuBench, index: number): readonly number[] => {
  const { baseLow, baseHigh } = bench.cpu.registers.segment(index)
  return [baseLow, baseHigh]
}

describe('RDFSBASE, RDGSBASE, WRFSBASE and WRGSBASE', () => {
  test.each(FORMS)('%s raises #UD while CR4.FSGSBASE is clear', (_, code) => {
    const bench = new CpuBench()
    expect(bench.run(code)).toBe(EXIT.EXCEPTION)
    expect([bench.cpu.exit.vector, bench.cpu.registers.rip()]).toEqual([VECTOR.UD, CODE])
  })

  test.each([['fs', SEGMENT.fs, 'wrfsbase %rax; rdfsbase %rbx; mov %fs:0x10,%ecx; syscall'], ['gs', SEGMENT.gs, 'wrgsbase %rax; rdgsbase %rbx; mov %gs:0x10,%ecx; syscall']] as const)(
    'write and read the whole base of %s, which accesses use at once', (_, index, code) => {
      const bench = allowed()
      bench.set('rax', 0x60_0000)
      bench.write(0x60_0010, [0x78, 0x56, 0x34, 0x12])
      expect(bench.run(code)).toBe(EXIT.SYSCALL)
      expect([bench.get('rbx'), bench.get('rcx'), base(bench, index)]).toEqual([0x60_0000n, 0x1234_5678n, [0x60_0000, 0]])
    })

  test('32-bit forms read and write the low half and clear the upper one', () => {
    const bench = allowed()
    bench.set('rax', -1n)
    bench.set('rbx', 0xffff_8123_4567_89abn)
    expect(bench.run('wrfsbase %rbx; rdfsbase %eax; wrgsbase %ebx; syscall')).toBe(EXIT.SYSCALL)
    expect([bench.get('rax'), base(bench, SEGMENT.fs), base(bench, SEGMENT.gs)]).toEqual(
      [0x4567_89abn, [0x4567_89ab, 0xffff_8123], [0x4567_89ab, 0]])
  })

  test.each([0x0000_8000_0000_0000n, 0xffff_7fff_ffff_ffffn, 0x8000_0000_0000_0000n])('a base of %x is no address: #GP', (value) => {
    const bench = allowed()
    bench.set('rax', value)
    expect(bench.run('wrfsbase %rax')).toBe(EXIT.EXCEPTION)
    expect([bench.cpu.exit.vector, bench.cpu.exit.errorCode, base(bench, SEGMENT.fs)]).toEqual([VECTOR.GP, 0, [0, 0]])
    // Of the 32-bit form only the low half counts.
    expect(bench.run('wrfsbase %eax; syscall')).toBe(EXIT.SYSCALL)
  })

  test.each([['memory', '.byte 0xf3,0x0f,0xae,0x06'], ['LOCK', 'lock rdfsbase %rax'], ['no REP', '.byte 0x48,0x0f,0xae,0xc0']])('%s is another instruction or none', (_, code) => {
    const bench = allowed()
    bench.set('rsi', 0x10)
    expect(bench.run(code)).toBe(EXIT.EXCEPTION)
    expect(bench.cpu.exit.vector).not.toBe(VECTOR.GP)
  })

  test('a kernel in ring 0 switches them on for both rings', () => {
    const bench = new BareBench()
    bench.set('rbx', 0x1234)
    // mov rax, cr4; bts rax, 16; mov cr4, rax; wrgsbase rbx; hlt
    bench.run('mov %cr4,%rax; bts $16,%rax; mov %rax,%cr4; wrgsbase %rbx; hlt')
    expect(bench.cpu.registers.segment(SEGMENT.gs).baseLow).toBe(0x1234)
    bench.enterRing3()
    bench.run('rdgsbase %rdi; ud2')
    expect([bench.handled, bench.get('rdi')]).toEqual([VECTOR.UD, 0x1234])
    expect(bench.frame(1)).toEqual([0x1_0005])
  })

  test('a processor that does not offer them has no bit for them in CR4', () => {
    const bench = new BareBench({ cpuid: { read: () => [0, 0, 0, 0] } })
    bench.set('rax', CR4.PAE | CR4.FSGSBASE)
    bench.run('mov %rax,%cr4; hlt')
    expect(bench.cpu.registers.rip() - 1).toBe(handlerOf(VECTOR.GP))
  })
})

describe('RDTSCP', () => {
  test('reads the time and TSC_AUX, and clears the upper halves', () => {
    const bench = new CpuBench({ timestamp: { low: () => 0x89ab_cdef, high: () => 0x123 } })
    bench.cpu.registers.setTscAux(0xfedc_ba98)
    for (const name of ['rax', 'rcx', 'rdx'] as const) bench.set(name, -1n)
    expect(bench.run('rdtscp; syscall')).toBe(EXIT.SYSCALL)
    expect([bench.get('rax'), bench.get('rdx'), bench.get('rcx')]).toEqual([0x89ab_cdefn, 0x123n, 0xfedc_ba98n])
  })

  test('is its host\'s to carry out where CR4.TSD forbids it, and #GP in ring 3 of a bare processor', () => {
    const hosted = new CpuBench()
    hosted.cpu.registers.setControl(4, (hosted.cpu.registers.controlLow(4) | CR4.TSD) >>> 0, 0)
    expect([hosted.run('rdtscp'), hosted.cpu.exit.request.operation, hosted.cpu.exit.request.length]).toEqual([EXIT.PRIVILEGED, 'rdtscp', 3])
    const bare = new BareBench()
    bare.cpu.registers.setControl(4, (bare.cpu.registers.controlLow(4) | CR4.TSD) >>> 0, 0)
    bare.enterRing3()
    bare.run('rdtscp')
    expect(bare.handled).toBe(VECTOR.GP)
  })

  test('TSC_AUX is part of a hosted processor\'s saved state; an older state has none', () => {
    const bench = new CpuBench()
    bench.cpu.registers.setTscAux(7)
    const { tscAux, ...older } = bench.cpu.save()
    expect(tscAux).toBe(7)
    const other = new CpuBench()
    other.cpu.load({ ...older, tscAux: 9 })
    expect(other.cpu.registers.tscAux()).toBe(9)
    other.cpu.load(older)
    expect(other.cpu.registers.tscAux()).toBe(0)
    expect(() => other.cpu.load({ ...older, tscAux: 2 ** 32 })).toThrow(/TSC_AUX/)
  })
})
