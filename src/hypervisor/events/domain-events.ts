/**
 * The event channels of one domain: its ports, the ABI that delivers them, its VIRQ bindings and its polling vCPUs.
 * Rules between domains lie in event-channels.ts.
 */
import { PAGE_SHIFT } from '../../x86/index.ts'
import { ERRNO, VcpuInfo } from '../../abi/index.ts'
import type { Stateful } from '../../util/index.ts'
import { WORK } from '../time/work-meter.ts'
import { type DomainEventState, virqVcpu } from './event-state.ts'
import { FifoDelivery } from './fifo.ts'
import { DEFAULT_PRIORITY, PortTable } from './port-table.ts'
import { TwoLevelDelivery } from './two-level.ts'
import {
  CHANNEL, type Channel, type EventDelivery, type EventDomain, type EventHost, type UpcallTarget, type VcpuListeners,
} from './types.ts'
import { VIRQ_COUNT, isGlobalVirq } from './virqs.ts'

/** The two bytes of vcpu_info that say whether an upcall is due. */
const PENDING = VcpuInfo.evtchnUpcallPending.offset
const MASK = VcpuInfo.evtchnUpcallMask.offset

/** Polling for no particular port: any event ends it. */
const ANY_PORT = -1

/** All that a domain's event channels are. */
export class DomainEvents implements UpcallTarget, Stateful<DomainEventState> {
  readonly domain: EventDomain
  readonly ports: PortTable
  /** Set while the domain is being taken apart: no new ports. */
  dying = false
  /** Channels in use. */
  activeCount = 0
  /** Where a reset goes on that has paused. */
  resetAt = 1
  /** Port of each VIRQ, by vCPU; 0 when unbound. Global ones stand with vCPU 0. */
  readonly virqs: readonly Uint32Array[]
  /** Port that each polling vCPU waits for. */
  private readonly pollers = new Map<number, number>()
  private readonly host: EventHost
  private readonly listeners: VcpuListeners
  private currentDelivery: EventDelivery

  constructor(host: EventHost, domain: EventDomain, listeners: VcpuListeners) {
    this.host = host
    this.listeners = listeners
    this.domain = domain
    this.currentDelivery = new TwoLevelDelivery(host, domain, this)
    this.ports = new PortTable({
      portCount: () => this.delivery.portCount,
      maxPort: domain.maxPort,
      isBusy: (channel) => this.delivery.isBusy(channel),
      looked: (count) => this.host.meter.charge(count * WORK.look),
    })
    this.virqs = Array.from({ length: domain.vcpuCount }, () => new Uint32Array(VIRQ_COUNT))
  }

  /** The ABI in use. */
  get delivery(): EventDelivery {
    return this.currentDelivery
  }

  /** True for the number of a vCPU that the domain may have. */
  hasVcpu(vcpu: number): boolean {
    return vcpu >= 0 && vcpu < this.domain.vcpuCount
  }

  /** The channel of the lowest free port, or a negative error number. */
  allocate(): Channel | number {
    if (this.dying) return -ERRNO.EINVAL
    const port = this.ports.findFree()
    return port < 0 ? port : this.ports.get(port)!
  }

  /** Turns a free channel into one of the given state. */
  bind(channel: Channel, fields: Partial<Channel>): void {
    Object.assign(channel, fields)
    this.activeCount += 1
    this.delivery.bound(channel)
  }

  /** Frees a channel. A pending bit goes with it, so that the next owner of the port is not told of it. */
  free(channel: Channel): void {
    this.delivery.clearPending(channel)
    this.activeCount -= 1
    channel.pending = false
    this.ports.release(channel)
  }

  /** Raises a channel for the vCPU, unless nobody of the guest's listens. */
  raise(channel: Channel, vcpu = channel.vcpu): void {
    if (isUsable(channel)) this.delivery.setPending(vcpu, channel)
  }

