/**
 * What a micro-operation is: a name, one function that writes its WebAssembly, and how often it is needed. Names read
 * `operation.size.operands`: r is a register, i the immediate, m1 and m2 memory in the two forms of an address.
 */
import type { Binder, FlagSource } from '../emit/binder.ts'

/** Writes a micro-operation's meaning; `before` tells what the one just before it left in flags. */
export type Emit = (b: Binder, before?: FlagSource) => FlagSource | void

/** One micro-operation, or a pair of two in consecutive records that is dispatched once. */
export interface Micro {
  readonly name: string
  readonly emit: Emit
  /** Belongs into the interpreter's loop; others are executed by a call. */
  readonly hot: boolean
  /** Touches memory, so that a version outside the loop is needed too. */
  readonly memory: boolean
  /** For a pair: the name of its first half, and the meaning of its second. */
  readonly first?: string
  readonly second?: Emit
}

/** Collects micro-operations. */
export class MicroList {
  readonly all: Micro[] = []

  /** Adds one that is executed outside the loop. */
  rare(name: string, emit: Emit): void {
    this.add(name, emit, { hot: false, memory: false })
  }

  /** Adds one to the loop that touches registers only. */
  hot(name: string, emit: Emit): void {
    this.add(name, emit, { hot: true, memory: false })
  }

  /** Adds one, hot or not. */
  add(name: string, emit: Emit, options: { hot: boolean; memory: boolean }): void {
    this.all.push({ name, emit, ...options })
  }
}
