/**
 * Event channels as plain data, and back. The guest's own bits lie in its memory and are not part of it; nor are the
 * references on FIFO pages, which the frame table saves. What comes back is checked as a whole before anything is
 * taken over.
 */
import { XenError } from '../../util/index.ts'
import type { DomainEvents } from './domain-events.ts'
import { VIRQ_COUNT, isGlobalVirq } from './domain-events.ts'
import { fifoStateProblem, type FifoState } from './fifo.ts'
import { CHANNEL, type Channel, type ChannelState } from './types.ts'

/** Saved event channels of one domain. */
export interface DomainEventState {
  readonly domain: number
  readonly dying: boolean
  /** Ports that have a record, used or not. */
  readonly records: number
  /** Every record that is not fresh. */
  readonly channels: readonly Channel[]
  readonly pollers: readonly (readonly [vcpu: number, port: number])[]
  readonly fifo?: FifoState | undefined
}

/** Saved event channels of a host. */
export interface EventState {
  readonly domains: readonly DomainEventState[]
  readonly virqHandlers: readonly (readonly [virq: number, domain: number])[]
}

/** One domain's part of {@link EventState}. */
export function saveDomainEvents(events: DomainEvents): DomainEventState {
  const channels: Channel[] = []
  for (let port = 1; port < events.ports.length; port += 1) {
    const channel = events.ports.get(port)!
    const isFresh = channel.state === CHANNEL.free && channel.lastVcpu === 0 && channel.lastPriority === 0
    if (!isFresh) channels.push({ ...channel })
  }
  return {
    domain: events.domain.id, dying: events.dying, records: events.ports.length, channels,
    pollers: events.savePollers(), fifo: events.saveFifo(),
  }
}

/** Finds the event channels of a domain by number. */
type Finder = (domain: number) => DomainEvents | undefined

/** Throws INVALID_STREAM when saved state does not hold together or does not fit the domains that there are. */
export function checkEventState(state: EventState, of: Finder, memorySize: number): void {
  const saved = new Map(state.domains.map((domain) => [domain.domain, domain]))
  if (saved.size !== state.domains.length) throw broken('a domain twice')
  for (const domain of state.domains) {
    const events = of(domain.domain)
    if (events === undefined) throw broken(`domain ${domain.domain} does not exist`)
    checkDomain(domain, events, memorySize)
    for (const channel of domain.channels) checkPeer(channel, domain.domain, saved)
  }
  for (const [virq, domain] of state.virqHandlers) {
    if (!isWhole(virq, VIRQ_COUNT) || !isGlobalVirq(virq) || !saved.has(domain)) throw broken(`handler of VIRQ ${virq}`)
  }
}

/** Takes over one domain's part of checked state. */
export function loadDomainEvents(events: DomainEvents, state: DomainEventState): void {
  events.dying = state.dying
  events.ports.growTo(state.records)
  for (const saved of state.channels) {
    const channel = events.ports.get(saved.port)!
    Object.assign(channel, saved)
    if (saved.state === CHANNEL.free) continue
    events.activeCount += 1
    if (saved.consumer !== 0) events.consumerCount += 1
    if (saved.state === CHANNEL.virq) events.virqs[virqVcpu(saved)]![saved.virq] = saved.port
  }
  events.loadPollers(state.pollers)
  if (state.fifo !== undefined) events.loadFifo(state.fifo)
}

/** The vCPU that a VIRQ stands with: a global one with vCPU 0, wherever it is delivered. */
const virqVcpu = ({ virq, vcpu }: Channel): number => (isGlobalVirq(virq) ? 0 : vcpu)

function checkDomain(state: DomainEventState, events: DomainEvents, memorySize: number): void {
  const { vcpuCount, maxPort } = events.domain
  const { records } = state
  if (!isWhole(records, 0x2_0001) || records < 64 || records % 64 !== 0) throw broken('number of ports')
  const seen = new Set<number>()
  const virqs = new Set<string>()
  for (const channel of state.channels) {
    const { port, state: kind, vcpu, priority, lastVcpu, lastPriority, virq } = channel
    const known = Object.values(CHANNEL).includes(kind as ChannelState) && kind !== CHANNEL.reserved
    const placed = isWhole(port, state.records) && port > 0 && port <= maxPort && !seen.has(port)
    const bound = [
      [vcpu, vcpuCount], [lastVcpu, vcpuCount], [priority, 16], [lastPriority, 16], [virq, VIRQ_COUNT],
    ] as const
    if (!known || !placed || !bound.every(([value, limit]) => isWhole(value, limit))) throw broken(`port ${port}`)
    seen.add(port)
    if (kind !== CHANNEL.virq) continue
    const key = `${virqVcpu(channel)}.${virq}`
    if (virqs.has(key)) throw broken(`VIRQ ${virq} bound twice`)
    virqs.add(key)
  }
  for (const [vcpu, port] of state.pollers) {
    if (!isWhole(vcpu, vcpuCount) || !isWhole(port + 1, state.records + 1)) throw broken(`poll of vCPU ${vcpu}`)
  }
  const problem = state.fifo === undefined ? undefined : fifoStateProblem(state.fifo, vcpuCount, memorySize)
  if (problem !== undefined) throw broken(problem)
}

/** An interdomain channel and its peer name each other. */
function checkPeer(channel: Channel, domain: number, saved: ReadonlyMap<number, DomainEventState>): void {
  if (channel.state !== CHANNEL.interdomain) return
  const peer = saved.get(channel.remoteDomain)?.channels.find(({ port }) => port === channel.remotePort)
  const mutual = peer?.state === CHANNEL.interdomain && peer.remoteDomain === domain && peer.remotePort === channel.port
  if (!mutual) throw broken(`port ${channel.port} of domain ${domain} has no peer`)
}

const isWhole = (value: number, limit: number): boolean => Number.isInteger(value) && value >= 0 && value < limit

const broken = (what: string): XenError => new XenError('INVALID_STREAM', `saved event channels do not fit: ${what}`)
