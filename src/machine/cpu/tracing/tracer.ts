/**
 * Calls the hooks of a traced processor. Accesses are noted where all data accesses pass while they are watched
 * (core/debug.ts) and told when their instruction is done; a wish to stop is kept until the driver asks. Breakpoints are asked for by
 * records in decoded code (code/stop-offsets.ts); an access to watched bytes ends its instruction before it has had an effect, which is
 * then executed by itself, as everything is while hooks want to hear of each instruction.
 */
import { PAGE_SIZE } from '../../../x86/index.ts'
import type { Registers } from '../../interface/registers.ts'
import type {
  Trace, TraceAnswer, TraceHooks, TracedAccess, TracedException, TracedInstruction,
} from '../../interface/trace.ts'
import type { Views } from '../core/core.ts'
import type { StopOffsets } from '../code/stop-offsets.ts'
import type { Observer, Watched } from '../core/debug.ts'
import type { ProcessorLevel } from '../cpuid/features.ts'
import { Disassembler } from '../disassembler/disassembler.ts'
import type { Disassembled } from '../../interface/disassembled.ts'
import { ACCESS } from '../layout/state.ts'
import { instructionAt } from './code-at-rip.ts'
import { WatchSet, isWatched } from './watch-set.ts'

/** An access before its value is known: where its bytes lie in memory, in one piece or two. */
interface NotedAccess {
  readonly isWrite: boolean
  readonly address: number
  readonly size: number
  readonly pieces: readonly (readonly [host: number, bytes: number])[]
  readonly before: bigint
}

/** One trace: its hooks, and whether it goes on. */
class ActiveTrace implements Trace {
  readonly hooks: TraceHooks
  active = true
  error: unknown
  private readonly ended: (trace: ActiveTrace) => void

  constructor(hooks: TraceHooks, ended: (trace: ActiveTrace) => void) {
    this.hooks = hooks
    this.ended = ended
  }

  stop(): void {
    if (!this.active) return
    this.active = false
    this.ended(this)
  }

  /** True when the hook asks to stop. */
  ask<T>(hook: ((event: T) => TraceAnswer) | undefined, event: T): boolean {
    if (hook === undefined || !this.active) return false
    try {
      return hook(event) === 'stop'
    } catch (error) {
      this.error = error
      this.stop()
      return false
    }
  }
}

/** What of a processor is looked at. */
type Traced = Views<'registers' | 'memory' | 'debug' | 'translations'>

/** Offsets in their pages of a trace's breakpoints. */
const offsetsOf = ({ breakpoints }: TraceHooks): readonly number[] => [...breakpoints ?? []].map((address) => ((address % PAGE_SIZE) + PAGE_SIZE) % PAGE_SIZE)

/** What decodes code so that it asks at breakpoints. */
export interface StoppableCode {
  readonly stops: StopOffsets
  redecode(offsets: ReadonlySet<number>): void
}

/** The traces of one processor. */
export class Tracer implements Observer {
  private readonly core: Traced
  private readonly registers: Registers
  private readonly code: StoppableCode
  private readonly disassembler: Disassembler
  private traces: readonly ActiveTrace[] = []
  private watched = new WatchSet([])
  /** Some trace wants to hear of each instruction. */
  private follows = false
  /** The next instruction accesses what is watched: it is executed by itself. */
  private isNoting = false
  private noted: NotedAccess[] = []
  private readonly current: { address: number; count: number; readonly registers: Registers }
  /** A hook wants the run to end. */
  private wantsStop = false
  /** Instruction before which hooks have been called: its number and address; and the same of breakpoints. */
  private announced = -1
  private announcedAt = 0
  private brokenAt = { count: -1, address: 0 }

  constructor(core: Traced, registers: Registers, { level, code }: { readonly level: ProcessorLevel; readonly code: StoppableCode }) {
    this.disassembler = new Disassembler(level)
    this.core = core
    this.code = code
    this.registers = registers
    const describe = (): Disassembled | undefined => instructionAt(core, this.disassembler)
    this.current = Object.defineProperty(
      { address: 0, count: 0, registers: this.registers }, 'instruction', { get: describe, enumerable: true },
    )
  }

  /** True while each instruction is to be executed by itself, or the run is to end. */
  get active(): boolean {
    return this.follows || this.isNoting || this.wantsStop
  }

  /** True while accesses to memory are to be noted. */
  get watchesMemory(): boolean {
    return this.traces.some(({ hooks }) => hooks.memory !== undefined)
  }

  /** True while accesses to some pages are. */
  get watchesPages(): boolean {
    return !this.watched.isEmpty
  }

  /** Begins a trace. */
  start(hooks: TraceHooks): Trace {
    const offsets = offsetsOf(hooks)
    // Whoever begins to look has been told nothing.
    if (this.traces.length === 0) this.announced = this.brokenAt.count = -1
    const trace = new ActiveTrace(hooks, (one) => {
      this.code.stops.leave(offsets)
      this.follow(this.traces.filter((other) => other !== one))
    })
    this.code.redecode(this.code.stops.want(offsets))
    this.follow([...this.traces, trace])
    return trace
  }

