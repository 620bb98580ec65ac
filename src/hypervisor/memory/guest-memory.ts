/**
 * The seam to physical memory: one buffer that holds every domain's frames, so that a grant or a ring is the same
 * bytes seen from two sides and nothing is copied to simulate sharing.
 */

/** Host memory as the hypervisor and everything above it sees it. Frame `mfn` lies at byte `mfn * 4096`. */
export interface GuestMemory {
  /** The whole memory. It never moves and never grows. */
  readonly buffer: ArrayBufferLike
  readonly view: DataView
  readonly bytes: Uint8Array
  /** 32-bit words of the memory: `words[(mfn << 10) + i]`. */
  readonly words: Uint32Array
  /** First frame that may belong to a domain; what lies below is the machine's own. */
  readonly firstFrame: number
  /** One past the last frame. */
  readonly endFrame: number
  /**
   * Makes the frames from `first` to `end` - 1 all zero; called before frames are handed out, so that a memory that knows which frames nobody has
   * used yet need not touch them; whoever caches or notes what frames hold hears of it. Default: zeros are written.
   */
  clearFrames?(first: number, end: number): void
  /** True for a frame that is all zero as far as was told since `clearFrames`. Default: nothing is known of any. */
  isBlank?(mfn: number): boolean
  /**
   * To be called after TypeScript has written into a guest's frame: drops instructions cached from it and notes it in
   * dirty logging. Ring indexes and other words that no guest executes may leave it out, page contents may not.
   */
  markWritten(mfn: number): void
}
