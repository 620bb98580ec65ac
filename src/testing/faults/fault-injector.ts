/**
 * Lets the faults of a plan fire on one host: it comes between at the host's seams, asks its rules at each opportunity, notes what has
 * fired. All of it follows from the seed and the plan: the same host under the same plan has the same firings.
 */
import type { NetInterference } from '../../drivers/index.ts'
import type { HypervisorInterference, InterferenceSeat } from '../../hypervisor/index.ts'
import type { Host, HostInterference } from '../../toolstack/index.ts'
import { callable, checkOptions, whole, XenError, type Check, type DomId } from '../../util/index.ts'
import { checkFaults } from './catalogue.ts'
import type { FaultContext, MigrationFacts, Seam, SeamEffects, SeamFacts, SeamRow } from './fault-row.ts'
import { FaultRule } from './fault-rule.ts'
import type { FaultFiring, FaultPlan, FaultSpec } from './fault-spec.ts'
import { FaultyStore } from './faulty-store.ts'
import { forwarded, opportunityOf } from './faulty-network.ts'
import { GuestClocks } from './guest-clocks.ts'

/** What an injector is made of. */
export interface FaultInjectorOptions {
  readonly seed: number
  readonly plan: FaultPlan
  /** Whether a firing is carried out. One that is not has been decided all the same, so that the others stay what they were. */
  readonly keep?: ((firing: Omit<FaultFiring, 'index' | 'text'>) => boolean) | undefined
}

/** Firings that are kept. */
const MOST_FIRINGS = 100_000

const list: Check = (value) => (Array.isArray(value) ? undefined : 'must be a list of faults')

/** Domains that a fact is about. */
const PARTIES = ['domid', 'from', 'remote'] as const

/** Faults on one host. */
export class FaultInjector {
  readonly seed: number
  /** What goes into `Host.boot` and `moment.branch`. */
  readonly interference: HostInterference
  /** What has fired on the host so far. */
  readonly fired: readonly FaultFiring[]
  private readonly firings: FaultFiring[] = []
  private readonly listeners = new Set<(firing: FaultFiring) => void>()
  private readonly rules: FaultRule[] = []
  private readonly keep: FaultInjectorOptions['keep']
  private readonly clocks = new GuestClocks()
  private host: Host | undefined
  private seat: InterferenceSeat | undefined
  private begun = 0
  /** Counts beginnings: what was to come later on a host of before does not. */
  private life = 0
  private pending = 0
  private isQuiet = false
  private storeStopsUntil = 0
  private firingCount = 0
  /** Faces that are read at each hypercall and each frame: fields, kept up to date. */
  private readonly faced: { asks: boolean }[] = []
  /** Those of the hypervisor that there is now. */
  private readonly followers: ((asks: boolean) => void)[] = []

  /** Throws INVALID_ARGUMENT for a plan that cannot be. */
  constructor(options: FaultInjectorOptions) {
    checkOptions('FaultInjector', options, { seed: whole(0, 0xffff_ffff), plan: list, keep: callable })
    const { seed, plan, keep } = options
    checkFaults(plan)
    this.seed = seed
    this.keep = keep
    this.fired = this.firings
    plan.forEach((spec, place) => this.rules.push(new FaultRule(spec, { place, seed, since: 0 })))
    this.interference = this.faces()
  }

  /** The plan, with what was added. */
  get plan(): FaultPlan {
    return this.rules.map(({ spec }) => spec)
  }

  /** How often each rule of the plan had something to fire at so far, in the plan's order. */
  get opportunities(): readonly number[] {
    return this.rules.map(({ opportunities }) => opportunities)
  }

  /** Rules that had nothing to fire at so far: their domain was never there, or nothing happened where they come between. */
  get unmet(): FaultPlan {
    return this.rules.filter(({ opportunities }) => opportunities === 0).map(({ spec }) => spec)
  }

