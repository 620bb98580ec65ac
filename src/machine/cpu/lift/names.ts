/**
 * Names of micro-operations, made once for all operand sizes and conditions: putting strings together for each instruction, and
 * looking up what has just been put together, would cost more than all else in a lifter.
 */
import type { Size } from '../emit/binder.ts'

/** Something for each operand size. */
export class BySize<T> {
  /** By a sixteenth of the size: 0, 1, 2 and 4. */
  private readonly values: readonly T[]

  constructor(make: (size: Size) => T) {
    this.values = ([8, 16, 32, 32, 64] as const).map(make)
  }

  /** That of one size. hot path: several times for every newly met instruction. */
  of(size: Size): T {
    return this.values[size >> 4]!
  }
}

/** Names with the size between two parts: `first.SIZE.last`, or without a last one. */
export const sizedNames = (first: string, last?: string): BySize<string> =>
  new BySize((size) => (last === undefined ? `${first}.${size}` : `${first}.${size}.${last}`))

/** Names of an operation's forms. */
export interface FormNames {
  readonly rr: string
  readonly ri: string
  readonly rm: string
  readonly mr: string
  readonly mi: string
}

/** Names of an operation's forms for each size. */
export const formNames = (name: string): BySize<FormNames> =>
  new BySize((size) => {
    const start = `${name}.${size}`
    return { rr: `${start}.rr`, ri: `${start}.ri`, rm: `${start}.rm`, mr: `${start}.mr`, mi: `${start}.mi` }
  })
