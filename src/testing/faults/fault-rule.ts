/** One rule of a plan: which opportunities are its own, and at which of them it fires. Its chance is its own, so that no rule changes another. */
import { parseDuration, SeededRandom, type Random } from '../../util/index.ts'
import { faultRow, parametersOf } from './catalogue.ts'
import type { FaultRow } from './fault-row.ts'
import type { FaultParameters, FaultSpec } from './fault-spec.ts'

/** Spreads a plan's seed over its rules. */
const SPREAD = 0x9e37_79b9

/** A rule. */
export class FaultRule {
  readonly row: FaultRow
  readonly spec: FaultSpec
  readonly parameters: FaultParameters
  /** Its place in the plan. */
  readonly place: number
  /** Counted from the beginning, in nanoseconds. */
  readonly after: number
  readonly until: number
  readonly every: number
  /** What it keeps between its firings. */
  readonly memory = new Map<string, number>()
  /** Its own chance, for what it does. */
  random: Random
  /** Opportunities so far, and firings. */
  opportunities = 0
  fired = 0
  /** Taken out of the plan: it fires no more. */
  isRemoved = false
  private chance: Random
  private readonly seed: number

  /** `since`: what its times count from, in nanoseconds behind the beginning. Throws INVALID_ARGUMENT. */
  constructor(spec: FaultSpec, { place, seed, since }: { readonly place: number; readonly seed: number; readonly since: number }) {
    this.parameters = parametersOf(spec)
    this.row = faultRow(spec.fault)
    this.spec = spec
    this.place = place
    this.after = since + parseDuration(spec.after ?? 0, 'after')
    this.until = since + parseDuration(spec.until ?? Infinity, 'until', { most: Infinity })
    this.every = parseDuration(spec.every ?? 0, 'every')
    this.seed = (seed ^ Math.imul(place + 1, SPREAD)) >>> 0
    this.chance = new SeededRandom(this.seed)
    this.random = new SeededRandom(this.seed ^ SPREAD)
  }

  /** Begins anew, as for another host. */
  restart(): void {
    this.opportunities = 0
    this.fired = 0
    this.memory.clear()
    this.chance = new SeededRandom(this.seed)
    this.random = new SeededRandom(this.seed ^ SPREAD)
  }

  /** How often it fires at most. */
  get most(): number {
    const { count, nth } = this.spec
    return count ?? (nth !== undefined || this.row.seam === 'time' ? 1 : Infinity)
  }

  /** Takes one more opportunity; whether it fires at it. One number is drawn for each, whatever comes of it. */
  decide(): boolean {
    this.opportunities += 1
    const { nth = 1, probability = 1 } = this.spec
    const isLucky = this.chance.next() / 2 ** 32 < probability
    if (this.opportunities < nth || this.fired >= this.most || !isLucky) return false
    this.fired += 1
    return true
  }
}
