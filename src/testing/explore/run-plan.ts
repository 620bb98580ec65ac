/** What one run of an exploration is to do, and what came of it, both as plain data: they travel to workers and into files. */
import type { InputRecord } from '../../toolstack/index.ts'
import type { FaultPlan } from '../faults/fault-spec.ts'
import type { Intervention, TraceEntry, Window } from './interventions.ts'
import type { PropertyRecord } from './properties.ts'
import type { StrategyName } from './strategies.ts'

/** What a run is to do. */
export interface RunPlan {
  /** Number of the run in its exploration; the first, 0, is plain. */
  readonly index: number
  readonly strategy: StrategyName | 'plain'
  readonly seed: number
  /** Nanoseconds of a plain run in which somebody waited for a CPU, on that host where it was longest. */
  readonly horizon: number
  /** Faults that may fire; none in the plain run. */
  readonly faults: FaultPlan
  /** The interventions that are in effect. */
  readonly window: Window
  /** The one that is to be looked at, as it is made; -1 for none. */
  readonly mark: number
  /** Whether a hash of each part of each host is wanted, at the end. */
  readonly wantsHashes: boolean
  /** Whether what came in from outside is wanted, and what was done otherwise. */
  readonly wantsTrace: boolean
}

/** How runs fail. */
export type FailureKind =
  /** A property did not hold. */
  | 'property'
  /** The body threw, or rejected. */
  | 'threw'
  /** A domain crashed. */
  | 'crashed'
  /** The body did not end within its limits. */
  | 'endless'
  /** Something that the body had left behind rejected. */
  | 'rejected late'
  /** A timer or a callback of the body's threw. */
  | 'threw late'
  /** The same run gave another result: something depends on what is no part of it. */
  | 'not repeatable'

/** Why a run has failed. */
export interface RunFailure {
  readonly kind: FailureKind
  readonly message: string
  /** Facts as text: JSON of a property's details, a stack, a crash report. */
  readonly details: string
  /** Host time in nanoseconds. */
  readonly time: number
}

/** An intervention with what stood where it was made. */
export interface MarkedIntervention extends Intervention {
  /** Instruction address at which the stopped vCPU stood; undefined where there is none. */
  readonly rip: number | undefined
  readonly place: string | undefined
  /** The name of the stopped vCPU's domain. */
  readonly domain: string | undefined
}

/** What came of a run. */
export interface RunReport {
  readonly index: number
  readonly failure: RunFailure | undefined
  readonly properties: readonly PropertyRecord[]
  readonly interventions: number
  /** Host time at which it began and ended. */
  readonly start: number
  readonly end: number
  /** Nanoseconds in which somebody waited for a CPU, on that host where it was longest. */
  readonly contended: number
  /** Nanoseconds of processors that guests used. */
  readonly busy: number
  /** Names the run: equal for runs in which the same came in, and the same was said, at the same times. */
  readonly digest: string
  /** Opportunities of each fault of the plan, on all hosts together. */
  readonly opportunities?: readonly number[] | undefined
  readonly hashes?: Readonly<Record<string, string>> | undefined
  readonly trace?: readonly TraceEntry[] | undefined
  readonly inputs?: readonly (readonly InputRecord[])[] | undefined
  /** It was ended from outside, and is not run again. */
  readonly forced?: boolean | undefined
  readonly marked?: MarkedIntervention | undefined
}
