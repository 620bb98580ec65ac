/**
 * Event channels of all domains: who may bind, close, send and ask, and what that does to both ends. Results are
 * those of the ABI: zero or a port on success, a negative error number on failure; a failed operation leaves
 * everything as it was.
 *
 *   free -> unbound <-> interdomain    an unbound port waits for one named domain, and again when the peer closes
 *   free -> virq | ipi -> free
 *
 * Reference: xen/common/event_channel.c, public/event_channel.h.
 */
import { DOMID, ERRNO, EVTCHNSTAT } from '../../abi/index.ts'
import { invariant, sameState, type DomId, type Rewind, type Stateful, sameEntries } from '../../util/index.ts'
import { CALL_AGAIN, WORK } from '../time/work-meter.ts'
import { bindingsOf, DomainEvents, isUsable } from './domain-events.ts'
import { checkEventState, type EventState } from './event-state.ts'
import { CHANNEL, type Channel, type EventDomain, type EventHost, type VcpuListeners } from './types.ts'
import { VIRQ_COUNT, isGlobalVirq } from './virqs.ts'

/** What EVTCHNOP_status tells of a port; fields that do not apply are absent. */
export interface PortStatus {
  /** One of EVTCHNSTAT. */
  readonly status: number
  readonly vcpu: number
  /** Unbound: who may bind. Interdomain: the peer. */
  readonly domid?: number
  /** Interdomain: the peer's port. */
  readonly port?: number
  readonly virq?: number
}

/** The event channels of one host. */
export class EventChannels implements Stateful<EventState> {
  private readonly host: EventHost
  private readonly domains = new Map<DomId, DomainEvents>()
  /** Domains that have asked for global VIRQs of the host; the hardware domain gets the others. */
  private readonly virqHandlers = new Map<number, DomId>()

  constructor(host: EventHost) {
    this.host = host
  }

  /** Gives a new domain its event channels. */
  addDomain(domain: EventDomain, listeners: VcpuListeners): DomainEvents {
    const events = new DomainEvents(this.host, domain, listeners)
    this.domains.set(domain.id, events)
    return events
  }

  /** Closes all ports of a dying domain; peers see their ends become unbound. From now on it gets no new ones. */
  closeDomain(id: DomId): void {
    for (const _ of this.closing(id));
  }

  /** The same, step by step. */
  *closing(id: DomId): Generator<void> {
    const events = this.domains.get(id)
    if (events === undefined) return
    events.dying = true
    for (let port = events.ports.length - 1; port > 0; port -= 1) {
      const channel = events.ports.known(port)
      if (channel !== undefined) this.closeEnd(events, channel)
      if (this.host.meter.isSpent) yield
    }
    for (const [virq, handler] of this.virqHandlers) if (handler === id) this.virqHandlers.delete(virq)
    events.leaveFifo()
  }

  /** Forgets a dead domain. */
  removeDomain(id: DomId): void {
    this.closeDomain(id)
    this.domains.delete(id)
  }

  /** The event channels of one domain, or undefined when there is no such domain. */
  of(id: DomId): DomainEvents | undefined {
    return this.domains.get(id)
  }

  /** EVTCHNOP_alloc_unbound: a port of `domain` that `remote` may bind. */
  allocUnbound(caller: DomId, domid: number, remote: number): number {
    const target = this.lookUp(caller, domid)
    if (target === undefined) return -ERRNO.ESRCH
    const channel = target.allocate()
    if (typeof channel === 'number') return channel
    if (!this.mayAct(caller, target)) return -ERRNO.EPERM
    if (remote !== DOMID.SELF && !this.host.mayShare('evtchn_unbound', target.domain.id, remote)) return -ERRNO.EPERM
    target.bind(channel, {
      state: CHANNEL.unbound, remoteDomain: remote === DOMID.SELF ? caller : remote,
    })
    return channel.port
  }

  /** EVTCHNOP_bind_interdomain: connects a new port of the caller's with an unbound port that waits for it. */
  bindInterdomain(caller: DomId, remote: number, remotePort: number): number {
    const there = this.lookUp(caller, remote)
    if (there === undefined) return -ERRNO.ESRCH
    const here = this.domains.get(caller)!
    const local = here.allocate()
    if (typeof local === 'number') return local
    const peer = there.ports.get(remotePort)
    if (peer?.state !== CHANNEL.unbound || peer.remoteDomain !== caller) return -ERRNO.EINVAL
    if (!this.host.mayShare('evtchn_interdomain', caller, there.domain.id)) return -ERRNO.EPERM
    here.bind(local, { state: CHANNEL.interdomain, remoteDomain: there.domain.id, remotePort })
    peer.state = CHANNEL.interdomain
    peer.remoteDomain = caller
    peer.remotePort = local.port
    // What was sent to the unbound port is lost, so the binder is told once to look.
    here.raise(local)
    return local.port
  }

