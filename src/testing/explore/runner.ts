/**
 * Runs a body once, as a plan says: on a branch of the moment or a host of its own, within limits, with whatever it throws, leaves behind or
 * waits for in vain told as a failure of the run. Whatever a body does, the run ends; but one that never gives JavaScript a turn is
 * ended only by whoever runs it in a worker.
 */
import { feedInputs, Host, type HeldHost, type HostOptions, type InputRecord, type Moment } from '../../toolstack/index.ts'
import { parseDuration, StateHasher, thrownMessage, thrownStack, XenError } from '../../util/index.ts'
import type { EventuallyOptions, RunBody, RunContext, Scenario } from './body.ts'
import type { FaultInjector } from '../faults/fault-injector.ts'
import { Interventions, type Intervention } from './interventions.ts'
import { Properties } from './properties.ts'
import { faultsOf, RunHost, type RunShared } from './run-host.ts'
import type { FailureKind, MarkedIntervention, RunFailure, RunPlan, RunReport } from './run-plan.ts'
import { simulate, type SimulateOptions } from '../simulate/simulate.ts'
import type { World } from '../simulate/world.ts'
import { watchStrays, type StrayKind } from './strays.ts'
import { symbolFinder, type SymbolFinder } from './symbols.ts'

/** Characters of a failure's facts. */
const MOST_DETAILS = 4000
/** Turns of JavaScript in which what a body has left behind may still reject. */
const LATE_TURNS = 4
/** Nanoseconds behind the end at which hashes are taken. */
const SETTLING = 10_000

/** What stands for a body: what came in from outside, and how far the run went. */
export interface RunFeed {
  readonly records: readonly InputRecord[]
  /** Host time in nanoseconds. */
  readonly end: number
}

/** A host that stands, for another run. */
interface SpareHost {
  readonly host: Host
  readonly held: HeldHost
}

/** How a run is made. */
interface RunSettings {
  readonly feed: RunFeed | undefined
  readonly faults: FaultInjector | undefined
  /** Its first host is not shut down in the end. */
  readonly isKept: boolean
}

/** Limits of a run. */
export interface RunLimits {
  /** Nanoseconds of host time. */
  readonly time: number
  readonly instructions: number
}

/** Limits out of what a user has said. Throws INVALID_ARGUMENT. */
export const limitsOf = ({ time = '60s', instructions = 2e9 }: Scenario['limits'] & object = {}): RunLimits =>
  ({ time: parseDuration(time, 'limits.time'), instructions })

/** Lets everything that is ready go on. */
const turn = (): Promise<void> => new Promise((resolve) => {
  if (typeof setImmediate === 'function') setImmediate(resolve)
  else setTimeout(resolve, 0)
})

function detailsText(details: unknown): string {
  if (details === undefined) return ''
  if (typeof details === 'string') return details.slice(0, MOST_DETAILS)
  try {
    return (JSON.stringify(details) ?? '').slice(0, MOST_DETAILS)
  } catch {
    return ''
  }
}

/** What hosts are made with, for faults to come between. */
const between = (faults: FaultInjector | undefined): Pick<HostOptions, 'interference'> =>
  (faults === undefined ? {} : { interference: faults.interference })

/** One run under way. */
class Run {
  readonly properties = new Properties()
  readonly interventions: Interventions
  readonly plan: RunPlan
  private readonly scenario: Scenario
  private readonly limits: RunLimits
  private readonly symbols: (domain: string) => SymbolFinder | undefined
  private readonly digest = new StateHasher()
  private readonly hosts: RunHost[] = []
  private readonly held: HeldHost[] = []
  private readonly worlds: World[] = []
  private marked: MarkedIntervention | undefined
  private failure: RunFailure | undefined
  private over = false
  private isStanding = false
  private spare: SpareHost | undefined
  private idleHosts = 0
  private made = 0
  private endNow: () => void = () => undefined
  private readonly ended = new Promise<void>((resolve) => { this.endNow = resolve })

  constructor(plan: RunPlan, scenario: Scenario, { limits, symbols }: { readonly limits: RunLimits; readonly symbols: (domain: string) => SymbolFinder | undefined }) {
    this.plan = plan
    this.scenario = scenario
    this.limits = limits
    this.symbols = symbols
    this.interventions = new Interventions(plan.window, { mark: plan.mark, onMark: (one) => this.mark(one) })
    this.properties.onViolation(({ kind, message, details, place }) => {
      this.fail('property', `${kind}: ${message}`, [place ?? '', detailsText(details)].join('\n').trim())
    })
  }

  /** What comes between on the next host that joins. */
  nextFaults(): FaultInjector | undefined {
    const faults = faultsOf(this, this.made)
    this.made += 1
    return faults
  }

