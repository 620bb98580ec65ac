/**
 * Watching a processor at work: what hooks are told, and how they stop it. A processor without hooks does not know of
 * them; one with hooks executes instruction by instruction, or, where all that is asked for are breakpoints and watchpoints,
 * at full speed but for the places that are looked for.
 */
import type { Disassembled } from './disassembled.ts'
import type { Registers } from './registers.ts'

/** Bytes whose accesses are looked for. */
export interface WatchedBytes {
  /** `linear`: wherever that address leads; `physical`: those bytes of the machine's memory, by whatever address. */
  readonly space: 'linear' | 'physical'
  /** Of the first byte: signed, or an offset in the machine's memory. */
  readonly address: number
  readonly length: number
  /** What is looked for. What reads and writes counts as a write. */
  readonly kind: 'read' | 'write' | 'access'
}

/** What a hook may answer: the run is to end, with EXIT.DEBUG. */
export type TraceAnswer = 'stop' | void

/** The instruction that comes next. The object is used again for the one after it. */
export interface TracedInstruction {
  /** Linear address, a signed number. */
  readonly address: number
  /** Instructions that the processor has done since it was made. */
  readonly count: number
  /** The processor's registers, as they are before the instruction. */
  readonly registers: Registers
  /** The instruction itself, disassembled when asked for; undefined when it cannot be fetched. */
  readonly instruction: Disassembled | undefined
}

/** One access to memory by an instruction that has been done. What reads and writes counts as a write. */
export interface TracedAccess {
  readonly kind: 'read' | 'write'
  /** Linear address of the first byte, signed. */
  readonly address: number
  /** Bytes. */
  readonly size: number
  /** What was read, or what has been written. */
  readonly value: bigint
  /** What a write has replaced; for a read the value again. */
  readonly previous: bigint
  /** Linear address of the instruction. */
  readonly instruction: number
  /** Offset in the machine's memory of the first byte. */
  readonly physical: number
  /** Instructions that the processor had done before it, and how many it counted for. */
  readonly count: number
  readonly cost: number
}

/** A fault or trap on its way to whoever handles it. */
export interface TracedException {
  readonly vector: number
  readonly errorCode: number
  /** Faulting address of a page fault. */
  readonly address: number
  /** Linear address of the instruction that raised it, or before which it comes. */
  readonly instruction: number
}

/**
 * What is to be watched; each hook is called in the processor's run and must not run it itself. One that throws ends
 * its trace, see {@link Trace.error}.
 */
export interface TraceHooks {
  /** Before each instruction, and before each round of a repeated one. 'stop': it is not executed in this run. */
  readonly instruction?: (event: TracedInstruction) => TraceAnswer
  /** After an instruction, for each of its accesses to memory in their order; not for fetches and page walks. */
  readonly memory?: (event: TracedAccess) => TraceAnswer
  /** For each exception, before it is delivered or told to the host. */
  readonly exception?: (event: TracedException) => TraceAnswer
  /** Linear addresses, signed, before whose instructions `breakpoint` is called. */
  readonly breakpoints?: ReadonlySet<number>
  /** 'stop': the instruction is not executed in this run. */
  readonly breakpoint?: (event: TracedInstruction) => TraceAnswer
  /** Bytes of which `watchpoint` is called after an instruction that accesses them; only their pages are slower to access. */
  readonly watchpoints?: readonly WatchedBytes[]
  /** Called with each access to them; what it answers decides whether the run goes on. */
  readonly watchpoint?: (event: TracedAccess) => TraceAnswer
}

/** A trace under way. */
export interface Trace {
  /** Ends it; once more does nothing. */
  stop(): void
  readonly active: boolean
  /** What a hook has thrown, which ended the trace. */
  readonly error: unknown
}
