/** Watching which frames are written: the machine's half of log-dirty. */

/** What memory offers a hypervisor that migrates domains. */
export interface WriteTracking {
  /** From now on the frame counts as clean until it is written. Translations that allow writing must be flushed. */
  watchWrites(mfn: number): void
  /** Ends the watching. */
  ignoreWrites(mfn: number): void
  /** True while a watched frame has not been written. */
  isClean(mfn: number): boolean
  /** The first frame from `mfn` on, and below `end`, that is not clean; `end` where all are. Default: each is asked. */
  firstNotClean?(mfn: number, end: number): number
}
