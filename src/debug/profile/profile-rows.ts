/** What a profile consists of: a part for each domain, in it functions and the samples behind them. Data only. */
import type { ProfileSample } from '../../machine/index.ts'

/** Where code lies. */
export type CodeOwner = 'kernel' | 'program' | 'elsewhere'

/** Samples of one address, by name. */
export interface NamedSample extends ProfileSample {
  /** The function; undefined where nobody has named it. */
  readonly name: string | undefined
  readonly owner: CodeOwner
  /** The kernel, or the program. */
  readonly image: string
}

/** What was spent in one function. */
export interface FunctionProfile {
  /** `(unknown)` where nothing has a name. */
  readonly name: string
  readonly owner: CodeOwner
  readonly image: string
  readonly samples: number
  /** As many as the samples stand for. */
  readonly instructions: number
  /** Virtual nanoseconds: the samples' share of the domain's time. */
  readonly time: number
}

/** A domain's part of a profile. */
export interface ProfiledDomain {
  readonly domid: number
  readonly name: string
  /** Virtual nanoseconds that its vCPUs have run. */
  readonly time: number
  /** Instructions that its samples stand for. */
  readonly instructions: number
  /** Why its processors came back to the hypervisor, the most frequent first. */
  readonly exits: Readonly<Record<string, number>>
  /** The most sampled first. */
  readonly functions: readonly FunctionProfile[]
  /** The samples behind them, by address. */
  readonly samples: readonly NamedSample[]
  /** Instructions that one sample stands for. */
  readonly slice: number
}
