/**
 * Executing one record completely, slow paths included: one function for each micro-operation, in a table by the
 * micro-operation's number. They are small functions rather than one large one so that V8 compiles only those that are
 * met, and each of them well. Those of a group other than `common` are a module of their own, generated when the first
 * of them is met.
 */
import type { OwnBytes } from '../../../util/index.ts'
import { ModuleWriter } from '../../../wasm/index.ts'
import type { AddressWidth } from '../emit/binder.ts'
import { FullBinder } from '../emit/full-binder.ts'
import type { SlowFunctions } from '../emit/full-binder.ts'
import type { MicroTable } from '../uops/micro-table.ts'
import type { LaterGroup, Micro, MicroGroup } from '../uops/micro.ts'
import { pushNumber } from './loop.ts'

/** What a module of singles imports: from the machine, and from the interpreter's exports. */
export interface SinglesImports {
  readonly memory: WebAssembly.Memory
  readonly handler: (base: number, record: number) => number
  readonly singles: WebAssembly.Table
  readonly readHost: WebAssembly.ExportValue
  readonly writeHost: WebAssembly.ExportValue
  readonly commit: (base: number) => number
}

/** What the functions are written with. */
export interface SinglesOptions {
  readonly group: MicroGroup
  readonly functions: SlowFunctions
  readonly width: AddressWidth
}

/** Vector operations call none of the runtime's functions. */
const NO_RUNTIME: ReadonlyMap<string, number> = new Map()

/** (base, record) -> status. */
const PARAMETERS = ['i32', 'i32'] as const
const RESULTS = ['i32'] as const

/** Type of the functions in the table. */
export const singleType = (module: ModuleWriter): number => module.type(PARAMETERS, RESULTS)

/** Adds the functions of a group and their places in table 0. A pair is executed as its first half. */
export function defineSingles(module: ModuleWriter, table: MicroTable, options: SinglesOptions): void {
  const functions = new Map<Micro, number>()
  const members = table.all.filter(({ group, pair }) => group === options.group && pair === undefined)
  for (const micro of members) functions.set(micro, writeSingle(module, micro, options))
  fillTable(module, table, (micro) => functions.get(micro.pair?.first ?? micro))
}

/** Puts the functions that `indexOf` names into table 0, one element for each run of numbers. */
function fillTable(module: ModuleWriter, table: MicroTable, indexOf: (micro: Micro) => number | undefined): void {
  let run: number[] = []
  const flush = (end: number): void => {
    if (run.length > 0) module.element(end - run.length, run)
    run = []
  }
  table.all.forEach((micro, number) => {
    const index = indexOf(micro)
    if (index === undefined) flush(number)
    else run.push(index)
  })
  flush(table.all.length)
}

function writeSingle(module: ModuleWriter, micro: Micro, options: SinglesOptions): number {
  const { index, code } = module.function(PARAMETERS, RESULTS)
  const status = code.local('i32')
  const { functions, width } = options
  const segmented = micro.group === 'segmented'
  micro.emit(new FullBinder(code, { base: 0, record: 1, status, functions, width, segmented }))
  code.get(status)
  return index
}

/** A group that is not there yet, its number, and the function that has it loaded. */
export interface AbsentGroup {
  readonly group: LaterGroup
  readonly number: number
  readonly load: number
}

/** Adds the function that stands for those of another group: it has the module loaded, then calls what is there now. */
export function defineAbsent(module: ModuleWriter, table: MicroTable, absent: AbsentGroup): void {
  const { index, code } = module.function(PARAMETERS, RESULTS)
  code.i32(absent.number)
  code.call(absent.load)
  code.get(0)
  code.get(1)
  pushNumber(code, 1)
  code.callIndirect(singleType(module))
  fillTable(module, table, ({ group }) => (group === absent.group ? index : undefined))
}

/** Writes the module of a group. */
export function writeSingles(table: MicroTable, group: MicroGroup, width: AddressWidth): OwnBytes {
  const module = new ModuleWriter()
  module.importMemory('env', 'memory')
  module.importTable('env', 'singles', table.all.length)
  const handler = module.importFunction('env', 'handler', PARAMETERS, RESULTS)
  const forRead = module.importFunction('env', 'readHost', ['i32', 'i64', 'i32'], ['i32'])
  const forWrite = module.importFunction('env', 'writeHost', ['i32', 'i64', 'i32'], ['i32'])
  const commit = module.importFunction('env', 'commit', ['i32'], ['i32'])
  const functions = { handler, forRead, forWrite, commit, checkSegment: -1, runtime: NO_RUNTIME, runtimeInSegments: NO_RUNTIME }
  defineSingles(module, table, { group, width, functions })
  return module.finish()
}
