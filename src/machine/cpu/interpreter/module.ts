/**
 * Generates the interpreter as a WebAssembly module: the loop with one `br_table` over the frequent micro-operations,
 * functions that execute single records completely (singles.ts), and the runtime that both call. Everything takes the
 * processor's base as a parameter, so that one instance serves all processors of a machine.
 */
import type { OwnBytes } from '../../../util/index.ts'
import { ModuleWriter } from '../../../wasm/index.ts'
import type { AddressWidth } from '../emit/binder.ts'
import type { SlowFunctions } from '../emit/full-binder.ts'
import { defineAccess } from '../runtime/access.ts'
import { defineBlocks } from '../runtime/blocks.ts'
import type { BlockFunctions } from '../runtime/blocks.ts'
import { defineMapping } from '../runtime/mapping.ts'
import { defineSegments } from '../runtime/segments.ts'
import { defineNested } from '../runtime/nested.ts'
import { defineStrings } from '../runtime/strings.ts'
import type { StringName } from '../runtime/strings.ts'
import { defineWalk } from '../runtime/walk.ts'
import { State } from '../layout/state.ts'
import { LATER_GROUPS } from '../uops/micro.ts'
import type { MicroTable } from '../uops/micro-table.ts'
import { writeLoop } from './loop.ts'
import { defineAbsent, defineSingles, singleType } from './singles.ts'

/** Imports of the module. */
export interface InterpreterImports {
  readonly memory: WebAssembly.Memory
  /** (base, record) -> status: executes the record's TypeScript handler. */
  readonly handler: (base: number, record: number) => number
  /** Decoded code in a frame has been overwritten. */
  readonly codeWritten: (mfn: number) => void
  /** An operation of a group of LATER_GROUPS, by its place there, is met: puts the functions of all of them into `singles`. */
  readonly loadGroup: (group: number) => void
  /**
   * (base, bytes, 1 for a write) -> 0 to fault, 1 to go on, otherwise the host address to use: looks at an access to the
   * address in `watchedAddress`.
   */
  readonly watched: (base: number, bytes: number, isWrite: number) => number
  /** (base, guest-physical page) -> what the host has of it (runtime/nested.ts), 0 for nothing. */
  readonly physical: (base: number, page: number) => number
}

/** The functions of string instructions, (base, record) -> status, for flat segments. */
export type StringExports = Readonly<Record<`string.${StringName}`, WebAssembly.ExportValue>>

/** Exports of the module. 64-bit addresses go through the state, not through parameters. */
export interface InterpreterExports extends StringExports {
  /** (base, block or 0) -> status. */
  readonly run: (base: number, block: number) => number
  /** (base, access) -> host address of the address in `faultAddress`, 0 on a fault. */
  readonly translate: (base: number, access: number) => number
  /** The same without a trace: 0 also where an access would leave one in the page tables. */
  readonly peek: (base: number, access: number) => number
  /** (base, list of pages) -> 1 when they are mapped as it says (runtime/mapping.ts). */
  readonly isMapped: (base: number, list: number) => number
  /** (base, bytes) -> host address to read or to write, then `commit`. */
  readonly forRead: (base: number, bytes: number) => number
  readonly forWrite: (base: number, bytes: number) => number
  readonly commit: (base: number) => number
  /** (record) -> instructions of the block behind this one. */
  readonly remaining: (record: number) => number
  /** Functions that execute a record, by its number; what further ones import. */
  readonly singles: WebAssembly.Table
  readonly readHost: WebAssembly.ExportValue
  readonly writeHost: WebAssembly.ExportValue
  /** (base, offset, access) -> 1, or 0 on a fault. */
  readonly checkSegment: (base: number, offset: number, access: number) => number
}

/** Writes the module for one width of linear addresses. */
export function writeInterpreter(table: MicroTable, width: AddressWidth): OwnBytes {
  const module = new ModuleWriter()
  module.importMemory('env', 'memory')
  const loadGroup = module.importFunction('env', 'loadGroup', ['i32'], [])
  const handler = module.importFunction('env', 'handler', ['i32', 'i32'], ['i32'])
  const codeWritten = module.importFunction('env', 'codeWritten', ['i32'], [])
  const watched = module.importFunction('env', 'watched', ['i32', 'i32', 'i32'], ['i32'])
  const physical = module.importFunction('env', 'physical', ['i32', 'i32'], ['i32'])
  const { probe, peek } = defineWalk(module, width, { nested: defineNested(module, physical), codeWritten })
  const access = defineAccess(module, probe, { codeWritten, watched, width })
  const blocks = defineBlocks(module, { probe, peek }, width)
  const checkSegment = defineSegments(module)
  const runtime = defineStrings(module, access)
  const runtimeInSegments = width === 32 ? defineStrings(module, access, checkSegment) : new Map<string, number>()
  const functions: SlowFunctions = { ...access, checkSegment, handler, runtime, runtimeInSegments }
  module.table('singles', table.all.length)
  defineSingles(module, table, { group: 'common', functions, width })
  if (width === 32) defineSingles(module, table, { group: 'segmented', functions, width })
  LATER_GROUPS.forEach((group, number) => defineAbsent(module, table, { load: loadGroup, group, number }))
  for (const [name, func] of runtime) module.export(`string.${name}`, func)
  const run = module.function(['i32', 'i32'], ['i32'])
  writeLoop(run.code, table, { blocks, single: singleType(module), width })
  module.export('run', run.index)
  exportAccess(module, { probe, peek, access, blocks })
  module.export('isMapped', defineMapping(module, peek))
  module.export('checkSegment', checkSegment)
  return module.finish()
}

/** Exports for TypeScript: addresses come through the state's fault address. */
function exportAccess(
  module: ModuleWriter,
  parts: { probe: number; peek: number; access: { forRead: number; forWrite: number; commit: number }; blocks: BlockFunctions },
): void {
  for (const [name, func] of [
    ['translate', parts.probe], ['peek', parts.peek], ['forRead', parts.access.forRead], ['forWrite', parts.access.forWrite],
  ] as const) {
    const { index, code } = module.function(['i32', 'i32'], ['i32'])
    code.get(0)
    code.get(0)
    code.memory('i64.load', State.faultAddress.offset)
    code.get(1)
    code.call(func)
    module.export(name, index)
  }
  module.export('readHost', parts.access.forRead)
  module.export('writeHost', parts.access.forWrite)
  module.export('commit', parts.access.commit)
  module.export('remaining', parts.blocks.remaining)
}
