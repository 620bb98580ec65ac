/** How the domains that a debugger has run, and what of the host runs beside them: the seam between sessions and hosts. */
import type { TraceHooks } from '../../machine/index.ts'
import type { Domain, Host } from '../../toolstack/index.ts'
import type { DomId } from '../../util/index.ts'
import type { TimelineStep } from '../history/timeline.ts'
import type { Stop } from './stop.ts'

/** Where a domain is looked at and changed. */
export interface InferiorGround {
  /** The host as it is at the place at which the debugger stands. */
  readonly host: Host
  change(apply: (host: Host) => boolean): Promise<boolean>
}

/** How a vCPU is followed. */
export interface Following {
  /** The one that runs: a copy, where the past is gone over. */
  readonly host: Host
  readonly isStep: boolean
  /** What is found lies in the past. */
  readonly isBack?: boolean
  /** Hears of a stop; what began so many instructions back. */
  stop(reason: Stop, cost: number): void
}

/** A domain under a debugger, as far as it has to be run. */
export interface GroundInferior {
  readonly domid: number
  /** The domain, where it is there. */
  readonly domain: Domain | undefined
  /** vCPUs that have registers. */
  vcpus(): readonly number[]
  /** What is looked for on a vCPU; undefined for nothing: it runs at full speed where there is not. */
  hooks(vcpu: number, following: Following): TraceHooks | undefined
  /** Whether a stop that nobody was told of is still wanted. */
  wants(stop: Stop): boolean
  /** It was brought elsewhere. */
  moved(): void
}

/** What is to run. */
export interface GroundRun {
  /** All that the debugger has. */
  readonly inferiors: readonly GroundInferior[]
  /** Domains that run; the others stand where that can be. */
  readonly running: ReadonlySet<number>
  /** vCPUs that stop behind one instruction, as `domid.vcpu`. */
  readonly steps: ReadonlySet<string>
}

/** What domains under a debugger stand on. */
export interface Ground extends InferiorGround {
  /** Resolves once they stand. */
  readonly ready: Promise<void>
  /** Whether it goes back. */
  readonly goesBack: boolean
  /** A domain is taken: it stands. */
  take(inferior: GroundInferior): void
  /** Lets them run until something stops them. */
  run(run: GroundRun): Promise<Stop>
  /** Goes back to where something of what stops them happened last, or a vCPU's last instruction began. Where it cannot, INVALID_STATE. */
  back(run: GroundRun, step: TimelineStep | undefined): Promise<Stop>
  /** Stops a run from outside. */
  interrupt(): void
  /** A debugger has left a domain: it goes on. */
  leave(inferior: GroundInferior): void
  /** The debugger has gone. */
  release(): void
  /** Places by name, and where it is; undefined where nothing is recorded. */
  readonly history: GroundHistory | undefined
}

/** A ground's past. */
export interface GroundHistory {
  /** Instructions of the run at the present place, and at its end. */
  readonly instruction: number
  readonly end: number
  goTo(instruction: number): Promise<void>
}

/** A vCPU's key among those that are stepped. */
export const stepKey = (domid: number, vcpu: number): string => `${domid}.${vcpu}`

/** Why a domain cannot run any more; undefined where it can. */
export function overOf({ domain, domid }: GroundInferior): Stop | undefined {
  if (domain === undefined) return { type: 'ended', domid, reason: 'destroyed' }
  const { crash } = domain
  if (crash !== undefined) return { type: 'crashed', domid, vcpu: crash.vcpu, vector: crash.exception?.vector }
  return domain.info().shutdown ? { type: 'ended', domid, reason: 'shut down' } : undefined
}

/** What was seen to stop vCPUs, of which one after the other is told. */
export class Stops {
  private readonly waiting: { readonly stop: Stop; readonly cost: number }[] = []

  add(stop: Stop, cost: number): void {
    this.waiting.push({ stop, cost })
  }

  /** The first. */
  first(): Stop | undefined {
    return this.waiting.shift()?.stop
  }

  /** The next one that is still wanted. */
  wanted(inferiors: readonly GroundInferior[]): Stop | undefined {
    for (let next = this.waiting.shift(); next !== undefined; next = this.waiting.shift()) {
      const { stop } = next
      if (inferiors.some((one) => one.domid === stop.domid && one.wants(stop))) return stop
    }
    return undefined
  }

  clear(): void {
    this.waiting.length = 0
  }
}

/** The place that a stop from outside is told of. */
export const placeOf = (inferiors: readonly GroundInferior[]): { readonly domid: number; readonly vcpu: number } => {
  const inferior = inferiors.find((one) => one.vcpus().length > 0) ?? inferiors[0]
  return { domid: inferior?.domid ?? (0 as DomId), vcpu: inferior?.vcpus()[0] ?? 0 }
}
