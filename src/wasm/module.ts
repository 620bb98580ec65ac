/**
 * Writes a WebAssembly module: types, imports, functions, globals, tables, exports. Imports come first, as in the
 * format, and functions are numbered in the order in which they are declared. It knows no x86.
 * Reference: WebAssembly core specification 2.0, section 5.5; branch hinting proposal, "Binary representation".
 */
import type { OwnBytes } from '../util/index.ts'
import { ByteSink } from './byte-writer.ts'
import { Code, VALUE_TYPE } from './code.ts'
import type { ValueType } from './code.ts'

const SECTION = { custom: 0, type: 1, import: 2, function: 3, table: 4, global: 6, export: 7, element: 9, code: 10 } as const
const KIND = { function: 0, table: 1, memory: 2, global: 3 } as const
const FUNCREF = 0x70
/** Bytes that a function takes beside its instructions, mostly. */
const FUNCTION_FRAME = 32

interface DefinedFunction {
  readonly type: number
  readonly code: Code
}

/** Collects the parts of a module. */
export class ModuleWriter {
  private readonly types: string[] = []
  private readonly typeBytes: Uint8Array[] = []
  private readonly imports: Uint8Array[] = []
  private readonly functions: DefinedFunction[] = []
  private readonly globals: Uint8Array[] = []
  private readonly exports: Uint8Array[] = []
  private readonly tables: Uint8Array[] = []
  private readonly elements: Uint8Array[] = []
  private importedFunctions = 0
  private importedGlobals = 0

  /** Number of a function type. */
  type(parameters: readonly ValueType[], results: readonly ValueType[]): number {
    const key = `${parameters.join()}:${results.join()}`
    const known = this.types.indexOf(key)
    if (known >= 0) return known
    const sink = new ByteSink(16)
    sink.byte(0x60)
    for (const list of [parameters, results]) {
      sink.unsigned(list.length)
      for (const type of list) sink.byte(VALUE_TYPE[type])
    }
    this.types.push(key)
    this.typeBytes.push(sink.view())
    return this.types.length - 1
  }

  private import(from: string, name: string, describe: (sink: ByteSink) => void): void {
    const sink = new ByteSink(32)
    sink.name(from)
    sink.name(name)
    describe(sink)
    this.imports.push(sink.view())
  }

  /** Imports the memory. */
  importMemory(from: string, name: string): void {
    this.import(from, name, (sink) => sink.bytes([KIND.memory, 0x00, 0x00]))
  }

  /** Imports a function; to be called before any function is defined. */
  importFunction(from: string, name: string, parameters: readonly ValueType[], results: readonly ValueType[]): number {
    if (this.functions.length > 0) throw new Error('imports come before definitions')
    const type = this.type(parameters, results)
    this.import(from, name, (sink) => {
      sink.byte(KIND.function)
      sink.unsigned(type)
    })
    return this.importedFunctions++
  }

  /** Imports a table of at least `size` functions, number 0 in `callIndirect`. */
  importTable(from: string, name: string, size: number): void {
    this.import(from, name, (sink) => {
      sink.bytes([KIND.table, FUNCREF, 0])
      sink.unsigned(size)
    })
  }

  /** Imports an immutable global; to be called before any global is defined. */
  importGlobal(from: string, name: string, type: ValueType): number {
    if (this.globals.length > 0) throw new Error('imports come before definitions')
    this.import(from, name, (sink) => sink.bytes([KIND.global, VALUE_TYPE[type], 0]))
    return this.importedGlobals++
  }

  /** Defines a mutable i32 global. */
  global(initial: number): number {
    const sink = new ByteSink(8)
    sink.bytes([VALUE_TYPE.i32, 1, 0x41])
    sink.signed(initial)
    sink.byte(0x0b)
    this.globals.push(sink.view())
    return this.importedGlobals + this.globals.length - 1
  }

  /** Defines and exports a table of `size` functions, number 0 in `callIndirect`. */
  table(name: string, size: number): void {
    const sink = new ByteSink(8)
    sink.bytes([FUNCREF, 0])
    sink.unsigned(size)
    this.tables.push(sink.view())
    this.exportAs(name, KIND.table, 0)
  }

  /** Puts functions into table 0 when the module is instantiated, the first at index `from`. */
  element(from: number, functions: readonly number[]): void {
    const sink = new ByteSink(functions.length * 2 + 16)
    sink.bytes([0, 0x41])
    sink.signed(from)
    sink.byte(0x0b)
    sink.unsigned(functions.length)
    for (const index of functions) sink.unsigned(index)
    this.elements.push(sink.view())
  }

  /**
   * Declares a function, to be called by number at once and written through the `Code` that comes back; `expected` is about
   * how many bytes of instructions it will have.
   */
  function(parameters: readonly ValueType[], results: readonly ValueType[], expected?: number): { index: number; code: Code } {
    const code = new Code(parameters.length, expected)
    this.functions.push({ type: this.type(parameters, results), code })
    return { index: this.importedFunctions + this.functions.length - 1, code }
  }

  /** Exports a function. */
  export(name: string, index: number): void {
    this.exportAs(name, KIND.function, index)
  }

  private exportAs(name: string, kind: number, index: number): void {
    const sink = new ByteSink(32)
    sink.name(name)
    sink.byte(kind)
    sink.unsigned(index)
    this.exports.push(sink.view())
  }

  /** The module's bytes. */
  finish(): OwnBytes {
    // Most of it is instructions: buffers that fit are not copied while they grow.
    const expected = this.functions.reduce((bytes, { code }) => bytes + code.length + FUNCTION_FRAME, 1024)
    const [out, content] = [new ByteSink(2 * expected), new ByteSink(expected)]
    out.bytes([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00])
    const section = <T>(id: number, entries: readonly T[], write: (sink: ByteSink, entry: T) => void): void => {
      if (entries.length === 0) return
      content.clear()
      content.unsigned(entries.length)
      for (const entry of entries) write(content, entry)
      out.byte(id)
      out.unsigned(content.length)
      out.bytes(content.view())
    }
    const asIs = (sink: ByteSink, entry: Uint8Array): void => sink.bytes(entry)
    section(SECTION.type, this.typeBytes, asIs)
    section(SECTION.import, this.imports, asIs)
    section(SECTION.function, this.functions, (sink, { type }) => sink.unsigned(type))
    section(SECTION.table, this.tables, asIs)
    section(SECTION.global, this.globals, asIs)
    section(SECTION.export, this.exports, asIs)
    section(SECTION.element, this.elements, asIs)
    this.writeHints(out)
    section(SECTION.code, this.functions, (sink, { code }) => code.writeTo(sink))
    return out.view().slice()
  }

  /** Says which branches are rarely taken: engines that do not know the section pass it by. */
  private writeHints(out: ByteSink): void {
    const hinted = this.functions.map(({ code }, index) => ({ index: this.importedFunctions + index, rare: code.rareBranches() }))
      .filter(({ rare }) => rare.length > 0)
    if (hinted.length === 0) return
    const content = new ByteSink(1024)
    content.name('metadata.code.branch_hint')
    content.unsigned(hinted.length)
    for (const { index, rare } of hinted) {
      content.unsigned(index)
      content.unsigned(rare.length)
      for (const at of rare) {
        content.unsigned(at)
        // One byte, which is 0 for a branch that is not likely.
        content.bytes([1, 0])
      }
    }
    out.byte(SECTION.custom)
    out.unsigned(content.length)
    out.bytes(content.view())
  }
}