  /**
   * The host is there: faults fire from now on, and their times count from now on. To be called once more for a host that was
   * brought back to a moment.
   */
  attach(host: Host): void {
    this.restart()
    this.host = host
    this.begun = host.now()
    for (const rule of this.rules) this.schedule(rule)
  }

  /** Adds a rule that counts from now on; the returned function takes it out. Throws INVALID_ARGUMENT. */
  add(spec: FaultSpec): () => void {
    const since = (this.seat?.now() ?? 0) - this.begun
    const rule = new FaultRule(spec, { place: this.rules.length, seed: this.seed, since })
    this.rules.push(rule)
    this.tellAsks()
    if (this.host !== undefined) this.schedule(rule)
    return () => {
      rule.isRemoved = true
    }
  }

  /** Hears of each firing, after it. */
  onFired(listener: (firing: FaultFiring) => void): () => void {
    this.listeners.add(listener)
    return () => void this.listeners.delete(listener)
  }

  /** From now on nothing fires; what was delayed still comes, clocks that were set wrong stay so. For what is to hold once all is well. */
  quiet(): void {
    this.isQuiet = true
    this.storeStopsUntil = 0
    this.tellAsks()
  }

  /** Faults fire again. */
  resume(): void {
    this.isQuiet = false
    this.tellAsks()
  }

  /** Bytes behind which a migration of a domain is to be cut; undefined where it is not. */
  migrationCut(facts: MigrationFacts): number | undefined {
    return this.ask('migration', facts)?.effect
  }

  // Rules

  /** Asks the rules of a seam; the first that fires decides. */
  private ask<S extends Seam>(seam: S, facts: SeamFacts[S]): { readonly effect: SeamEffects[S] } | undefined {
    const { rules, seat, host } = this
    if (rules.length === 0 || this.isQuiet || seat === undefined || host === undefined) return undefined
    let decided: { readonly effect: SeamEffects[S] } | undefined
    for (const rule of rules) {
      if (rule.row.seam !== seam || rule.isRemoved) continue
      const answer = this.tryRule(rule, seam, facts, seat)
      decided ??= answer
    }
    return decided
  }

  private tryRule<S extends Seam>(rule: FaultRule, seam: S, facts: SeamFacts[S], seat: InterferenceSeat): { readonly effect: SeamEffects[S] } | undefined {
    const passed = seat.now() - this.begun
    if (passed < rule.after || passed >= rule.until) return undefined
    const context = this.contextOf(rule, seat)
    if (context === undefined || !this.isAbout(rule, facts as Readonly<Record<string, unknown>>, context)) return undefined
    // The seam of the row has just been compared.
    const row = rule.row as unknown as SeamRow<S>
    if (row.accepts?.(facts, rule.parameters, context) === false) return undefined
    if (rule.spec.when?.({ ...facts, seam }) === false || !this.isBelow(rule, facts as Readonly<Record<string, unknown>>)) return undefined
    if (!rule.decide() || !this.isKept(rule, context)) return undefined
    const { effect, text } = row.act(facts, rule.parameters, context)
    this.note(rule, context, text)
    return { effect }
  }

  /** The domain that a rule names; undefined where it is not there, or cannot be known yet. */
  private contextOf(rule: FaultRule, seat: InterferenceSeat): FaultContext | undefined {
    const { host } = this
    if (host === undefined) return undefined
    const wanted = rule.spec.domain
    const domid = wanted === undefined || typeof wanted === 'number' ? wanted : wanted === 'Domain-0' ? 0 : host.domains().find(({ name }) => name === wanted)?.id
    if (wanted !== undefined && domid === undefined) return undefined
    return {
      host, seat, random: rule.random, now: seat.now(), memory: rule.memory, domid, later: (nanoseconds, act) => this.later(nanoseconds, act),
      clocks: { change: (each, change) => this.changeClock(each, change, seat) },
      stopStore: (nanoseconds) => { this.storeStopsUntil = seat.now() + nanoseconds },
    }
  }

