/**
 * Replay files, `.pvr`: one failing run as JSON that anybody can read and carry to another machine. docs/replay-format.md says what stands
 * where. A file may come from anywhere: it is bounded, each field is checked, and other versions are refused.
 */
import type { InputRecord } from '../../toolstack/index.ts'
import { shown, XenError } from '../../util/index.ts'
import type { FaultPlan } from '../faults/fault-spec.ts'
import type { TraceEntry, Window } from './interventions.ts'
import type { FailureKind, RunFailure } from './run-plan.ts'
import { STRATEGY_NAMES, type StrategyName } from './strategies.ts'

/** Version of the format that is written, and the only one that is read. */
export const REPLAY_VERSION = 3
const FORMAT = 'paravirt-replay'
/** Characters of a file at most. */
const MOST_FILE = 8 << 20
const MOST_ENTRIES = 10_000
const MOST_HOSTS = 64
const MOST_FAULTS = 1000
const MOST_TIME = 2 ** 52
const SOURCES = ['console', 'frame', 'disk', 'store', 'call', 'abort', 'clock', 'run']
const KINDS: readonly FailureKind[] = ['property', 'threw', 'crashed', 'endless', 'rejected late', 'not repeatable']

/** What a replay file holds. */
export interface ReplayData {
  /** Name of the test. */
  readonly name: string
  /** A hash of each part of the moment that the run begins at; undefined where a host was booted for it. */
  readonly moment: Readonly<Record<string, string>> | undefined
  readonly run: { readonly index: number; readonly strategy: StrategyName | 'plain'; readonly seed: number; readonly horizon: number; readonly window: Window; readonly faults: FaultPlan }
  readonly trace: readonly TraceEntry[]
  /** What came in from outside, by host; undefined where there was too much, or code: such a run is replayed by its body. */
  readonly inputs: readonly (readonly InputRecord[])[] | undefined
  readonly start: number
  readonly end: number
  readonly digest: string
  readonly hashes: Readonly<Record<string, string>>
  readonly failure: RunFailure
}

const bad = (what: string, details: Readonly<Record<string, unknown>> = {}): XenError => new XenError('INVALID_STREAM', `replay file: ${what}`, { details })

type Fields = Readonly<Record<string, unknown>>

const isRecord = (value: unknown): value is Fields => typeof value === 'object' && value !== null && !Array.isArray(value)

/** One field, of a kind that is checked. */
function field<T>(record: Fields, name: string, accepts: (value: unknown) => value is T): T {
  const value = Object.hasOwn(record, name) ? record[name] : undefined
  if (!accepts(value)) throw bad(`${name} is ${shown(value)}`, { field: name })
  return value
}

const within = (least: number, most: number) => (value: unknown): value is number => typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most
const whole = /* @__PURE__ */ within(0, Number.MAX_SAFE_INTEGER)
const time = /* @__PURE__ */ within(0, MOST_TIME)
const words = (value: unknown): value is string => typeof value === 'string' && value.length <= 10_000
const hashes = (value: unknown): value is Readonly<Record<string, string>> =>
  isRecord(value) && Object.keys(value).length <= MOST_ENTRIES && Object.entries(value).every(([part, hash]) => words(part) && words(hash))
const entry = (value: unknown): value is TraceEntry => Array.isArray(value) && value.length === 5 && value.every((each) => within(-1, MOST_TIME)(each))
const trace = (value: unknown): value is readonly TraceEntry[] => Array.isArray(value) && value.length <= MOST_ENTRIES && value.every(entry)
const strategy = (value: unknown): value is StrategyName | 'plain' => value === 'plain' || STRATEGY_NAMES.includes(value as StrategyName)
/** What a fault of a name may say is looked at where the run is made. */
const faults = (value: unknown): value is FaultPlan =>
  Array.isArray(value) && value.length <= MOST_FAULTS && value.every((spec) => isRecord(spec) && typeof spec['fault'] === 'string')
const kind = (value: unknown): value is FailureKind => KINDS.includes(value as FailureKind)

