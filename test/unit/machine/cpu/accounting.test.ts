import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../src/machine/index.ts'
import { assemble } from '../../../support/assembler.ts'
import { CODE, CpuBench, DATA } from '../../../support/cpu.ts'

/** As long as it ever is, whatever the value. */
const move = (register: string, value: number): string => `movabs $${value},%${register};`

const FXSAVE = 'fxsave (%rdi); fxrstor (%rdi)'
const FSIN = 'fld1; fsin; fstp %st(0)'
const ENTER = `enter $0,$31; ${move('rsp', DATA + 0x3000)} ${move('rbp', DATA + 0x2000)}`
const DIV = `div %rbx; ${move('rdx', 1)}`
/** Writes the byte of a nop behind it, which it then executes. */
const WRITING = `movb $0x90,0x0(%rip); nop`

const SETUP = move('rdi', DATA) + move('rbx', 3) + move('rdx', 1) + move('rsp', DATA + 0x3000) + move('rbp', DATA + 0x2000)

/** A processor that executes `body` for ever. */
function looping(body: string, accounting: 'instructions' | 'work'): CpuBench {
  const bench = new CpuBench({ accounting })
  bench.write(CODE, assemble(`${SETUP} again: ${body}; jmp again`))
  bench.jump(CODE)
  return bench
}

/** Executes so many instructions one by one; what they counted for. */
function countOf(bench: CpuBench, instructions: number): number {
  let counted = 0
  // A budget of one is one instruction, whatever it counts for.
  for (let i = 0; i < instructions; i += 1) {
    expect(bench.cpu.run(1)).toBe(EXIT.BUDGET)
    counted += bench.cpu.executed
  }
  return counted
}

describe('a budget', () => {
  test.each([['fxsave, fxrstor', FXSAVE], ['fsin', FSIN], ['enter', ENTER], ['div', DIV], ['stores to code', WRITING]])(
    'of instructions counts each as one: %s', (_name, body) => {
      const bench = looping(body, 'instructions')
      expect(bench.cpu.run(5000)).toBe(EXIT.BUDGET)
      expect(bench.cpu.executed).toBe(5000)
    })

  test.each([
    ['fxsave, fxrstor', FXSAVE, 1000], ['fsin', FSIN, 700], ['enter', ENTER, 3000], ['div', DIV, 40], ['stores to code', WRITING, 700],
  ])('of work ends the sooner, the longer instructions take: %s', (_name, body, each) => {
    const bench = looping(body, 'work')
    let counted = 0
    let instructions = 0
    for (; counted < 1_000_000; instructions += 1) {
      expect(bench.cpu.run(1)).toBe(EXIT.BUDGET)
      counted += bench.cpu.executed
    }
    expect(counted / instructions).toBeGreaterThan(each)
  })

  test.each([['fxsave, fxrstor', FXSAVE], ['fsin', FSIN], ['enter', ENTER], ['div', DIV], ['stores to code', WRITING]])('of work is spent alike wherever runs are cut: %s', (_name, body) => {
      const whole = looping(body, 'work')
      const total = countOf(whole, 300)
      const { registers } = whole.cpu
      for (const size of [2, 13, 100_000]) {
        const bench = looping(body, 'work')
        let counted = 0
        // Until the same place is reached with the same registers, or beyond the count.
        while (counted < total) {
          bench.cpu.run(Math.min(size, total - counted))
          counted += bench.cpu.executed
        }
        expect(counted).toBe(total)
        expect(bench.cpu.registers.rip()).toBe(registers.rip())
      }
    })

  test.each([['rdrand', 'rdrand %rax', 50], ['mov cs to a register', 'mov %cs,%eax', 10], ['smsw', 'smsw %ecx', 10]])(
    'of work counts what has more to do behind its handler, and is spent alike wherever runs are cut: %s', (_name, body, each) => {
      const total = countOf(looping(body, 'work'), 300)
      expect(total / 300).toBeGreaterThan(each)
      for (const size of [2, 13, 100_000]) {
        const bench = looping(body, 'work')
        let counted = 0
        for (; counted < total; counted += bench.cpu.executed) bench.cpu.run(Math.min(size, total - counted))
        expect(counted).toBe(total)
      }
    })

  test.each([1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 1000])('of %i leaves no instruction half done', (budget) => {
    const code = 'mov %ss,%eax; push %rax; mov %cs,(%rdi); fld1; fstp %st(0); smsw %ecx; mov (%rdi),%rsi; pop %rdx; inc %rbx; hlt'
    const outcome = (accounting: 'instructions' | 'work', most: number): bigint[] => {
      const bench = new CpuBench({ accounting })
      bench.set('rdi', DATA)
      bench.write(CODE, assemble(code))
      while (bench.cpu.run(most) !== EXIT.PRIVILEGED);
      return (['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rsp'] as const).map((name) => bench.get(name))
    }
    expect(outcome('work', budget)).toEqual(outcome('instructions', 1000))
  })

  test('of work costs nothing for an instruction that faults', () => {
    const bench = new CpuBench({ accounting: 'work' })
    bench.run('fxsave 0x0; nop') // where nothing is mapped
    expect(bench.cpu.exit.reason).toBe(EXIT.EXCEPTION)
    // The lines from which code was taken are new, and that is all: a piece's two, and what its last instruction reaches into.
    expect(bench.cpu.executed).toBe(9000)
    bench.jump(CODE)
    bench.cpu.run(1000)
    expect(bench.cpu.executed).toBe(0)
  })

  test('of work is told to the timestamp counter as it is spent', () => {
    const bench = new CpuBench({ accounting: 'work' })
    bench.set('rdi', DATA)
    bench.run('rdtsc; mov %eax,%ebx; fxsave (%rdi); rdtsc; hlt', 100_000)
    // Two rdtsc with a usual price each, a mov, and the fxsave.
    expect(Number(bench.get('rax') - bench.get('rbx'))).toBe(1 + 1 + 1601 + 20)
  })

  test('of work counts fresh code once, and again when it has been written', () => {
    const bench = new CpuBench({ accounting: 'work' })
    const pass = (): number => {
      bench.jump(CODE)
      expect(bench.cpu.run(100_000)).toBe(EXIT.PRIVILEGED)
      return bench.cpu.executed
    }
    bench.write(CODE, assemble('nop; nop; hlt'))
    expect([pass(), pass()]).toEqual([3002, 2])
    bench.write(CODE, assemble('nop'))
    expect([pass(), pass()]).toEqual([3002, 2])
  })

  test.each([1, 2, 3, 5, 8, 13, 21, 34, 55])('of %i at a time pays for no line of code that a run in one piece does not look at', (most) => {
    // Jumped over, and so never decoded: what lies beyond the piece of 128 bytes in which each block begins.
    const body = `${'inc %ebx; '.repeat(40)} jne 1f; ${'inc %ecx; '.repeat(200)} 1: ${'inc %edx; '.repeat(70)} hlt`
    const count = (slice: number): number => {
      const bench = new CpuBench({ accounting: 'work' })
      bench.write(CODE, assemble(body))
      bench.jump(CODE)
      let counted = 0
      do {
        const reason = bench.cpu.run(slice)
        counted += bench.cpu.executed
        if (reason === EXIT.PRIVILEGED) return counted
      } while (counted < 100_000)
      throw new Error('the end is not reached')
    }
    expect(count(most)).toBe(count(100_000))
  })
})