  private follow(traces: readonly ActiveTrace[]): void {
    this.traces = traces
    this.follows = traces.some(({ hooks }) => hooks.instruction !== undefined || hooks.memory !== undefined || hooks.exception !== undefined)
    this.watched = new WatchSet(traces.flatMap(({ hooks }) => hooks.watchpoints ?? []))
    if (traces.length === 0) this.isNoting = this.wantsStop = false
    this.core.debug.updateWatch()
    // Those of pages that nobody has watched so far are remembered.
    if (this.watchesPages) this.core.translations.flush()
  }

  /** Ends all traces. */
  stopAll(): void {
    for (const trace of this.traces) trace.stop()
  }

  /** Takes the wish to stop. */
  takeStop(): boolean {
    const wanted = this.wantsStop
    this.wantsStop = false
    return wanted
  }

  /**
   * Before an instruction, `count` of them done: true when it is not to be executed now. An instruction that did not
   * get done is not announced twice, so that one at which a run has stopped is executed by the next.
   */
  before(count: number): boolean {
    const address = this.core.registers.linearRip
    if (count === this.announced && address === this.announcedAt) return false
    this.announced = count
    this.announcedAt = address
    this.current.address = address
    this.current.count = count
    return this.tell(({ instruction }) => instruction, this.current as TracedInstruction)
  }

  /** After an instruction, `done` of them done: tells of its accesses when it was done, forgets them when it faulted. */
  after(isDone: boolean, done: number): void {
    const { noted } = this
    if (isDone && this.isNoting) {
      this.isNoting = false
      this.core.debug.note(false)
    }
    if (noted.length === 0) return
    this.noted = []
    if (!isDone) return
    for (const { isWrite, address, size, pieces, before } of noted) {
      const event: TracedAccess = {
        kind: isWrite ? 'write' : 'read', address, size, value: isWrite ? this.read(pieces) : before, previous: before,
        instruction: this.announcedAt, physical: pieces[0]![0],
        count: this.announced, cost: done - this.announced,
      }
      if (this.tell(({ memory }) => memory, event)) this.wantsStop = true
      if (!this.watched.isEmpty && this.tellWatched(event)) this.wantsStop = true
    }
  }

  /** Tells those who watch some of the bytes. */
  private tellWatched(event: TracedAccess): boolean {
    return this.tell(({ watchpoint, watchpoints = [] }) => (isWatched(watchpoints, event) ? watchpoint : undefined), event)
  }

  look(address: number, size: number, isWrite: boolean): Watched {
    const found = this.watched.look({ address, size, isWrite }, (at) => this.core.memory.translate(at, isWrite ? ACCESS.WRITE : ACCESS.READ))
    if (!found.again) return found
    this.isNoting = true
    this.core.debug.note(true)
    return found
  }

  breaksAt(address: number, count: number): boolean {
    const { brokenAt, current } = this
    if (count === brokenAt.count && address === brokenAt.address) return false
    const isMeant = this.traces.some(({ hooks }) => hooks.breakpoints?.has(address) === true)
    if (!isMeant) {
      this.code.redecode(this.code.stops.askedInVain(((address % PAGE_SIZE) + PAGE_SIZE) % PAGE_SIZE))
      return false
    }
    this.brokenAt = { count, address }
    current.address = address
    current.count = count
    return this.tell(({ breakpoint, breakpoints }) => (breakpoints?.has(address) === true ? breakpoint : undefined), current as TracedInstruction)
  }

  /** An exception is about to be delivered. */
  exception(event: Omit<TracedException, 'instruction'>): void {
    const instruction = this.core.registers.linearRip
    if (this.tell(({ exception }) => exception, { ...event, instruction })) this.wantsStop = true
  }

  /** An instruction is about to access memory; it may still fault. */
  access(address: number, size: number, isWrite: boolean): void {
    const pieces: (readonly [number, number])[] = []
    for (let done = 0; done < size;) {
      // As the access itself will: one that faults leaves nothing in the tables.
      const host = this.core.memory.translate(address + done, isWrite ? ACCESS.WRITE : ACCESS.READ)
      if (host === 0) return
      const bytes = Math.min(size - done, PAGE_SIZE - (host % PAGE_SIZE))
      pieces.push([host, bytes])
      done += bytes
    }
    this.noted.push({ isWrite, address, size, pieces, before: this.read(pieces) })
  }

  private read(pieces: NotedAccess['pieces']): bigint {
    let value = 0n
    for (const [host, bytes] of [...pieces].reverse()) {
      for (let i = bytes - 1; i >= 0; i -= 1) value = (value << 8n) | BigInt(this.core.registers.bytes[host + i]!)
    }
    return value
  }

  private tell<T>(hookOf: (hooks: TraceHooks) => ((event: T) => TraceAnswer) | undefined, event: T): boolean {
    let stop = false
    for (const trace of this.traces) stop = trace.ask(hookOf(trace.hooks), event) || stop
    return stop
  }
}
