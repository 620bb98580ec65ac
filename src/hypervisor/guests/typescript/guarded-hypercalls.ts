/** The door of a guest in TypeScript as a policy with rules for hypercalls lets the guest have it. */
import { ERRNO, GNTST, type HypercallPort } from '../../../abi/index.ts'
import type { GrantHandle, Mfn } from '../../../util/index.ts'
import type { Access, HypercallClass, PolicyDomain } from '../../domains/access.ts'

/** Calls that are no hypercalls of their own, or ask for the class of the number that they are given. */
type Unasked = 'domid' | 'memory' | 'now' | 'hypercall' | 'version' | 'sendEvent' | 'unmaskPort'

/** The class of each call. Events that are sent were asked about when their channel was bound. */
const CLASSES: { readonly [call in Exclude<keyof HypercallPort, Unasked>]: HypercallClass } = {
  allocUnbound: 'events', bindInterdomain: 'events', bindVirq: 'events', bindIpi: 'events', closePort: 'events', bindVcpu: 'events', initControl: 'events', expandArray: 'events',
  setupGrantTable: 'grants', mapGrant: 'grants', unmapGrant: 'grants', copyGrants: 'grants',
  decreaseReservation: 'memory', increaseReservation: 'memory', currentReservation: 'memory', maximumReservation: 'memory',
  setTimer: 'scheduling', watchdog: 'scheduling', shutdown: 'scheduling', consoleWrite: 'console', mapForeign: 'page-tables', unmapForeign: 'page-tables',
}
/** What calls answer that do not answer with an error number. */
const REFUSED: { readonly [call in keyof HypercallPort]?: (...given: never[]) => unknown } = {
  mapGrant: () => ({ status: GNTST.permission_denied, handle: 0 as GrantHandle, frame: 0 as Mfn }),
  unmapGrant: () => GNTST.permission_denied,
  copyGrants: (copies: readonly unknown[]) => copies.map(() => GNTST.permission_denied),
  increaseReservation: () => [],
}

/** Puts the question in front of each call of `door`. */
export function guardHypercalls<D extends HypercallPort>(door: D, caller: PolicyDomain, access: Access): D {
  const calls = Object.entries(CLASSES).map(([name, asked]) => {
    const call = (door[name as keyof HypercallPort] as (...given: never[]) => unknown).bind(door)
    const refuse = REFUSED[name as keyof HypercallPort] ?? (() => -ERRNO.EPERM)
    return [name, (...given: never[]): unknown => (access.mayCall(caller, asked) ? call(...given) : refuse(...given))]
  })
  return Object.assign(door, Object.fromEntries(calls))
}
