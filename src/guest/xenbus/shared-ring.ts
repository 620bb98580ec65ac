/** A page that a front-end offers to its back-end as a ring, and the way to take it back. */
import type { DomId, GrantRef } from '../../util/index.ts'
import type { GuestKernel } from '../kernel.ts'
import type { Page } from '../pages.ts'

/** An own page, granted. */
export interface SharedPage {
  readonly page: Page
  readonly ref: GrantRef
  /** Takes the grant back as soon as the other side lets go of it, and frees the page then. */
  release(): void
}

/** Allocates a page and grants it to `domain`; when one of the two fails, nothing is left behind. */
export function sharePage(kernel: Pick<GuestKernel, 'frames' | 'grants' | 'endGrant'>, domid: DomId): SharedPage {
  const page = kernel.frames.allocate()
  try {
    const ref = kernel.grants.grant(domid, page.frame)
    return { page, ref, release: () => kernel.endGrant(ref, () => kernel.frames.release(page)) }
  } catch (error) {
    kernel.frames.release(page)
    throw error
  }
}
