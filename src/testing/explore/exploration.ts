/** What an exploration has found, and how it is told: in twenty lines at most, and as plain data. */
import { ruleText, type FaultPlan } from '../faults/fault-spec.ts'
import { vcpuText } from './strategies.ts'
import type { Narrowed } from './narrow.ts'
import type { PropertyRecord, PropertySummary } from './properties.ts'
import type { Replay } from './replay.ts'
import type { MarkedIntervention, RunFailure, RunPlan } from './run-plan.ts'

/** A failure, as it was found and as it was narrowed. */
export interface ExploredFailure {
  readonly failure: RunFailure
  /** The run as it was found. */
  readonly plan: RunPlan
  /** Undefined where it was not to be narrowed, or does not repeat. */
  readonly narrowed: Narrowed | undefined
  /** The run as a file; undefined where it does not repeat. */
  readonly replay: Replay | undefined
}

/** What it is made of. */
export interface ExplorationFacts {
  readonly name: string
  readonly seed: number
  readonly runs: number
  readonly failure: ExploredFailure | undefined
  readonly summary: PropertySummary
  /** Faults of the plan that had nothing to fire at in any run. */
  readonly unmet: FaultPlan
}

/** Lines of a failure's facts that are shown, and characters of each. */
const DETAIL_LINES = 6
const MOST_LINE = 160
/** Parts that differ, of those that are named. */
const MOST_PARTS = 6

const seconds = (nanoseconds: number): string => `${(nanoseconds / 1e9).toFixed(9)} s`
const cut = (line: string): string => (line.length > MOST_LINE ? `${line.slice(0, MOST_LINE - 3)}...` : line)

function placeText({ stopped, rip, place, domain }: MarkedIntervention): string[] {
  if (stopped === undefined || rip === undefined) return []
  const address = `0x${BigInt.asUintN(64, BigInt(rip)).toString(16)}`
  return [`    ${vcpuText(stopped as Parameters<typeof vcpuText>[0])} (${domain}) stood at ${address}${place === undefined ? '' : ` ${place}`}`]
}

function narrowedText({ deciding, failing, differs, of, runs, plan, passing }: Narrowed): string[] {
  if (deciding === undefined) return [`  it fails without any intervention; narrowed in ${runs} ${runs === 1 ? 'run' : 'runs'}`]
  const { marked } = failing
  const window = plan.window.to - plan.window.from
  return [
    `  deciding: intervention ${deciding} of ${of}${window === 1 ? ', which is enough alone' : `, the last of ${window} that are needed`}`,
    ...(marked === undefined ? [] : [`    ${marked.what} at ${seconds(marked.time)}: ${marked.text}`, ...placeText(marked)]),
    `  without it the run ${passing?.failure === undefined ? 'passes' : 'fails otherwise'}; in the end differ ${differs.slice(0, MOST_PARTS).join(', ') || 'no parts'}`,
    `  narrowed in ${runs} runs`,
  ]
}

/** The outcome of an exploration. */
export class Exploration {
  /** The test's name. */
  readonly name: string
  readonly seed: number
  /** Runs beside the plain one, up to the first that failed. */
  readonly runs: number
  /** The first failure; undefined where none was found. */
  readonly failure: ExploredFailure | undefined
  /** All properties, with how often each held, by message. */
  readonly properties: readonly PropertyRecord[]
  /** Properties that no run has seen: `sometimes` that never held, places never come to. */
  readonly unseen: readonly string[]
  /** Faults of the plan that had nothing to fire at in any run, as of a domain that was never there. */
  readonly unmet: FaultPlan

  constructor({ name, seed, runs, failure, summary, unmet }: ExplorationFacts) {
    this.name = name
    this.seed = seed
    this.runs = runs
    this.failure = failure
    this.properties = summary.list()
    this.unseen = summary.unseen()
    this.unmet = unmet
  }

  /** True where no run has failed. */
  get passed(): boolean {
    return this.failure === undefined
  }

  /** What was found: of a failure twenty lines at most, and what was never seen. `file`: where its replay file is. */
  text(file = `${this.name}.pvr`): string {
    const { name, seed, runs, failure: found, unseen, unmet } = this
    const never = [...unseen.map((message) => `  never seen: ${message}`), ...unmet.map((spec) => `  no opportunity for ${ruleText(spec)}`)].map(cut)
    if (found === undefined) return [`passed: ${name}, ${runs} runs from seed ${seed}`, ...never].join('\n')
    const { failure, plan, narrowed, replay } = found
    const lines = [
      `FAILED: ${name}, run ${plan.index} (${plan.strategy}) from seed ${seed}`,
      `  ${failure.message.split('\n')[0]}`,
      ...failure.details.split('\n').filter((line) => line !== '').slice(0, DETAIL_LINES).map((line) => `    ${line}`),
      `  at ${seconds(failure.time)} of host time`,
      ...(narrowed === undefined ? [] : narrowedText(narrowed)),
      ...(replay === undefined ? [] : [`  again: npx paravirt replay ${file}`]),
    ]
    return [...lines, ...never].slice(0, 20).map(cut).join('\n')
  }

  /** Throws an Error with the text where a run has failed. */
  assertPassed(): void {
    if (!this.passed) throw new Error(this.text())
  }

  /** The outcome as plain data. */
  toJSON(): object {
    const { name, seed, runs, passed, properties, unseen, unmet, failure: found } = this
    const failure = found === undefined ? undefined : {
      ...found.failure, run: found.plan.index, strategy: found.plan.strategy, seed: found.plan.seed,
      deciding: found.narrowed?.deciding, of: found.narrowed?.of, window: found.narrowed?.plan.window,
      intervention: found.narrowed?.failing.marked, differs: found.narrowed?.differs, narrowingRuns: found.narrowed?.runs,
    }
    return { name, seed, runs, passed, failure, properties, unseen, unmet }
  }
}
