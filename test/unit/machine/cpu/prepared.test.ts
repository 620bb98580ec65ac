/** The modules that the build prepares are those that would be written. */
import { expect, test } from 'vitest'
import { microTable } from '../../../../src/machine/cpu/interpreter/compiled.ts'
import { writeInterpreter } from '../../../../src/machine/cpu/interpreter/module.ts'
import { preparedModule, unpackModule } from '../../../../src/machine/cpu/interpreter/prepared.ts'
import { writeSingles } from '../../../../src/machine/cpu/interpreter/singles.ts'
import { prepareModules } from '../../../../tsup.config.ts'

test('modules are packed by the build and unpacked as they were, and from source are written', () => {
  const table = microTable()
  const { interpreter, vector, avx } = prepareModules()
  const written = [writeInterpreter(table, 64), writeSingles(table, 'vector', 64), writeSingles(table, 'avx', 64)]
  for (const [i, each] of [interpreter, vector, avx].entries()) {
    expect(each.packed.length).toBeLessThan(each.length / 2)
    expect(Buffer.compare(unpackModule(each), written[i]!)).toBe(0)
    expect(WebAssembly.validate(unpackModule(each))).toBe(true)
  }
  expect(preparedModule('interpreter')).toBe(undefined)
})
