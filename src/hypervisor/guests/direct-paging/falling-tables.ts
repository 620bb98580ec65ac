/**
 * Which page tables are being taken apart, for each domain the last one first, and how that is saved. What taking one apart
 * means is in page-tables.ts.
 * Reference: xen/arch/x86/mm.c, put_old_guest_table.
 */
import { type StateOf, type Stateful, badState, shape, sameEntries } from '../../../util/index.ts'
import { FRAME_FLAG, type FrameTable } from '../../frames/frame-table.ts'

/** What there is to save beside the frame table: the tables by domain. */
export const fallingShape = /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.tuple(shape.word, /* @__PURE__ */ shape.list(shape.word)))

/** Tables that are being taken apart. */
export type FallingState = StateOf<typeof fallingShape>

/** Stacks of falling tables by domain. */
export class FallingTables implements Stateful<FallingState> {
  private readonly frames: FrameTable
  private readonly byDomain = new Map<number, number[]>()
  /** Those of each domain that has any, the last one on top: hardly ever is there a domain. hot path: asked before every hypercall. */
  readonly stacks: ReadonlyMap<number, number[]> = this.byDomain

  constructor(frames: FrameTable) {
    this.frames = frames
  }

  /** Puts a table on top of those of its owner. */
  push(mfn: number): void {
    const owner = this.frames.owner[mfn]!
    const stack = this.stacks.get(owner)
    if (stack === undefined) this.byDomain.set(owner, [mfn])
    else stack.push(mfn)
  }

  /** A domain has none any more. */
  end(domid: number): void {
    this.byDomain.delete(domid)
  }

  save(): FallingState {
    return [...this.stacks].map(([domid, stack]) => [domid, [...stack]] as const)
  }

  isAsSaved(state: FallingState): boolean {
    return sameEntries(this.stacks, state)
  }

  /** The frame table has been loaded: it tells which frames fall, and this, in which order. */
  load(state: FallingState): void {
    const { frames } = this
    const fits = state.flatMap(([domid, stack]) => (stack.length === 0 ? [-1] : stack.map((mfn) => (frames.owner[mfn] === domid ? mfn : -1))))
    const isFalling = (mfn: number): boolean => frames.isValid(mfn) && frames.hasFlag(mfn, FRAME_FLAG.FALLING)
    const count = frames.rows.framesWith(FRAME_FLAG.FALLING).length
    const isSound = new Set(fits).size === count && fits.length === count && fits.every(isFalling)
    if (!isSound || new Set(state.map(([domid]) => domid)).size !== state.length) throw badState('other tables fall than the frame table says')
    this.byDomain.clear()
    for (const [domid, stack] of state) this.byDomain.set(domid, [...stack])
  }
}
