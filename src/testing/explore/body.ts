/** The test that is explored: a function of a host, called anew for each run, and what it is given. */
import type { Host, HostOptions, LoadMomentOptions, Moment } from '../../toolstack/index.ts'
import { XenError, type Duration } from '../../util/index.ts'
import type { FaultPlan } from '../faults/fault-spec.ts'
import type { SimulateOptions } from '../simulate/simulate.ts'
import type { World } from '../simulate/world.ts'
import type { Properties } from './properties.ts'
import type { SymbolSource } from './symbols.ts'

/** How long something may take to come about. */
export interface EventuallyOptions {
  /** Host time. Default 10 seconds. */
  readonly within?: Duration | undefined
  readonly details?: unknown
}

/** What a run's body is given. All functions can be taken out of it. */
export interface RunContext {
  /** The host that the run begins with. */
  readonly host: Host
  /** The run's own seed, for whatever the body draws. */
  readonly seed: number
  /** Number of the run. */
  readonly run: number
  /** The properties of the run, with all that was said of them so far. */
  readonly properties: Properties
  /** Says that something holds whenever it is asked. False: the run has failed. */
  readonly always: Properties['always']
  /** Says that something holds at least once, in some run. */
  readonly sometimes: Properties['sometimes']
  /** Says that this place is come to, in some run. */
  readonly reachable: Properties['reachable']
  /** Says that nobody comes to this place: the run has failed. */
  readonly unreachable: Properties['unreachable']
  /** Waits until something holds; where it does not in time, the run has failed. To be used behind `quiet`. */
  eventually(met: () => boolean, message: string, options?: EventuallyOptions): Promise<void>
  /** Ends the phase of safety: from now on nothing is preempted, late or at fault, so that what is to come about can. */
  quiet(): void
  /** Boots a further host, which the exploration directs as it does the first, and shuts down in the end. */
  boot(options?: HostOptions): Promise<Host>
  /** Several hosts on one clock, as `simulate` makes them, which the exploration directs; they are shut down in the end. */
  simulate(options: SimulateOptions): Promise<World>
}

/** A test that is explored. What it returns does not matter. */
export type RunBody = (context: RunContext) => unknown

/** What has a moment, as fixtures do. */
export interface MomentSource {
  /** The moment, made when it is first asked for. */
  moment(): Promise<Moment<Host>>
}

/** Where runs begin: a moment, what has one, or what makes one. */
export type RunOrigin = Moment<Host> | MomentSource | (() => Promise<Moment<Host>> | Moment<Host>)

/** How far a run may go. */
export interface RunLimitOptions {
  /** Host time. Default 60 seconds. */
  readonly time?: Duration | undefined
  /** Instructions of all guests together. Default 2,000,000,000. */
  readonly instructions?: number | undefined
}

/** A body with where it begins: what the command and workers find in a module. */
export interface Scenario {
  readonly name?: string | undefined
  readonly body: RunBody
  /** Default: a host is booted for each run. */
  readonly from?: RunOrigin | undefined
  /** What a host is booted with where there is no moment. */
  readonly host?: HostOptions | undefined
  /** What a worker is given where it loads the moment: programs of guests in TypeScript, disks. */
  readonly load?: LoadMomentOptions | undefined
  readonly limits?: RunLimitOptions | undefined
  /** Faults that may fire on each host of a run, beside its schedule. They are plain data. */
  readonly faults?: FaultPlan | undefined
  /** Whether a domain that crashes fails the run. Default true. */
  readonly crashesFail?: boolean | undefined
  /** Symbols by domain, by which places in its code are named. */
  readonly symbols?: Readonly<Record<string, readonly SymbolSource[]>> | undefined
}

/** Marks scenarios, of whatever copy of the package. */
const BRAND = /* @__PURE__ */ Symbol.for('paravirt.scenario')

/**
 * A test to be explored, as a value that modules export.
 *
 * @example
 * export default scenario({ name: 'transfer', from: ready, body: async ({ host, always }) => { ... } })
 */
export function scenario(given: Scenario): Scenario {
  if (typeof given !== 'object' || given === null || typeof given.body !== 'function') {
    throw new XenError('INVALID_ARGUMENT', 'a scenario must be an object with a body that is a function')
  }
  return Object.defineProperty({ ...given }, BRAND, { value: true })
}

/** True for what {@link scenario} has made. */
export const isScenario = (value: unknown): value is Scenario => typeof value === 'object' && value !== null && BRAND in value

/** The moment that runs begin at; undefined where a host is booted for each. */
export async function momentOf(from: RunOrigin | undefined): Promise<Moment<Host> | undefined> {
  if (from === undefined) return undefined
  if (typeof from === 'function') return from()
  return 'moment' in from ? from.moment() : from
}
