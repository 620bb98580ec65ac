/**
 * What a guest in TypeScript costs in virtual time. Its real instructions cannot be counted, so each thing it does has
 * a fixed price in instructions, of the order that a small kernel written in C would pay. Runs stay repeatable: the
 * price depends on what was done, never on how long JavaScript took.
 */
import type { HypercallPort } from '../abi/index.ts'

/** Prices in instructions. */
export const COST = /* @__PURE__ */ Object.freeze({
  /** Entering the guest by the upcall and leaving it again. */
  upcall: 200,
  /** One handler: an event, a timer, a posted task. */
  handler: 500,
  /** One hypercall, entry and exit; the batch forms pay `item` for each element. */
  hypercall: 150,
  /** One element of a batch hypercall. */
  item: 50,
  /** Starting the guest's program. */
  boot: 10_000,
} as const)

/** Takes the price of something that was done. */
export type Charge = (instructions: number) => void

/** The same port, with each hypercall's price charged. Reading the clock is free, as it is no hypercall for a guest. */
export function meteredPort(hypercalls: HypercallPort, charge: Charge): HypercallPort {
  const call = <A extends unknown[], R>(target: (...args: A) => R, items?: (...args: A) => number) =>
    (...args: A): R => {
      charge(COST.hypercall + (items === undefined ? 0 : COST.item * items(...args)))
      return target.apply(hypercalls, args)
    }
  return {
    domid: hypercalls.domid,
    memory: hypercalls.memory,
    now: () => hypercalls.now(),
    allocUnbound: call(hypercalls.allocUnbound),
    bindInterdomain: call(hypercalls.bindInterdomain),
    bindVirq: call(hypercalls.bindVirq),
    bindIpi: call(hypercalls.bindIpi),
    closePort: call(hypercalls.closePort),
    sendEvent: call(hypercalls.sendEvent),
    unmaskPort: call(hypercalls.unmaskPort),
    bindVcpu: call(hypercalls.bindVcpu),
    setupGrantTable: call(hypercalls.setupGrantTable),
    mapGrant: call(hypercalls.mapGrant),
    unmapGrant: call(hypercalls.unmapGrant),
    copyGrants: call(hypercalls.copyGrants, (copies) => copies.length),
    decreaseReservation: call(hypercalls.decreaseReservation, (frames) => frames.length),
    increaseReservation: call(hypercalls.increaseReservation, (count) => count),
    currentReservation: call(hypercalls.currentReservation),
    maximumReservation: call(hypercalls.maximumReservation),
    setTimer: call(hypercalls.setTimer),
    shutdown: call(hypercalls.shutdown),
    consoleWrite: call(hypercalls.consoleWrite),
    version: call(hypercalls.version),
    mapForeign: call(hypercalls.mapForeign),
    unmapForeign: call(hypercalls.unmapForeign),
  }
}
