/**
 * The network protocol as both halves need it: names in XenStore and limits.
 *
 *   device/vif/ID           tx-ring-ref, rx-ring-ref, event-channel-tx, event-channel-rx, request-rx-copy, feature-*, request-multicast-control
 *     of several queues     multi-queue-num-queues, queue-N/tx-ring-ref, ...
 *   backend/vif/DOMAIN/ID   feature-*, multi-queue-max-queues, mac, bridge, handle, hotplug-status, state; queues, gso (what the toolstack says is to be offered)
 *
 * tx carries frames from the guest, rx to it. A frame takes one or more slots; the first of a tx frame says how large
 * the whole is, the others how large they are themselves. Slots of extra information stand behind the first. Reference: public/io/netif.h.
 */
import { NETIF_EXTRA_TYPE, NETIF_MAX_TX_SIZE, NETIF_NR_SLOTS_MIN, NetifRxRequest, NetifTxRequest } from '../../abi/index.ts'

/** Bytes of an entry of the transmit ring. */
export const TX_ENTRY = NetifTxRequest.size
/** Bytes of an entry of the receive ring. */
export const RX_ENTRY = NetifRxRequest.size
/** Slots that one frame may take. */
export const MAX_SLOTS = NETIF_NR_SLOTS_MIN
/** Bytes of the largest frame. */
export const MAX_FRAME_SIZE = NETIF_MAX_TX_SIZE
/** Slots of extra information that one frame may take: one of each kind. */
export const MAX_EXTRAS = NETIF_EXTRA_TYPE.MAX - 1
/** Queues that an interface can have, as many as Linux's front-end and back-end take unless they are told otherwise. */
export const MAX_NIC_QUEUES = 8
/** Queues that are offered unless the interface's description says otherwise: as many as a disk's. */
export const USUAL_NIC_QUEUES = 4
