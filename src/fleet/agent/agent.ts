/**
 * The agent of one host. It joins with a lease, claims what the records give to its host, and has it run; before its lease can have run out it has
 * closed the fence, whatever the store says then. One agent of all, the keeper, gives domains without a living host to others.
 *
 * A domain runs here only when a transaction of this membership has put it into the owner's record. A record that names a living host is changed
 * by that host alone; others change it by transactions that compare that the host's key is gone, which the store takes away with the lease. So stale
 * reads, lost watches and two keepers cost time and nothing else.
 */
import { EventHub, parseDuration, XenError, type Duration, type EventSource } from '../../util/index.ts'
import { rest, WALL, type FleetClock } from '../clock.ts'
import { writeRecord, type Ownership } from '../plan/fleet-state.ts'
import { planPlacement } from '../plan/plans.ts'
import { absent, KEY, madeAt, nextEpoch, readFleet, unchanged, type FleetView } from '../records.ts'
import type { ClusterStore, StoreLease, StoreOperation } from '../store/cluster-store.ts'
import { FencedMachine, type Machine } from './fenced-machine.ts'

/** How an agent is made. */
export interface AgentOptions {
  readonly store: ClusterStore
  /** The host's name in the fleet. */
  readonly name: string
  readonly machine: Machine
  /** How long the store keeps the host a member without hearing of it. Default 3 s; whole seconds. */
  readonly lease?: Duration | undefined
  /**
   * By how much this host's clock may run slower than the store's while a lease lasts. Domains are paused as much earlier. Default a
   * tenth of the lease.
   */
  readonly margin?: Duration | undefined
  readonly clock?: FleetClock | undefined
}

/** What happens to an agent. */
export type AgentEvent =
  | { readonly type: 'joined'; readonly member: number }
  /** The lease may have run out: nothing runs here. */
  | { readonly type: 'fenced' }
  | { readonly type: 'domain-started' | 'domain-stopped'; readonly domain: string; readonly epoch: number }
  | { readonly type: 'domain-failed'; readonly domain: string; readonly error: unknown }
  | { readonly type: 'assigned'; readonly domain: string; readonly to: string; readonly why: string }
  /** The store could not be asked; it is asked again. */
  | { readonly type: 'store-failed'; readonly error: unknown }

/** Parts of a lease from one renewal to the next. */
const RENEWALS = 3

/** Milliseconds until what has failed is tried again. */
const RETRY = 1000

/** A membership: from joining until the lease is lost. */
interface Membership {
  readonly lease: StoreLease
  /** The revision at which the host's key was made. */
  readonly member: number
  /** When, in milliseconds. */
  readonly joined: number
}

/** An agent at work. */
export class FleetAgent {
  readonly name: string
  readonly events: EventSource<AgentEvent>
  private readonly hub: EventHub<AgentEvent>
  private readonly store: ClusterStore
  private readonly clock: FleetClock
  private readonly machine: FencedMachine
  private readonly ttl: Duration
  private readonly margin: number | undefined
  private readonly ending = new AbortController()
  private membership: Membership | undefined
  private callOffFence: () => void = () => undefined
  private isWanted = true
  private wake: () => void = () => undefined
  /** All memberships of this process. */
  private readonly own = new Set<number>()
  /** Since when hosts that own something have not been seen, in milliseconds. */
  private readonly missing = new Map<string, number>()
  /** Domains at which something is being done. */
  private readonly busy = new Set<string>()
  private ended: Promise<void> = Promise.resolve()

  constructor({ store, name, machine, lease = '3s', margin, clock = WALL }: AgentOptions) {
    this.name = name
    this.store = store
    this.clock = clock
    this.ttl = lease
    this.margin = margin === undefined ? undefined : parseDuration(margin, 'margin') / 1e6
    this.machine = new FencedMachine(machine, () => clock.now())
    this.hub = new EventHub<AgentEvent>(() => clock.now() * 1e6)
    this.events = this.hub
  }

  /** Joins the fleet; resolves when the host is a member. Rejects with BUSY where another living host has its name, IO. */
  async start(): Promise<void> {
    await this.join()
    this.ended = Promise.all([this.renew(), this.work(), this.watch()]).then(() => undefined)
  }

  /** Leaves: ends the host's domains, and its membership. */
  async stop(): Promise<void> {
    this.isWanted = false
    this.ending.abort()
    this.machine.close()
    this.callOffFence()
    for (const [name] of this.machine.domains()) await this.machine.stop(name)
    await this.membership?.lease.revoke().catch(() => undefined)
    this.wake()
    await this.ended
  }

