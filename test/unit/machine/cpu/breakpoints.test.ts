/** Breakpoints and watchpoints of a processor that runs at full speed between them. */
import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../src/machine/index.ts'
import type { TracedAccess, TraceHooks, WatchedBytes } from '../../../../src/machine/index.ts'
import { assemble } from '../../../support/assembler.ts'
import { CODE, CpuBench, DATA } from '../../../support/cpu.ts'

const ENDLESS = 1_000_000

function benchOf(code: string, prepare: (b: CpuBench) => void = () => undefined): CpuBench {
  const b = new CpuBench()
  b.write(CODE, assemble(`${code}; syscall`))
  prepare(b)
  return b
}

/** Runs to the end, over all stops; what executed, and where it stood at each. */
function runOver(b: CpuBench): { readonly executed: number; readonly stops: readonly number[] } {
  const stops: number[] = []
  let executed = 0
  for (;;) {
    const exit = b.cpu.run(ENDLESS)
    executed += b.cpu.executed
    if (exit !== EXIT.DEBUG) return { executed, stops }
    stops.push(b.cpu.registers.rip() - CODE)
  }
}

const LOOP = 'mov $100,%ecx; 1: inc %eax; mov %eax,(%rdi); dec %ecx; jne 1b'
const atData = (b: CpuBench): void => b.set('rdi', DATA)

describe('breakpoints', () => {
  test('stop before their instruction, each time that it comes, and change nothing that executes', () => {
    const plain = benchOf(LOOP, atData)
    expect(plain.cpu.run(ENDLESS)).toBe(EXIT.SYSCALL)
    const b = benchOf(LOOP, atData)
    const counts: number[] = []
    b.cpu.trace({ breakpoints: new Set([CODE + 7]), breakpoint: ({ count }) => { counts.push(count); return 'stop' } })
    const { executed, stops } = runOver(b)
    expect(stops).toEqual(Array.from({ length: 100 }, () => 7))
    expect(counts.slice(0, 3)).toEqual([2, 6, 10])
    expect([executed, b.get('rax')]).toEqual([plain.cpu.executed, plain.get('rax')])
  })

  test('are asked for in code that was decoded before, and no more once their trace has ended', () => {
    const b = benchOf(LOOP, atData)
    b.cpu.run(50)
    const trace = b.cpu.trace({ breakpoints: new Set([CODE + 9]), breakpoint: () => 'stop' })
    expect(b.cpu.run(ENDLESS)).toBe(EXIT.DEBUG)
    expect(b.cpu.registers.rip() - CODE).toBe(9)
    trace.stop()
    expect(b.cpu.run(ENDLESS)).toBe(EXIT.SYSCALL)
  })

  test('lie beside others at the same offset of other pages, which do not stop', () => {
    const b = benchOf(LOOP, atData)
    b.cpu.trace({ breakpoints: new Set([CODE + 7 + 0x1000, CODE + 7 - 0x1000]), breakpoint: () => 'stop' })
    expect(b.cpu.run(ENDLESS)).toBe(EXIT.SYSCALL)
  })

  test('stop at the first instruction, at one in the midst of a block that the budget cuts, and not in a run that ends before', () => {
    const b = benchOf('nop; nop; nop; nop')
    b.cpu.trace({ breakpoints: new Set([CODE, CODE + 2]), breakpoint: () => 'stop' })
    const steps = [1000, 1, 1, 1000, 1000].map((budget) => [b.cpu.run(budget), b.cpu.executed, b.cpu.registers.rip() - CODE])
    expect(steps).toEqual([[EXIT.DEBUG, 0, 0], [EXIT.BUDGET, 1, 1], [EXIT.BUDGET, 1, 2], [EXIT.DEBUG, 0, 2], [EXIT.SYSCALL, 3, 6]])
  })

  test('are told without stopping, with registers as they are before the instruction; a hook that throws ends its trace', () => {
    const b = benchOf(LOOP, atData)
    const seen: unknown[] = []
    const trace = b.cpu.trace({
      breakpoints: new Set([CODE + 7]),
      breakpoint: ({ address, registers, instruction }) => {
        seen.push([address - CODE, registers.rip() - CODE, registers.low(0), instruction?.mnemonic])
        if (seen.length === 3) throw new Error('enough')
      },
    })
    expect(b.cpu.run(ENDLESS)).toBe(EXIT.SYSCALL)
    expect(seen).toEqual([[7, 7, 1, 'mov'], [7, 7, 2, 'mov'], [7, 7, 3, 'mov']])
    expect([trace.active, (trace.error as Error).message]).toEqual([false, 'enough'])
  })
})

