/**
 * The typed door of a domain that asks before each hypercall, as the dispatcher does for binary guests: a call of the door counts as the
 * hypercall that it stands for.
 */
import { EVTCHNOP, GNTST, GNTTABOP, HYPERVISOR, SCHEDOP, XENMEM, type GrantCopy } from '../../abi/index.ts'
import type { DomId, EventPort, GrantHandle, GrantRef, Mfn } from '../../util/index.ts'
import type { Domain } from '../domains/domain.ts'
import { TypedHypercalls, type TypedHypercallParts } from '../guests/typescript/typed-hypercalls.ts'
import type { HypervisorInterference } from '../interference.ts'

/** The door. */
export class InterferedDoor extends TypedHypercalls {
  private readonly interference: HypervisorInterference

  constructor(parts: TypedHypercallParts, owner: Domain, interference: HypervisorInterference) {
    super(parts, owner)
    this.interference = interference
  }

  private refused(number: number, sub: number): number | undefined {
    if (this.interference.asks === false) return undefined
    return this.interference.hypercall?.({ domid: this.domid, vcpu: 0, number, sub })
  }

  private event(sub: number): number | undefined {
    return this.refused(HYPERVISOR.event_channel_op, sub)
  }

  override now(): number {
    const now = super.now()
    return this.interference.guestTime?.(this.domid, now) ?? now
  }

  override allocUnbound(domid: DomId, remote: DomId): number {
    return this.event(EVTCHNOP.alloc_unbound) ?? super.allocUnbound(domid, remote)
  }

  override bindInterdomain(remote: DomId, remotePort: EventPort): number {
    return this.event(EVTCHNOP.bind_interdomain) ?? super.bindInterdomain(remote, remotePort)
  }

  override bindVirq(virq: number, vcpu: number): number {
    return this.event(EVTCHNOP.bind_virq) ?? super.bindVirq(virq, vcpu)
  }

  override bindIpi(vcpu: number): number {
    return this.event(EVTCHNOP.bind_ipi) ?? super.bindIpi(vcpu)
  }

  override closePort(port: EventPort): number {
    return this.event(EVTCHNOP.close) ?? super.closePort(port)
  }

  override sendEvent(port: EventPort): number {
    return this.event(EVTCHNOP.send) ?? super.sendEvent(port)
  }

  override setupGrantTable(frames: number): readonly Mfn[] | number {
    return this.refused(HYPERVISOR.grant_table_op, GNTTABOP.setup_table) ?? super.setupGrantTable(frames)
  }

  override mapGrant(mapping: { readonly domid: DomId; readonly ref: GrantRef; readonly readOnly?: boolean }): { readonly status: number; readonly handle: GrantHandle; readonly frame: Mfn } {
    const refused = this.refused(HYPERVISOR.grant_table_op, GNTTABOP.map_grant_ref)
    return refused === undefined ? super.mapGrant(mapping) : { status: GNTST.general_error, handle: 0 as GrantHandle, frame: 0 as Mfn }
  }

  override copyGrants(copies: readonly GrantCopy[]): readonly number[] {
    const refused = this.refused(HYPERVISOR.grant_table_op, GNTTABOP.copy)
    return refused === undefined ? super.copyGrants(copies) : copies.map(() => GNTST.general_error)
  }

  override decreaseReservation(frames: readonly Mfn[]): number {
    return this.refused(HYPERVISOR.memory_op, XENMEM.decrease_reservation) === undefined ? super.decreaseReservation(frames) : 0
  }

  override increaseReservation(count: number): readonly Mfn[] {
    return this.refused(HYPERVISOR.memory_op, XENMEM.populate_physmap) === undefined ? super.increaseReservation(count) : []
  }

  override setTimer(deadline: number): number {
    return this.refused(HYPERVISOR.set_timer_op, 0) ?? super.setTimer(deadline)
  }

  override shutdown(reason: number): number {
    return this.refused(HYPERVISOR.sched_op, SCHEDOP.shutdown) ?? super.shutdown(reason)
  }
}
