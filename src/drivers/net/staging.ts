/**
 * Own pages through which frames pass between guests: a transmitted frame is copied out of the sender's grant into one,
 * and from there into the receiver's. Nothing of a guest's is looked at in place, so nothing can change while it is
 * used.
 *
 * hot path: the descriptions of frames and copies are made once and filled anew in each batch.
 */
import type { GuestKernel, Page } from '../../guest/index.ts'
import { badState, shape, type DomId, type GrantRef, type Mfn, type StateOf } from '../../util/index.ts'
import type { NetFrame } from './frame.ts'

/** Pages that one batch of transmitted slots may use. */
export const TRANSMIT_PAGES = 64
/** Pages for frames that do not lie in an own page yet. */
export const RECEIVE_PAGES = 32

/** The pages' frames. */
export const stagingState = /* @__PURE__ */ shape.record({
  transmit: /* @__PURE__ */ shape.list(shape.word, TRANSMIT_PAGES, TRANSMIT_PAGES), receive: /* @__PURE__ */ shape.list(shape.word, RECEIVE_PAGES, RECEIVE_PAGES),
})

/** Saved pages. */
export type StagingState = StateOf<typeof stagingState>

/** A frame whose bytes lie at the start of an own page; it holds until the page is used again. */
export class StagedFrame implements NetFrame {
  bytes: Uint8Array
  checksumBlank = false
  validated = false
  readonly place: { readonly mfn: Mfn; readonly offset: number }
  private readonly page: Page

  constructor(page: Page) {
    this.page = page
    this.bytes = page.bytes
    this.place = { mfn: page.frame, offset: 0 }
  }

  /** Takes the first `size` bytes of the page for the frame. */
  resize(size: number): void {
    // Frames of one size follow each other, as a rule, and making a view costs more than a copy.
    if (this.bytes.length !== size) this.bytes = this.page.bytes.subarray(0, size)
  }
}

/** A copy out of a grant into an own page. */
export interface CopyIn {
  readonly source: { readonly domid: DomId; ref: GrantRef; offset: number }
  readonly destination: { frame: Mfn; readonly offset: number }
  length: number
}

/** A copy out of an own page into a grant. */
export interface CopyOut {
  readonly source: { frame: Mfn; offset: number }
  readonly destination: { readonly domid: DomId; ref: GrantRef; readonly offset: number }
  length: number
}

/** An empty {@link CopyIn} from grants of `domain`. */
export const copyIn = (domid: DomId): CopyIn =>
  ({ source: { domid, ref: 0 as GrantRef, offset: 0 }, destination: { frame: 0 as Mfn, offset: 0 }, length: 0 })

/** An empty {@link CopyOut} into grants of `domain`. */
export const copyOut = (domid: DomId): CopyOut =>
  ({ source: { frame: 0 as Mfn, offset: 0 }, destination: { domid, ref: 0 as GrantRef, offset: 0 }, length: 0 })

/** The frames in the pages for transmitting; for the servers of the same back-end alone, and not published. */
export let framesOf: (staging: Staging) => readonly StagedFrame[]

/** The pages of one back-end, shared by all its interfaces: each is used within one batch only. */
export class Staging {
  readonly transmit: readonly Page[]
  readonly receive: readonly Page[]
  private readonly frames: readonly StagedFrame[]

  static {
    framesOf = (staging) => staging.frames
  }

  /** Takes new pages, or those that were saved. */
  constructor(kernel: Pick<GuestKernel, 'frames'>, saved?: StagingState) {
    const again = (frames: readonly number[]): Page[] => frames.map((frame) => {
      if (!kernel.frames.owns(frame as Mfn)) throw badState(`frame ${frame} is not the kernel's`)
      return kernel.frames.page(frame as Mfn)
    })
    const take = (count: number): Page[] => Array.from({ length: count }, () => kernel.frames.allocate())
    this.transmit = saved === undefined ? take(TRANSMIT_PAGES) : again(saved.transmit)
    this.receive = saved === undefined ? take(RECEIVE_PAGES) : again(saved.receive)
    this.frames = this.transmit.map((page) => new StagedFrame(page))
  }

  /** The frames of the pages, for a save of the back-end. */
  save(): StagingState {
    return { transmit: this.transmit.map(({ frame }) => frame), receive: this.receive.map(({ frame }) => frame) }
  }
}
