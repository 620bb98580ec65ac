/**
 * What all processors of a machine share: the generated interpreter, compiled once, and the cache of decoded code. Made
 * when the first processor is.
 */
import { once } from '../../../util/index.ts'
import type { MachineMemory } from '../../memory/machine-memory.ts'
import { Clipper } from '../code/clip.ts'
import { StackFaults } from './stack-fault.ts'
import type { ProcessorLevel } from '../cpuid/features.ts'
import { CodeCache } from '../code/code-cache.ts'
import { GUEST_FAULT } from '../core/faults.ts'
import type { Core } from '../core/core.ts'
import { HANDLERS, HANDLER_NUMBERS, HANDLER_PRICES } from '../handlers/table.ts'
import { RECORD } from '../layout/record.ts'
import { STATUS, isUndone } from '../layout/state.ts'
import { LATER_GROUPS } from '../uops/micro.ts'
import type { LaterGroup } from '../uops/micro.ts'
import type { MicroTable } from '../uops/micro-table.ts'
import { compileGroup, compileInterpreter, microTable } from '../interpreter/compiled.ts'
import type { InterpreterExports } from '../interpreter/module.ts'
import { RegionCompiler } from '../region/life/compiler.ts'
import type { CompilerSettings } from '../region/life/defaults.ts'
import type { MakerParts, RegionMakers } from '../region/life/makers.ts'
import type { Refusal } from '../region/form/region.ts'
import type { Samples } from '../region/life/samples.ts'
import { Slots } from '../region/life/slots.ts'
import type { SinglesImports } from '../interpreter/singles.ts'

/** Instructions that generated code executes before it comes back once, where no samples are taken. */
const SLICE = 400_000

/** How a machine's hot code is compiled. */
export interface CompilingTier {
  readonly settings: CompilerSettings
  readonly makers: (parts: MakerParts) => RegionMakers
}

/** Interpreter and decoded code of one machine. */
export class Engine {
  readonly memory: MachineMemory
  /** What its processors have. */
  readonly level: ProcessorLevel
  readonly table: MicroTable
  readonly code: CodeCache
  readonly clipper: Clipper
  readonly stackFaults: StackFaults
  /** The second tier, where there is one. */
  readonly compiler: RegionCompiler | undefined
  private readonly modules: { -readonly [K in 32 | 64]?: InterpreterExports } = {}
  private readonly cores = new Map<number, Core>()
  /** The core whose handler was called last: mostly that of the next one. */
  private current: Core | undefined

  constructor(memory: MachineMemory, level: ProcessorLevel, tier?: CompilingTier) {
    this.level = level
    this.memory = memory
    this.table = microTable()
    this.code = new CodeCache(memory, this.table, { handlers: { numbers: HANDLER_NUMBERS }, level })
    this.clipper = new Clipper(memory.view, this.table)
    this.stackFaults = new StackFaults(this.table, level)
    this.compiler = tier && this.makeCompiler(tier)
  }

  private makeCompiler({ settings, makers }: CompilingTier): RegionCompiler {
    const { memory, code, table } = this
    const made = once((_: 'only') => {
      const interpreter = this.interpreter(64)
      const { singles, isMapped } = interpreter
      const { find, translator, functions } = makers({ memory, table, interpreter })
      return { find, translator, slots: new Slots(singles), functions: { ...functions, isMapped } }
    })
    return new RegionCompiler({ memory, code, settings, makers: () => made('only') })
  }

  /** Instructions until generated code comes back for the first time. */
  get slice(): number {
    return this.compiler?.slice ?? SLICE
  }

  /** Instructions until it comes back the next time: a sample is due, or a look at where a processor that is followed goes. */
  nextSlice(core: Core, samples: Samples): number {
    const { compiler } = this
    if (compiler === undefined) return SLICE
    return compiler.isTracing(core) ? compiler.trace(core) : compiler.sample(core, samples)
  }

