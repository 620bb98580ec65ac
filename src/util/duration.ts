/**
 * Lengths of time as people write them: `'5s'`, `{ seconds: 5 }` or nanoseconds. Inside, time is nanoseconds in a number;
 * this is where the public calls turn one into the other.
 */
import { XenError } from './errors.ts'

/** A length of time by units; what is left out counts as 0. */
export interface DurationParts {
  readonly days?: number | undefined
  readonly hours?: number | undefined
  readonly minutes?: number | undefined
  readonly seconds?: number | undefined
  readonly milliseconds?: number | undefined
  readonly microseconds?: number | undefined
  readonly nanoseconds?: number | undefined
}

/** A length of time: nanoseconds, a text such as `'5s'`, `'1.5 ms'` or `'1h30m'`, or an object such as `{ seconds: 5 }`. */
export type Duration = number | bigint | string | DurationParts

/** Nanoseconds of each unit of {@link DurationParts}. */
const PARTS: Readonly<Record<keyof DurationParts, number>> = {
  days: 86_400e9, hours: 3_600e9, minutes: 60e9, seconds: 1e9, milliseconds: 1e6, microseconds: 1e3, nanoseconds: 1,
}

/** Nanoseconds of each unit in a text. */
const UNITS: ReadonlyMap<string, number> = /* @__PURE__ */ new Map([
  ...[['d', 'days'], ['h', 'hours'], ['m', 'minutes'], ['s', 'seconds'], ['ms', 'milliseconds'], ['us', 'microseconds'],
    // Both characters that Unicode has for micro.
    ['\u00b5s', 'microseconds'], ['\u03bcs', 'microseconds'], ['ns', 'nanoseconds'],
    ['min', 'minutes'], ['sec', 'seconds']] as const,
  ...(Object.keys(PARTS) as (keyof DurationParts)[]).flatMap((part) => [[part, part], [part.slice(0, -1), part]] as const),
].map(([unit, part]) => [unit, PARTS[part]] as const))

const ELEMENT = /\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z\u00b5\u03bc]+)\s*/gy
/** A longer text is no length of time. */
const LONGEST_TEXT = 100

/** Nanoseconds of a text; undefined when it is none. */
function fromText(text: string): number | undefined {
  if (text.length > LONGEST_TEXT) return undefined
  let sum = 0
  let end = 0
  for (const [whole, count, unit] of text.matchAll(ELEMENT)) {
    const nanoseconds = UNITS.get(unit!)
    if (nanoseconds === undefined) return undefined
    sum += Number(count) * nanoseconds
    end += whole.length
  }
  return end > 0 && end === text.length ? sum : undefined
}

/** Nanoseconds of an object; undefined when it has other fields, none, or one that is no number from 0 up. */
function fromParts(parts: object): number | undefined {
  const entries = Object.entries(parts).filter(([, count]) => count !== undefined)
  if (entries.length === 0) return undefined
  let sum = 0
  for (const [name, count] of entries) {
    if (!Object.hasOwn(PARTS, name) || typeof count !== 'number' || !(count >= 0)) return undefined
    sum += count * PARTS[name as keyof DurationParts]
  }
  return sum
}

/** Nanoseconds of whatever was given, unchecked against limits; undefined when it is no length of time. */
function nanosecondsOf(duration: unknown): number | undefined {
  switch (typeof duration) {
    case 'number': return duration
    case 'bigint': return Number(duration)
    case 'string': return fromText(duration)
    case 'object': return duration === null ? undefined : fromParts(duration)
    default: return undefined
  }
}

/** How a value is shown in an error: never long, whatever it is. */
export function shown(value: unknown): string {
  const text = typeof value === 'bigint' ? `${value}n`
    : typeof value === 'function' ? 'a function'
    : typeof value === 'object' && value !== null ? asJson(value)
    : typeof value === 'string' ? JSON.stringify(value) : String(value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

function asJson(value: object): string {
  try {
    return JSON.stringify(value, (_, field: unknown) => (typeof field === 'bigint' ? `${field}n` : field)) ?? 'an object'
  } catch {
    // A cycle, or a toJSON that throws: nobody needs its contents.
    return 'an object'
  }
}

/** The bounds of a length of time, in nanoseconds. */
export interface DurationBounds {
  /** Default 0. */
  readonly least?: number
  /** Default: what a number holds exactly, 104 days. `Infinity` lets `Infinity` pass, which is "without end". */
  readonly most?: number
}

/**
 * A length of time in whole nanoseconds. Throws INVALID_ARGUMENT, naming `what`, for anything that is none.
 *
 * @example
 * parseDuration('1.5s', 'timeout') === parseDuration({ seconds: 1, milliseconds: 500 }, 'timeout')
 */
export function parseDuration(duration: Duration, what: string, bounds: DurationBounds = {}): number {
  const { least = 0, most = Number.MAX_SAFE_INTEGER } = checkedBounds(what, bounds)
  const nanoseconds = nanosecondsOf(duration)
  if (nanoseconds === undefined || Number.isNaN(nanoseconds)) {
    throw refusal(what, duration, "must be a length of time: nanoseconds, a text such as '5s', or { seconds: 5 }")
  }
  if (nanoseconds < least) throw refusal(what, duration, least === 0 ? 'must not be negative' : `must be at least ${least} ns`)
  const limit = nanoseconds === Infinity ? most : Math.min(most, Number.MAX_SAFE_INTEGER)
  if (nanoseconds > limit) throw refusal(what, duration, `must be at most ${limit} ns`)
  return Math.round(nanoseconds)
}

/** Bounds that are some; `what` is the caller's own word. */
function checkedBounds(what: string, bounds: DurationBounds): DurationBounds {
  const isSet = (bound: unknown): boolean => bound === undefined || (typeof bound === 'number' && bound >= 0)
  try {
    const isKnown = typeof what === 'string' && typeof bounds === 'object' && bounds !== null && isSet(bounds.least) && isSet(bounds.most)
      && Object.keys(bounds).every((key) => key === 'least' || key === 'most') && !Array.isArray(bounds)
    if (isKnown) return bounds
  } catch {
    // A getter or a trap of the caller's has thrown: they are refused like any others.
  }
  throw new XenError('INVALID_ARGUMENT', `parseDuration takes a text and bounds { least, most } in nanoseconds, got ${shown(what)} and ${shown(bounds)}`, {
    details: { what, bounds },
  })
}

const refusal = (what: string, duration: unknown, why: string): XenError =>
  new XenError('INVALID_ARGUMENT', `${what} ${why}, got ${shown(duration)}`, { details: { what, value: duration } })
