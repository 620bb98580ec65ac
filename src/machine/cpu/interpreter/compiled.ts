/**
 * What is the same for every machine: the micro-operations' table, the decode maps and the compiled modules. Each is
 * the value of a function without arguments that matter to anybody else, kept after the first call because it costs
 * tens of milliseconds.
 */
import { buildMaps, instructionRows } from '../decode/table.ts'
import type { DecodeMaps } from '../decode/table.ts'
import type { AddressWidth } from '../emit/binder.ts'
import { buildMicroTable } from '../uops/index.ts'
import type { MicroTable } from '../uops/index.ts'
import { writeInterpreter } from './module.ts'
import { writeSingles } from './singles.ts'

/** Remembers the value of a function for each argument. */
function once<K, V>(make: (key: K) => V): (key: K) => V {
  const known = new Map<K, V>()
  return (key) => {
    const value = known.get(key) ?? make(key)
    known.set(key, value)
    return value
  }
}

const table = /* @__PURE__ */ once((_: 'only') => buildMicroTable())
const module = /* @__PURE__ */ once((width: AddressWidth) =>
  new WebAssembly.Module(writeInterpreter(microTable(), width)))
const vectors = /* @__PURE__ */ once((width: AddressWidth) =>
  new WebAssembly.Module(writeSingles(microTable(), 'vector', width)))
const rows = /* @__PURE__ */ once((_: 'only') => instructionRows())
const maps = /* @__PURE__ */ once((code: 'long' | 'short') => buildMaps(rows('only'), code === 'long'))

/** The micro-operations. */
export const microTable = (): MicroTable => table('only')

/** The interpreter for a width of linear addresses. */
export const compileInterpreter = (width: AddressWidth): WebAssembly.Module => module(width)

/** The functions of vector operations that go with it. */
export const compileVectors = (width: AddressWidth): WebAssembly.Module => vectors(width)

/** Decode maps of 64-bit code, or of 32- and 16-bit code. */
export const decodeMaps = (code: 'long' | 'short'): DecodeMaps => maps(code)