  /** True while it is a member, as far as it knows, and its domains may run. */
  get isMember(): boolean {
    return this.membership !== undefined && this.machine.isOpen
  }

  // Membership

  private async join(): Promise<void> {
    const asked = this.clock.now()
    const lease = await this.store.lease(this.ttl)
    const { memory, cpus, capabilities } = this.machine.facts
    const value = writeRecord('host', { name: this.name, memory, cpus, capabilities })
    const { succeeded, revision } = await this.store.txn([absent(KEY.host(this.name))], [{ type: 'put', key: KEY.host(this.name), value, lease: lease.id }])
    if (!succeeded) {
      await lease.revoke().catch(() => undefined)
      throw new XenError('BUSY', `a host named ${this.name} is in the fleet`, { details: { host: this.name, doing: 'in the fleet' } })
    }
    this.membership = { lease, member: revision, joined: this.clock.now() }
    this.own.add(revision)
    this.extend(asked, lease)
    this.hub.emit({ type: 'joined', member: revision })
    this.wake()
  }

  /** The lease lasts from when it was asked for, at least. */
  private extend(asked: number, { ttl }: StoreLease): void {
    const deadline = asked + ttl * 1000 - (this.margin ?? ttl * 100)
    this.callOffFence()
    if (this.clock.now() >= deadline) return this.fence()
    this.machine.open(deadline)
    this.callOffFence = this.clock.after(deadline - this.clock.now(), () => this.fence())
  }

  private fence(): void {
    this.machine.close()
    this.hub.emit({ type: 'fenced' })
  }

  /** Renews the lease at intervals; joins anew when it is lost. */
  private async renew(): Promise<void> {
    while (this.isWanted) {
      const { membership } = this
      await rest(this.clock, ((membership?.lease.ttl ?? 1) * 1000) / RENEWALS)
      if (!this.isWanted) return
      const asked = this.clock.now()
      try {
        if (membership === undefined) await this.join()
        else {
          await membership.lease.keepAlive()
          if (this.membership === membership) this.extend(asked, membership.lease)
          this.wake()
        }
      } catch (error) {
        if (XenError.is(error, 'LEASE_LOST')) this.lose()
        this.hub.emit({ type: 'store-failed', error })
      }
    }
  }

  /** The lease is gone: what was claimed by it is not this host's any more, until it is claimed anew. */
  private lose(): void {
    this.membership = undefined
    this.callOffFence()
    this.fence()
  }

  // Work

  /** Does what the records want, whenever something may have changed. */
  private async work(): Promise<void> {
    while (this.isWanted) {
      const woken = new Promise<void>((resolve) => { this.wake = resolve })
      try {
        const { membership } = this
        if (membership !== undefined) await this.look(membership)
      } catch (error) {
        this.hub.emit({ type: 'store-failed', error })
      }
      if (this.isWanted) await woken
    }
  }

  /** Wakes the work at each change; goes on from a revision, or anew where that is lost. */
  private async watch(): Promise<void> {
    let from: number | undefined
    while (this.isWanted) {
      try {
        for await (const { revision } of this.store.watch('', { from, signal: this.ending.signal })) {
          from = revision + 1
          this.wake()
        }
      } catch (error) {
        if (XenError.is(error, 'COMPACTED')) from = undefined
        this.wake()
        if (this.isWanted) await rest(this.clock, 200)
      }
    }
  }

  private async look(membership: Membership): Promise<void> {
    const view = await readFleet(this.store)
    this.count(view)
    for (const [name, owner] of view.owners) if (owner.host === this.name) void this.attend(name, owner, { view, membership })
    for (const [name, epoch] of this.machine.domains()) {
      // Somebody else's, or nobody's.
      if (view.owners.get(name)?.host !== this.name) void this.exclusively(name, () => this.end(name, epoch))
    }
    await this.keep(view, membership)
  }

  /** Notes which owners are missing, and since when. */
  private count({ hosts, owners }: FleetView): void {
    const gone = new Set([...owners.values()].map(({ host }) => host).filter((host) => !hosts.has(host)))
    for (const host of this.missing.keys()) if (!gone.has(host)) this.missing.delete(host)
    for (const host of gone) if (!this.missing.has(host)) this.missing.set(host, this.clock.now())
  }

