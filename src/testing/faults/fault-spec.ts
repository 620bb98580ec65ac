/**
 * How a fault is asked for: which one, with which parameters, and when - by count, chance, host time, domain, function of the guest's kernel,
 * or a condition. All but the condition is plain data, so that a plan goes into a file.
 */
import type { Duration } from '../../util/index.ts'

/** When a fault fires; what is left out restricts nothing. */
export interface FaultTriggers {
  /** The domain that it is about, by number or name. */
  readonly domain?: number | string | undefined
  /** The first opportunity that it takes, from 1; then `count` is 1 unless given. */
  readonly nth?: number | undefined
  /** How often it fires at most. */
  readonly count?: number | undefined
  /** Chance of each opportunity, from 0 to 1. Default 1. */
  readonly probability?: number | undefined
  /** From when on, counted from the host's beginning under the plan. */
  readonly after?: Duration | undefined
  /** Until when, counted alike. */
  readonly until?: Duration | undefined
  /** For a fault that acts by itself: how long between two of its firings. */
  readonly every?: Duration | undefined
  /** A function that is to be on the guest's stack, where its kernel's symbols are known. */
  readonly symbol?: string | undefined
  /** A condition on what is at hand; it is code, and no part of a file. */
  readonly when?: ((opportunity: Readonly<Record<string, unknown>>) => boolean) | undefined
}

/** A fault of the catalogue, with its triggers and its own parameters. */
export interface FaultSpec extends FaultTriggers {
  /** Its name in the catalogue. */
  readonly fault: string
  /** Parameters of the row. */
  readonly [parameter: string]: unknown
}

/** A rule as a report names it. */
export const ruleText = ({ fault, domain }: FaultSpec): string => `${fault}${domain === undefined ? '' : ` of domain ${domain}`}`

/** Faults that may fire on one host. */
export type FaultPlan = readonly FaultSpec[]

/** One that has fired. */
export interface FaultFiring {
  /** Counts all firings on the host, from 0. */
  readonly index: number
  /** Place of its rule in the plan. */
  readonly rule: number
  readonly fault: string
  /** Which opportunity of its rule it was, from 1. */
  readonly opportunity: number
  /** Host time in nanoseconds. */
  readonly time: number
  /** The domain that it was about, where it was about one. */
  readonly domid: number | undefined
  /** What was done, for people. */
  readonly text: string
}

/** Parameters of a fault, each checked and with its default: numbers, texts, and lengths of time as nanoseconds. */
export type FaultParameters = Readonly<Record<string, number | string | undefined>>
