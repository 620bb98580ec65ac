/** Which code a machine has executed, by basic block and by edge between blocks. */

/** A block that was executed: instructions in a row, as the processor decoded them from where control came to them. */
export interface CoveredBlock {
  /** Linear address at which it was executed first, a signed number. */
  readonly address: number
  readonly bytes: number
  readonly instructions: number
  /** How often it was begun; 32 bits. */
  readonly hits: number
}

/** Coverage under way. */
export interface MachineCoverage {
  /** 65,536 counters of 8 bits by edge, as AFL's; they wrap, and change as the machine runs. */
  readonly map: Uint8Array
  /** Blocks executed since the beginning or the last reset, by address. */
  blocks(): readonly CoveredBlock[]
  /** Sets all counters to zero. */
  reset(): void
  /** Ends it; code is decoded anew without. Once more does nothing. */
  stop(): void
}