  /**
   * True when whoever has claimed a domain cannot run it any more, even where the store has lost its lease before its time: so long after
   * `since` its fence has closed. Where it is false the work is woken when it will be true.
   */
  private isOver({ member, grace = 0 }: Ownership, since: number): boolean {
    const left = member === undefined ? 0 : since + grace - this.clock.now()
    if (left > 0) this.clock.after(left, () => this.wake())
    return left <= 0
  }

  /** Brings one domain of this host to where the records want it. */
  private attend(name: string, owner: Ownership, { view, membership }: { readonly view: FleetView; readonly membership: Membership }): Promise<void> {
    return this.exclusively(name, async () => {
      const key = KEY.owner(name)
      const domain = view.domains.get(name)
      if (domain === undefined || domain.wanted === 'stopped' || owner.to !== undefined) {
        // A record of another version is somebody's who knows what it means.
        if (domain === undefined && view.entries.has(KEY.domain(name))) return
        await this.end(name, owner.epoch)
        const then: StoreOperation = owner.to === undefined || domain === undefined || domain.wanted === 'stopped'
          ? { type: 'delete', key } : { type: 'put', key, value: writeRecord('owner', { host: owner.to, epoch: nextEpoch(view, owner) }) }
        await this.store.txn([unchanged(view, key)], [then])
        return
      }
      const here = this.machine.domains().get(name)
      let { epoch } = owner
      if (owner.member !== membership.member || here === undefined) {
        // Another process of this name may have it.
        if (owner.member !== undefined && !this.own.has(owner.member) && !this.isOver(owner, membership.joined)) return
        // One that ran here in an earlier membership goes on, if it is claimed anew; if not, its owner is another.
        epoch = nextEpoch(view, owner)
        const claim = writeRecord('owner', { host: this.name, epoch, member: membership.member, grace: membership.lease.ttl * 1000 })
        const { succeeded } = await this.store.txn([unchanged(view, key), madeAt(KEY.host(this.name), membership.member)], [{ type: 'put', key, value: claim }])
        if (!succeeded) return
      }
      if (this.membership !== membership) return
      await this.machine.run(domain, epoch)
      if (here === undefined) this.hub.emit({ type: 'domain-started', domain: name, epoch })
    })
  }

  private async end(name: string, epoch: number): Promise<void> {
    if (!this.machine.domains().has(name)) return
    await this.machine.stop(name)
    this.hub.emit({ type: 'domain-stopped', domain: name, epoch })
  }

  /** One thing at a time for each domain; the next look finds what was passed over. */
  private async exclusively(name: string, work: () => Promise<void>): Promise<void> {
    if (this.busy.has(name)) return
    this.busy.add(name)
    try {
      await work()
      this.busy.delete(name)
    } catch (error) {
      this.hub.emit({ type: 'domain-failed', domain: name, error })
      // Not at once again: what fails writes records, and those wake everybody.
      this.clock.after(RETRY, () => {
        this.busy.delete(name)
        this.wake()
      })
    }
  }

  // Keeping

  /** As the keeper: gives domains without a living host to hosts that are there. */
  private async keep(view: FleetView, { lease, member }: Membership): Promise<void> {
    const keeper = view.entries.get(KEY.keeper)
    if (keeper === undefined) {
      const claimed = await this.store.txn([absent(KEY.keeper), madeAt(KEY.host(this.name), member)], [{ type: 'put', key: KEY.keeper, value: this.name, lease: lease.id }])
      if (claimed.succeeded) this.wake()
      return
    }
    if (keeper.value !== this.name) return
    for (const step of planPlacement(view).steps) if (step.type === 'assign') await this.assign(view, step)
  }

  private async assign(view: FleetView, { domain, to, why }: { readonly domain: string; readonly to: string; readonly why: string }): Promise<void> {
    const [key, owner] = [KEY.owner(domain), view.owners.get(domain)]
    // An owner's record that nobody can read is nobody's to take.
    if (owner === undefined && view.entries.has(key)) return
    if (owner !== undefined && !this.isOver(owner, this.missing.get(owner.host) ?? this.clock.now())) return
    const { succeeded } = await this.store.txn(
      [unchanged(view, key), unchanged(view, KEY.domain(domain)), madeAt(KEY.host(to), view.entries.get(KEY.host(to))!.created), ...(owner === undefined ? [] : [absent(KEY.host(owner.host))])],
      [{ type: 'put', key, value: writeRecord('owner', { host: to, epoch: nextEpoch(view, owner) }) }],
    )
    if (succeeded) this.hub.emit({ type: 'assigned', domain, to, why })
  }
}
