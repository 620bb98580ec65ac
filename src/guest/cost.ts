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
export function meteredPort(port: HypercallPort, charge: Charge): HypercallPort {
  const call = <A extends unknown[], R>(target: (...args: A) => R, items?: (...args: A) => number) =>
    (...args: A): R => {
      charge(COST.hypercall + (items === undefined ? 0 : COST.item * items(...args)))
      return target.apply(port, args)
    }
  return {
    domid: port.domid,
    memory: port.memory,
    now: () => port.now(),
    allocUnbound: call(port.allocUnbound),
    bindInterdomain: call(port.bindInterdomain),
    bindVirq: call(port.bindVirq),
    bindIpi: call(port.bindIpi),
    closePort: call(port.closePort),
    sendEvent: call(port.sendEvent),
    unmaskPort: call(port.unmaskPort),
    bindVcpu: call(port.bindVcpu),
    setupGrantTable: call(port.setupGrantTable),
    mapGrant: call(port.mapGrant),
    unmapGrant: call(port.unmapGrant),
    copyGrants: call(port.copyGrants, (copies) => copies.length),
    decreaseReservation: call(port.decreaseReservation, (frames) => frames.length),
    increaseReservation: call(port.increaseReservation, (count) => count),
    currentReservation: call(port.currentReservation),
    maximumReservation: call(port.maximumReservation),
    setTimer: call(port.setTimer),
    shutdown: call(port.shutdown),
    consoleWrite: call(port.consoleWrite),
    version: call(port.version),
    mapForeign: call(port.mapForeign),
    unmapForeign: call(port.unmapForeign),
  }
}
