/**
 * What a micro-operation is: a name and one function that writes its WebAssembly. Names read
 * `operation.size.operands`: r is a register, i the immediate, m1 and m2 memory in the two forms of an address.
 */
import type { Binder, FlagSource } from '../emit/binder.ts'

/** Writes a micro-operation's meaning; `before` tells what the one just before it left in flags. */
export type Emit = (b: Binder, before?: FlagSource) => FlagSource | void

/**
 * Which module holds the function that executes a record outside the loop: vector operations come when one is met,
 * those of `segmented`, for code whose segments are not flat, only where there are such segments.
 */
export type MicroGroup = 'common' | 'vector' | 'segmented'

/** One micro-operation, or a pair of two in consecutive records that is dispatched once. */
export interface Micro {
  readonly name: string
  readonly emit: Emit
  readonly group: MicroGroup
  /** For a pair: the name of its first half, and the meaning of its second. */
  readonly first: string | undefined
  readonly second: Emit | undefined
}

/** Collects micro-operations. */
export class MicroList {
  readonly all: Micro[] = []
  /** Where those that are added now belong. */
  group: MicroGroup = 'common'

  /** Adds one. */
  add(name: string, emit: Emit): void {
    this.all.push({ name, emit, group: this.group, first: undefined, second: undefined })
  }

  /** Adds a pair. */
  addPair(name: string, first: Micro, second: Emit): void {
    this.all.push({ name, emit: first.emit, group: first.group, first: first.name, second })
  }
}
