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
import { readRecord, writeRecord, type FleetDomain, type FleetHost, type Ownership } from '../plan/fleet-state.ts'
import { planPlacement, type PlanStep } from '../plan/plans.ts'
import { absent, KEY, madeAt, nextEpoch, readFleet, unchanged, type FleetMirror } from '../records.ts'
import type { ClusterStore, StoreComparison, StoreLease, StoreOperation } from '../store/cluster-store.ts'
import { FencedMachine, type Machine } from './fenced-machine.ts'
import { LoadReport } from './load-report.ts'
import { Mover } from './mover.ts'

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
  /** A domain has come from another host with its memory, or has gone there. */
  | { readonly type: 'domain-came'; readonly domain: string; readonly epoch: number }
  | { readonly type: 'domain-gone'; readonly domain: string; readonly to: string }
  /** It could not be moved with its memory, and is started anew there. */
  | { readonly type: 'move-failed'; readonly domain: string; readonly error: unknown }
  | { readonly type: 'domain-failed'; readonly domain: string; readonly error: unknown }
  | { readonly type: 'assigned'; readonly domain: string; readonly to: string; readonly why: string }
  /** The store could not be asked; it is asked again. */
  | { readonly type: 'store-failed'; readonly error: unknown }

/** Parts of a lease from one renewal to the next. */
const RENEWALS = 3
/** Renewals from one reading of all records to the next: a watch may have left something out, and nobody has been told. */
const ANEW = 5 * RENEWALS

/** Milliseconds until what has failed is tried again. */
const RETRY = 1000

/** Assignments that are asked of the store at a time. */
const AT_ONCE = 16

/** An owner's record as it is known, and what would follow it. */
interface Known {
  readonly key: string
  readonly owner: Ownership
  readonly isAsKnown: StoreComparison
  readonly epoch: number
}

type AssignStep = Extract<PlanStep, { type: 'assign' }>

/** A domain that is to be given to a host. */
interface Assignment {
  readonly step: AssignStep
  readonly compare: readonly StoreComparison[]
  readonly put: StoreOperation
}

/** A moment: by this host's clock, which may jump, by renewals that the store has answered, and by its revision. */
interface Moment {
  readonly time: number
  readonly answered: number
  readonly revision: number
}

