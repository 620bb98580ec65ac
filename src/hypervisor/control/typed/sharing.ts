/** The control interface's face of event channels and grants: what the domain itself could ask, on its behalf. */
import type { DomId, EventPort } from '../../../util/index.ts'
import type { Domain } from '../../domains/domain.ts'
import type { HypercallPort } from '../../../abi/index.ts'
import { portRecords, type DomainEvents } from '../../events/index.ts'
import { grantRecords, type GrantTable } from '../../grants/index.ts'
import type { SharingControl } from './control-interface.ts'
import { type DomainFinder, foundDomain } from './found.ts'
import { accepted } from './refusals.ts'

/** What the face of event channels and grants asks: numbers back, negative ones where it is refused. */
export interface SharingFaceParts {
  readonly domains: DomainFinder
  readonly events: {
    allocUnbound(caller: DomId, domid: number, remote: number): number
    close(domid: DomId, port: number): number
    send(domid: DomId, port: number): number
    raiseVirq(domid: DomId, virq: number, vcpu?: number): void
    of(domid: DomId): DomainEvents | undefined
  }
  readonly grants: {
    seed(domid: DomId, ref: number, entry: { readonly remote: DomId; readonly frame: number }): number
    of(domid: number): GrantTable | undefined
  }
  typedHypercallsOf(domain: Domain): HypercallPort
}

/** Makes the face of event channels and grants. */
export function sharingFace({ domains, events, grants, typedHypercallsOf }: SharingFaceParts): SharingControl {
  const find = (domid: DomId): DomId => foundDomain(domains, domid).id
  return {
    allocUnbound: (domid, remote) => accepted(
      events.allocUnbound(find(domid), domid, remote), 'allocUnbound', { domid, call: 'EVTCHNOP_alloc_unbound' },
      // The event channels number ports.
    ) as EventPort,
    closePort(domid, port) {
      accepted(events.close(find(domid), port), 'closePort', { domid, call: 'EVTCHNOP_close' })
    },
    sendEvent(domid, port) {
      accepted(events.send(find(domid), port), 'sendEvent', { domid, call: 'EVTCHNOP_send' })
    },
    sendVirq: (domid, virq, vcpu = 0) => events.raiseVirq(find(domid), virq, vcpu),
    seedGrant(domid, ref, entry) {
      accepted(grants.seed(find(domid), ref, entry), 'seedGrant', { domid, ref })
    },
    listPorts(domid) {
      const found = events.of(find(domid))
      return found === undefined ? [] : portRecords(found)
    },
    listGrants(domid) {
      const found = grants.of(find(domid))
      return found === undefined ? [] : grantRecords(found)
    },
    port: (domid) => typedHypercallsOf(foundDomain(domains, domid)),
  }
}
