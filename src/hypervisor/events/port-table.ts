/**
 * The ports of one domain: which exist, which are free, and the lowest one to give out next.
 * Records come into being 64 at a time, so that a guest which opens one port does not cost 131,072 records.
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

/** True for a record that is as it was made. */
function isFresh(channel: Channel): boolean {
  const fresh = freshChannel(channel.port)
  return (Object.keys(fresh) as (keyof Channel)[]).every((field) => channel[field] === fresh[field])
}

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
  private readonly channels: Channel[] = []
  private readonly rules: PortRules
  /** No port below this one is free. */
  private lowestFree = 1

  constructor(rules: PortRules) {
    this.rules = rules
    this.grow()
    this.channels[0]!.state = CHANNEL.reserved
  }

  /** One past the last port that has a record. */
  get length(): number {
    return this.channels.length
  }

  /** The record of a port, or undefined when there is none. */
  get(port: number): Channel | undefined {
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
    while (port >= this.channels.length) this.grow()
    const channel = this.channels[port]!
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
    for (const channel of this.channels) if (channel.state > CHANNEL.reserved) yield channel
  }

  save(): PortTableState {
    const channels = this.channels.filter((channel) => channel.state !== CHANNEL.reserved && !isFresh(channel))
    return { records: this.length, lowestFree: this.lowestFree, channels: channels.map((channel) => ({ ...channel })) }
  }

  load({ records, lowestFree, channels }: PortTableState): void {
    while (this.channels.length < records) this.grow()
    for (const saved of channels) Object.assign(this.channels[saved.port]!, saved)
    this.lowestFree = lowestFree
  }

  private grow(): void {
    const start = this.channels.length
    for (let i = 0; i < BUCKET; i += 1) this.channels.push(freshChannel(start + i))
  }
}
