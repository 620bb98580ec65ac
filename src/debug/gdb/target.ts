/** What a session has in front of it: processes with threads as GDB means them, whatever they are here. */
import type { Domain } from '../../toolstack/index.ts'
import type { Ground } from '../inferior/ground.ts'
import type { Stop, ThreadPlace } from '../inferior/stop.ts'
import type { Watchpoint } from '../inferior/watchpoint.ts'
import type { ThreadContext } from '../inferior/thread-context.ts'
import type { TargetFacts } from './register-table.ts'

/** One process. */
export interface GdbProcess {
  readonly number: number
  readonly facts: TargetFacts
  threads(): readonly number[]
  nameOf(thread: number): string
  /** The vCPU that a thread is on; undefined where it is on none. */
  vcpuOf(thread: number): number | undefined
  context(thread: number): ThreadContext | undefined
  /** False where it is refused, and nothing has changed. */
  setContext(thread: number, context: ThreadContext): Promise<boolean>
  /** Bytes, as far as they are mapped. */
  read(address: bigint, length: number): Uint8Array
  write(address: bigint, bytes: Uint8Array): Promise<boolean>
  addBreakpoint(address: bigint): void
  removeBreakpoint(address: bigint): void
  addWatchpoint(watch: Watchpoint): void
  removeWatchpoint(watch: Watchpoint): void
  /** What its kernel told it as it began; undefined for what has none. */
  auxiliary(): Uint8Array | undefined
}

/** What is to run: processes, and of their threads those that stop behind one instruction. */
export interface TargetRun {
  readonly running: ReadonlySet<number>
  readonly steps: readonly ThreadPlace[]
}

/** All of it. */
export interface GdbTarget {
  readonly ground: Ground
  processes(): readonly GdbProcess[]
  /** The domain that a process belongs to, where it is there. */
  domainOf(process: number): Domain | undefined
  /** The thread that a stop is told of; undefined where there is none. */
  placeOf(stop: Stop): ThreadPlace | undefined
  run(run: TargetRun): Promise<Stop>
  back(step: ThreadPlace | undefined): Promise<Stop>
  /** All was brought elsewhere. */
  moved(): void
  /** The debugger leaves a process: it goes on. */
  leave(process: GdbProcess): void
  /** Ends a process; false where that cannot be. */
  kill(process: GdbProcess): boolean
  /** The debugger has gone. */
  release(): void
}