  /** EVTCHNOP_bind_virq. */
  bindVirq(caller: DomId, virq: number, vcpu: number): number {
    const here = this.domains.get(caller)!
    if (virq < 0 || virq >= VIRQ_COUNT) return -ERRNO.EINVAL
    if (isGlobalVirq(virq) && vcpu !== 0) return -ERRNO.EINVAL
    if (!here.hasVcpu(vcpu)) return -ERRNO.ENOENT
    if (here.virqs[vcpu]![virq] !== 0) return -ERRNO.EEXIST
    const channel = here.allocate()
    if (typeof channel === 'number') return channel
    here.bind(channel, { state: CHANNEL.virq, vcpu, virq })
    here.virqs[vcpu]![virq] = channel.port
    return channel.port
  }

  /** EVTCHNOP_bind_ipi. */
  bindIpi(caller: DomId, vcpu: number): number {
    const here = this.domains.get(caller)!
    if (!here.hasVcpu(vcpu)) return -ERRNO.ENOENT
    const channel = here.allocate()
    if (typeof channel === 'number') return channel
    here.bind(channel, { state: CHANNEL.ipi, vcpu })
    return channel.port
  }

  /** EVTCHNOP_bind_pirq: there is no physical interrupt to bind, whatever the number. */
  bindPirq(): number {
    return -ERRNO.EINVAL
  }

  /** EVTCHNOP_close. */
  close(caller: DomId, port: number): number {
    const here = this.domains.get(caller)!
    const channel = here.ports.get(port)
    if (channel === undefined) return -ERRNO.EINVAL
    return this.closeEnd(here, channel)
  }

  /** EVTCHNOP_send. hot path. */
  send(caller: DomId, port: number): number {
    const here = this.domains.get(caller)!
    const channel = here.ports.get(port)
    if (channel === undefined) return -ERRNO.EINVAL
    if (channel.state === CHANNEL.interdomain) return this.sendToPeer(channel)
    if (channel.state === CHANNEL.ipi) {
      here.raise(channel)
      return 0
    }
    // Nobody listens on an unbound port yet; the binder will be told to look anyway.
    return channel.state === CHANNEL.unbound ? 0 : -ERRNO.EINVAL
  }

  /** EVTCHNOP_status: the port's state, or a negative error number. */
  status(caller: DomId, domid: number, port: number): PortStatus | number {
    const target = this.lookUp(caller, domid)
    if (target === undefined) return -ERRNO.ESRCH
    const channel = target.ports.get(port)
    if (channel === undefined) return -ERRNO.EINVAL
    if (!this.mayAct(caller, target)) return -ERRNO.EPERM
    const { vcpu, state, remoteDomain, remotePort, virq } = channel
    switch (state) {
      case CHANNEL.unbound:
        return { status: EVTCHNSTAT.unbound, vcpu, domid: remoteDomain }
      case CHANNEL.interdomain:
        return { status: EVTCHNSTAT.interdomain, vcpu, domid: remoteDomain, port: remotePort }
      case CHANNEL.virq:
        return { status: EVTCHNSTAT.virq, vcpu, virq }
      case CHANNEL.ipi:
        return { status: EVTCHNSTAT.ipi, vcpu }
      default:
        return { status: EVTCHNSTAT.closed, vcpu }
    }
  }

  /** EVTCHNOP_bind_vcpu: moves a port to another vCPU. IPIs and per-vCPU VIRQs stay where they are. */
  bindVcpu(caller: DomId, port: number, vcpu: number): number {
    const here = this.domains.get(caller)!
    if (!here.hasVcpu(vcpu)) return -ERRNO.ENOENT
    const channel = here.ports.get(port)
    if (channel === undefined) return -ERRNO.EINVAL
    const movable = channel.state === CHANNEL.unbound || channel.state === CHANNEL.interdomain
      || (channel.state === CHANNEL.virq && isGlobalVirq(channel.virq))
    if (!movable) return -ERRNO.EINVAL
    channel.vcpu = vcpu
    return 0
  }

  /** EVTCHNOP_unmask. */
  unmask(caller: DomId, port: number): number {
    const here = this.domains.get(caller)!
    const channel = here.ports.get(port)
    if (channel === undefined) return -ERRNO.EINVAL
    if (isUsable(channel)) here.delivery.unmask(channel)
    return 0
  }

  /**
   * EVTCHNOP_reset: closes all ports and goes back to the 2-level ABI. Another domain must be paused by the
   * toolstack. CALL_AGAIN when the work has paused.
   */
  reset(caller: DomId, domid: number, isPaused: (domid: DomId) => boolean): number {
    const target = this.lookUp(caller, domid)
    if (target === undefined) return -ERRNO.ESRCH
    if (!this.mayAct(caller, target)) return -ERRNO.EPERM
    if (target.domain.id !== caller && !isPaused(target.domain.id)) return -ERRNO.EINVAL
    const { meter } = this.host
    for (; target.resetAt < target.ports.length; target.resetAt += 1) {
      if (meter.isSpent) return CALL_AGAIN
      const channel = target.ports.known(target.resetAt)
      meter.charge(WORK.look)
      if (channel !== undefined) this.closeEnd(target, channel)
    }
    target.resetAt = 1
    if (target.activeCount > 0) return -ERRNO.EAGAIN
    target.leaveFifo()
    return 0
  }

