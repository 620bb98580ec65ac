/**
 * What the two ends of a vchan agree on: how large rings are and where they lie, and what stands in XenStore.
 *
 * Reference: xen/include/public/io/libxenvchan.h; tools/libs/vchan/init.c.
 */
import { PAGE_SHIFT, PAGE_SIZE, VchanInterface } from '../../abi/index.ts'
import { shown, XenError } from '../../util/index.ts'

/** The nodes below a vchan's path. */
export const VCHAN_NODES = { ring: 'ring-ref', port: 'event-channel' } as const

/** Orders of rings within the shared page, and the largest order that there is. */
export const VCHAN_ORDER = { small: 10, large: 11, most: 20 } as const
/** Bytes of the largest ring. */
export const VCHAN_RING_LIMIT = 2 ** VCHAN_ORDER.most
/** References that there is room for behind the head of the shared page, in front of the small ring or, without one, the large one. */
const referencesBefore = (end: number): number => Math.floor((end - VchanInterface.size) / 4)

/** Whether there is a connection: a byte for each side. A client that has not come yet is 2. */
export const VCHAN_LIVE = { gone: 0, connected: 1, awaited: 2 } as const

/** Both rings' orders: the client writes `left`, the server `right`. */
export interface VchanOrders {
  readonly left: number
  readonly right: number
}

/** Pages of its own that a ring has. */
export const ownPages = (order: number): number => (order < PAGE_SHIFT ? 0 : 2 ** (order - PAGE_SHIFT))

/** The orders by which a server makes rings of at least so many bytes: within the shared page where both or one of them fit there, as libxenvchan chooses. */
export function chooseOrders(receive: number, send: number): VchanOrders {
  const [small, large] = [2 ** VCHAN_ORDER.small, 2 ** VCHAN_ORDER.large]
  if (receive <= small && send <= large) return { left: VCHAN_ORDER.small, right: VCHAN_ORDER.large }
  if (receive <= large && send <= small) return { left: VCHAN_ORDER.large, right: VCHAN_ORDER.small }
  const own = (bytes: number): number => Math.max(PAGE_SHIFT, Math.ceil(Math.log2(bytes)))
  if (receive <= large) return { left: VCHAN_ORDER.large, right: own(send) }
  return { left: own(receive), right: send <= large ? VCHAN_ORDER.large : own(send) }
}

/** Throws INVALID_ARGUMENT for orders that a server may not have written: beyond the limits, twice the same place, references that lie in a ring. */
export function checkOrders({ left, right }: VchanOrders): void {
  const ofRing = (order: number): boolean => order >= VCHAN_ORDER.small && order <= VCHAN_ORDER.most
  const isTwice = left === right && left < PAGE_SHIFT
  const within = [left, right].filter((order) => order < PAGE_SHIFT)
  const room = referencesBefore(Math.min(PAGE_SIZE, ...within.map((order) => 2 ** order)))
  if (ofRing(left) && ofRing(right) && !isTwice && ownPages(left) + ownPages(right) <= room) return
  throw new XenError('INVALID_ARGUMENT', `rings of the orders ${shown(left)} and ${shown(right)} are none of a vchan`, { details: { left, right } })
}
