/**
 * What the hypervisor asks of the types of frames: a type reference holds a frame to one use, and the frame changes its
 * use only while nobody holds one. What a type demands of a frame's contents, and how long it takes to check or to undo,
 * is told by whoever makes page tables of frames.
 * Reference: xen/arch/x86/mm.c, the comment at its head.
 */

/** Types of frames. Results: 0, a negative error number, or CALL_AGAIN when the work has paused. */
export interface FrameTypes {
  /** Takes a type reference; the caller holds a reference. Checks the contents when the type is new. */
  getType(mfn: number, type: number): number
  /** Gives a type reference back. */
  putType(mfn: number): void
  /** Takes a reference and a type reference of a frame that `domid` owns. */
  getPageAndType(mfn: number, type: number, domid: number): number
  /** Gives both back. */
  putPageAndType(mfn: number): void
  /** Goes on with what a domain's frames of a type that has ended have still to give back; false when it has paused. */
  settle(domid: number): boolean
  /** Takes back what a paused check has taken: nobody will go on with it. */
  abandon(mfn: number): void
  /**
   * Ends the validity of contents that still hold the frame's own type, in a circle. The caller knows that nothing uses
   * them any more, and settles afterwards.
   */
  invalidate(mfn: number): void
}