  /** Whether what is at hand is about the rule's domain: one of the parties, or one of its addresses on a network. */
  private isAbout({ spec, row }: FaultRule, facts: Readonly<Record<string, unknown>>, { domid, host }: FaultContext): boolean {
    if (spec.domain === undefined || domid === undefined || row.name.startsWith('xenbus-')) return true
    if (row.seam !== 'net') return PARTIES.some((party) => facts[party] === domid)
    const home = `/local/domain/${domid}/device/vif`
    const own = host.store.exists(home) ? host.store.list(home).map((id) => host.store.tryRead(`${home}/${id}/mac`)?.toLowerCase()) : []
    return own.includes(String(facts['source'])) || own.includes(String(facts['destination']))
  }

  /** Whether the function that the rule names is on the stack of the vCPU that is at work. */
  private isBelow({ spec, row }: FaultRule, facts: Readonly<Record<string, unknown>>): boolean {
    const { symbol } = spec
    if (symbol === undefined) return true
    const { host, seat } = this
    const domid = Number(row.seam === 'event' ? facts['from'] : facts['domid'])
    if (host === undefined || seat === undefined || !host.hypervisor.hasDomain(domid as never) || domid <= 0) return false
    const name = host.domains().find(({ id }) => id === domid)
    return name !== undefined && seat.addresses(domid, Number(facts['vcpu'] ?? 0)).some((address) => host.symbolAt(domid, address) === symbol)
  }

  private isKept(rule: FaultRule, { now, domid }: FaultContext): boolean {
    return this.keep?.({ rule: rule.place, fault: rule.row.name, opportunity: rule.opportunities, time: now, domid }) !== false
  }

  private note(rule: FaultRule, { now, domid }: FaultContext, text: string): void {
    const firing: FaultFiring = { index: this.firingCount++, rule: rule.place, fault: rule.row.name, opportunity: rule.opportunities, time: now, domid, text }
    if (this.firings.length < MOST_FIRINGS) this.firings.push(firing)
    for (const listener of this.listeners) listener(firing)
  }

  // Time

  private later(nanoseconds: number, act: () => void): void {
    const { seat, life } = this
    if (seat === undefined) return
    this.pending += 1
    seat.at(seat.now() + nanoseconds, () => {
      if (life !== this.life) return
      this.pending -= 1
      act()
    })
  }

  private changeClock(domid: number, change: { readonly by?: number; readonly rate?: number; readonly over?: number }, seat: InterferenceSeat): void {
    const set = this.clocks.of(domid)
    this.clocks.change(domid, seat.now(), change)
    // What the guest has set its timers to is the same to it; when that is has changed.
    seat.renewTime(domid, (deadline) => this.clocks.hostTime(domid, set(deadline)))
    // From then on time records have the usual rate again; timers were set with that in mind.
    if (change.over !== undefined) this.later(change.over, () => seat.renewTime(domid, (deadline) => deadline))
  }

  /** Lets a rule act that acts by itself. */
  private schedule(rule: FaultRule): void {
    const { row, after } = rule
    if (row.seam !== 'time') return
    const fire = (): void => {
      const { seat } = this
      const context = seat && this.contextOf(rule, seat)
      if (rule.isRemoved || (seat !== undefined && seat.now() - this.begun >= rule.until)) return
      if (context !== undefined && !this.isQuiet && rule.decide() && this.isKept(rule, context)) {
        const text = row.act(rule.parameters, context)
        if (text !== undefined) this.note(rule, context, text)
      }
      if (rule.every > 0 && rule.fired < rule.most) this.later(rule.every, fire)
    }
    const passed = (this.seat?.now() ?? 0) - this.begun
    this.later(Math.max(0, after - passed), fire)
  }

  // Faces

