/**
 * Strategies: which of many interleavings a run has. Each is a director that draws from a seed. Where there are few preemptions they are drawn
 * from the time in which the plain run had two to choose from: most of a run has not, and a place there decides nothing. Bounds hold for all:
 * whoever could run and has not for some milliseconds comes first, so that no kernel sees a processor that never answers.
 *
 * Reference: Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs" (PCT): priorities by chance, and d
 * places at which whoever runs loses its own.
 */
import type { Director, DirectorQuestion, Order, ReadyQuestion, VcpuRef } from '../../hypervisor/index.ts'
import { SeededRandom, below } from '../../util/index.ts'
import type { Intervention, Interventions } from './interventions.ts'

/** Strategies by name. */
export const STRATEGY_NAMES = ['random', 'pct', 'perturb'] as const

/** The name of a strategy; `plain` leaves everything to the scheduler. */
export type StrategyName = (typeof STRATEGY_NAMES)[number]

/** What a strategy is made of. */
export interface StrategySettings {
  readonly seed: number
  /** Nanoseconds of a plain run in which somebody waited for a CPU: where places are drawn. */
  readonly horizon: number
}

/** Whoever could run comes first after so many nanoseconds. */
const MOST_WAITING = 10_000_000
/** A vCPU of high priority that runs so long while others wait is taken for one that spins, or one of so many parts of a plain run. */
const SPINNING = 500_000
const SPINNING_PART = 8
/** Shortest and longest slices, as powers of two of nanoseconds, which are instructions at a host's usual rate. */
const SHORTEST = 5
const LONGEST = 18
/** The longest slices of a run are at least as long, and so that a plain run takes about so many. */
const LEAST_LONGEST = 7
const MOST_SLICES = 4096
/** One of so many timers is late, at `random`. */
const LATE_TIMERS = 8
/** Latest a timer comes, as a power of two of nanoseconds. */
const LATEST = 19
/** One of so many orders of a guest in TypeScript is another one, at most, as a power of two: at `random`, and where there are few interventions. */
const [OFTEN, SELDOM] = [3, 8] as const
/** Places at which `pct` and `perturb` intervene, at most, as a power of two. */
const MOST_PLACES = 6

/** What a strategy has to say of one question; undefined: as the scheduler has it. */
interface Choice {
  readonly vcpu: VcpuRef | undefined
  readonly until: number
}

/** Chooses; knows nothing of counting and bounds. */
interface Chooser {
  /** `contended`: how long somebody has waited for a CPU so far; only then there is something to choose. */
  choose(question: DirectorQuestion, contended: number): Choice | undefined
  lateness(): number
  /** Which of several things that are ready goes first. */
  first(count: number): number
}

/** A length between two powers of two, each power as likely as the next. */
const lengthBy = (random: SeededRandom, shortest: number, longest: number): number =>
  Math.floor(2 ** (shortest + (longest - shortest) * (random.next() / 2 ** 32)))

/** Places in the contended time of a run, ascending. */
const placesBy = (random: SeededRandom, { horizon }: StrategySettings): number[] =>
  Array.from({ length: lengthBy(random, 0, MOST_PLACES) }, () => Math.floor((random.next() / 2 ** 32) * horizon)).sort((a, b) => a - b)

/** Leaves all to the scheduler, and is asked all the same. */
const plainChooser = (): Chooser => ({ choose: () => undefined, lateness: () => 0, first: () => 0 })

/** Another order now and then: one of so many, a power of two up to `most` that each run draws. */
function orders(seed: number, most: number): Chooser['first'] {
  const random = new SeededRandom(seed ^ 0x0de5)
  const each = lengthBy(random, 0, most)
  return (count) => (below(random, each) === 0 ? below(random, count) : 0)
}

function randomChooser({ seed, horizon }: StrategySettings): Chooser {
  const random = new SeededRandom(seed)
  const timers = new SeededRandom(seed ^ 0x7137)
  const least = Math.min(LONGEST, Math.max(LEAST_LONGEST, Math.log2(horizon / MOST_SLICES)))
  // Some runs are cut finely throughout, some are left alone for long.
  const longest = least + (LONGEST - least) * (random.next() / 2 ** 32)
  return {
    choose: ({ candidates, now }) => ({ vcpu: candidates[below(random, candidates.length)], until: now + lengthBy(random, SHORTEST, longest) }),
    lateness: () => (below(timers, LATE_TIMERS) === 0 ? lengthBy(timers, 0, LATEST) : 0),
    first: orders(seed, OFTEN),
  }
}

function pctChooser(settings: StrategySettings): Chooser {
  const random = new SeededRandom(settings.seed)
  const places = placesBy(random, settings)
  const priorities = new Map<VcpuRef, number>()
  /** Priority of whoever loses its own next, below all others. */
  let lowest = 0
  const spinning = Math.max(SPINNING, settings.horizon / SPINNING_PART)
  let since = 0
  let running: VcpuRef | undefined
  const demote = (vcpu: VcpuRef): void => void priorities.set(vcpu, lowest -= 1)
  const priorityOf = (vcpu: VcpuRef): number => {
    const found = priorities.get(vcpu) ?? 1 + random.next()
    priorities.set(vcpu, found)
    return found
  }
  return {
    choose: ({ candidates, current, now }, contended) => {
      for (const vcpu of candidates) priorityOf(vcpu)
      if (places.length > 0 && contended >= places[0]!) {
        places.shift()
        if (current !== undefined) demote(current)
      }
      if (current !== undefined && current === running && now - since >= spinning) demote(current)
      const best = candidates.reduce((one, other) => (priorityOf(other) > priorityOf(one) ? other : one))
      if (best !== running || best !== current) since = now
      running = best
      return { vcpu: best, until: Math.min(now + (places[0] ?? Infinity) - contended, since + spinning) }
    },
    lateness: () => 0,
    first: orders(settings.seed, SELDOM),
  }
}

