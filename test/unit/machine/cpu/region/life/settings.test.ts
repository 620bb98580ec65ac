import { describe, expect, test } from 'vitest'
import { Machine } from '../../../../../../src/machine/index.ts'
import { COMPILER_DEFAULTS } from '../../../../../../src/machine/cpu/region/life/defaults.ts'
import { compilerSettings } from '../../../../../../src/machine/cpu/region/life/settings.ts'

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
    const machine = new Machine({ memoryBytes: 1 << 20, compiler: {} })
    expect(machine.compilerFigures()).toBeUndefined()
    machine.createProcessor({ mode: 'hosted' })
    expect(machine.compilerFigures()).toMatchObject({ samples: 0, regions: 0 })
    const off = new Machine({ memoryBytes: 1 << 20, compiler: 'off' })
    off.createProcessor({ mode: 'hosted' })
    expect(off.compilerFigures()).toBeUndefined()
  })
})