  /** Takes a host in: it is directed and watched from now on. */
  join(host: Host, faults: FaultInjector | undefined): Host {
    const { plan, interventions, properties, digest } = this
    const shared: RunShared = {
      plan, interventions, properties, digest,
      crashed: (name, text) => { if (this.scenario.crashesFail !== false) this.fail('crashed', `domain ${name} has crashed`, text.slice(0, MOST_DETAILS)) },
    }
    this.hosts.push(new RunHost(host, { number: this.hosts.length, faults, shared }))
    this.watchLimits(this.hosts.at(-1)!)
    return host
  }

  /** Runs the body, or what stands for it, to its end or the run's. */
  async play(host: Host, { feed, faults, isKept }: RunSettings): Promise<RunReport> {
    const unwatch = watchStrays((reason, kind) => this.stray(reason, kind))
    this.join(host, faults)
    const start = host.now()
    try {
      const body = this.call(feed === undefined ? this.scenario.body : () => this.feed(host, feed))
      await Promise.race([body, this.ended])
      // From here on time stands.
      this.held.push(...await Promise.all(this.hosts.map((one) => one.host.hold())))
      this.isStanding = true
      for (let turns = 0; turns < LATE_TURNS; turns += 1) await turn()
      return await this.report(start)
    } finally {
      this.over = true
      await this.leaveHosts(isKept)
      await turn()
      unwatch()
    }
  }

  /** The first host, held, where it was to be kept for another run and can be. */
  get kept(): SpareHost | undefined {
    return this.spare
  }

  private async leaveHosts(isKept: boolean): Promise<void> {
    for (const world of this.worlds) world.release()
    const [first] = this.hosts
    const held = this.isStanding && isKept ? this.held.at(-this.hosts.length) : undefined
    for (const one of this.held) if (one !== held) one.release()
    for (const one of this.hosts) if (held === undefined || one !== first) await one.end()
    if (held === undefined || first === undefined) return
    first.leave()
    this.spare = { host: first.host, held }
  }

  private async call(body: RunBody): Promise<void> {
    try {
      await body(this.context())
    } catch (error) {
      const at = thrownStack(error)
      this.fail('threw', thrownMessage(error), at ?? '')
    }
  }

  /** Puts in what came from outside when the run was recorded. The host is held throughout, as nothing else decides how far it goes. */
  private async feed(host: Host, { records, end }: RunFeed): Promise<void> {
    const held = await host.hold()
    this.held.push(held)
    await feedInputs(host, records)
    await held.runTo(end)
  }

  private context(): RunContext {
    const { properties, plan } = this
    return {
      host: this.hosts[0]!.host, seed: plan.seed, run: plan.index, properties,
      always: (...given) => properties.always(...given), sometimes: (...given) => properties.sometimes(...given),
      reachable: (...given) => properties.reachable(...given), unreachable: (...given) => properties.unreachable(...given),
      eventually: (met, message, options) => this.eventually(met, message, options),
      quiet: () => this.quiet(),
      boot: (options) => this.boot(options),
      simulate: (options) => this.simulate(options),
    }
  }

  private async boot(options: HostOptions = {}): Promise<Host> {
    const faults = this.nextFaults()
    return this.join(await Host.boot({ ...options, ...between(faults) }), faults)
  }

  private async simulate(options: SimulateOptions): Promise<World> {
    const between: (FaultInjector | undefined)[] = []
    const world = await simulate({
      ...options, seed: options.seed ?? this.plan.seed,
      interference: () => {
        between.push(this.nextFaults())
        return between.at(-1)?.interference
      },
      onHost: (host) => {
        this.join(host, between.shift())
        options.onHost?.(host)
      },
    })
    this.worlds.push(world)
    return world
  }

  private quiet(): void {
    this.interventions.quiet()
    for (const host of this.hosts) host.quiet()
  }

  private async eventually(met: () => boolean, message: string, { within = '10s', details }: EventuallyOptions = {}): Promise<void> {
    let condition = true
    await this.hosts[0]!.host.until(message, met, { timeout: within }).catch((error: unknown) => {
      if (!XenError.is(error, 'TIMED_OUT') && !XenError.is(error, 'IDLE')) throw error
      condition = false
    })
    this.properties.hit({ kind: 'eventually', message, condition, details })
  }

  private mark(intervention: Intervention): void {
    this.marked = this.hosts[intervention.host]?.look(intervention, this.symbols)
  }

  private fail(kind: FailureKind, message: string, details: string): void {
    if (this.failure !== undefined || this.over) return
    this.failure = { kind, message, details, time: this.hosts[0]?.host.now() ?? 0 }
    this.endNow()
  }

  /** What fails because the run has ended is no failure of it. */
  private stray(reason: unknown, kind: StrayKind): void {
    if (this.over && XenError.is(reason, 'CLOSED')) return
    if (!this.over) this.fail(kind === 'threw' ? 'threw late' : 'rejected late', thrownMessage(reason), thrownStack(reason) ?? '')
  }

