/** The static binder writes every micro-operation that regions carry out. */
import { expect, test } from 'vitest'
import { microTable } from '../../../../../../src/machine/cpu/interpreter/compiled.ts'
import { RECORD } from '../../../../../../src/machine/cpu/layout/record.ts'
import { profileOf } from '../../../../../../src/machine/cpu/region/form/micro-profiles.ts'
import { FLAG_HELPERS } from '../../../../../../src/machine/cpu/region/write/flag-helpers.ts'
import { RegionBinder } from '../../../../../../src/machine/cpu/region/write/region-binder.ts'
import { ModuleWriter } from '../../../../../../src/wasm/index.ts'

const { all } = microTable()
const carried = all.filter((micro) => profileOf(micro).carriage !== 'refused' && micro.pair === undefined)

test('all of them in one valid module', () => {
  const module = new ModuleWriter()
  module.importMemory('env', 'memory')
  const functions = {
    storeFlags: module.importFunction('env', 'storeFlags', FLAG_HELPERS.storeFlags.parameters, FLAG_HELPERS.storeFlags.results),
    carryOf: module.importFunction('env', 'carryOf', FLAG_HELPERS.carryOf.parameters, FLAG_HELPERS.carryOf.results),
  }
  const view = new DataView(new ArrayBuffer(RECORD.bytes))
  for (const micro of carried) {
    const { code } = module.function(['i32', 'i32'], ['i32'])
    const leave = (): void => {
      code.i32(0)
      code.op('return')
    }
    const leaveBeforeIf = (): void => code.op('drop')
    const control = { leaveBefore: leave, leaveBeforeIf, callRuntime: leave, branch: leave, jump: leave }
    const b = new RegionBinder(code, { view, functions, control, pages: new Map() })
    b.registers.load({ used: 0xffff, written: 0 })
    for (const state of ['words', 'merged'] as const) {
      b.flags.state = state
      micro.emit(b)
    }
    b.flags.merge()
    code.op('unreachable')
  }
  expect(carried.length).toBeGreaterThan(900)
  expect(WebAssembly.validate(module.finish())).toBe(true)
})

test('handlers and checks of segments are none of theirs', () => {
  const refused = new Set(all.filter((micro) => micro.twinOf === undefined && profileOf(micro).carriage === 'refused').map(({ parts: [operation] }) => operation))
  for (const operation of ['handler', 'segment-check', 'end']) expect(refused).toContain(operation)
  for (const operation of ['mov', 'call', 'ret', 'div', 'cmpxchg', 'paddd', 'string']) expect(refused).not.toContain(operation)
})