  /** Lets handlers find a core by its base. */
  attach(core: Core): void {
    this.cores.set(core.registers.base, core)
    this.code.attach(core.translations)
    // Its generations begin anew, and so they do when they have run out.
    const { fronts } = this.code
    fronts.forgetContexts()
    core.translations.whenContextsBeginAnew(() => fronts.forgetContexts())
  }

  detach(core: Core): void {
    this.current = undefined
    this.cores.delete(core.registers.base)
    this.code.detach(core.translations)
  }

  /** All cores, whether they run or not. */
  attached(): IterableIterator<Core> {
    return this.cores.values()
  }

  /** Compiles the code at the rip of the processor at `base`, hot or not; what came of it. */
  compileAt(base: number): 'installed' | Refusal | 'off' {
    return this.compiler === undefined ? 'off' : this.compiler.compileAt(this.cores.get(base)!)
  }

  /** The interpreter for 64-bit or for shorter linear addresses. */
  interpreter(width: 32 | 64): InterpreterExports {
    return (this.modules[width] ??= this.compile(width))
  }

  /** Makes what the first processor of 64 bits makes, and the vector instructions that programs begin with; once. */
  prepare(): void {
    if (this.modules[64] !== undefined) return
    this.interpreter(64)
    this.loadGroup('vector', 64)
  }

  private compile(width: 32 | 64): InterpreterExports {
    const instance = new WebAssembly.Instance(compileInterpreter(width), {
      env: {
        loadGroup: (group: number) => this.loadGroup(LATER_GROUPS[group]!, width),
        memory: this.memory.memory,
        handler: (base: number, record: number) => this.handle(base >>> 0, record >>> 0),
        codeWritten: (mfn: number) => this.code.invalidate(mfn),
        physical: (base: number, page: number) => this.cores.get(base >>> 0)!.nested!.ask(page >>> 0),
        watched: (base: number, bytes: number, isWrite: number) =>
          this.cores.get(base >>> 0)!.debug.atAccess(bytes, isWrite !== 0),
      },
    })
    // The exports are those that writeInterpreter declares.
    return instance.exports as unknown as InterpreterExports
  }

  /** Adds the functions of a group. */
  private loadGroup(group: LaterGroup, width: 32 | 64): void {
    const { singles, readHost, writeHost, commit } = this.interpreter(width)
    const env: SinglesImports = {
      memory: this.memory.memory, singles, readHost, writeHost, commit,
      handler: (base, record) => this.handle(base >>> 0, record >>> 0),
    }
    new WebAssembly.Instance(compileGroup(group, width), { env: { ...env } })
  }

  /** Runs the handler that a record names. */
  private handle(base: number, record: number): number {
    const core = this.current?.registers.base === base ? this.current : this.take(base)
    const number = this.memory.view.getUint32(record + RECORD.immediate, true)
    const handler = HANDLERS[number]!
    // Paid before, so that the handler sees the time at which it ends; an instruction that did nothing costs nothing.
    const price = core.progress.countsWork ? HANDLER_PRICES[number]! : 0
    core.progress.pay(price)
    let status: number = STATUS.FAULT
    try {
      status = handler(core, record)
    } catch (error) {
      if (error !== GUEST_FAULT) throw error
    }
    if (price === 0) return status
    if (isUndone(status)) core.progress.pay(-price)
    // What is left does not reach the end of the block any more: the block is left here, so that runs end where they are due.
    return status === STATUS.NEXT && core.progress.isOverdrawn && this.endsInstruction(record) ? STATUS.RELOAD : status
  }

  private take(base: number): Core {
    return (this.current = this.cores.get(base)!)
  }

  /**
   * True for the last record of an instruction: behind it the block may be left. Where a handler has records behind it, the
   * instruction ends its block (Lifter.partHandler).
   */
  private endsInstruction(record: number): boolean {
    const { view } = this.memory
    const next = record + RECORD.bytes
    return view.getUint16(next + RECORD.number, true) === 0
      || view.getUint16(next + RECORD.ip, true) !== view.getUint16(record + RECORD.ip, true)
  }
}