  /** Raises a VIRQ of this domain, if it is bound. */
  raiseVirq(virq: number, vcpu: number): void {
    const port = this.virqs[isGlobalVirq(virq) ? 0 : vcpu]?.[virq] ?? 0
    const channel = port === 0 ? undefined : this.ports.get(port)
    if (channel !== undefined) this.raise(channel)
  }

  markPending(vcpu: number): void {
    const info = this.domain.vcpuInfo(vcpu)
    if (info < 0) return
    this.host.memory.markWritten(info >>> PAGE_SHIFT)
    this.pend(vcpu, info)
  }

  pend(vcpu: number, info: number): void {
    const { view } = this.host.memory
    if (view.getUint8(info + PENDING) !== 0) return
    view.setUint8(info + PENDING, 1)
    this.endPoll(vcpu)
    this.listeners.raised(vcpu)
  }

  /** True when the vCPU has an upcall to take: pending and not masked. */
  needsUpcall(vcpu: number): boolean {
    const isInterrupted = this.domain.interrupted?.(vcpu)
    if (isInterrupted !== undefined) return isInterrupted
    const info = this.domain.vcpuInfo(vcpu)
    const { view } = this.host.memory
    return info >= 0 && view.getUint8(info + PENDING) !== 0 && view.getUint8(info + MASK) === 0
  }

  /** The vCPU's vcpu_info has moved: marks everything as pending, for something may have come in between. */
  remarkAll(vcpu: number): void {
    if (this.currentDelivery instanceof TwoLevelDelivery) this.currentDelivery.selectAll(vcpu)
    this.markPending(vcpu)
  }

  /**
   * The vCPU wants to sleep until one of the ports is pending (or any event comes, when there are several).
   * 1: it polls now. 0: something is pending already. Negative: error number, for a port that is not valid.
   */
  poll(vcpu: number, ports: readonly number[]): number {
    if (this.needsUpcall(vcpu)) return 0
    this.host.meter.charge(ports.length * WORK.look)
    for (const port of ports) {
      const channel = this.ports.get(port)
      if (channel === undefined) return -ERRNO.EINVAL
      if (isUsable(channel) && this.delivery.isPending(channel)) return 0
    }
    this.pollers.set(vcpu, ports.length === 1 ? ports[0]! : ANY_PORT)
    return 1
  }

  /** Ends polling; true when the vCPU was polling. */
  endPoll(vcpu: number): boolean {
    return this.pollers.size > 0 && this.pollers.delete(vcpu)
  }

  wakePollers(port: number): void {
    if (this.pollers.size === 0) return
    this.host.meter.charge(this.pollers.size * WORK.element)
    for (const [vcpu, wanted] of [...this.pollers].sort(([a], [b]) => a - b)) {
      if (wanted !== ANY_PORT && wanted !== port) continue
      this.pollers.delete(vcpu)
      this.listeners.wake(vcpu)
    }
  }

  /**
   * Gives a vCPU its FIFO control block; the first one switches the domain to the FIFO ABI. 0, or a negative error
   * number.
   */
  initControl(vcpu: number, gfn: number, offset: number): number {
    if (!this.hasVcpu(vcpu)) return -ERRNO.ENOENT
    const misplaced = FifoDelivery.checkOffset(offset)
    if (misplaced !== 0) return misplaced
    const current = this.currentDelivery
    if (current instanceof FifoDelivery) return current.mapControlBlock(vcpu, gfn, offset)
    const fifo = new FifoDelivery(this.host, this.domain, this)
    const error = fifo.mapControlBlock(vcpu, gfn, offset)
    if (error !== 0) return error
    this.switchToFifo(fifo, current)
    return 0
  }

  /** Adds a page of FIFO event words. 0, or a negative error number. */
  expandArray(gfn: number): number {
    const fifo = this.currentDelivery
    if (!(fifo instanceof FifoDelivery)) return -ERRNO.EOPNOTSUPP
    const first = fifo.wordCount
    const error = fifo.addPage(gfn)
    if (error !== 0) return error
    const end = Math.min(fifo.wordCount, this.ports.length)
    this.host.meter.charge(Math.max(0, end - first) * WORK.look)
    for (let port = first; port < end; port += 1) {
      const channel = this.ports.known(port)
      if (channel?.pending === true) fifo.setPending(channel.vcpu, channel)
    }
    return 0
  }

