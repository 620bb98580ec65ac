/**
 * A failing run that can be made again: out of an exploration or a file, by its body, or, where that is not at hand, by what came in from
 * outside. It is the same run to the last bit, or the first thing that is not the same is named.
 */
import type { Host, InputRecord, Moment } from '../../toolstack/index.ts'
import { shown, XenError } from '../../util/index.ts'
import { checkFaults } from '../faults/catalogue.ts'
import { momentOf, type Scenario } from './body.ts'
import type { TraceEntry } from './interventions.ts'
import { decodeReplay, encodeReplay, type ReplayData } from './replay-format.ts'
import type { RunFailure, RunPlan, RunReport } from './run-plan.ts'
import { Runner, type RunFeed } from './runner.ts'

/** What came of replaying. */
export interface ReplayOutcome {
  /** True where everything was as it was recorded: interventions, inputs, and a hash of each part in the end. */
  readonly same: boolean
  /** The first thing that was not. */
  readonly divergence: string | undefined
  /** How the run failed now. Without its body a run fails only by what guests say or do. */
  readonly failure: RunFailure | undefined
  readonly report: RunReport
}

/** How a run is replayed. */
export interface ReplayOptions extends Omit<Scenario, 'body'> {
  /** The test; without it inputs are put in as they were recorded. */
  readonly body?: Scenario['body'] | undefined
}

/** What a test has read of a console is part of its host; where nobody reads, that part is taken as it was. */
const withoutReader = (report: RunReport, { toolstack }: Readonly<Record<string, string>>): RunReport =>
  (toolstack === undefined ? report : { ...report, hashes: { ...report.hashes, toolstack } })

const traceText = ([host, time, domid, vcpu, nanoseconds]: TraceEntry): string =>
  `${host === 0 ? '' : `host ${host}, `}at ${time} ns ${domid < 0 ? 'a late timer' : `d${domid}v${vcpu}`} for ${nanoseconds} ns`

/** The first of two lists that differ, as a sentence. */
function listDifference<T>(what: string, [recorded, found]: readonly [readonly T[], readonly T[]], text: (one: T) => string): string | undefined {
  for (let i = 0; i < Math.max(recorded.length, found.length); i += 1) {
    const [left, right] = [recorded[i], found[i]].map((one) => (one === undefined ? 'none' : text(one)))
    if (left !== right) return `${what} ${i}: recorded ${left}, found ${right}`
  }
  return undefined
}

function partDifference(what: string, recorded: Readonly<Record<string, string>>, found: Readonly<Record<string, string>>): string | undefined {
  const part = [...new Set([...Object.keys(recorded), ...Object.keys(found)])].sort().find((name) => recorded[name] !== found[name])
  return part === undefined ? undefined : `${what}: ${part}`
}

const inputText = ({ time, input }: InputRecord): string => shown(`${input.source} at ${time} ns ${JSON.stringify(input, (_, value: unknown) => (value instanceof Uint8Array ? [...value] : value))}`)

/** One failing run. */
export class Replay {
  readonly data: ReplayData

  constructor(data: ReplayData) {
    this.data = data
  }

  /** Reads a file. Throws INVALID_STREAM for what is none, and NOT_SUPPORTED for one of another version. */
  static read(file: string | Uint8Array): Replay {
    return new Replay(decodeReplay(file))
  }

  /** The file's bytes. */
  encode(): Uint8Array {
    const { data } = this
    try {
      return new TextEncoder().encode(encodeReplay(data))
    } catch (error) {
      if (!XenError.is(error, 'INVALID_STREAM') || data.inputs === undefined) throw error
      return new TextEncoder().encode(encodeReplay({ ...data, inputs: undefined }))
    }
  }

  /**
   * Makes the run again. Rejects with INVALID_ARGUMENT where neither a body nor inputs are there, or the moment is missing.
   *
   * @example
   * const outcome = await Replay.read(readFileSync('transfer.pvr')).run({ body, from: debian })
   * console.log(outcome.failure?.message, outcome.divergence)
   */
  async run(options: ReplayOptions): Promise<ReplayOutcome> {
    const { data } = this
    checkFaults(data.run.faults)
    const moment = await momentOf(options.from)
    const feed = options.body === undefined ? this.feed() : undefined
    const scenario: Scenario = { ...options, body: options.body ?? (() => undefined) }
    if (data.moment !== undefined && moment === undefined) throw new XenError('INVALID_ARGUMENT', 'the run begins at a moment: give it as `from`')
    const elsewhere = moment === undefined || data.moment === undefined ? undefined : partDifference('the moment is another', data.moment, moment.hashes())
    const runner = new Runner(scenario, moment)
    const report = await runner.run(this.plan(), feed).finally(() => runner.end())
    const divergence = elsewhere ?? this.divergence(feed === undefined ? report : withoutReader(report, data.hashes))
    return { same: divergence === undefined, divergence, failure: report.failure, report }
  }

  private plan(): RunPlan {
    return { ...this.data.run, mark: -1, wantsHashes: true, wantsTrace: true }
  }

  private feed(): RunFeed {
    const { inputs, end } = this.data
    const [records] = inputs ?? []
    if (records === undefined || inputs?.length !== 1) {
      throw new XenError('INVALID_ARGUMENT', 'the run cannot be made again without its body: it had code or several hosts in it')
    }
    return { records, end }
  }

  private divergence(report: RunReport): string | undefined {
    const { data } = this
    return listDifference('intervention', [data.trace, report.trace ?? []], traceText)
      ?? listDifference('input', [data.inputs?.flat() ?? [], data.inputs === undefined ? [] : report.inputs?.flat() ?? []], inputText)
      ?? partDifference('in the end', data.hashes, report.hashes ?? {})
  }
}

/** The run of a report as what can be made again. */
export function replayOf(plan: RunPlan, report: RunReport, { name, moment }: { readonly name: string; readonly moment: Moment<Host> | undefined }): Replay {
  const { index, strategy, seed, horizon, window, faults } = plan
  const { trace = [], inputs, start, end, digest, hashes = {}, failure } = report
  return new Replay({
    name, moment: moment?.hashes(), run: { index, strategy, seed, horizon, window, faults }, trace, inputs, start, end, digest, hashes,
    failure: failure ?? { kind: 'property', message: '', details: '', time: end },
  })
}
