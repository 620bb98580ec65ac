/**
 * What saved event channels look like, and whether they hold together. The guest's own bits lie in its memory and are no
 * part of them; nor are the references on FIFO pages, which the frame table saves.
 */
import { type StateOf, badState, shape } from '../../util/index.ts'
import { fifoShape, fifoStateProblem } from './fifo.ts'
import { CHANNEL, type Channel, type EventDomain } from './types.ts'
import { VIRQ_COUNT, isGlobalVirq } from './virqs.ts'

/** Most ports that any ABI has. */
const MOST_PORTS = 0x2_0000
const domid = /* @__PURE__ */ shape.whole(0, 0xffff)
const port = /* @__PURE__ */ shape.whole(0, MOST_PORTS - 1)

const channelShape = /* @__PURE__ */ shape.record<Channel>({
  port: /* @__PURE__ */ shape.whole(1, MOST_PORTS - 1),
  state: /* @__PURE__ */ shape.oneOf(CHANNEL.free, CHANNEL.unbound, CHANNEL.interdomain, CHANNEL.virq, CHANNEL.ipi),
  vcpu: shape.word, remoteDomain: domid, remotePort: shape.word, virq: /* @__PURE__ */ shape.whole(0, VIRQ_COUNT - 1),
  priority: /* @__PURE__ */ shape.whole(0, 15), pending: shape.flag, lastVcpu: shape.word,
  lastPriority: /* @__PURE__ */ shape.whole(0, 15),
})

const domainShape = /* @__PURE__ */ shape.record({
  domid,
  dying: shape.flag,
  /** Ports that have a record, used or not. */
  records: /* @__PURE__ */ shape.where(/* @__PURE__ */ shape.whole(64, MOST_PORTS), (records) => (
    records % 64 === 0 ? undefined : 'must come in buckets of 64'
  )),
  /** No port below this one is free; where a reset goes on that has paused. */
  lowestFree: /* @__PURE__ */ shape.whole(1, MOST_PORTS), resetAt: /* @__PURE__ */ shape.whole(1, MOST_PORTS),
  /** Every record that is not fresh. */
  channels: /* @__PURE__ */ shape.list(channelShape, MOST_PORTS),
  /** Polling vCPUs with the port that they wait for, or -1 for any. */
  pollers: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.tuple(shape.word, /* @__PURE__ */ shape.whole(-1, MOST_PORTS - 1))),
  fifo: /* @__PURE__ */ shape.optional(fifoShape),
})

/** Saved event channels of one domain. */
export type DomainEventState = StateOf<typeof domainShape>

/** What the saved event channels of a host look like. */
export const eventShape = /* @__PURE__ */ shape.record({
  domains: /* @__PURE__ */ shape.list(domainShape),
  /** Domains that have asked for global VIRQs. */
  virqHandlers: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.tuple(port, domid)),
})

/** Saved event channels of a host. */
export type EventState = StateOf<typeof eventShape>

/** The vCPU that a VIRQ stands with: a global one with vCPU 0, wherever it is delivered. */
export const virqVcpu = ({ virq, vcpu }: Channel): number => (isGlobalVirq(virq) ? 0 : vcpu)

/** Refuses channels that do not hold together, or do not fit the domains that there are. */
export function checkEventState(state: EventState, of: (domid: number) => EventDomain | undefined, memorySize: number): void {
  const saved = new Map(state.domains.map((domain) => [domain.domid, domain]))
  if (saved.size !== state.domains.length) throw badState('a domain is there twice')
  for (const domain of state.domains) {
    const facts = of(domain.domid)
    if (facts === undefined) throw badState(`domain ${domain.domid} does not exist`)
    checkDomain(domain, facts, memorySize)
    for (const channel of domain.channels) checkPeer(channel, domain.domid, saved)
  }
  for (const [virq, domid] of state.virqHandlers) {
    if (virq >= VIRQ_COUNT || !isGlobalVirq(virq) || !saved.has(domid)) throw badState(`VIRQ ${virq} has no such handler`)
  }
}

function checkDomain(state: DomainEventState, { vcpuCount, maxPort }: EventDomain, memorySize: number): void {
  const { records, channels, pollers, lowestFree, resetAt, fifo } = state
  const seen = new Map<number, Channel>()
  const virqs = new Set<string>()
  for (const channel of channels) {
    const { port: number, state: kind, vcpu, lastVcpu, virq } = channel
    const fits = number < records && number <= maxPort && !seen.has(number) && vcpu < vcpuCount && lastVcpu < vcpuCount
    if (!fits) throw badState(`port ${number} of domain ${state.domid} cannot be`)
    seen.set(number, channel)
    if (kind !== CHANNEL.virq) continue
    const key = `${virqVcpu(channel)}.${virq}`
    if (virqs.has(key)) throw badState(`VIRQ ${virq} is bound twice`)
    virqs.add(key)
  }
  if (resetAt > records || lowestFree > records) throw badState('it goes on beyond its ports')
  for (let number = 1; number < lowestFree; number += 1) {
    if ((seen.get(number)?.state ?? CHANNEL.free) === CHANNEL.free) throw badState(`port ${number} is free below the lowest free one`)
  }
  for (const [vcpu, number] of pollers) if (vcpu >= vcpuCount || number >= records) throw badState(`vCPU ${vcpu} cannot poll`)
  if (new Set(pollers.map(([vcpu]) => vcpu)).size !== pollers.length) throw badState('a vCPU polls twice')
  const problem = fifo === undefined ? undefined : fifoStateProblem(fifo, vcpuCount, memorySize)
  if (problem !== undefined) throw badState(problem)
}

/** An interdomain channel and its peer name each other. */
function checkPeer(channel: Channel, domid: number, saved: ReadonlyMap<number, DomainEventState>): void {
  if (channel.state !== CHANNEL.interdomain) return
  const peer = saved.get(channel.remoteDomain)?.channels.find((one) => one.port === channel.remotePort)
  const mutual = peer?.state === CHANNEL.interdomain && peer.remoteDomain === domid && peer.remotePort === channel.port
  if (!mutual) throw badState(`port ${channel.port} of domain ${domid} has no peer`)
}