/** A membership: from joining until the lease is lost. */
interface Membership {
  readonly lease: StoreLease
  /** The revision at which the host's key was made. */
  readonly member: number
  readonly joined: Moment
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
  /** The records as this host knows them. */
  private mirror: FleetMirror | undefined
  /** Reads them anew, and watches from there on. */
  private readAnew: () => void = () => undefined
  /** What the store's revision was, at the last renewal but one, and the last. */
  private revisions: readonly [before: number, last: number] = [0, 0]
  /** Renewals since all records were read. */
  private renewals = 0
  /** All memberships of this process. */
  private readonly own = new Set<number>()
  /** Renewals that the store has answered. */
  private answered = 0
  /** Since when hosts that own something have not been seen. */
  private readonly missing = new Map<string, Moment>()
  /** Domains at which something is being done. */
  private readonly busy = new Set<string>()
  /** Those of them that were to be looked at meanwhile. */
  private readonly passedOver = new Set<string>()
  /** Revisions at which domains have come from other hosts: what is known from before says nothing of them. */
  private readonly cameAt = new Map<string, number>()
  private readonly mover: Mover | undefined
  private readonly report: LoadReport | undefined
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
    this.report = machine.load && new LoadReport({ store, host: name, load: machine.load })
    this.mover = machine.live && new Mover({
      store, clock, machine: this.machine, live: machine.live, host: name,
      member: () => this.membership && { member: this.membership.member, grace: this.membership.lease.ttl * 1000 },
      domain: (which) => this.mirror?.domains.get(which),
      adopted: (domain, { revision, epoch }) => {
        this.cameAt.set(domain, revision)
        this.hub.emit({ type: 'domain-came', domain, epoch })
      },
    })
  }

  /** Joins the fleet; resolves when the host is a member. Rejects with BUSY where another living host has its name, IO. */
  async start(): Promise<void> {
    await this.join()
    const deaf = this.mover?.listen((error) => this.hub.emit({ type: 'store-failed', error }))
    this.ended = Promise.all([this.renew(), this.work(), this.watch()]).then(() => deaf?.())
  }

  /** Leaves: ends the host's domains, and its membership. */
  async stop(): Promise<void> {
    this.isWanted = false
    this.ending.abort()
    this.machine.close()
    this.callOffFence()
    this.mover?.giveUp()
    for (const [name] of this.machine.domains()) {
      await this.machine.stop(name)
      await this.release(name).catch(() => undefined)
    }
    await this.membership?.lease.revoke().catch(() => undefined)
    this.wake()
    await this.ended
  }

  /** Has the record of a domain that has ended here say that nobody runs it: others need not wait until this host cannot. */
  private async release(name: string): Promise<void> {
    const key = KEY.owner(name)
    const entry = await this.store.get(key)
    const owner = entry && readRecord('owner', entry.value)
    if (entry === undefined || owner?.host !== this.name || owner.member !== this.membership?.member) return
    const { member: _, grace: __, ...left } = owner
    await this.store.txn([{ key, target: 'modified', result: 'equal', value: entry.modified }], [{ type: 'put', key, value: writeRecord('owner', left) }])
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
    const address = this.machine.live?.network.address
    const value = writeRecord('host', { name: this.name, memory, cpus, capabilities, ...(address === undefined ? {} : { address }) })
    const { succeeded, revision } = await this.store.txn([absent(KEY.host(this.name))], [{ type: 'put', key: KEY.host(this.name), value, lease: lease.id }])
    if (!succeeded) {
      await lease.revoke().catch(() => undefined)
      throw new XenError('BUSY', `a host named ${this.name} is in the fleet`, { details: { host: this.name, doing: 'in the fleet' } })
    }
    this.membership = { lease, member: revision, joined: this.moment(revision) }
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
    this.mover?.giveUp()
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
          const revision = await membership.lease.keepAlive()
          this.answered += 1
          if (this.membership === membership) this.extend(asked, membership.lease)
          void this.report?.publish(membership).catch((error: unknown) => this.hub.emit({ type: 'store-failed', error }))
          this.revisions = [this.revisions[1], revision]
          this.renewals += 1
          // A watch that has said nothing for so long may be dead, and nobody has been told.
          if (this.mirror !== undefined && (this.mirror.revision < this.revisions[0] || this.renewals >= ANEW)) {
            this.renewals = 0
            this.readAnew()
          }
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
        const { membership, mirror } = this
        if (membership !== undefined && mirror !== undefined) await this.look(mirror, membership)
      } catch (error) {
        this.hub.emit({ type: 'store-failed', error })
      }
      if (this.isWanted) await woken
    }
  }

  /** Keeps the mirror: reads everything, follows the changes behind it, and begins anew where those are lost. */
  private async watch(): Promise<void> {
    while (this.isWanted) {
      const again = new AbortController()
      const stop = (): void => again.abort()
      this.readAnew = stop
      this.ending.signal.addEventListener('abort', stop)
      try {
        const mirror = await readFleet(this.store)
        this.mirror = mirror
        this.wake()
        for await (const batch of this.store.watch('', { from: mirror.revision + 1, signal: again.signal })) {
          mirror.apply(batch)
          this.wake()
        }
      } catch (error) {
        this.hub.emit({ type: 'store-failed', error })
        if (this.isWanted) await rest(this.clock, 200)
      } finally {
        this.ending.signal.removeEventListener('abort', stop)
      }
    }
  }

  private async look(mirror: FleetMirror, membership: Membership): Promise<void> {
    for (const name of [...mirror.ownedBy(this.name)]) void this.attend(name, { mirror, membership })
    for (const [name, epoch] of this.machine.domains()) {
      if (mirror.revision < (this.cameAt.get(name) ?? 0)) continue
      // Somebody else's, or nobody's.
      if (mirror.owners.get(name)?.host !== this.name) void this.exclusively(name, () => this.end(name, epoch))
    }
    await this.keep(mirror, membership)
  }

  private moment(revision: number): Moment {
    return { time: this.clock.now(), answered: this.answered, revision }
  }

  /** Notes which owners are missing, and since when. One whose records have changed since may have been back, and nobody has told. */
  private count(mirror: FleetMirror): void {
    const gone = new Set(mirror.missingHosts())
    for (const host of this.missing.keys()) if (!gone.has(host)) this.missing.delete(host)
    for (const host of gone) {
      const known = this.missing.get(host)
      const hasChanged = known !== undefined && [...mirror.ownedBy(host)].some((name) => mirror.entries.get(KEY.owner(name))!.modified > known.revision)
      if (known === undefined || hasChanged) this.missing.set(host, this.moment(mirror.revision))
    }
  }

  /**
   * True when whoever has claimed a domain cannot run it any more, even where the store has lost its lease before its time: so long after
   * `since` its fence has closed. It is so long by this host's clock, and by renewals that were answered, as the clock may have jumped. Where it is false the work is woken when it will be true.
   */
  private isOver({ member, grace = 0 }: Ownership, since: Moment, { lease }: Pick<Membership, 'lease'>): boolean {
    if (member === undefined) return true
    const left = since.time + grace - this.clock.now()
    if (left > 0) this.clock.after(left, () => this.wake())
    return left <= 0 && this.answered - since.answered > grace / ((lease.ttl * 1000) / RENEWALS)
  }

  /** Brings one domain of this host to where the records want it. */
  private attend(name: string, { mirror, membership }: { readonly mirror: FleetMirror; readonly membership: Membership }): Promise<void> {
    return this.exclusively(name, async () => {
      const key = KEY.owner(name)
      const [owner, domain] = [mirror.owners.get(name), mirror.domains.get(name)]
      if (owner === undefined) return
      // What the records are now: whatever is done meanwhile, the transaction compares with this.
      const known: Known = { key, owner, isAsKnown: unchanged(mirror, key), epoch: nextEpoch(mirror, owner) }
      if (domain === undefined || domain.wanted === 'stopped' || owner.to !== undefined) {
        // A record of another version is somebody's who knows what it means.
        if (domain === undefined && mirror.entries.has(KEY.domain(name))) return
        const isMoved = owner.to !== undefined && domain?.wanted === 'running'
        if (isMoved && await this.sendLive(domain, mirror.hosts.get(owner.to!))) return
        await this.end(name, owner.epoch)
        await this.store.txn([known.isAsKnown], [isMoved ? { type: 'put', key, value: writeRecord('owner', { host: owner.to!, epoch: known.epoch }) } : { type: 'delete', key }])
        return
      }
      const here = this.machine.domains().has(name)
      const isClaimed = owner.member === membership.member && here
      if (!isClaimed && !await this.claim(known, membership)) return
      if (this.membership !== membership) return
      const epoch = isClaimed ? owner.epoch : known.epoch
      await this.machine.run(domain, epoch)
      if (!here) this.hub.emit({ type: 'domain-started', domain: name, epoch })
    })
  }

  /** Moves a domain with its memory; false where that cannot be, and it is to be started anew there. */
  private async sendLive({ name, eviction }: FleetDomain, to: FleetHost | undefined): Promise<boolean> {
    if (this.mover === undefined || to?.address === undefined || eviction === 'restart' || !this.machine.domains().has(name)) return false
    try {
      if (await this.mover.send(name, { to: to.name, address: to.address })) this.hub.emit({ type: 'domain-gone', domain: name, to: to.name })
      return true
    } catch (error) {
      this.hub.emit({ type: 'move-failed', domain: name, error })
      return false
    }
  }

  /** Puts this membership into an owner's record; false when it may not, or the record is another by now. */
  private async claim({ key, owner, isAsKnown, epoch }: Known, membership: Membership): Promise<boolean> {
    const { lease, member, joined } = membership
    // Another process of this name may have it.
    if (owner.member !== undefined && !this.own.has(owner.member) && !this.isOver(owner, joined, membership)) return false
    // One that ran here in an earlier membership goes on, if it is claimed anew; if not, its owner is another.
    const claim = writeRecord('owner', { host: this.name, epoch, member, grace: lease.ttl * 1000 })
    const { succeeded } = await this.store.txn([isAsKnown, madeAt(KEY.host(this.name), member)], [{ type: 'put', key, value: claim }])
    return succeeded
  }

  private async end(name: string, epoch: number): Promise<void> {
    if (!this.machine.domains().has(name)) return
    await this.machine.stop(name)
    this.hub.emit({ type: 'domain-stopped', domain: name, epoch })
  }

  /** One thing at a time for each domain; what is passed over is looked at behind it. */
  private async exclusively(name: string, work: () => Promise<void>): Promise<void> {
    if (this.busy.has(name)) return void this.passedOver.add(name)
    this.busy.add(name)
    try {
      await work()
      this.busy.delete(name)
      if (this.passedOver.delete(name)) this.wake()
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
  private async keep(mirror: FleetMirror, membership: Membership): Promise<void> {
    const { lease, member } = membership
    this.count(mirror)
    const keeper = mirror.entries.get(KEY.keeper)
    if (keeper === undefined) {
      await this.store.txn([absent(KEY.keeper), madeAt(KEY.host(this.name), member)], [{ type: 'put', key: KEY.keeper, value: this.name, lease: lease.id }])
      return
    }
    if (keeper.value !== this.name) return
    const assignments = planPlacement(mirror).steps.flatMap((step) => (step.type === 'assign' ? this.assignment(mirror, step, membership) : []))
    for (let at = 0; at < assignments.length; at += AT_ONCE) await Promise.all(assignments.slice(at, at + AT_ONCE).map((assignment) => this.assign(assignment)))
  }

  /** A step of a plan as a transaction, whose comparisons are with what the plan was made from. Nothing, where the time has not come. */
  private assignment(mirror: FleetMirror, step: AssignStep, membership: Membership): Assignment[] {
    const { domain, to } = step
    const [key, owner] = [KEY.owner(domain), mirror.owners.get(domain)]
    // An owner's record that nobody can read is nobody's to take.
    if (owner === undefined && mirror.entries.has(key)) return []
    if (owner !== undefined && !this.isOver(owner, this.missing.get(owner.host) ?? this.moment(mirror.revision), membership)) return []
    const compare = [
      unchanged(mirror, key), unchanged(mirror, KEY.domain(domain)), madeAt(KEY.host(to), mirror.entries.get(KEY.host(to))!.created), ...(owner === undefined ? [] : [absent(KEY.host(owner.host))]),
    ]
    return [{ step, compare, put: { type: 'put', key, value: writeRecord('owner', { host: to, epoch: nextEpoch(mirror, owner) }) } }]
  }

  private async assign({ step: { domain, to, why }, compare, put }: Assignment): Promise<void> {
    const { succeeded } = await this.store.txn(compare, [put])
    if (succeeded) this.hub.emit({ type: 'assigned', domain, to, why })
  }
}
