/**
 * States by which the two halves of a split device shake hands.
 *
 * Reference: xen/include/public/io/xenbus.h.
 */
/** What a `state` node may hold. */
export const XENBUS_STATE = {
  Unknown: 0, Initialising: 1, InitWait: 2, Initialised: 3, Connected: 4, Closing: 5, Closed: 6, Reconfiguring: 7,
  Reconfigured: 8,
} as const

/** Name of a device's state. */
export type XenbusStateName = keyof typeof XENBUS_STATE
