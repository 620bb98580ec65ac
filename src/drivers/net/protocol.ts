/**
 * The network protocol as both halves need it: names in XenStore and limits.
 *
 *   device/vif/ID           tx-ring-ref, rx-ring-ref, event-channel-tx, event-channel-rx, request-rx-copy, feature-*
 *   backend/vif/DOMAIN/ID   feature-*, mac, bridge, handle, hotplug-status, state
 *
 * tx carries frames from the guest, rx to it. A frame takes one or more slots; the first of a tx frame says how large
 * the whole is, the others how large they are themselves. Reference: public/io/netif.h.
 */
import { NETIF_MAX_TX_SIZE, NETIF_NR_SLOTS_MIN, NetifRxRequest, NetifTxRequest } from '../../abi/index.ts'

/** Bytes of an entry of the transmit ring. */
export const TX_ENTRY = NetifTxRequest.size
/** Bytes of an entry of the receive ring. */
export const RX_ENTRY = NetifRxRequest.size
/** Slots that one frame may take. */
export const MAX_SLOTS = NETIF_NR_SLOTS_MIN
/** Bytes of the largest frame. */
export const MAX_FRAME_SIZE = NETIF_MAX_TX_SIZE
