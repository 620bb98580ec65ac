/** What the build prepares is what would be written. */
import { expect, test } from 'vitest'
import { microTable } from '../../../../src/machine/cpu/interpreter/compiled.ts'
import { writeInterpreter } from '../../../../src/machine/cpu/interpreter/module.ts'
import { preparedIndex, preparedModule, unpackModule } from '../../../../src/machine/cpu/interpreter/prepared.ts'
import { microTableBy } from '../../../../src/machine/cpu/uops/table.ts'
import { pairKey, type MicroIndex } from '../../../../src/machine/cpu/uops/micro-table.ts'
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

test('the index of the micro-operations is packed with them, and the table by it is the table', () => {
  const table = microTable()
  const index = JSON.parse(new TextDecoder().decode(unpackModule(prepareModules().index))) as MicroIndex
  expect(index).toEqual(table.index)
  const byIndex = microTableBy(index)
  expect(byIndex.count).toBe(table.all.length)
  for (const part of ['hotCount', 'numbers', 'memory', 'twins'] as const) expect(byIndex[part]).toEqual(table[part])
  expect(table.index.pairs.length).toBeGreaterThan(50)
  for (const [key, number] of table.index.pairs) expect(byIndex.pairOf(Math.floor(key / pairKey(1, 0)), key % pairKey(1, 0))).toBe(number)
  expect(byIndex.all.map(({ name }) => name)).toEqual(table.all.map(({ name }) => name))
  // What is told of each by its number is so: how it ends, by all of its facts, and the first half of a pair.
  expect(table.all.map(({ facts }) => facts.ends)).toEqual(index.ends)
  expect(table.all.flatMap(({ pair }, number) => (pair === undefined ? [] : [[number, table.all.indexOf(pair.first)]]))).toEqual(index.firsts)
  expect(preparedIndex()).toBe(undefined)
})