describe('watchpoints', () => {
  const watch = (b: CpuBench, bytes: Partial<WatchedBytes>, answer: 'stop' | undefined = undefined): TracedAccess[] => {
    const seen: TracedAccess[] = []
    const hooks: TraceHooks = {
      watchpoints: [{ space: 'linear', address: DATA, length: 4, kind: 'access', ...bytes }],
      watchpoint: (event) => { seen.push({ ...event }); return answer },
    }
    b.cpu.trace(hooks)
    return seen
  }
  const short = ({ kind, address, size, value, previous, instruction }: TracedAccess): unknown[] =>
    [kind, address - DATA, size, previous, value, instruction - CODE]

  test('tell of writes and reads of their bytes, and of nothing else, and change nothing that executes', () => {
    const code = 'mov $7,%eax; mov %eax,(%rdi); mov %eax,8(%rdi); addl $1,(%rdi); mov (%rdi),%ebx; mov 6(%rdi),%edx; movb $1,3(%rdi)'
    const plain = benchOf(code, atData)
    plain.cpu.run(ENDLESS)
    const b = benchOf(code, atData)
    const seen = watch(b, {})
    expect(b.cpu.run(ENDLESS)).toBe(EXIT.SYSCALL)
    expect(seen.map(short)).toEqual([
      ['write', 0, 4, 0n, 7n, 5], ['write', 0, 4, 7n, 8n, 10], ['read', 0, 4, 8n, 8n, 13], ['write', 3, 1, 0n, 1n, 18],
    ])
    expect([b.cpu.executed, b.get('rbx')]).toEqual([plain.cpu.executed, plain.get('rbx')])
  })

  test('stop behind the instruction', () => {
    const b = benchOf('movl $1,(%rdi); nop; movl $2,(%rdi); nop', atData)
    watch(b, { kind: 'write' }, 'stop')
    expect(runOver(b).stops).toEqual([6, 13])
  })

  test('of the machine\'s memory are found by whatever address it is accessed', () => {
    const b = benchOf('movl $1,(%rdi); movl $2,4(%rdi); mov (%rdi),%eax', atData)
    const host = b.host(DATA)
    const seen = watch(b, { space: 'physical', address: host + 4, length: 4, kind: 'write' })
    b.cpu.run(ENDLESS)
    expect(seen.map(short)).toEqual([['write', 4, 4, 0n, 2n, 6]])
    expect(seen[0]!.physical).toBe(host + 4)
  })

  test('see a page that others\' watchpoints have left alone so far', () => {
    const b = benchOf('movl $1,(%rdi)', atData)
    watch(b, { address: DATA + 0x1000 })
    b.cpu.run(ENDLESS)
    const seen = watch(b, {})
    b.jump(CODE)
    b.cpu.run(ENDLESS)
    expect(seen.map(short)).toEqual([['write', 0, 4, 1n, 1n, 0]])
  })

  test('see each element of a string that is moved or stored in bulk, also behind the page\'s first', () => {
    const b = benchOf('rep stos %al,%es:(%rdi)', (bench) => {
      bench.set('rdi', DATA)
      bench.set('rcx', 64)
      bench.set('rax', 0x55)
    })
    const seen = watch(b, { address: DATA + 40, length: 2, kind: 'write' })
    b.cpu.run(ENDLESS)
    expect(seen.map(short)).toEqual([['write', 40, 1, 0n, 0x55n, 0], ['write', 41, 1, 0n, 0x55n, 0]])
  })

  test('of reads leave writes alone, and end with their trace', () => {
    const b = benchOf(LOOP, atData)
    const seen = watch(b, { kind: 'read' })
    b.cpu.run(ENDLESS)
    expect(seen).toEqual([])
  })
})
