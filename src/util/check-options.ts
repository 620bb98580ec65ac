/**
 * Checks what a public call was given: unknown options with the nearest known word, kinds of values, ranges. Each call has
 * one table of checks, and the compiler sees to it that the table names every option. Configuration of hosts and domains,
 * which has defaults and texts to be parsed, is checked by schemas in the toolstack instead.
 */
import { parseDuration, shown, type Duration, type DurationBounds } from './duration.ts'
import { XenError, type XenErrorDetails } from './errors.ts'
import { nearestWord } from './nearest.ts'
import { thrownMessage } from './thrown.ts'

/** What is wrong with a value, as the rest of a sentence that begins with its name; undefined when nothing is. */
export type Check = (value: unknown) => string | undefined

/** One check for each option of `T`. An option that is absent or undefined is never asked about. */
export type OptionChecks<T> = { readonly [K in keyof Required<T>]: Check }

const check = (accepts: (value: unknown) => boolean, message: string): Check =>
  (value) => (accepts(value) ? undefined : `${message}, got ${shown(value)}`)

/** Any value. */
export const anything: Check = () => undefined

/** True or false. */
export const flag: Check = /* @__PURE__ */ check((value) => typeof value === 'boolean', 'must be true or false')

/** A text. */
export const text: Check = /* @__PURE__ */ check((value) => typeof value === 'string', 'must be a text')

/** An object with named fields, of any kind; no list. */
export const record: Check = /* @__PURE__ */ check((value) => typeof value === 'object' && value !== null && !Array.isArray(value), 'must be an object')

/** A list of anything. */
export const list: Check = /* @__PURE__ */ check(Array.isArray, 'must be a list')

/** A function. */
export const callable: Check = /* @__PURE__ */ check((value) => typeof value === 'function', 'must be a function')

/** Bytes. */
export const byteArray: Check = /* @__PURE__ */ check((value) => value instanceof Uint8Array, 'must be a Uint8Array')

/** A whole number in a range, both ends included. */
export const whole = (least: number, most: number): Check =>
  check((value) => Number.isInteger(value) && (value as number) >= least && (value as number) <= most,
    `must be a whole number from ${least} to ${most}`)

/** A number in a range, both ends included. */
export const real = (least: number, most: number): Check =>
  check((value) => typeof value === 'number' && value >= least && value <= most, `must be a number from ${least} to ${most}`)

/** One of some words. */
export const oneOf = (...words: readonly string[]): Check => (value) => {
  if (words.includes(value as string)) return undefined
  const nearest = typeof value === 'string' ? nearestWord(value, words) : undefined
  const list = words.map((word) => `"${word}"`).join(', ')
  return `must be one of ${list}, got ${shown(value)}${nearest === undefined ? '' : `; did you mean "${nearest}"?`}`
}

/** An object with these methods. */
export const having = (...methods: readonly string[]): Check =>
  check((value) => ((typeof value === 'object' && value !== null) || typeof value === 'function')
    && methods.every((name) => typeof (value as Record<string, unknown>)[name] === 'function'),
  `must be an object with ${methods.length === 1 ? 'a method' : 'methods'} ${methods.join(', ')}`)

/** An AbortSignal, of whatever copy of the platform. */
export const abortSignal: Check = (value) =>
  having('addEventListener', 'removeEventListener')(value) === undefined && typeof (value as AbortSignal).aborted === 'boolean'
    ? undefined : `must be an AbortSignal, got ${shown(value)}`

/** A list whose elements pass. */
export const listOf = (element: Check): Check => (value) => {
  if (!Array.isArray(value)) return `must be a list, got ${shown(value)}`
  for (const [index, item] of value.entries()) {
    const wrong = element(item)
    if (wrong !== undefined) return `has at ${index} what ${wrong}`
  }
  return undefined
}

/** A set whose elements pass. */
export const setOf = (element: Check): Check => (value) => (value instanceof Set ? listOf(element)([...value]) : `must be a set, got ${shown(value)}`)

/** A length of time. */
export const duration = (bounds: DurationBounds = {}): Check => (value) => {
  try {
    parseDuration(value as Duration, '', bounds)
    return undefined
  } catch (error) {
    return (error as XenError).message.trim()
  }
}

/** A time-out: a length of time, or Infinity for none. */
export const timeLimit: Check = /* @__PURE__ */ duration({ most: Infinity })

/** Throws INVALID_ARGUMENT where a single argument does not pass. */
export function checkArgument(name: string, value: unknown, accepts: Check): void {
  const wrong = faultIn(value, accepts)
  if (wrong !== undefined) throw new XenError('INVALID_ARGUMENT', `${name} ${wrong}`, { details: { name, value } })
}

/** What a check finds. Where a getter or a trap of the caller's throws, nobody knows what the value is. */
function faultIn(value: unknown, accepts: Check): string | undefined {
  try {
    return accepts(value)
  } catch (error) {
    return `cannot be read: ${thrownMessage(error)}`
  }
}

/**
 * A plain copy of an object with named fields, so that what was checked is what is used. Throws INVALID_ARGUMENT for what is no object, and
 * for one whose fields cannot be read.
 */
export function readRecord<T extends object>(name: string, value: T): T {
  let copy: T | undefined
  checkArgument(name, value, (given) => {
    copy = { ...value }
    return record(given)
  })
  return copy!
}

/**
 * Checks the options of the call `what`. Throws INVALID_ARGUMENT for what is no object, for options that the call does not
 * have, with the nearest that it has, and for values that it cannot take.
 */
export function checkOptions<T extends object>(what: string, options: T, checks: OptionChecks<T>): void {
  const fault = findFault(what, options, checks)
  if (fault !== undefined) throw new XenError('INVALID_ARGUMENT', fault.message, { details: fault.details })
}

/** The same for an object that describes something instead of saying how a call works. Throws INVALID_CONFIG. */
export function checkConfig<T extends object>(what: string, config: T, checks: OptionChecks<T>): void {
  const fault = findFault(what, config, checks)
  if (fault !== undefined) throw new XenError('INVALID_CONFIG', fault.message, { details: fault.details })
}

interface Fault {
  readonly message: string
  readonly details: XenErrorDetails
}

function findFault<T extends object>(what: string, options: T, checks: OptionChecks<T>): Fault | undefined {
  try {
    return faultOf(what, options, checks)
  } catch (error) {
    // A getter or a trap of the caller's has thrown: nobody knows what the options are.
    return { message: `the options of ${what} cannot be read: ${thrownMessage(error)}`, details: { what, thrown: error } }
  }
}

function faultOf<T extends object>(what: string, options: T, checks: OptionChecks<T>): Fault | undefined {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    return { message: `the options of ${what} must be an object, got ${shown(options)}`, details: { what } }
  }
  for (const [key, value] of Object.entries(options)) {
    const accepts = Object.hasOwn(checks, key) ? (checks as Readonly<Record<string, Check>>)[key] : undefined
    if (accepts === undefined) return unknownKey(what, key, Object.keys(checks))
    const wrong = value === undefined ? undefined : accepts(value)
    if (wrong !== undefined) return { message: `${what}: ${key} ${wrong}`, details: { what, key, value } }
  }
  return undefined
}

function unknownKey(what: string, key: string, known: readonly string[]): Fault {
  const nearest = nearestWord(key, known)
  const hint = nearest !== undefined ? `; did you mean ${nearest}?`
    : known.length === 0 ? '; it has none' : `; it has ${known.join(', ')}`
  return { message: `${what} has no option ${shown(key).slice(1, -1)}${hint}`, details: { what, key, nearest } }
}
