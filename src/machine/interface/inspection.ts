/**
 * What a processor has remembered of page tables and code, as checks from outside see it: raw facts, and what does not
 * hold within the machine itself. Who may reach a frame is not known here; that is for whoever owns the frames to judge.
 * For tests and checks: nothing that executes depends on it, and taking it costs as much as looking at every entry.
 */

/** A translation that an access may use without a look at the page tables. */
export interface CachedTranslation {
  /** Linear address of the page. */
  readonly address: number
  readonly frame: number
  readonly read: boolean
  readonly write: boolean
  readonly execute: boolean
}

/** Something that does not hold; `frame` is -1 where no frame is concerned. */
export interface CacheFault {
  readonly frame: number
  readonly what: string
}

/** A processor's translations and remembered jumps. */
export interface CacheInspection {
  /** Frame of the top page table that walks begin at; of a virtualised processor a guest-physical one. */
  readonly root: number
  /** Walks are made with the rights of ring 3. */
  readonly isUser: boolean
  readonly translations: readonly CachedTranslation[]
  /** Jumps that are taken without a translation: what their blocks' pages are taken to be, for execution only. */
  readonly jumps: readonly CachedTranslation[]
  /** What outlives a load of other tables, those in force among them: of each top-level table exactly what a walk would give now. */
  readonly kept: readonly KeptTranslations[]
  /** Entries that contradict the machine's own rules: no flush would find them, or they lead to what is no block. */
  readonly faults: readonly CacheFault[]
}

/** What comes into force again with a top-level table. */
export interface KeptTranslations {
  /** The table's frame. */
  readonly root: number
  readonly translations: readonly CachedTranslation[]
  readonly jumps: readonly CachedTranslation[]
}

/** Decoded code, which all processors of a machine share. */
export interface CodeInspection {
  readonly blocks: number
  /** Blocks that differ from the bytes they were made of, or that a write to these would not drop. */
  readonly faults: readonly CacheFault[]
}
