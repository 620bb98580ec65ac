import { createContext, runInContext } from 'node:vm'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { EXIT, Machine, type CompilerFigures, type MachineOptions } from '../../../../../../src/machine/index.ts'
import { COMPILER_DEFAULTS } from '../../../../../../src/machine/cpu/region/life/defaults.ts'
import { compilerSettings } from '../../../../../../src/machine/cpu/region/life/settings.ts'
import { assemble } from '../../../../../support/assembler.ts'
import { CODE, CpuBench } from '../../../../../support/cpu.ts'
import { registersOf } from '../../../../../support/lockstep.ts'

/** A bench whose machine compiles as it is told. */
function benchWith(compiler: MachineOptions['compiler']): CpuBench {
  class Told extends Machine {
    constructor(options: MachineOptions) {
      super({ ...options, compiler: compiler! })
    }
  }
  return new CpuBench({ library: { Machine: Told } })
}

afterEach(() => vi.unstubAllGlobals())

describe('settings of the compiling tier', () => {
  test('have defaults, which an undefined one keeps', () => {
    expect(compilerSettings({})).toEqual(COMPILER_DEFAULTS)
    expect(compilerSettings({ samples: 3, slice: undefined as unknown as number })).toEqual({ ...COMPILER_DEFAULTS, samples: 3 })
    expect(compilerSettings('off')).toBeUndefined()
  })

  test.each([
    [{ samples: 0 }, /samples must be a whole number from 1/], [{ slices: 5 }, /no option slices; did you mean slice\?/], ['on', /must be "off" or an object/],
    [{ drop: 1 }, /drop must be an object/], [{ drop: { seed: 1, oneIn: 0 } }, /oneIn must be/], [{ now: 1 }, /now must be a function/],
    [null, /must be an object/],
  ])('%j is refused by name', (options, message) => {
    expect(() => new Machine({ memoryBytes: 1 << 20, compiler: options as 'off' })).toThrow(message)
  })

  test('figures are there where something is compiled', () => {
    const machine = new Machine({ memoryBytes: 1 << 20 })
    expect(machine.compilerFigures()).toBeUndefined()
    machine.createProcessor({ mode: 'hosted' })
    expect(machine.compilerFigures()).toMatchObject({ samples: 0, regions: 0 })
    const off = new Machine({ memoryBytes: 1 << 20, compiler: 'off' })
    off.createProcessor({ mode: 'hosted' })
    expect(off.compilerFigures()).toBeUndefined()
  })
})

describe('where the host does not compile', () => {
  test('guests go on in the interpreter, and figures tell why, in its words', () => {
    const [bench, other] = [benchWith({ samples: 2, slice: 100, batch: 1 }), benchWith('off')]
    for (const one of [bench, other]) one.write(CODE, assemble('1: add %rcx,%rax; dec %rcx; jmp 1b', { origin: CODE }))
    const figures = (): CompilerFigures => bench.machine.compilerFigures()!
    bench.cpu.run(50)
    vi.stubGlobal('WebAssembly', runInContext('WebAssembly', createContext({}, { codeGeneration: { strings: true, wasm: false } })))
    expect(figures().refusedByHost).toBeUndefined()
    expect(bench.cpu.run(10_000)).toBe(EXIT.BUDGET)
    vi.unstubAllGlobals()
    expect(figures()).toMatchObject({ regions: 0, made: 0, modulesMade: 0, refusedByHost: expect.stringMatching(/does not compile WebAssembly: .*disallowed/) })
    // It is not asked again.
    bench.cpu.run(10_000)
    expect(figures()).toMatchObject({ made: 0 })
    other.cpu.run(20_050)
    expect(registersOf(bench.cpu)).toEqual(registersOf(other.cpu))
  })

  test('regions there are go on', () => {
    const bench = benchWith({ samples: 2, slice: 100, batch: 1 })
    const elsewhere = CODE + 4096
    bench.write(elsewhere, assemble('1: sub %rcx,%rax; dec %rcx; jmp 1b', { origin: elsewhere }))
    bench.run('1: add %rcx,%rax; dec %rcx; jmp 1b', 10_000)
    vi.stubGlobal('WebAssembly', runInContext('WebAssembly', createContext({}, { codeGeneration: { strings: true, wasm: false } })))
    bench.jump(elsewhere)
    bench.cpu.run(10_000)
    vi.unstubAllGlobals()
    const refused = bench.machine.compilerFigures()!
    expect(refused).toMatchObject({ regions: 1, made: 1, refusedByHost: expect.any(String) })
    bench.jump(CODE)
    bench.cpu.run(10_000)
    expect(bench.machine.compilerFigures()!.samplesInRegions).toBeGreaterThan(refused.samplesInRegions + 50)
  })
})

describe('a machine that runs for a moment', () => {
  test('compiles nothing by the usual settings, nor makes what it would compile with', () => {
    const bench = benchWith({})
    const spy = vi.spyOn(WebAssembly, 'Instance')
    bench.run('1: add %rcx,%rax; dec %rcx; jmp 1b', 250_000)
    expect(spy).not.toHaveBeenCalled()
    spy.mockRestore()
    expect(bench.machine.compilerFigures()).toMatchObject({ made: 0, samplesInRegions: 0 })
    bench.run('1: add %rcx,%rax; dec %rcx; jmp 1b', 3_000_000)
    expect(bench.machine.compilerFigures()!.made).toBe(1)
  })
})
