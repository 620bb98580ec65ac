/**
 * Explores a test: runs it many times, each with another interleaving drawn from one seed, until one fails; the failure is narrowed and
 * can be replayed. The first run is plain. Nothing but how many runs fit into a budget depends on time or on who runs them.
 */
import {
  callable, checkArgument, checkOptions, duration, flag, having, oneOf, parseDuration, SeededRandom, text, whole, anything, type Duration, type OptionChecks, XenError,
} from '../../util/index.ts'
import type { Host, Moment } from '../../toolstack/index.ts'
import { checkFaults } from '../faults/catalogue.ts'
import { isScenario, momentOf, type RunBody, type Scenario } from './body.ts'
import { Exploration, type ExploredFailure } from './exploration.ts'
import { EVERYTHING } from './interventions.ts'
import { narrow, type Narrowed } from './narrow.ts'
import { PropertySummary } from './properties.ts'
import { replayOf } from './replay.ts'
import type { RunFailure, RunPlan, RunReport } from './run-plan.ts'
import { STRATEGY_NAMES, type StrategyName } from './strategies.ts'
import { ownThread, type ExploreWorker, type ExploreWorkers } from './workers.ts'

/** How a test is explored. */
export interface ExploreOptions extends Omit<Scenario, 'body'> {
  /** Default: all in turn. */
  readonly strategy?: StrategyName | undefined
  /** Runs at most, the plain one not counted. Default 64. */
  readonly runs?: number | undefined
  /** Time of the wall behind which no run begins. Default: none. */
  readonly budget?: Duration | undefined
  /** What all is drawn from. Default 1. */
  readonly seed?: number | undefined
  /** Who runs. Default: this thread. */
  readonly workers?: ExploreWorkers | undefined
  /** Whether a failure is narrowed. Default true. */
  readonly narrow?: boolean | undefined
  /** Hears of each run as it ends, in no certain order. */
  readonly onRun?: ((report: RunReport) => void) | undefined
}

const CHECKS: OptionChecks<ExploreOptions> = {
  strategy: /* @__PURE__ */ oneOf(...STRATEGY_NAMES), runs: /* @__PURE__ */ whole(0, 1e9), budget: /* @__PURE__ */ duration(), seed: /* @__PURE__ */ whole(0, 2 ** 32 - 1),
  workers: /* @__PURE__ */ having('start'), narrow: flag, onRun: callable, name: text, from: anything, host: anything, load: anything, limits: anything,
  crashesFail: flag, symbols: anything, faults: (value) => (Array.isArray(value) ? undefined : 'must be a list of faults'),
}

/** Strategies where none is named: many interventions find what few do not, and the other way round. */
const IN_TURN = ['random', 'pct', 'random', 'perturb'] as const

/** The seed of a run out of that of its exploration. */
const seedOf = (seed: number, index: number): number => new SeededRandom((seed ^ Math.imul(index, 0x9e37_79b9)) >>> 0).next()

/** The first part by which two runs of the same plan differ. */
function firstDifference(one: RunReport, other: RunReport): string | undefined {
  const [left, right] = [one.hashes ?? {}, other.hashes ?? {}]
  const part = [...new Set([...Object.keys(left), ...Object.keys(right)])].sort().find((name) => left[name] !== right[name])
  if (part !== undefined) return part
  return one.digest === other.digest ? undefined : 'what came in from outside, or what was written to a console'
}

/** What a failing run is explained by. */
interface ExplainedRun {
  readonly scenario: Scenario
  readonly moment: Moment<Host> | undefined
  /** The plain run, with its hashes. */
  readonly plain: RunReport
}

/** One exploration under way. */
class Explorer {
  private readonly options: ExploreOptions
  private readonly seed: number
  private readonly runs: number
  private readonly deadline: number
  private readonly workers: readonly ExploreWorker[]
  private readonly reports = new Map<number, RunReport>()
  private horizon = 1
  private next = 1
  /** The lowest number of a run that has failed. */
  private failed = Infinity

  constructor(options: ExploreOptions, workers: readonly ExploreWorker[]) {
    this.options = options
    this.workers = workers
    this.seed = options.seed ?? 1
    this.runs = options.runs ?? (options.budget === undefined ? 64 : Infinity)
    this.deadline = options.budget === undefined ? Infinity : performance.now() + parseDuration(options.budget, 'budget') / 1e6
  }

  async explore(scenario: Scenario, moment: Moment<Host> | undefined): Promise<Exploration> {
    const first = this.workers[0]!
    const plain = await first.run({ ...this.planOf(0), wantsHashes: true })
    this.take(plain)
    this.horizon = Math.max(1, plain.contended)
    if (plain.failure === undefined) await Promise.all(this.workers.map((worker) => this.work(worker)))
    const failing = this.reports.get(this.failed)
    const again = failing === undefined ? await this.workers.at(-1)!.run({ ...this.planOf(0), wantsHashes: true }) : undefined
    const failure = failing === undefined ? this.unrepeatable(plain, again!) : await this.explain(failing, { scenario, moment, plain })
    return this.result(scenario, failure)
  }