  /** EVTCHNOP_init_control. */
  initControl(caller: DomId, vcpu: number, gfn: number, offset: number): number {
    return this.domains.get(caller)!.initControl(vcpu, gfn, offset)
  }

  /** EVTCHNOP_expand_array. */
  expandArray(caller: DomId, gfn: number): number {
    return this.domains.get(caller)!.expandArray(gfn)
  }

  /** EVTCHNOP_set_priority. */
  setPriority(caller: DomId, port: number, priority: number): number {
    const here = this.domains.get(caller)!
    const channel = here.ports.get(port)
    if (channel === undefined) return -ERRNO.EINVAL
    if (here.delivery.abi === '2-level') return -ERRNO.ENOSYS
    return isUsable(channel) ? here.delivery.setPriority(channel, priority) : -ERRNO.EACCES
  }

  /** Raises a VIRQ in a domain, if it has bound it. */
  raiseVirq(domid: DomId, virq: number, vcpu = 0): void {
    this.domains.get(domid)?.raiseVirq(virq, vcpu)
  }

  /** Raises a global VIRQ of the host where its handler is, by default in `hardwareDomain`. */
  raiseGlobalVirq(virq: number, hardwareDomain: DomId): void {
    this.raiseVirq(this.virqHandlers.get(virq) ?? hardwareDomain, virq)
  }

  /** XEN_DOMCTL_set_virq_handler: sends a global VIRQ of the host to a domain of one's choice. */
  setVirqHandler(virq: number, domid: DomId): number {
    if (virq < 0 || virq >= VIRQ_COUNT || !isGlobalVirq(virq)) return -ERRNO.EINVAL
    if (!this.domains.has(domid)) return -ERRNO.ESRCH
    this.virqHandlers.set(virq, domid)
    return 0
  }

  save(): EventState {
    return {
      domains: [...this.domains.values()].map((events) => events.save()),
      virqHandlers: [...this.virqHandlers],
    }
  }

  isAsSaved({ domains, virqHandlers }: EventState): boolean {
    if (domains.length !== this.domains.size || !sameEntries<number, number>(this.virqHandlers, virqHandlers)) return false
    let at = 0
    for (const events of this.domains.values()) if (!events.isAsSaved(domains[at++]!)) return false
    return true
  }

  /** The domains have been added and have no channels yet. */
  load(state: EventState): void {
    this.checkState(state)
    for (const { activeCount, domain } of this.domains.values()) {
      invariant(activeCount === 0, `domain ${domain.id} has channels already`)
    }
    for (const saved of state.domains) this.domains.get(saved.domid as DomId)!.load(saved)
    for (const [virq, domid] of state.virqHandlers) this.virqHandlers.set(virq, domid as DomId)
  }

  /** In place where the same ports are bound to the same, whatever waits on them. */
  rewind(state: EventState, now: EventState): Rewind | undefined {
    const bindings = ({ domains, virqHandlers }: EventState): unknown => [virqHandlers, domains.map(bindingsOf)]
    if (!sameState(bindings(state), bindings(now))) return undefined
    return () => {
      for (const saved of state.domains) this.domains.get(saved.domid as DomId)!.bringBack(saved)
    }
  }

  /** Checks that all channels, peers and VIRQs agree. Throws INVALID_STATE with what does not. */
  check(): void {
    this.checkState(this.save())
  }

  private checkState(state: EventState): void {
    checkEventState(state, (domid) => this.domains.get(domid as DomId)?.domain, this.host.memory.view.byteLength)
  }

  private lookUp(caller: DomId, domid: number): DomainEvents | undefined {
    return this.domains.get(domid === DOMID.SELF ? caller : (domid as DomId))
  }

  private mayAct(caller: DomId, target: DomainEvents): boolean {
    return caller === target.domain.id || this.host.mayControl(caller, target.domain.id)
  }

  private sendToPeer(channel: Channel): number {
    const there = this.domains.get(channel.remoteDomain as DomId)!
    there.raise(there.ports.get(channel.remotePort)!)
    return 0
  }

  private closeEnd(here: DomainEvents, channel: Channel): number {
    if (channel.state <= CHANNEL.reserved) return -ERRNO.EINVAL
    if (channel.state === CHANNEL.virq) {
      here.virqs[isGlobalVirq(channel.virq) ? 0 : channel.vcpu]![channel.virq] = 0
    }
    if (channel.state === CHANNEL.interdomain) {
      const peer = this.domains.get(channel.remoteDomain as DomId)!.ports.get(channel.remotePort)!
      peer.state = CHANNEL.unbound
      peer.remoteDomain = here.domain.id
      peer.remotePort = 0
    }
    here.free(channel)
    this.host.meter.charge(WORK.port)
    return 0
  }
}
