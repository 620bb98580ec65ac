/**
 * What all processors of a machine share: the generated interpreter, compiled once, and the cache of decoded code. Made
 * when the first processor is.
 */
import type { PhysicalMemory } from '../../physical-memory.ts'
import { Clipper } from '../clip.ts'
import { CodeCache } from '../code-cache.ts'
import { GUEST_FAULT } from '../core.ts'
import type { Core } from '../core.ts'
import { HANDLERS } from '../handlers/index.ts'
import { RECORD } from '../record.ts'
import { STATUS } from '../state.ts'
import type { MicroTable } from '../uops/index.ts'
import { compileInterpreter, compileVectors, microTable } from './compiled.ts'
import type { InterpreterExports } from './module.ts'
import type { SinglesImports } from './singles.ts'

/** Interpreter and decoded code of one machine. */
export class Engine {
  readonly memory: PhysicalMemory
  readonly table: MicroTable
  readonly code: CodeCache
  readonly clipper: Clipper
  private readonly modules: { -readonly [K in 32 | 64]?: InterpreterExports } = {}
  private readonly cores = new Map<number, Core>()

  constructor(memory: PhysicalMemory) {
    this.memory = memory
    this.table = microTable()
    this.code = new CodeCache(memory, this.table)
    this.clipper = new Clipper(memory.view, this.table)
  }

  /** Lets handlers find a core by its base. */
  attach(core: Core): void {
    this.cores.set(core.base, core)
    this.code.attach(core)
  }

  detach(core: Core): void {
    this.cores.delete(core.base)
    this.code.detach(core)
  }

  /** The interpreter for 64-bit or for shorter linear addresses. */
  interpreter(width: 32 | 64): InterpreterExports {
    return (this.modules[width] ??= this.compile(width))
  }

  private compile(width: 32 | 64): InterpreterExports {
    const instance = new WebAssembly.Instance(compileInterpreter(width), {
      env: {
        loadVectors: () => this.loadVectors(width),
        memory: this.memory.memory,
        handler: (base: number, record: number) => this.handle(base >>> 0, record >>> 0),
        codeWritten: (mfn: number) => this.code.invalidate(mfn),
        watched: (base: number, bytes: number, isWrite: number) =>
          this.cores.get(base >>> 0)!.debug.atAccess(bytes, isWrite !== 0),
      },
    })
    // The exports are those that writeInterpreter declares.
    return instance.exports as unknown as InterpreterExports
  }

  /** Adds the functions of vector operations. */
  private loadVectors(width: 32 | 64): void {
    const { singles, readHost, writeHost, commit } = this.interpreter(width)
    const env: SinglesImports = {
      memory: this.memory.memory, singles, readHost, writeHost, commit,
      handler: (base, record) => this.handle(base >>> 0, record >>> 0),
    }
    new WebAssembly.Instance(compileVectors(width), { env: { ...env } })
  }

  /** Runs the handler that a record names. */
  private handle(base: number, record: number): number {
    const core = this.cores.get(base)!
    const handler = HANDLERS[this.memory.view.getUint32(record + RECORD.immediate, true)]!
    try {
      return handler(core, record)
    } catch (error) {
      if (error === GUEST_FAULT) return STATUS.FAULT
      throw error
    }
  }
}