  private planOf(index: number): RunPlan {
    const strategy = index === 0 ? 'plain' : this.options.strategy ?? IN_TURN[(index - 1) % IN_TURN.length]!
    return { index, strategy, seed: seedOf(this.seed, index), horizon: this.horizon, faults: this.options.faults ?? [], window: EVERYTHING, mark: -1, wantsHashes: false, wantsTrace: false }
  }

  private take(report: RunReport): void {
    this.reports.set(report.index, report)
    if (report.failure !== undefined) this.failed = Math.min(this.failed, report.index)
    this.options.onRun?.(report)
  }

  /** Takes the next run again and again. Those before a failing one are brought to their end, so that the first is found. */
  private async work(worker: ExploreWorker): Promise<void> {
    while (this.next <= this.runs && this.next < this.failed && performance.now() < this.deadline) {
      const plan = this.planOf(this.next)
      this.next += 1
      this.take(await worker.run(plan))
    }
  }

  /** A run that gave another result than the same before it. */
  private unrepeatable(one: RunReport, other: RunReport): ExploredFailure | undefined {
    const part = firstDifference(one, other)
    if (part === undefined) return undefined
    return { failure: notRepeatable(part, other.end), plan: this.planOf(0), narrowed: undefined, replay: undefined }
  }

  private async explain(report: RunReport, origin: ExplainedRun): Promise<ExploredFailure> {
    const worker = this.workers[0]!
    const plan = this.planOf(report.index)
    const failure = report.failure!
    if (report.forced === true) return { failure, plan, narrowed: undefined, replay: undefined }
    const again = await worker.run({ ...plan, wantsHashes: true, wantsTrace: true })
    if (again.digest !== report.digest) {
      const part = firstDifference(await worker.run({ ...plan, wantsHashes: true }), again) ?? 'what came in from outside, or what was written to a console'
      return { failure: notRepeatable(part, again.end, failure), plan, narrowed: undefined, replay: undefined }
    }
    const narrowed: Narrowed | undefined = this.options.narrow === false ? undefined
      : await narrow(plan, { failure, interventions: report.interventions }, (one) => worker.run(one))
    // With nothing done otherwise it is the plain run, which passed: it has to pass still.
    const other = narrowed === undefined || narrowed.deciding !== undefined || report.index === 0 ? undefined
      : firstDifference(origin.plain, await worker.run({ ...this.planOf(0), wantsHashes: true }))
    if (other !== undefined) return { failure: notRepeatable(other, again.end, failure), plan, narrowed: undefined, replay: undefined }
    const replay = replayOf(narrowed?.plan ?? plan, narrowed?.failing ?? again, { name: origin.scenario.name ?? 'test', moment: origin.moment })
    return { failure, plan, narrowed, replay }
  }

  private result({ name }: Scenario, failure: ExploredFailure | undefined): Exploration {
    const summary = new PropertySummary()
    // What a run behind the first that failed has seen depends on how many ran beside it.
    const counted = [...this.reports.values()].filter(({ index }) => index <= this.failed).sort((a, b) => a.index - b.index)
    for (const { properties } of counted) summary.add(properties)
    // The plain run has no faults.
    const unmet = counted.length < 2 ? [] : (this.options.faults ?? []).filter((_, rule) => counted.every(({ opportunities }) => (opportunities?.[rule] ?? 0) === 0))
    return new Exploration({ name: name ?? 'test', seed: this.seed, runs: counted.length - 1, failure, summary, unmet })
  }
}

const notRepeatable = (part: string, time: number, failure?: RunFailure): RunFailure => ({
  kind: 'not repeatable', time,
  message: `the same run gave another result: ${part} differs. Something depends on the wall clock, on chance, or on what an earlier run has left behind`,
  details: failure === undefined ? '' : `it had failed before: ${failure.message}`,
})

/**
 * Explores a test, or a scenario. Resolves with what was found, also where a run has failed; rejects for options that are none, and where no
 * run can be made.
 *
 * @example
 * const found = await explore(async ({ host, always }) => {
 *   await host.domain('linux').console.write('/transfer\r')
 *   const [, sum] = await host.domain('linux').console.waitFor(/sum (\d+)/)
 *   always(sum === '100', 'no money is lost', { sum })
 * }, { from: debian, runs: 64 })
 * found.assertPassed()
 */
export async function explore(body: RunBody | Scenario, options: ExploreOptions = {}): Promise<Exploration> {
  checkOptions('explore', options, CHECKS)
  if (!isScenario(body)) checkArgument('what explore is given', body, callable)
  const settings: ExploreOptions = typeof body === 'function' ? options : { ...body, ...options }
  const scenario: Scenario = { ...settings, body: typeof body === 'function' ? body : body.body }
  checkFaults(settings.faults ?? [])
  const code = settings.faults?.find(({ when }) => when !== undefined)
  if (code !== undefined) throw new XenError('INVALID_ARGUMENT', `explore: the fault ${code.fault} has a predicate, and faults that are explored are plain data`, { details: { fault: code.fault } })
  const moment = await momentOf(settings.from)
  const workers = await (options.workers ?? ownThread).start({ scenario, moment })
  try {
    return await new Explorer(settings, workers).explore(scenario, moment)
  } finally {
    await Promise.all(workers.map((worker) => worker.end()))
  }
}
