/**
 * Makes the parts for which there are two classes: the one that asks first where somebody interferes, and else the one that asks nobody
 * and knows of nobody.
 */
import type { Vcpu } from '../domains/domain.ts'
import { EventChannels, type EventHost } from '../events/index.ts'
import { DomainMemory, type DomainMemoryParts } from '../frames/domain-memory.ts'
import { GrantTables, type MappingHost } from '../grants/index.ts'
import { TypedHypercallsByDomain, type TypedDoorParts } from '../guests/typescript/typed-hypercalls-by-domain.ts'
import { HypercallDispatcher, type DispatcherParts } from '../hypercalls/dispatch.ts'
import type { HypervisorInterference } from '../interference.ts'
import type { GuestTime } from '../time/index.ts'
import { InterferedDoor } from './interfered-door.ts'
import { InterferedEvents } from './interfered-events.ts'
import { interfereWith } from './interfered-hypercalls.ts'
import { InterferedGrants, InterferedMemory } from './interfered-memory.ts'

/** Whoever interferes, where somebody does. */
type Whoever = HypervisorInterference | undefined

/** Domains' memory. */
export const makeDomainMemory = (parts: DomainMemoryParts, by: Whoever): DomainMemory =>
  (by === undefined ? new DomainMemory(parts) : new InterferedMemory(parts, by))

/** Event channels. */
export const makeEventChannels = (host: EventHost, by: Whoever): EventChannels =>
  (by === undefined ? new EventChannels(host) : new InterferedEvents(host, by))

/** Grant tables. */
export const makeGrantTables = (host: MappingHost<Vcpu>, by: Whoever): GrantTables<Vcpu> =>
  (by === undefined ? new GrantTables<Vcpu>(host) : new InterferedGrants<Vcpu>(host, by))

/** The doors of guests in TypeScript. */
export const makeTypedHypercalls = (parts: TypedDoorParts, by: Whoever): TypedHypercallsByDomain =>
  new TypedHypercallsByDomain(parts, by && ((own, domain) => new InterferedDoor(own, domain, by)))

/** A table of hypercalls. */
export function makeDispatcher(parts: DispatcherParts, by: Whoever): HypercallDispatcher {
  const dispatcher = new HypercallDispatcher(parts)
  if (by !== undefined) interfereWith(dispatcher, by)
  return dispatcher
}

/** What domains are shown as the time, where somebody has a say in it. */
export function makeGuestTime(by: Whoever): GuestTime | undefined {
  if (by?.guestTime === undefined && by?.hostTime === undefined) return undefined
  return {
    shown: (domid, now) => by.guestTime?.(domid, now) ?? now, hostTime: (domid, shown) => by.hostTime?.(domid, shown) ?? shown,
    rate: (domid, now) => by.guestRate?.(domid, now) ?? 1,
  }
}
