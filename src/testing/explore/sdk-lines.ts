/**
 * Lines that programs instrumented with the Antithesis SDK write where ANTITHESIS_SDK_LOCAL_OUTPUT says, here to a console: one JSON
 * object a line, of which assertions and the end of the set-up mean something. Programs are guests: what is no such line is none, a line is
 * bounded, and what is wrong in one changes nothing.
 *
 * An SDK says each assertion once for each outcome, and declares those of a program before (`hit` false); `antithesis_sdk`, which comes first,
 * `antithesis_guidance` and events of names of their own mean nothing here. Details are as a language writes numbers: C++ and
 * Python say of some what no JSON has a word for.
 *
 * Reference: antithesis-sdk-go, assert/assert.go, location.go and lifecycle/lifecycle.go: `antithesis_assert` with hit, must_hit, assert_type,
 * display_type, message, condition, id, location, details; `antithesis_setup` with status. What the SDKs for C++ and Python write is
 * test/golden/antithesis-sdk-*.jsonl.
 */
import type { Properties, PropertyHit, PropertyKind } from './properties.ts'

/** Bytes of a line at most; longer ones are left out. */
const MOST_LINE = 64 << 10
/** Characters of a place at most. */
const MOST_PLACE = 300
const START = /\{\s*"antithesis_/

/** Kinds by the SDK's `display_type`. */
const KINDS: Readonly<Record<string, PropertyKind>> = {
  Always: 'always', AlwaysOrUnreachable: 'always-or-unreachable', Sometimes: 'sometimes', Reachable: 'reachable', Unreachable: 'unreachable',
}

/** Kinds by `assert_type` and `must_hit`, for what has no `display_type`. */
function kindOf({ display_type: shown, assert_type: type, must_hit: mustHit }: Readonly<Record<string, unknown>>): PropertyKind | undefined {
  if (typeof shown === 'string' && Object.hasOwn(KINDS, shown)) return KINDS[shown]
  switch (type) {
    case 'always': return mustHit === false ? 'always-or-unreachable' : 'always'
    case 'sometimes': return 'sometimes'
    case 'reachability': return mustHit === false ? 'unreachable' : 'reachable'
    default: return undefined
  }
}

/** A line's meaning. */
export type SdkLine = { readonly line: 'assert'; readonly hit: PropertyHit } | { readonly line: 'setup'; readonly status: string }

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> => typeof value === 'object' && value !== null && !Array.isArray(value)

/** Texts, and numbers that are none in JSON, as they stand in what printers of other languages write. */
const NUMBERS = /"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity|nan|inf)\b/g

/** A line's value; numbers that are none are null. Undefined where it is no JSON. */
function valueOf(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    // Once more without them.
  }
  try {
    return JSON.parse(line.replace(NUMBERS, (part) => (part.startsWith('"') ? part : 'null')))
  } catch {
    return undefined
  }
}

/** Where in a program an assertion stands, as texts name places; undefined where it does not say. */
function placeOf(location: unknown): string | undefined {
  if (!isObject(location)) return undefined
  const { file, begin_line: line, function: name } = location
  if (typeof file !== 'string' || file === '') return undefined
  return `${file}${typeof line === 'number' ? `:${line}` : ''}${typeof name === 'string' && name !== '' ? `, ${name}` : ''}`.slice(0, MOST_PLACE)
}

/** What a line says; undefined for one that is none of the SDK's, or none that means something here. */
export function parseSdkLine(line: string): SdkLine | undefined {
  if (line.length > MOST_LINE || line.search(START) !== 0) return undefined
  const parsed = valueOf(line)
  if (!isObject(parsed)) return undefined
  const { antithesis_assert: assertion, antithesis_setup: setup } = parsed
  if (isObject(setup)) return { line: 'setup', status: String(setup['status']).slice(0, 100) }
  if (!isObject(assertion)) return undefined
  const kind = kindOf(assertion)
  const { message, id, hit, condition, details, location } = assertion
  const name = typeof message === 'string' ? message : id
  if (kind === undefined || typeof name !== 'string' || name === '') return undefined
  // `hit` false declares what is somewhere in the program.
  return { line: 'assert', hit: { kind, message: name, condition: hit === false ? undefined : condition === true, details, place: placeOf(location) } }
}

/** Lines out of what comes in pieces. */
export class SdkReader {
  private readonly properties: Pick<Properties, 'hit'>
  private readonly onSetup: (status: string) => void
  private readonly decoder = new TextDecoder()
  private rest = ''

  constructor(properties: Pick<Properties, 'hit'>, onSetup: (status: string) => void = () => undefined) {
    this.properties = properties
    this.onSetup = onSetup
  }

  /** Takes the next piece in. */
  take(piece: Uint8Array | string): void {
    const lines = (typeof piece === 'string' ? piece : this.decoder.decode(piece, { stream: true })).split('\n')
    const rest = lines.pop() ?? ''
    for (const line of lines) {
      this.line(this.rest + line)
      this.rest = ''
    }
    // A line without end costs no more than what is kept of it.
    if (this.rest.length <= MOST_LINE) this.rest += rest
  }

  private line(text: string): void {
    // A shell's prompt or an echo may stand before it, a carriage return behind.
    const at = text.search(START)
    const said = at < 0 ? undefined : parseSdkLine(text.slice(at).trimEnd())
    if (said?.line === 'assert') this.properties.hit(said.hit)
    else if (said?.line === 'setup') this.onSetup(said.status)
  }
}
