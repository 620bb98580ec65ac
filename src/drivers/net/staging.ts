/**
 * Own pages through which frames pass between guests: a transmitted frame is copied out of the sender's grant into one,
 * and from there into the receiver's. Nothing of a guest's is looked at in place, so nothing can change while it is
 * used.
 */
import type { GuestKernel, Page } from '../../guest/index.ts'

/** Pages that one batch of transmitted slots may use. */
export const TRANSMIT_PAGES = 64
/** Pages for frames that do not lie in an own page yet. */
export const RECEIVE_PAGES = 32

/** The pages of one back-end, shared by all its interfaces: each is used within one batch only. */
export class Staging {
  readonly transmit: readonly Page[]
  readonly receive: readonly Page[]

  constructor(kernel: Pick<GuestKernel, 'frames'>) {
    const take = (count: number): Page[] => Array.from({ length: count }, () => kernel.frames.allocate())
    this.transmit = take(TRANSMIT_PAGES)
    this.receive = take(RECEIVE_PAGES)
  }
}
