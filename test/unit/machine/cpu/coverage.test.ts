/** Blocks and edges that are counted while code runs: interpreted, compiled, cut short by budgets. */
import { expect, test } from 'vitest'
import { blockNumber } from '../../../../src/machine/cpu/code/coverage.ts'
import { Machine, type CompilerOptions, type MachineCoverage } from '../../../../src/machine/index.ts'
import { CODE, CpuBench } from '../../../support/cpu.ts'
import { assemble } from '../../../support/assembler.ts'

/** Counts down in a loop, in which every other round takes a way of its own. */
const PROGRAM = assemble(`
  mov $1000, %ecx
  xor %eax, %eax
again:
  test $1, %ecx
  je even
  add $3, %eax
even:
  dec %ecx
  jne again
  hlt
`)

function run(compiler: 'off' | CompilerOptions, budget = 100_000): { readonly bench: CpuBench; readonly coverage: MachineCoverage } {
  class Compiling extends Machine {
    constructor(options: ConstructorParameters<typeof Machine>[0]) {
      super({ ...options, compiler })
    }
  }
  const bench = new CpuBench({ library: { Machine: Compiling } })
  bench.write(CODE, PROGRAM)
  const coverage = bench.machine.recordCoverage()
  for (let left = 100_000; left > 0; left -= budget) bench.cpu.run(budget)
  return { bench, coverage }
}

const EAGER: CompilerOptions = { samples: 1, slice: 50, batch: 1 }

test.each([['interpreted', 'off'], ['compiled', EAGER]] as const)('every block is counted as often as it is begun, %s', (_, compiler) => {
  const { bench, coverage } = run(compiler)
  expect((bench.machine.compilerFigures()?.made ?? 0) > 0).toBe(compiler !== 'off')
  const blocks = coverage.blocks()
  const hits = (offset: number): number => blocks.find(({ address }) => address === CODE + offset)?.hits ?? 0
  expect(blocks[0]).toEqual({ address: CODE, hits: 1, instructions: 4, bytes: 15 })
  // The loop, as control comes back to it; what odd and even rounds do; what stands behind it. Regions that are left in front of a block have it counted twice.
  const near = (count: number): unknown => (compiler === 'off' ? count : expect.toSatisfy((found: number) => found >= count && found < count * 1.05 + 20))
  // A region counts a block however control comes to it, the interpreter where it is jumped to.
  expect([7, 15, 22].map(hits)).toEqual([near(999), near(500), near(1)])
  expect(hits(18)).toEqual(compiler === 'off' ? 500 : near(950))
  expect(bench.get('rax')).toBe(1500n)
})

test('edges are counted at half the number of the block before, xor that of the block', () => {
  const { coverage } = run('off')
  const edge = (from: number, to: number): number => coverage.map[(blockNumber(CODE + from) >> 1) ^ blockNumber(CODE + to)]!
  expect(coverage.map[blockNumber(CODE)]).toBe(1)
  // From the loop's head to odd and even rounds and back, modulo 256.
  expect([edge(7, 15), edge(7, 18), edge(0, 18)]).toEqual([500 & 255, 499 & 255, 1])
})

test('two runs have the same coverage, whose numbers begin at zero behind a reset and end with the recording', () => {
  const [one, other] = [run('off'), run('off')]
  expect([...one.coverage.map]).toEqual([...other.coverage.map])
  expect(one.coverage.blocks()).toEqual(other.coverage.blocks())
  one.coverage.reset()
  expect(one.coverage.blocks()).toEqual([])
  expect(one.coverage.map.every((count) => count === 0)).toBe(true)
  expect(() => one.bench.machine.recordCoverage()).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }))
  one.coverage.stop()
  one.coverage.stop()
  expect(() => one.coverage.blocks()).toThrow(expect.objectContaining({ code: 'CLOSED' }))
  one.bench.machine.recordCoverage().stop()
})

test('a processor does the same with and without, whatever its budgets', () => {
  for (const budget of [1, 3, 7, 100]) {
    const { bench } = run('off', budget)
    expect([bench.get('rax'), bench.get('rcx')]).toEqual([1500n, 0n])
    expect(bench.machine.recordCoverage).toBeDefined()
  }
})
