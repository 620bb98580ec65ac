/**
 * Narrows a failure: of all that a failing run did otherwise than a plain one, to the interventions that it needs, by running it again with
 * fewer. The last that is needed decides: without it the same run passes. Both ends of the window are found by halving, so that n interventions
 * cost at most 2 log2 n + 10 runs.
 */
import type { Window } from './interventions.ts'
import type { RunFailure, RunPlan, RunReport } from './run-plan.ts'

/** What narrowing has found. */
export interface Narrowed {
  readonly plan: RunPlan
  /** The failing run with nothing in it that it does not need. */
  readonly failing: RunReport
  /** The number of the deciding intervention; undefined where the plain run fails as well. */
  readonly deciding: number | undefined
  /** The same without the deciding intervention: it passes. */
  readonly passing: RunReport | undefined
  /** Parts in which the two differ in the end, ascending. */
  readonly differs: readonly string[]
  /** Interventions of the run as it was found. */
  readonly of: number
  /** Runs that it took. */
  readonly runs: number
}

/** True where a run has failed in the same way. */
function isSame(failure: RunFailure | undefined, { kind, message }: RunFailure): boolean {
  if (failure === undefined || failure.kind !== kind) return false
  return kind !== 'property' || failure.message === message
}

/** Names of the parts that differ. */
function differing(one: Readonly<Record<string, string>> = {}, other: Readonly<Record<string, string>> = {}): string[] {
  return [...new Set([...Object.keys(one), ...Object.keys(other)])].filter((part) => one[part] !== other[part]).sort()
}

/** Narrows one failure. */
class Narrowing {
  runs = 0
  private readonly plan: RunPlan
  private readonly failure: RunFailure
  private readonly play: (plan: RunPlan) => Promise<RunReport>

  constructor(plan: RunPlan, failure: RunFailure, play: (plan: RunPlan) => Promise<RunReport>) {
    this.plan = plan
    this.failure = failure
    this.play = play
  }

  async fails(window: Window): Promise<boolean> {
    this.runs += 1
    return isSame((await this.play({ ...this.plan, window })).failure, this.failure)
  }

  /** The least `to` with which it fails; `all` is known to. */
  async shortest(all: number): Promise<number> {
    let [passes, fails] = [0, all]
    while (fails - passes > 1) {
      const middle = (passes + fails) >>> 1
      if (await this.fails({ from: 0, to: middle })) fails = middle
      else passes = middle
    }
    return fails
  }

  /** A late `from` with which it fails. */
  async latest(to: number): Promise<number> {
    if (to <= 1 || await this.fails({ from: to - 1, to })) return to - 1
    let [fails, passes] = [0, to - 1]
    while (passes - fails > 1) {
      const middle = (passes + fails) >>> 1
      if (await this.fails({ from: middle, to })) fails = middle
      else passes = middle
    }
    return fails
  }

  look(window: Window, mark: number): Promise<RunReport> {
    this.runs += 1
    return this.play({ ...this.plan, window, mark, wantsHashes: true, wantsTrace: true })
  }
}

/** Narrows the failure of a run; `play` runs a plan. */
export async function narrow(
  plan: RunPlan, { failure, interventions }: { readonly failure: RunFailure; readonly interventions: number }, play: (plan: RunPlan) => Promise<RunReport>,
): Promise<Narrowed> {
  const work = new Narrowing(plan, failure, play)
  const none: Window = { from: 0, to: 0 }
  if (interventions === 0 || await work.fails(none)) {
    const failing = await work.look(none, -1)
    return { plan: { ...plan, window: none }, failing, deciding: undefined, passing: undefined, differs: [], of: interventions, runs: work.runs }
  }
  const to = await work.shortest(interventions)
  let window: Window = { from: await work.latest(to), to }
  let failing = await work.look(window, to - 1)
  let passing = await work.look({ ...window, to: to - 1 }, -1)
  if (passing.failure !== undefined) {
    // Fewer in front have made the run another one, which needs the last no more: with all of those it does.
    window = { from: 0, to }
    failing = await work.look(window, to - 1)
    passing = await work.look({ ...window, to: to - 1 }, -1)
  }
  return {
    plan: { ...plan, window }, failing, deciding: to - 1, passing, differs: differing(failing.hashes, passing.hashes), of: interventions, runs: work.runs,
  }
}
