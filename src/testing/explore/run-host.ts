/** A host in a run: directed, listened to, and looked at in the end. */
import type { Director, DirectorQuestion, Order, ReadyQuestion } from '../../hypervisor/index.ts'
import { recordInputs, type DomainConsole, type Host, type InputRecord } from '../../toolstack/index.ts'
import { StateHasher, XenError } from '../../util/index.ts'
import { FaultInjector, type FaultInjectorOptions } from '../faults/fault-injector.ts'
import type { Intervention, Interventions } from './interventions.ts'
import type { Properties } from './properties.ts'
import type { MarkedIntervention, RunPlan } from './run-plan.ts'
import { SdkReader } from './sdk-lines.ts'
import { StrategyDirector } from './strategies.ts'
import type { SymbolFinder } from './symbols.ts'

/** What hosts of one run share. */
export interface RunShared {
  readonly plan: RunPlan
  readonly interventions: Interventions
  readonly properties: Properties
  /** Takes in what happens, in its order, for the run's digest. */
  readonly digest: StateHasher
  crashed(name: string, text: string): void
}

/** Inputs that a run keeps at most; one with more is not replayed without its body. */
const MOST_INPUTS = 10_000

/** What can be told of every input: what it carries beside is a stranger's, and its number goes on where its host was brought back. */
function facts({ time, input }: InputRecord): readonly unknown[] {
  const { source, bytes, call, domid } = input as { readonly source: string; readonly bytes?: Uint8Array; readonly call?: string | number; readonly domid?: number }
  return [time, source, bytes?.slice(), call, domid]
}

/** What comes between on the next host of a run; undefined where nothing does. */
export function faultsOf({ plan: { strategy, faults: plan, seed }, interventions }: Pick<RunShared, 'plan' | 'interventions'>, host: number): FaultInjector | undefined {
  if (strategy === 'plain' || plan.length === 0) return undefined
  const keep: FaultInjectorOptions['keep'] = ({ fault, opportunity, time, domid }) => interventions.take(() => ({
    what: 'fault', host, time, text: `${fault}${domid === undefined ? '' : ` of domain ${domid}`}, at its opportunity ${opportunity}`,
  }))
  return new FaultInjector({ seed: (seed + host) >>> 0, plan, keep })
}

/** One host of a run. */
export class RunHost {
  readonly host: Host
  readonly number: number
  readonly start: number
  private readonly shared: RunShared
  private readonly faults: FaultInjector | undefined
  private records: InputRecord[] | undefined = []
  private readonly ends: (() => void)[] = []
  private readonly director: StrategyDirector

  /** Begins at once: the host has not run since it was made, with the faults between. */
  constructor(host: Host, { number, faults, shared }: { readonly number: number; readonly faults: FaultInjector | undefined; readonly shared: RunShared }) {
    this.host = host
    this.number = number
    this.shared = shared
    this.faults = faults
    this.start = host.now()
    this.director = this.direct()
    faults?.attach(host)
    this.ends.push(recordInputs(host, (record) => this.note(record)))
    for (const domain of host.domains()) this.listen(domain.console, { isNew: false })
    this.ends.push(host.events.on('domain-created', ({ domid }) => this.listen(host.domain(domid).console, { isNew: true })))
    this.ends.push(host.events.on('domain-crashed', ({ name, crash }) => shared.crashed(name, crash.text)))
  }

  /** Inputs so far; undefined where there were too many to keep, or what is code. */
  get inputs(): readonly InputRecord[] | undefined {
    return this.records
  }

  /** How often a rule of the plan had something to fire at; none where nothing comes between. */
  opportunities(rule: number): number {
    return this.faults?.opportunities[rule] ?? 0
  }

  /** Nanoseconds of processors that guests have used. */
  busy(): number {
    return this.host.hypervisor.listDomains().reduce((sum, { cpuTime }) => sum + cpuTime, 0)
  }

  /** Nanoseconds of host time in which somebody waited for a CPU, until all was quiet. */
  get contended(): number {
    return this.director.contended
  }

  /** Leaves everything to the scheduler again; no fault fires any more. */
  quiet(): void {
    this.faults?.quiet()
    this.host.hypervisor.direct()
  }

  /** Where a vCPU stands, for an intervention that stops it. */
  look(intervention: Intervention, symbols: (domain: string) => SymbolFinder | undefined): MarkedIntervention {
    const { stopped } = intervention
    const info = stopped === undefined ? undefined : this.host.hypervisor.listDomains().find(({ domid }) => domid === stopped.domid)
    if (stopped === undefined || info === undefined) return { ...intervention, rip: undefined, place: undefined, domain: undefined }
    const domain = this.host.domains().find(({ id }) => id === stopped.domid)?.name ?? 'Domain-0'
    if (!info.hasRegisters) return { ...intervention, rip: undefined, place: undefined, domain }
    const { user } = this.host.hypervisor.getVcpuContext(info.domid, stopped.vcpu)
    const rip = Number(BigInt.asIntN(64, user.rip))
    return { ...intervention, rip, place: symbols(domain)?.(rip) ?? this.host.symbolAt(info.domid, rip), domain }
  }

  /** A hash of each part, or of what is not to be had instead. */
  async hashes(): Promise<Readonly<Record<string, string>>> {
    try {
      return await this.host.stateHash()
    } catch (error) {
      // What cannot be saved now has what its guests see to be known by.
      if (XenError.is(error, 'BUSY') || XenError.is(error, 'NOT_SUPPORTED')) return this.host.hypervisor.stateHashes()
      throw error
    }
  }

  /** Listens no more: the host is left for another run. */
  leave(): void {
    for (const end of this.ends.splice(0)) end()
  }

  /** Listens no more, and shuts the host down. */
  async end(): Promise<void> {
    this.leave()
    await this.host.shutdown()
  }

  private direct(): StrategyDirector {
    const { plan: { strategy, seed, horizon }, interventions } = this.shared
    const director = new StrategyDirector(strategy, { seed: seed + this.number, horizon }, { interventions, host: this.number })
    this.host.hypervisor.direct(this.noted(director))
    return director
  }

  /** The same, with what was decided in the run's digest. */
  private noted(director: StrategyDirector): Director {
    const { digest } = this.shared
    return {
      decide: (question: DirectorQuestion): Order | undefined => {
        const order = director.decide(question)
        if (order?.vcpu !== undefined) for (const value of [question.now, order.vcpu.domid, order.vcpu.vcpu, order.until]) digest.value(value)
        return order
      },
      lateness: (now) => director.lateness(now),
      first: (question: ReadyQuestion): number => {
        const first = director.first(question, this.host.now())
        if (first > 0) for (const value of [this.host.now(), question.domid, first]) digest.value(value)
        return first
      },
    }
  }

  private note(record: InputRecord): void {
    const { digest, plan } = this.shared
    digest.value([this.number, ...facts(record)])
    if (!plan.wantsTrace || this.records === undefined) return
    try {
      this.records.push(structuredClone(record))
    } catch {
      // A program of a guest in TypeScript is code.
      this.records = undefined
    }
    if ((this.records?.length ?? 0) > MOST_INPUTS) this.records = undefined
  }

  private listen(console: DomainConsole, { isNew }: { readonly isNew: boolean }): void {
    const reader = new SdkReader(this.shared.properties)
    if (isNew) reader.take(console.history())
    this.ends.push(console.events.on('output', ({ bytes }) => {
      this.shared.digest.value(bytes.slice())
      reader.take(bytes)
    }))
  }
}
