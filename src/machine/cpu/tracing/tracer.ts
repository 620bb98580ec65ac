/**
 * Calls the hooks of a traced processor. Accesses are noted where all data accesses pass while they are watched
 * (core/debug.ts) and told when their instruction is done; a wish to stop is kept until the driver asks.
 */
import { PAGE_SIZE } from '../../../x86/index.ts'
import type { Registers } from '../../interface/registers.ts'
import type {
  Trace, TraceAnswer, TraceHooks, TracedAccess, TracedException, TracedInstruction,
} from '../../interface/trace.ts'
import type { Views } from '../core/core.ts'
import type { Observer } from '../core/debug.ts'
import type { ProcessorLevel } from '../cpuid/features.ts'
import { Disassembler } from '../disassembler/disassembler.ts'
import type { Disassembled } from '../../interface/disassembled.ts'
import { ACCESS } from '../layout/state.ts'
import { instructionAt } from './code-at-rip.ts'

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
type Traced = Views<'registers' | 'memory' | 'debug'>

/** The traces of one processor. */
export class Tracer implements Observer {
  private readonly core: Traced
  private readonly registers: Registers
  private readonly disassembler: Disassembler
  private traces: readonly ActiveTrace[] = []
  private noted: NotedAccess[] = []
  private readonly current: { address: number; count: number; readonly registers: Registers }
  /** A hook wants the run to end. */
  private wantsStop = false
  /** Instruction before which hooks have been called: its number and address. */
  private announced = -1
  private announcedAt = 0

  constructor(core: Traced, registers: Registers, level: ProcessorLevel) {
    this.disassembler = new Disassembler(level)
    this.core = core
    this.registers = registers
    const describe = (): Disassembled | undefined => instructionAt(core, this.disassembler)
    this.current = Object.defineProperty(
      { address: 0, count: 0, registers: this.registers }, 'instruction', { get: describe, enumerable: true },
    )
  }

  /** True while there are traces. */
  get active(): boolean {
    return this.traces.length !== 0
  }

  /** True while accesses to memory are to be noted. */
  get watchesMemory(): boolean {
    return this.traces.some(({ hooks }) => hooks.memory !== undefined)
  }

  /** Begins a trace. */
  start(hooks: TraceHooks): Trace {
    const trace = new ActiveTrace(hooks, (one) => {
      this.traces = this.traces.filter((other) => other !== one)
      this.core.debug.updateWatch()
    })
    this.traces = [...this.traces, trace]
    this.core.debug.updateWatch()
    return trace
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

  /** After an instruction: tells of its accesses when it was done, forgets them when it faulted. */
  after(isDone: boolean): void {
    const { noted } = this
    if (noted.length === 0) return
    this.noted = []
    if (!isDone) return
    for (const { isWrite, address, size, pieces, before } of noted) {
      const event: TracedAccess = {
        kind: isWrite ? 'write' : 'read', address, size, value: isWrite ? this.read(pieces) : before, previous: before,
        instruction: this.announcedAt,
      }
      if (this.tell(({ memory }) => memory, event)) this.wantsStop = true
    }
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
      const host = this.core.memory.translate(address + done, ACCESS.READ)
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