  private faces(): HostInterference {
    return {
      hypervisor: this.hypervisorFace(),
      store: {
        request: (facts) => this.ask('store', facts)?.effect,
        wait: (domid) => this.storeWait(domid),
      },
      disk: {
        through: (request, store, services) => new FaultyStore(store, services, (facts) => (this.isIdle ? undefined : this.ask('disk', { ...facts, domid: request.domid, disk: request.name })?.effect)),
      },
      folder: {
        message: (request, kind) => (this.isIdle ? undefined : this.ask('folder', { domid: request.domid, folder: request.tag, kind })?.effect),
      },
      keyboard: { input: (facts) => (this.isIdle ? undefined : this.ask('keyboard', facts)?.effect) },
      framebuffer: { isLost: (facts) => !this.isIdle && this.ask('framebuffer', facts) !== undefined },
      net: this.netFace(),
      underWay: () => this.underWay(),
    }
  }

  /** What keeps the host from being saved: what is saved has the host's time, and guests would see theirs go back. */
  private underWay(): string | undefined {
    if (this.pending > 0) return 'a fault that is still to act'
    const wrong = this.clocks.domains.find((domid) => this.host?.hypervisor.hasDomain(domid as DomId) === true)
    return wrong === undefined ? undefined : `the clock of domain ${wrong}, which a fault has set wrong`
  }

  private netFace(): NetInterference {
    const face: { asks: boolean } & Pick<NetInterference, 'frame'> = {
      asks: !this.isIdle, frame: (facts, forward, services) => forwarded(facts.frame, this.ask('net', opportunityOf(facts))?.effect, { forward, services }),
    }
    this.faced.push(face)
    return face
  }

  /** Whether there is nothing that could fire. */
  private get isIdle(): boolean {
    return this.isQuiet || this.rules.length === 0
  }

  private tellAsks(): void {
    for (const face of this.faced) face.asks = !this.isIdle
    for (const listener of this.followers) listener(!this.isIdle)
  }

  private hypervisorFace(): HypervisorInterference {
    const face = { asks: !this.isIdle }
    this.faced.push(face)
    const follow = (listener: (asks: boolean) => void): void => {
      this.followers.push(listener)
      listener(face.asks)
    }
    return Object.assign(face, { follow }, this.hypervisorFaces())
  }

  private hypervisorFaces(): Omit<HypervisorInterference, 'asks' | 'follow'> {
    return {
      begin: (seat) => this.begin(seat),
      hypercall: (facts) => this.ask('hypercall', facts)?.effect,
      event: (facts, raise) => {
        const delays = this.ask('event', facts)?.effect
        if (delays === undefined) raise()
        else for (const delay of delays) if (delay === 0) raise(); else this.later(delay, raise)
      },
      grant: (facts) => this.ask('grant', facts)?.effect,
      allocation: (domid, frames) => this.ask('allocation', { domid, frames }) !== undefined,
      guestTime: (domid, now) => this.clocks.shown(domid, now),
      hostTime: (domid, shown) => this.clocks.hostTime(domid, shown),
      guestRate: (domid, now) => this.clocks.rate(domid, now),
    }
  }

  private storeWait(domid: number): number {
    const { seat } = this
    if (seat === undefined) return 0
    const stopped = this.storeStopsUntil - seat.now()
    if (stopped > 0) return stopped / 1e6
    return (this.ask('wait', { domid })?.effect ?? 0) / 1e6
  }

  /** The host was made, or is brought back: everything counts anew once it is attached. */
  private begin(seat: InterferenceSeat): void {
    this.host = undefined
    this.seat = seat
    this.followers.length = 0
    this.restart()
  }

  private restart(): void {
    this.life += 1
    this.pending = 0
    this.firings.length = 0
    this.firingCount = 0
    this.storeStopsUntil = 0
    this.clocks.clear()
    for (const rule of this.rules) rule.restart()
  }
}

/** The faults of a plan or of an injector that is there. Throws INVALID_ARGUMENT. */
export function injectorOf(faults: FaultPlan | FaultInjector, seed: number): FaultInjector {
  if (faults instanceof FaultInjector) return faults
  if (!Array.isArray(faults)) throw new XenError('INVALID_ARGUMENT', 'faults must be a plan, a list of faults, or a FaultInjector')
  return new FaultInjector({ seed, plan: faults })
}