  /** Back to the 2-level ABI; the FIFO pages go back to the guest. */
  leaveFifo(): void {
    if (!(this.currentDelivery instanceof FifoDelivery)) return
    this.currentDelivery.destroy()
    this.currentDelivery = new TwoLevelDelivery(this.host, this.domain, this)
  }

  /** Frames of the domain's that its event channels hold a writable reference on, once for each. */
  pages(): Iterable<number> {
    return this.currentDelivery instanceof FifoDelivery ? this.currentDelivery.frames() : []
  }

  save(): DomainEventState {
    const { currentDelivery, ports } = this
    return {
      domid: this.domain.id, dying: this.dying, resetAt: this.resetAt, ...ports.save(),
      pollers: [...this.pollers].sort(([a], [b]) => a - b),
      fifo: currentDelivery instanceof FifoDelivery ? currentDelivery.save() : undefined,
    }
  }

  isAsSaved(state: DomainEventState): boolean {
    const { currentDelivery, pollers, ports } = this
    return state.domid === this.domain.id && state.dying === this.dying && state.resetAt === this.resetAt && ports.isAsSaved(state)
      && state.pollers.length === pollers.size && state.pollers.every(([vcpu, port]) => pollers.get(vcpu) === port)
      && (currentDelivery instanceof FifoDelivery ? state.fifo !== undefined && currentDelivery.isAsSaved(state.fifo) : state.fifo === undefined)
  }

  /** Takes over what {@link checkEventState} has checked; the pages of the FIFO ABI are still referenced. */
  load(state: DomainEventState): void {
    const { dying, resetAt, channels, pollers, fifo } = state
    this.dying = dying
    this.resetAt = resetAt
    this.ports.load(state)
    for (const channel of channels) {
      if (channel.state === CHANNEL.free) continue
      this.activeCount += 1
        if (channel.state === CHANNEL.virq) this.virqs[virqVcpu(channel)]![channel.virq] = channel.port
    }
    for (const [vcpu, port] of pollers) this.pollers.set(vcpu, port)
    if (fifo === undefined) return
    const delivery = new FifoDelivery(this.host, this.domain, this)
    delivery.load(fifo)
    this.currentDelivery = delivery
  }

  /** The same where {@link bindingsOf} is what it was: what waits, and who polls. */
  bringBack(state: DomainEventState): void {
    this.ports.load(state)
    this.pollers.clear()
    for (const [vcpu, port] of state.pollers) this.pollers.set(vcpu, port)
    if (state.fifo !== undefined && this.currentDelivery instanceof FifoDelivery) this.currentDelivery.load(state.fifo)
  }

  private switchToFifo(fifo: FifoDelivery, before: EventDelivery): void {
    this.host.meter.charge(this.ports.length * WORK.look)
    for (let port = 1; port < Math.min(before.portCount, this.ports.length); port += 1) {
      const channel = this.ports.known(port)
      if (channel === undefined) continue
      if (isUsable(channel) && before.isPending(channel)) channel.pending = true
      channel.priority = DEFAULT_PRIORITY
    }
    this.currentDelivery = fifo
  }
}

/** True for a channel whose bits the guest uses: one that is bound. */
export const isUsable = (channel: Channel): boolean => channel.state > CHANNEL.reserved

/** What is bound to what, without what waits there. */
export const bindingsOf = ({ domid, dying, resetAt, records, channels, fifo }: DomainEventState): unknown => ({
  domid, dying, resetAt, records, fifo: fifo?.pages,
  channels: channels.map(({ port, state, vcpu, remoteDomain, remotePort, virq }) => [port, state, vcpu, remoteDomain, remotePort, virq]),
})