function inputRecord(value: unknown): value is InputRecord {
  if (!isRecord(value) || !isRecord(value['input'])) return false
  const { sequence, time: at, ticks, input } = value
  return whole(sequence) && time(at) && within(0, 256)(ticks) && SOURCES.includes(String(input['source']))
}
const inputs = (value: unknown): value is readonly (readonly InputRecord[])[] =>
  Array.isArray(value) && value.length <= MOST_HOSTS && value.every((list) => Array.isArray(list) && list.length <= MOST_ENTRIES && list.every(inputRecord))

/** Bytes, as objects of one field. */
const BYTES = '$bytes'

const toText = (bytes: Uint8Array): string => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))

function replacer(this: unknown, _: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return { [BYTES]: toText(value) }
  if (typeof value === 'bigint' || typeof value === 'function' || typeof value === 'symbol') throw bad(`${shown(value)} cannot be written`)
  return value
}

function reviver(_: string, value: unknown): unknown {
  if (!isRecord(value) || !Object.hasOwn(value, BYTES)) return value
  const text = value[BYTES]
  if (typeof text !== 'string') throw bad('bytes that are no text')
  try {
    return Uint8Array.from(atob(text), (character) => character.charCodeAt(0))
  } catch {
    throw bad('bytes that are not in base64')
  }
}

/** The file's text. Throws INVALID_STREAM for inputs that cannot be written. */
export function encodeReplay({ run: { window, ...run }, moment, inputs: records, ...rest }: ReplayData): string {
  const facts = {
    format: FORMAT, version: REPLAY_VERSION, ...rest, run: { ...run, from: window.from, to: window.to }, moment: moment ?? null, inputs: records ?? null,
  }
  return `${JSON.stringify(facts, replacer)}\n`
}

function parsed(text: string): unknown {
  if (text.length > MOST_FILE) throw bad(`it is ${text.length} characters long, ${MOST_FILE} at most`)
  try {
    return JSON.parse(text, reviver)
  } catch (error) {
    if (XenError.is(error)) throw error
    throw bad('it is no JSON')
  }
}

function failureOf(record: Fields): RunFailure {
  return {
    kind: field(record, 'kind', kind), message: field(record, 'message', words), details: field(record, 'details', words), time: field(record, 'time', time),
  }
}

function runOf(record: Fields): ReplayData['run'] {
  return {
    index: field(record, 'index', whole), strategy: field(record, 'strategy', strategy), seed: field(record, 'seed', within(0, 2 ** 32 - 1)),
    horizon: field(record, 'horizon', time), faults: field(record, 'faults', faults), window: { from: field(record, 'from', whole), to: field(record, 'to', whole) },
  }
}

/** What a file says. Throws INVALID_STREAM, naming the field, for what is no replay file, and NOT_SUPPORTED for one of another version. */
export function decodeReplay(file: string | Uint8Array): ReplayData {
  if (typeof file !== 'string' && file.length > MOST_FILE) throw bad(`it is ${file.length} bytes long, ${MOST_FILE} at most`)
  const record = parsed(typeof file === 'string' ? file : new TextDecoder().decode(file))
  if (!isRecord(record) || record['format'] !== FORMAT) throw bad('it is none')
  const version = field(record, 'version', whole)
  if (version !== REPLAY_VERSION) {
    throw new XenError('NOT_SUPPORTED', `replay file: it is of version ${version}, and this library reads ${REPLAY_VERSION}`, { details: { version, supported: REPLAY_VERSION } })
  }
  return {
    name: field(record, 'name', words), moment: record['moment'] === null ? undefined : field(record, 'moment', hashes),
    run: runOf(field(record, 'run', isRecord)), trace: field(record, 'trace', trace),
    inputs: record['inputs'] === null ? undefined : field(record, 'inputs', inputs),
    start: field(record, 'start', time), end: field(record, 'end', time), digest: field(record, 'digest', words), hashes: field(record, 'hashes', hashes),
    failure: failureOf(field(record, 'failure', isRecord)),
  }
}