  /** Ends the run where a host goes too far, or where nothing can happen on any of them any more. */
  private watchLimits(one: RunHost): void {
    const { limits } = this
    const isTooFar = (): boolean => this.over || one.host.now() - one.start > limits.time || one.busy() > limits.instructions + busyBefore
    const busyBefore = one.busy()
    one.host.until('the end of the run', isTooFar).then(
      () => this.fail('endless', `the body has not ended within ${limits.time / 1e9} s of host time and ${limits.instructions} instructions`, ''),
      (error: unknown) => { if (XenError.is(error, 'IDLE')) this.idle(error.message) },
    )
  }

  /** The body is told, where it waits for a host; where it waits for something else it gets a while. */
  private idle(message: string): void {
    this.idleHosts += 1
    if (this.idleHosts < this.hosts.length) return
    void turn().then(turn).then(() => this.fail('endless', `the body waits, and ${message}`, ''))
  }

  private async report(start: number): Promise<RunReport> {
    const { plan, interventions, hosts, properties } = this
    const end = hosts[0]!.host.now()
    const busy = hosts.reduce((sum, host) => sum + host.busy(), 0)
    const contended = Math.max(...hosts.map((host) => host.contended))
    for (const { host } of hosts) this.digest.value(host.now())
    this.digest.value([this.failure?.kind, this.failure?.message, interventions.count])
    const list = properties.list()
    const opportunities = this.plan.faults.map((_, rule) => hosts.reduce((sum, host) => sum + host.opportunities(rule), 0))
    const trace = [...interventions.trace]
    this.over = true
    return {
      index: plan.index, failure: this.failure, properties: list, interventions: interventions.count, start, end, contended, busy, digest: this.digest.digits(),
      ...(opportunities.length === 0 ? {} : { opportunities }),
      ...(plan.wantsHashes ? { hashes: await this.hashes() } : {}),
      ...(plan.wantsTrace ? { trace } : {}),
      ...(plan.wantsTrace && hosts.every(({ inputs }) => inputs !== undefined) ? { inputs: hosts.map(({ inputs }) => inputs!) } : {}),
      ...(this.marked === undefined ? {} : { marked: this.marked }),
    }
  }

  private async hashes(): Promise<Readonly<Record<string, string>>> {
    const all: Record<string, string> = {}
    // The kernels of guests in TypeScript stop between two steps, or behind one and what it leads to.
    for (const one of this.held.slice(-this.hosts.length)) await one.runTo(one.now + SETTLING)
    for (const one of this.hosts) {
      for (const [part, hash] of Object.entries(await one.hashes())) all[this.hosts.length === 1 ? part : `host ${one.number}: ${part}`] = hash
    }
    return all
  }
}

/** Runs plans of one scenario, one after the other. */
export class Runner {
  private readonly scenario: Scenario
  private readonly moment: Moment<Host> | undefined
  private readonly limits: RunLimits
  private readonly finders = new Map<string, SymbolFinder>()
  private spare: SpareHost | undefined

  /** `moment`: where runs begin; undefined where a host is booted for each. */
  constructor(scenario: Scenario, moment: Moment<Host> | undefined) {
    this.scenario = scenario
    this.moment = moment
    this.limits = limitsOf(scenario.limits)
  }

  /** Runs once: the scenario's body, or what was recorded of it. Rejects with what branching or booting rejects with. */
  async run(plan: RunPlan, feed?: RunFeed): Promise<RunReport> {
    const run = new Run(plan, this.scenario, { limits: this.limits, symbols: (domain) => this.symbols(domain) })
    const faults = run.nextFaults()
    const host = this.moment === undefined ? await Host.boot({ ...this.scenario.host, ...between(faults) }) : await this.hostAt(this.moment, faults)
    try {
      return await run.play(host, { feed, faults, isKept: this.moment !== undefined && faults === undefined })
    } finally {
      this.spare ??= run.kept
    }
  }

  /** Lets the host go that was kept. */
  async end(): Promise<void> {
    const { spare } = this
    this.spare = undefined
    spare?.held.release()
    await spare?.host.shutdown()
  }

  /** A host at the moment: the one of the last run, brought back in place, or a branch. Faults come between where a host is made. */
  private async hostAt(moment: Moment<Host>, faults: FaultInjector | undefined): Promise<Host> {
    const { spare } = this
    if (faults !== undefined || spare === undefined) return moment.branch(between(faults))
    this.spare = undefined
    try {
      await spare.host.reset(moment)
      spare.held.release()
      return spare.host
    } catch {
      // The body has left it in no state to go back.
      spare.held.release()
      await spare.host.shutdown()
      return moment.branch()
    }
  }

  private symbols(domain: string): SymbolFinder | undefined {
    const sources = this.scenario.symbols?.[domain]
    if (sources === undefined) return undefined
    const finder = this.finders.get(domain) ?? symbolFinder(sources)
    this.finders.set(domain, finder)
    return finder
  }
}
