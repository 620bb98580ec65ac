/**
 * The compiling tier of a machine's processors as its owner sees it: how it is set, and what it tells of itself. Nothing of
 * it reaches a guest: whatever the settings, the same instructions are executed and counted, and time goes on alike.
 */

/** How hot code is found and compiled. Everything has a default. */
export interface CompilerOptions {
  /** Samples of a place in code before it is compiled; where they are few among all others, five times as many. */
  readonly samples?: number
  /** Instructions from one sample of a processor to the next. */
  readonly slice?: number
  /** Most instructions of a region, which is what is compiled as one function; three times as many where all of them have been seen to be executed. */
  readonly limit?: number
  /** Most regions that are put into one WebAssembly module. */
  readonly batch?: number
  /** Most modules that are kept; of those behind it the one goes that was sampled longest ago. */
  readonly modules?: number
  /** A test's aid: with each sample, one region in `oneIn` is dropped, chosen by the seed. */
  readonly drop?: { readonly seed: number; readonly oneIn: number }
  /** Milliseconds of any clock, such as `performance.now`: what the figures measure with. Without it they hold no times. */
  readonly now?: () => number
}

/** What the compiling tier of a machine has done. */
export interface CompilerFigures {
  /** Samples taken; how many of them found a region at work. */
  readonly samples: number
  readonly samplesInRegions: number
  /** Times that generated code came back to its driver after having been in a region. */
  readonly visits: number
  /** Regions there are, that were made, and dropped: because their code was written, for want of room, by a test's wish. */
  readonly regions: number
  readonly made: number
  readonly dropped: number
  /** Places that no region was made for, by the reason's name. */
  readonly refused: Readonly<Record<string, number>>
  /** Modules there are, and that were made. */
  readonly modules: number
  readonly modulesMade: number
  /** Instructions, and bytes of WebAssembly, in the regions there are. */
  readonly instructions: number
  readonly moduleBytes: number
  /** Bytes of decoded code, and of the copies of it that begin with regions. */
  readonly codeBytes: number
  readonly frontBytes: number
  /** Milliseconds spent writing modules, and compiling and installing them; 0 without `now`. */
  readonly writing: number
  readonly compiling: number
  /**
   * Why nothing is compiled any more, in the host's words: it refused to (a content security policy, no memory for code). Guests
   * go on in the interpreter, and in the regions there are. Absent as long as it compiles.
   */
  readonly refusedByHost?: string
}
