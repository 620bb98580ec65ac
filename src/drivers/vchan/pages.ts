/**
 * The pages of a vchan as each end has them: the server makes and grants them, the client maps what the server says. What is there is let go of as a whole.
 *
 * Reference: tools/libs/vchan/init.c.
 */
import { VCHAN_NOTIFY, VchanInterface } from '../../abi/index.ts'
import { sharePage, type GuestKernel, type MappedPage, type Page } from '../../guest/index.ts'
import { vchanRings, type ScatteredRing } from '../../rings/index.ts'
import type { DomId, GrantRef } from '../../util/index.ts'
import { checkOrders, ownPages, VCHAN_LIVE, type VchanOrders } from './protocol.ts'

/** A page with what names it among the grants: of a server the reference, of a client the handle. */
export interface NamedPage {
  readonly page: Page
  readonly name: number
  release(): void
}

/** The pages of one end: the shared one, and those of each ring. */
export interface VchanPages {
  readonly orders: VchanOrders
  readonly head: NamedPage
  readonly left: readonly NamedPage[]
  readonly right: readonly NamedPage[]
}

/** What the making of pages needs of its kernel. */
export type PagesKernel = Pick<GuestKernel, 'frames' | 'grants' | 'endGrant' | 'hypercalls'>

/** Both rings in those pages. */
export function ringsIn({ hypercalls: { memory } }: PagesKernel, { orders, head, left, right }: VchanPages): { readonly left: ScatteredRing; readonly right: ScatteredRing } {
  const bases = (pages: readonly NamedPage[]): number[] => pages.map(({ page }) => page.base)
  return vchanRings({ memory, head: head.page.base, left: { order: orders.left, pages: bases(left) }, right: { order: orders.right, pages: bases(right) } })
}

/** Lets go of all of them, the shared one last. */
export function releasePages({ head, left, right }: VchanPages): void {
  for (const page of [...left, ...right, head]) page.release()
}

/** A page of a client's. */
export const mappedPage = ({ grants }: PagesKernel, page: MappedPage): NamedPage => ({ page, name: page.handle, release: () => grants.unmap(page) })

/** A page of a server's that is granted already. */
export const grantedPage = (kernel: PagesKernel, page: Page, ref: number): NamedPage => ({
  page, name: ref, release: () => kernel.endGrant(ref as GrantRef, () => kernel.frames.release(page)),
})

/** Gets the first page and, by what stands in it, the others; those that were got are let go of when one fails. */
function gather(first: () => NamedPage, others: (head: Page) => { readonly orders: VchanOrders; readonly get: (at: number) => NamedPage }): VchanPages {
  const got: NamedPage[] = []
  const taken = (page: NamedPage): NamedPage => {
    got.push(page)
    return page
  }
  try {
    const head = taken(first())
    const { orders, get } = others(head.page)
    const [left, right] = [ownPages(orders.left), ownPages(orders.right)]
    const rings = Array.from({ length: left + right }, (_, at) => taken(get(at)))
    return { orders, head, left: rings.slice(0, left), right: rings.slice(left) }
  } catch (error) {
    for (const page of got.reverse()) page.release()
    throw error
  }
}

/** Makes and grants a server's pages, and writes the shared one. Throws OUT_OF_MEMORY or OUT_OF_RESOURCES, with nothing left behind. */
export function makePages(kernel: PagesKernel, client: DomId, orders: VchanOrders): VchanPages {
  const make = (): NamedPage => {
    const { page, ref, release } = sharePage(kernel, client)
    return { page, name: ref, release }
  }
  const pages = gather(make, () => ({ orders, get: make }))
  const { view, base } = pages.head.page
  VchanInterface.encode(view, base, {
    leftOrder: orders.left, rightOrder: orders.right, cliLive: VCHAN_LIVE.awaited, srvLive: VCHAN_LIVE.connected, cliNotify: VCHAN_NOTIFY.WRITE,
  })
  for (const [at, { name }] of [...pages.left, ...pages.right].entries()) view.setUint32(base + VchanInterface.size + 4 * at, name, true)
  return pages
}

/** Maps the pages that a server has granted. Throws HYPERCALL_FAILED where one is no grant, INVALID_ARGUMENT for what is no vchan; nothing stays mapped. */
export function mapPages(kernel: PagesKernel, server: DomId, ref: GrantRef): VchanPages {
  const map = (grant: number): NamedPage => mappedPage(kernel, kernel.grants.map(server, grant as GrantRef))
  return gather(() => map(ref), ({ view, base }) => {
    // Read once, as the other side may write them anew.
    const orders = { left: VchanInterface.leftOrder.get(view, base), right: VchanInterface.rightOrder.get(view, base) }
    checkOrders(orders)
    return { orders, get: (at) => map(view.getUint32(base + VchanInterface.size + 4 * at, true)) }
  })
}