function perturbChooser(settings: StrategySettings): Chooser {
  const random = new SeededRandom(settings.seed)
  const places = placesBy(random, settings)
  return {
    choose: ({ candidates, current, now }, contended) => {
      const next = places[0]
      if (next === undefined) return undefined
      if (contended < next) return { vcpu: undefined, until: now + next - contended }
      const others = candidates.filter((vcpu) => vcpu !== current)
      places.shift()
      return { vcpu: others[below(random, others.length)], until: now + lengthBy(random, SHORTEST, LONGEST + 2) }
    },
    lateness: () => 0,
    first: orders(settings.seed, SELDOM),
  }
}

const CHOOSERS: Readonly<Record<StrategyName | 'plain', (settings: StrategySettings) => Chooser>> = {
  plain: plainChooser, random: randomChooser, pct: pctChooser, perturb: perturbChooser,
}

/** A vCPU as texts name it. */
export const vcpuText = ({ domid, vcpu }: VcpuRef): string => `d${domid}v${vcpu}`

const ordinal = (index: number): string => ['first', 'second', 'third'][index] ?? `${index + 1}th`

/** How long somebody waited for a CPU that somebody else had, on all CPUs together. */
class Contention {
  private readonly since = new Map<number, number>()
  private nanoseconds = 0

  /** Takes in what a CPU has to choose from; how long it was so far. */
  note({ cpu, now, candidates }: DirectorQuestion): number {
    this.nanoseconds += now - (this.since.get(cpu) ?? now)
    if (candidates.length > 1) this.since.set(cpu, now)
    else this.since.delete(cpu)
    return this.nanoseconds
  }

  get total(): number {
    return this.nanoseconds
  }
}

/** A strategy at work on one host. */
export class StrategyDirector implements Omit<Director, 'first'> {
  private readonly chooser: Chooser
  private readonly interventions: Interventions
  private readonly host: number
  /** Since when those that could run and do not have been waiting. */
  private readonly waiting = new Map<VcpuRef, number>()
  private readonly contention = new Contention()

  /** `host`: the host's number in the run. */
  constructor(name: StrategyName | 'plain', settings: StrategySettings, { interventions, host }: { readonly interventions: Interventions; readonly host: number }) {
    this.chooser = CHOOSERS[name](settings)
    this.interventions = interventions
    this.host = host
  }

  /** Nanoseconds of the run in which somebody waited for a CPU. */
  get contended(): number {
    return this.contention.total
  }

  decide(question: DirectorQuestion): Order | undefined {
    const { candidates, now } = question
    this.noteWaiting(question)
    const contended = this.contention.note(question)
    if (candidates.length < 2) return undefined
    const choice = this.chooser.choose(question, contended)
    if (choice === undefined) return undefined
    if (choice.vcpu === undefined) return { until: choice.until }
    const vcpu = this.starving(question) ?? choice.vcpu
    const until = Math.min(choice.until, now + MOST_WAITING)
    if (!this.interventions.take(() => this.describe(question, { vcpu, until }))) return undefined
    this.waiting.delete(vcpu)
    return { vcpu, until }
  }

  lateness(now: number): number {
    const late = this.chooser.lateness()
    const describe = (): Intervention => ({ what: 'late timer', host: this.host, time: now, text: `a timer comes ${late} ns late`, nanoseconds: late })
    return late > 0 && this.interventions.take(describe) ? late : 0
  }

  first({ domid, count }: ReadyQuestion, now: number): number {
    const first = this.chooser.first(count)
    const describe = (): Intervention =>
      ({ what: 'order', host: this.host, time: now, text: `domain ${domid} does the ${ordinal(first)} of ${count} things that are ready first`, order: { domid, first } })
    return first > 0 && this.interventions.take(describe) ? first : 0
  }

  private noteWaiting({ candidates, current, now }: DirectorQuestion): void {
    for (const vcpu of this.waiting.keys()) if (vcpu === current || !candidates.includes(vcpu)) this.waiting.delete(vcpu)
    for (const vcpu of candidates) if (vcpu !== current && !this.waiting.has(vcpu)) this.waiting.set(vcpu, now)
  }

  private starving({ now }: DirectorQuestion): VcpuRef | undefined {
    for (const [vcpu, since] of this.waiting) if (now - since > MOST_WAITING) return vcpu
    return undefined
  }

  private describe({ current, now }: DirectorQuestion, { vcpu, until }: { readonly vcpu: VcpuRef; readonly until: number }): Intervention {
    const next = { domid: vcpu.domid, vcpu: vcpu.vcpu, nanoseconds: until - now }
    const stopped = current === undefined || current === vcpu ? undefined : { domid: current.domid, vcpu: current.vcpu }
    return {
      what: 'preemption', host: this.host, time: now, stopped, next,
      // Thousands are counted, and one is told.
      get text() { return stopped === undefined ? `${vcpuText(next)} goes on for ${next.nanoseconds} ns` : `${vcpuText(stopped)} is preempted, ${vcpuText(next)} runs for ${next.nanoseconds} ns` },
    }
  }
}
