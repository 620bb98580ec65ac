/**
 * What writes the libxc image of a domain, whatever kind of guest is in it: static data, pages (in as many rounds as the
 * caller wants), and at last the state that may not change any more. A live copy calls `writePages` while the domain runs;
 * everything else wants it suspended.
 */

/** How pages are written. */
export interface WritePagesOptions {
  /** The domain runs meanwhile. */
  readonly live?: boolean
  /** Called behind each batch with the number of its pages, and how many of them have contents; what it throws or rejects ends the writing. */
  readonly onBatch?: (pages: number, full: number) => void | Promise<void>
}

/** How an image is written. */
export interface ImageOptions {
  /**
   * Whether pages that are all zero, and were never sent, are sent with their contents, or only named: for whoever gives a domain memory that is all zero, as
   * hosts of this library do; Xen does not promise that. Default `sent`.
   */
  readonly zeros?: 'sent' | 'omitted' | undefined
}

/** Writes one domain's image. */
export interface ImageWriter {
  /** Every page that a whole copy holds, by its number in the domain. */
  pages(): Uint32Array
  /** One past the highest number that a page can have. */
  readonly end: number
  /**
   * Looks anew which pages there are: the guest's balloon may have changed that. `written`, for whoever knows of all writes since the last look: whether a page may have been written; what was not is
   * not looked at. Throws INVALID_STATE when that cannot be told.
   */
  refresh(written?: (pfn: number) => boolean): void
  /** Pages that are of another type now than when they were sent, or that have come or gone since. */
  retyped(): number[]
  /**
   * Pages of the rings of console and XenStore of a suspended domain. Their other sides write them by mappings of their
   * own, so nobody notes it.
   */
  ringPages(): number[]
  /** Headers and what is known before any page. */
  writeStart(): Promise<void>
  /** What of that can be another at each checkpoint, for a guest that lays its memory out anew whenever it is suspended. */
  writeLayout(): Promise<void>
  /**
   * Writes the given pages, in batches, each of which is taken at one instant. `live`: a page that cannot be read
   * consistently now is left for the next round and returned.
   */
  writePages(pages: ArrayLike<number>, options?: WritePagesOptions): Promise<number[]>
  /** What may only be read of a suspended domain: time, and its vCPUs. */
  writeEnd(): Promise<void>
  /** Ends the image; a checkpoint keeps the stream open instead. */
  writeFinish(): Promise<void>
}
