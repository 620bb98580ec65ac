/**
 * What is the same for every machine: the micro-operations' table and the compiled modules. Each is
 * the value of a function without arguments that matter to anybody else, kept after the first call because it costs
 * tens of milliseconds.
 */
import { once, type OwnBytes } from '../../../util/index.ts'
import { compile } from '../../../wasm/index.ts'
import type { AddressWidth } from '../emit/binder.ts'
import type { LaterGroup } from '../uops/micro.ts'
import { buildMicroTable, microTableBy } from '../uops/table.ts'
import type { MicroTable } from '../uops/micro-table.ts'
import { writeInterpreter } from './module.ts'
import { preparedIndex, preparedModule } from './prepared.ts'
import type { PreparedModule } from './prepared-modules.ts'
import { writeSingles } from './singles.ts'

const table = /* @__PURE__ */ once((_: 'only') => {
  const index = preparedIndex()
  return index === undefined ? buildMicroTable() : microTableBy(index)
})
const module = /* @__PURE__ */ once((width: AddressWidth) =>
  compile(preparedFor('interpreter', width) ?? writeInterpreter(microTable(), width)))
const vectors = /* @__PURE__ */ once((width: AddressWidth) =>
  compile(preparedFor('vector', width) ?? writeSingles(microTable(), 'vector', width)))
const longVectors = /* @__PURE__ */ once((width: AddressWidth) =>
  compile(preparedFor('avx', width) ?? writeSingles(microTable(), 'avx', width)))

const preparedFor = (name: PreparedModule, width: AddressWidth): OwnBytes | undefined => (width === 64 ? preparedModule(name) : undefined)

/** The micro-operations. */
export const microTable = (): MicroTable => table('only')

/** The interpreter for a width of linear addresses. */
export const compileInterpreter = (width: AddressWidth): WebAssembly.Module => module(width)

/** The functions of a group that go with it. */
export const compileGroup = (group: LaterGroup, width: AddressWidth): WebAssembly.Module =>
  (group === 'vector' ? vectors : longVectors)(width)
