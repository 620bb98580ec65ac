/**
 * Frames of other domains that somebody with power over them has mapped without a grant: a privileged domain, or the
 * toolstack. Each mapping may be written through, so each holds a reference and a writable type reference: no page table
 * is mapped so, and no frame becomes one meanwhile. Who may map what of whom is asked before.
 * Reference: xen/arch/x86/mm.c, get_page_from_l1e, on a foreign owner.
 */
import { ERRNO } from '../../../abi/index.ts'
import { type StateOf, type Stateful, badState, shape, sameEntries } from '../../../util/index.ts'
import { FRAME_TYPE } from '../../frames/frame-table.ts'
import type { FrameTypes } from '../../frames/frame-types.ts'

/** What foreign mappings work on. */
export interface ForeignFrameParts {
  readonly pageTypes: Pick<FrameTypes, 'getPageAndType' | 'putPageAndType'>
}

/** What saved foreign mappings look like: frames with how often each is mapped. */
export const foreignFramesShape = /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.tuple(shape.word, /* @__PURE__ */ shape.whole(1, 2 ** 20)))

/** Foreign mappings as plain data. */
export type ForeignFramesState = StateOf<typeof foreignFramesShape>

/** The foreign mappings of one holder. */
export class ForeignFrames implements Stateful<ForeignFramesState> {
  private readonly parts: ForeignFrameParts
  /** How often each frame is mapped. */
  private readonly counts = new Map<number, number>()

  constructor(parts: ForeignFrameParts) {
    this.parts = parts
  }

  /** Maps a frame of domain `owner`: 0, or -EINVAL when it is not its frame, or in use as a table. */
  map(owner: number, frame: number): number {
    if (this.parts.pageTypes.getPageAndType(frame, FRAME_TYPE.WRITABLE, owner) !== 0) return -ERRNO.EINVAL
    this.counts.set(frame, (this.counts.get(frame) ?? 0) + 1)
    return 0
  }

  /** Ends one mapping: 0, or -EINVAL when there is none. */
  unmap(frame: number): number {
    const count = this.counts.get(frame)
    if (count === undefined) return -ERRNO.EINVAL
    if (count === 1) this.counts.delete(frame)
    else this.counts.set(frame, count - 1)
    this.parts.pageTypes.putPageAndType(frame)
    return 0
  }

  /** Frames that are mapped, once for each mapping. */
  *frames(): IterableIterator<number> {
    for (const [frame, count] of this.counts) for (let i = 0; i < count; i += 1) yield frame
  }

  save(): ForeignFramesState {
    return [...this.counts]
  }

  isAsSaved(state: ForeignFramesState): boolean {
    return sameEntries(this.counts, state)
  }

  /** True while nothing is mapped. */
  get isEmpty(): boolean {
    return this.counts.size === 0
  }

  /** The references lie in the frame table, which has been loaded. */
  load(state: ForeignFramesState): void {
    if (new Set(state.map(([frame]) => frame)).size !== state.length) throw badState('a frame is there twice')
    this.counts.clear()
    for (const [frame, count] of state) this.counts.set(frame, count)
  }

  /** Ends all mappings. */
  release(): void {
    for (const frame of this.frames()) this.parts.pageTypes.putPageAndType(frame)
    this.counts.clear()
  }
}
