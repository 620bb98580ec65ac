/** Where processors spend their instructions, by samples: the compiling tier takes them anyway. */

/** Samples of one address of code: of a compiled region all count at its entry. */
export interface ProfileSample {
  readonly address: number
  /** Samples that found the interpreter there, and that found a region. */
  readonly interpreted: number
  readonly compiled: number
}

/** The samples of one processor, or of several together. */
export interface ProcessorProfile {
  /** Instructions that a sample stands for; 0 where nothing is compiled, and so nothing sampled. */
  readonly slice: number
  /** The most frequent first. Of very many addresses those that came late are counted together, at address -1. */
  readonly samples: readonly ProfileSample[]
  /**
   * How often runs ended, by why: `budget`, `syscall`, `exception 14`, `interrupt 128`, `cpuid`, `in 0x42`, `physical` ... the most
   * frequent first. Counted whether anything is compiled or not.
   */
  readonly exits: Readonly<Record<string, number>>
}

/** A compiled region. */
export interface RegionProfile {
  /** Linear address of its entry. */
  readonly entry: number
  readonly instructions: number
  /** Bytes of machine code that it was made of. */
  readonly codeBytes: number
  readonly samples: number
  /**
   * Samples that found the interpreter after it had been left, by why that was: `mapping` for one that declined because its
   * pages are mapped elsewhere.
   */
  readonly exits: Readonly<Record<string, number>>
}
