/**
 * Type references: each holds a frame to one use, and a frame changes its use only while nobody holds one. Here they are
 * counted, and no processor keeps a right to write to a frame that becomes something else. What a type demands of a
 * frame's contents is told by whoever connects to it; the hypervisor itself knows only that page tables hold references
 * of their own.
 *
 * hot path: plain numbers, nothing allocated.
 * Reference: xen/arch/x86/mm.c, the comment at its head, _get_page_type, _put_page_type.
 */
import { ERRNO } from '../../abi/index.ts'
import { invariant } from '../../util/index.ts'
import { FRAME_FLAG, FRAME_TYPE, type FrameTable } from './frame-table.ts'
import type { TlbClock } from './tlb-clock.ts'

/** True for the types of page tables, whose entries hold references. */
export const isTable = (type: number): boolean => (type >= FRAME_TYPE.L1 && type <= FRAME_TYPE.L4) || type === FRAME_TYPE.XEN_L2

/** Level of a page table by its type. */
export const levelOf = (type: number): number => (type === FRAME_TYPE.XEN_L2 ? 2 : type)

/** What checks the contents of frames: whoever makes page tables and descriptor pages of them. */
export interface FrameContents {
  /** Checks a frame that has got a new type: 0, a negative error number, or CALL_AGAIN when the work has paused. */
  validate(mfn: number, type: number): number
  /** A type is asked for while the frame's contents are neither checked nor free: results as of `validate`. */
  goOn(mfn: number, type: number): number
  /** A checked table has lost its last use: it gives back what its entries hold, and its type reference last. */
  fall(mfn: number): void
  /** Goes on with a domain's tables that have fallen; false when it has paused. */
  settle(domid: number): boolean
  /** Takes back what a paused check has taken: nobody will go on with it. */
  abandon(mfn: number): void
  /**
   * Ends a table's validity although it is still referenced, in a circle. The caller knows that nothing runs on it any
   * more, and settles afterwards.
   */
  invalidate(mfn: number): void
}

/** A host on which nothing gives frames contents to be checked: only writable frames can be had. */
const NO_CONTENTS: FrameContents = {
  validate: () => -ERRNO.EINVAL, goOn: () => -ERRNO.EINVAL, fall: () => undefined, settle: () => true,
  abandon: () => undefined, invalidate: () => undefined,
}

/** Takes and gives back types of frames. Results: 0, a negative error number, or CALL_AGAIN when the work has paused. */
export class FrameTypes {
  private readonly frames: FrameTable
  private readonly tlb: TlbClock
  private contents = NO_CONTENTS

  constructor(frames: FrameTable, tlb: TlbClock) {
    this.frames = frames
    this.tlb = tlb
  }

  /** Says who checks contents. */
  connect(contents: FrameContents): void {
    this.contents = contents
  }

  /** Takes a type reference; the caller holds a reference. Checks the contents when the type is new. */
  getType(mfn: number, type: number): number {
    const { frames } = this
    const count = frames.typeCount[mfn]!
    const before = frames.type[mfn]!
    if (count !== 0) {
      if ((frames.flags[mfn]! & FRAME_FLAG.VALIDATED) === 0) return this.contents.goOn(mfn, type)
      if (before !== type) return -ERRNO.EINVAL
      if (count >= 0xffff_ffff) return -ERRNO.EINVAL
      frames.rows.setTypeCount(mfn, count + 1)
      return 0
    }
    frames.rows.setTypeCount(mfn, 1)
    if (before !== type) {
      frames.rows.setType(mfn, type)
      frames.rows.setFlags(mfn, frames.flags[mfn]! & ~FRAME_FLAG.VALIDATED)
      // No vCPU may go on writing through an old translation to what is to become a table.
      if (before === FRAME_TYPE.WRITABLE) this.tlb.flushSince(frames.stamp[mfn]!)
    }
    if (type === FRAME_TYPE.WRITABLE) frames.rows.setFlags(mfn, frames.flags[mfn]! | FRAME_FLAG.VALIDATED)
    return (frames.flags[mfn]! & FRAME_FLAG.VALIDATED) !== 0 ? 0 : this.contents.validate(mfn, type)
  }

  /** Takes a reference and a type reference of a frame that `domid` owns. */
  getPageAndType(mfn: number, type: number, domid: number): number {
    if (!this.frames.getPage(mfn, domid)) return -ERRNO.EINVAL
    const result = this.getType(mfn, type)
    if (result !== 0) this.frames.putPage(mfn)
    return result
  }

  /** Gives a type reference back; the last one of a table gives back what its entries hold. */
  putType(mfn: number): void {
    const { frames } = this
    const count = frames.typeCount[mfn]!
    // The message is put together for a failure only.
    if (count <= 0) invariant(false, `frame ${mfn} has no type reference to give back`)
    if (count === 1) {
      if (isTable(frames.type[mfn]!) && (frames.flags[mfn]! & FRAME_FLAG.VALIDATED) !== 0) {
        this.contents.fall(mfn)
        return
      }
      frames.rows.setStamp(mfn, this.tlb.now())
    }
    frames.rows.setTypeCount(mfn, frames.typeCount[mfn]! - 1)
  }

  /** Gives back a type reference and a reference. */
  putPageAndType(mfn: number): void {
    this.putType(mfn)
    this.frames.putPage(mfn)
  }

  /** See {@link FrameContents.settle}. */
  settle(domid: number): boolean {
    return this.contents.settle(domid)
  }

  /** See {@link FrameContents.abandon}. */
  abandon(mfn: number): void {
    this.contents.abandon(mfn)
  }

  /** See {@link FrameContents.invalidate}. */
  invalidate(mfn: number): void {
    this.contents.invalidate(mfn)
  }
}
