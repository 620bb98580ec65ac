/**
 * The ports of one domain: which exist, which are free, and the lowest one to give out next.
 * Records come into being 64 at a time, as a guest can tell, so that one which opens a port does not have 131,072 of them; what they hold is
 * made when the port is first looked at.
 *
 * Reference: xen/common/event_channel.c (evtchn_allocate_port, get_free_port).
 */
import { ERRNO } from '../../abi/index.ts'
import type { Stateful } from '../../util/index.ts'
import { CHANNEL, type Channel } from './types.ts'

/** Records made at once; a guest can tell, because a port without a record is EINVAL where a free one is "closed". */
const BUCKET = 64

/** Priority of a fresh FIFO port. */
export const DEFAULT_PRIORITY = 7

const freshChannel = (port: number): Channel => ({
  port, state: CHANNEL.free, vcpu: 0, remoteDomain: 0, remotePort: 0, virq: 0,
  priority: DEFAULT_PRIORITY, pending: false, lastVcpu: 0, lastPriority: 0,
})

const FRESH: Channel = /* @__PURE__ */ freshChannel(0)

/** True for a record that is as it was made: nearly all of a table are, and most of the others are not free. */
const isFresh = (channel: Channel): boolean => channel.state === CHANNEL.free && isLike(channel, FRESH)

const sameChannel = (one: Channel, other: Channel): boolean => one.port === other.port && one.state === other.state && isLike(one, other)

/** Two of one state are the same but for their ports. */
const isLike = (one: Channel, other: Channel): boolean =>
  one.vcpu === other.vcpu && one.remoteDomain === other.remoteDomain && one.remotePort === other.remotePort && one.virq === other.virq
  && one.priority === other.priority && one.pending === other.pending && one.lastVcpu === other.lastVcpu && one.lastPriority === other.lastPriority

/** Ports as plain data: how many records there are, and every one that is not fresh. */
export interface PortTableState {
  readonly records: number
  readonly lowestFree: number
  readonly channels: readonly Channel[]
}

/** Rules that come from outside the table. */
export interface PortRules {
  /** Ports of the ABI in use. */
  portCount(): number
  /** Highest port that the domain may use. */
  readonly maxPort: number
  /** True while a closed port must not be reused yet. */
  isBusy(channel: Channel): boolean
  /** So many ports have been looked at. */
  looked(count: number): void
}

/** All ports of one domain. Port 0 is reserved. */
export class PortTable implements Stateful<PortTableState> {
  /** Records by port; undefined for one that is as it was made. */
  private readonly channels: (Channel | undefined)[] = []
  /** How many ports have a record. */
  private records = 0
  private readonly rules: PortRules
  /** No port below this one is free. */
  private lowestFree = 1

  constructor(rules: PortRules) {
    this.rules = rules
    this.grow()
    this.make(0).state = CHANNEL.reserved
  }

  /** One past the last port that has a record. */
  get length(): number {
    return this.records
  }

  /** The record of a port, or undefined when there is none. */
  get(port: number): Channel | undefined {
    const channel = this.channels[port]
    // hot path: a port that somebody uses has its record.
    if (channel !== undefined) return channel
    return Number.isInteger(port) && port >= 0 && port < this.records ? this.make(port) : undefined
  }

  /** The record of a port that was ever looked at: whoever goes through all ports finds every one in use. */
  known(port: number): Channel | undefined {
    return this.channels[port]
  }

  /** Lowest port that can be bound now, or a negative error number. The channel stays free until its state is set. */
  findFree(): number {
    const start = this.lowestFree
    let port = start
    let error = -ERRNO.ENOSPC as number
    for (; port <= this.rules.maxPort; port += 1) {
      error = this.claim(port)
      if (error !== -ERRNO.EBUSY) break
    }
    // A guest may have any number of closed ports linked into its queues: none of them is to be had.
    this.rules.looked(port - start + 1)
    if (error === 0) return port
    return error === -ERRNO.EBUSY ? -ERRNO.ENOSPC : error
  }

  /** 0 when this very port can be bound now, or a negative error number. */
  claim(port: number): number {
    if (port > this.rules.maxPort || port >= this.rules.portCount()) return -ERRNO.ENOSPC
    while (port >= this.records) this.grow()
    const channel = this.get(port)!
    if (channel.state !== CHANNEL.free || this.rules.isBusy(channel)) {
      if (port === this.lowestFree && channel.state !== CHANNEL.free) this.lowestFree += 1
      return -ERRNO.EBUSY
    }
    return 0
  }

  /** Makes a port free again and forgets all about it. */
  release(channel: Channel): void {
    channel.state = CHANNEL.free
    channel.vcpu = 0
    channel.remoteDomain = 0
    channel.remotePort = 0
    channel.virq = 0
    if (channel.port < this.lowestFree) this.lowestFree = channel.port
  }

  /** Channels that are neither free nor reserved, in order of their ports. */
  *bound(): IterableIterator<Channel> {
    for (const channel of this.channels) if (channel !== undefined && channel.state > CHANNEL.reserved) yield channel
  }

  save(): PortTableState {
    const channels = this.channels.flatMap((channel) =>
      (channel === undefined || channel.state === CHANNEL.reserved || isFresh(channel) ? [] : [{ ...channel }]))
    return { records: this.records, lowestFree: this.lowestFree, channels }
  }

  isAsSaved({ records, lowestFree, channels }: PortTableState): boolean {
    if (records !== this.length || lowestFree !== this.lowestFree) return false
    let at = 0
    for (const channel of this.channels) {
      if (channel === undefined || channel.state === CHANNEL.reserved || isFresh(channel)) continue
      const saved = channels[at++]
      if (saved === undefined || !sameChannel(channel, saved)) return false
    }
    return at === channels.length
  }

  load({ records, lowestFree, channels }: PortTableState): void {
    while (this.records < records) this.grow()
    for (const saved of channels) Object.assign(this.get(saved.port)!, saved)
    this.lowestFree = lowestFree
  }

  private grow(): void {
    this.records += BUCKET
  }

  /** The record itself, when its port is first looked at. */
  private make(port: number): Channel {
    while (this.channels.length < port) this.channels.push(undefined)
    return (this.channels[port] = freshChannel(port))
  }
}
