import { describe, expect, test } from 'vitest'
import { EXIT, Machine, type MachineOptions } from '../../../src/machine/index.ts'
import { CODE, CpuBench } from '../../support/cpu.ts'
import { assemble } from '../../support/assembler.ts'
import { lockstep, lockstepNarrowed, registersOf, slicedBy, withinSeconds, type Runner } from '../../support/lockstep.ts'
import { buildMutant, type Patch } from '../../support/mutants.ts'

/** Sums up, writes, calls and compares for some fifteen thousand instructions, then executes SYSCALL. */
const LISTING = `
  mov $0x600000,%ebx
  mov $400,%ecx
1:
  mov %ecx,%eax
  imul $0x9e3779b1,%eax,%eax
  add %rax,(%rbx)
  adc $0,%rdx
  call 3f
  cmp $0x40000000,%eax
  jb 2f
  xor %rdx,8(%rbx)
  rol $7,%rdx
2:
  push $9
  pop %rsi
4:
  sub $1,%esi
  jne 4b
  dec %ecx
  jne 1b
  syscall
3:
  lea 5(%rax,%rdx,2),%rdx
  bswap %rdx
  ret
`

interface Layer {
  readonly Machine: typeof Machine
}

/** A processor with that program, which interprets it; `layer` is the machine that it is of. */
function program(layer: Layer = { Machine }): Runner {
  class Interpreting extends layer.Machine {
    constructor(options: MachineOptions) {
      super({ ...options, compiler: 'off' })
    }
  }
  const bench = new CpuBench({ library: { Machine: Interpreting } })
  bench.write(CODE, assemble(LISTING, { origin: CODE }))
  const { cpu } = bench
  let done = 0
  return {
    get done() { return done },
    snapshot: () => ({ ...registersOf(cpu), memory: Buffer.from(bench.read(0x60_0000, 64)).toString('hex') }),
    advance: (count) => {
      const reason = cpu.run(count)
      done += cpu.executed
      return reason === EXIT.BUDGET
    },
  }
}

/** Something that counts to ten thousand and is odd from a number on. */
function counter(odd: number): Runner {
  let done = 0
  return {
    get done() { return done },
    snapshot: () => ({ odd: String(done >= odd) }),
    advance: (count) => {
      done += count
      return done < 10_000
    },
  }
}

const mutant = (...patches: readonly Patch[]): Promise<Layer> =>
  buildMutant<Layer>(patches, `export * from './src/machine/index.ts'`)

const FETCH = 'src/machine/cpu/processor/fetch.ts'
const DRIVER = 'src/machine/cpu/processor/processor.ts'
const BUDGET = 'State.budget.set(view, base, some)'

describe('two that do the same', { timeout: 60_000 }, () => {
  test.each([1, 7, 64, 333, 400_000])('stay together where one goes on in slices of %i', (slice) => {
    expect(lockstep(program(), slicedBy(program(), slice), { every: 1000, most: 100 })).toBeUndefined()
  })

  test('and never end are told so', () => {
    const still: Runner = { done: 0, advance: () => true, snapshot: () => ({}) }
    expect(() => lockstep(still, still, { every: 10, most: 5 })).toThrow('no end after 5 pieces')
  })
})

describe('two that part', { timeout: 60_000 }, () => {
  test('are found where they do, and in how small a piece it shows', () => {
    const pair = (): readonly [Runner, Runner] => [counter(Infinity), counter(4321)]
    expect(lockstepNarrowed(pair, { every: 1000, most: 100 })).toEqual({ after: 4000, piece: 321, differences: ['odd: false, other true'] })
    expect(lockstepNarrowed(() => [counter(Infinity), counter(Infinity)], { every: 1000, most: 100 })).toBeUndefined()
  })

  test('in what a number of instructions does are found: a shortened block that charges for more than it has', async () => {
    const inSlices = { file: 'src/machine/cpu/processor/engine.ts', find: 'const SLICE = 400_000', replace: 'const SLICE = 320' }
    const charging = { file: FETCH, find: 'if (left >= view.getUint32(block + BLOCK.count, true)) return 0', replace: 'if (left >= 64) return 0' }
    const unchecked = { file: 'src/machine/cpu/code/clip.ts', find: 'invariant(count > 0 && count < total', replace: 'invariant(count > 0' }
    const [sliced, wrong] = [await mutant(inSlices), await mutant(inSlices, charging, unchecked)]
    expect(lockstep(program(), program(sliced), { every: 1000, most: 100 })).toBeUndefined()
    expect(lockstep(program(), program(wrong), { every: 1000, most: 100 })?.differences.join()).toMatch(/rip: /)
  })

  test('in flags alone are found: a carry that is lost where a slice begins', async () => {
    const library = await mutant({ file: DRIVER, find: BUDGET, replace: `${BUDGET}; core.registers.setFlags(core.registers.flags() & ~1)` })
    const found = lockstepNarrowed(() => [program(), program(library)], { every: 500, most: 100 })
    expect(found?.differences.join()).toMatch(/flags: |rdx: /)
  })
})

describe('one that makes no progress', { timeout: 60_000 }, () => {
  test('is ended after its time, generated code too', async () => {
    const library = await mutant({ file: DRIVER, find: 'if (this.boundary.left <= 0) return this.finish(EXIT.BUDGET)', replace: '' })
    expect(() => withinSeconds(1, () => program(library).advance(1000))).toThrow(/timed out after 1000ms/)
    const bytes = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 9, 1, 7, 0, 3, 64, 12, 0, 11, 11)
    const { f } = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports as { f: () => void }
    expect(() => withinSeconds(0.2, f)).toThrow(/timed out after 200ms/)
  })

  test('and what comes back in time gives what it gives', () => {
    expect(withinSeconds(10, () => withinSeconds(10, () => 42))).toBe(42)
  })
})
