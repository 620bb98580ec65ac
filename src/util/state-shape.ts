/**
 * What saved state must look like when it comes back. A shape is a check and a type in one: the type of a part's state is
 * derived from it ({@link StateOf}), so that neither can drift from the other. Shapes say what is wrong as the checks of
 * options do, for they stand below the toolstack, where no schema library is imported; what they see may be hostile, so
 * they touch nothing but own fields of plain data, and never throw.
 */
import { shown } from './duration.ts'

declare const described: unique symbol

/**
 * Undefined for a value of `T`; else where and what is wrong, as the rest of a sentence that begins with the part's name:
 * `.ports[3].vcpu must be a whole number from 0 to 7, got 9`.
 */
export interface Shape<T> {
  (value: unknown): string | undefined
  /** For the compiler alone: never there. */
  readonly [described]?: T
}

/** The type that a shape describes. */
export type StateOf<S> = S extends Shape<infer T> ? T : never

/** The classes of numbers in rows that a state may hold. */
export type StateArray =
  | Uint8Array | Int8Array | Uint16Array | Int16Array | Uint32Array | Int32Array | Float64Array | BigUint64Array

/** Most elements that lists have where nothing else is said: more than any part of a host has of anything. */
const MOST_ELEMENTS = 2 ** 24

const accepting = <T>(accepts: (value: unknown) => boolean, message: string): Shape<T> =>
  (value) => (accepts(value) ? undefined : ` ${message}, got ${shown(value)}`)

const whole = (least: number, most: number): Shape<number> =>
  accepting((value) => Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most,
    `must be a whole number from ${least} to ${most}`)

const real = (least: number, most: number): Shape<number> =>
  accepting((value) => typeof value === 'number' && value >= least && value <= most, `must be a number from ${least} to ${most}`)

const wide = (bits: number): Shape<bigint> =>
  accepting((value) => typeof value === 'bigint' && value >= 0n && value >> BigInt(bits) === 0n, `must be a whole number of ${bits} bits`)

const flag: Shape<boolean> = /* @__PURE__ */ accepting((value) => typeof value === 'boolean', 'must be true or false')

const text = (most: number): Shape<string> =>
  accepting((value) => typeof value === 'string' && value.length <= most, `must be a text of at most ${most} characters`)

const oneOf = <const T extends string | number>(...values: readonly T[]): Shape<T> =>
  accepting((value) => values.includes(value as T), `must be one of ${values.join(', ')}`)

const optional = <T>(inner: Shape<T>): Shape<T | undefined> => (value) => (value === undefined ? undefined : inner(value))

/** A list is one only if it is dense: a hole would come back as something that its element's shape has not seen. */
function elements(value: unknown, of: (index: number) => Shape<unknown>): string | undefined {
  const list = value as readonly unknown[]
  for (let index = 0; index < list.length; index += 1) {
    const wrong = of(index)(list[index])
    if (wrong !== undefined) return `[${index}]${wrong}`
  }
  return undefined
}

const list = <T>(element: Shape<T>, most = MOST_ELEMENTS, least = 0): Shape<readonly T[]> => (value) => {
  if (!Array.isArray(value)) return ` must be a list, got ${shown(value)}`
  if (value.length < least || value.length > most) return ` must have ${least} to ${most} elements, got ${value.length}`
  return elements(value, () => element)
}

const tuple = <T extends readonly unknown[]>(...shapes: { readonly [K in keyof T]: Shape<T[K]> }): Shape<Readonly<T>> => (value) => {
  if (!Array.isArray(value) || value.length !== shapes.length) return ` must be a list of ${shapes.length}, got ${shown(value)}`
  return elements(value, (index) => shapes[index]!)
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> => {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** hot path: of every host that is stood up, some thousand records; nothing is made for one that is right. */
const record = <T extends object>(fields: { readonly [K in keyof T]-?: Shape<T[K]> }): Shape<T> => {
  const names = Object.keys(fields)
  const shapes = Object.values<Shape<unknown>>(fields)
  return (value) => {
    if (!isRecord(value)) return ` must be a record, got ${shown(value)}`
    for (const name of Object.keys(value)) if (!Object.hasOwn(fields, name)) return ` has a field ${shown(name)}, which is unknown`
    for (let i = 0; i < names.length; i += 1) {
      const name = names[i]!
      const wrong = shapes[i]!(Object.hasOwn(value, name) ? value[name] : undefined)
      if (wrong !== undefined) return `.${name}${wrong}`
    }
    return undefined
  }
}

const dictionary = <T>(element: Shape<T>): Shape<Readonly<Record<string, T>>> => (value) => {
  if (!isRecord(value)) return ` must be a record, got ${shown(value)}`
  for (const [name, one] of Object.entries(value)) {
    const wrong = name === '__proto__' ? ' is no name' : element(one)
    if (wrong !== undefined) return `.${name}${wrong}`
  }
  return undefined
}

/** `kind` tells which of the records it is. */
const variant = <T extends object>(kind: keyof T & string, shapes: Readonly<Record<string, Shape<T>>>): Shape<T> => (value) => {
  if (!isRecord(value)) return ` must be a record, got ${shown(value)}`
  const name = value[kind]
  if (typeof name !== 'string' || !Object.hasOwn(shapes, name)) {
    return `.${kind} must be one of ${Object.keys(shapes).join(', ')}, got ${shown(name)}`
  }
  return shapes[name]!(value)
}

const array = <T extends StateArray>(
  kind: { readonly name: string; readonly BYTES_PER_ELEMENT: number; readonly prototype: T }, least: number, most = least,
): Shape<T> => (value) => {
  const same = ArrayBuffer.isView(value) && Object.getPrototypeOf(value) === kind.prototype
  if (!same) return ` must be a ${kind.name}, got ${shown(value)}`
  const { length } = value as unknown as T
  return length >= least && length <= most ? undefined : ` must have ${least === most ? least : `${least} to ${most}`} elements, got ${length}`
}

/** What the shape accepts, if also nothing is wrong with it by `judge`, which begins with a blank what it says. */
const where = <T>(inner: Shape<T>, judge: (value: T) => string | undefined): Shape<T> => (value) => {
  const wrong = inner(value)
  if (wrong !== undefined) return wrong
  const judged = judge(value as T)
  return judged === undefined ? undefined : ` ${judged}`
}

/**
 * The shapes there are.
 *
 * @example
 * const timerState = shape.record({ deadline: shape.whole(0, 2 ** 53), slot: shape.whole(0, 7), label: shape.optional(shape.text(80)) })
 * type TimerState = StateOf<typeof timerState>
 */
export const shape = /* @__PURE__ */ Object.freeze({
  /** A whole number between two limits, which belong to it. */
  whole,
  /** A number between two limits, which belong to it. */
  real,
  /** An unsigned bigint of so many bits. */
  wide,
  flag,
  /** A text of at most so many characters. */
  text,
  /** One of some values. */
  oneOf,
  /** The inner one, or undefined. */
  optional,
  /** A dense list: its elements' shape, the most and the fewest of them. */
  list,
  /** A list of fixed length, each place with a shape of its own. */
  tuple,
  /** A record of exactly these fields. */
  record,
  /** A record of any names, all of one shape. */
  dictionary, variant,
  /** A row of numbers of one class (`Uint8Array`), and its length: the least, and the most. */
  array, where,
  /** An unsigned 32-bit word. */
  word: whole(0, 0xffff_ffff),
  /** A number that is not NaN, infinities among them. */
  number: real(-Infinity, Infinity),
  /** Host time in nanoseconds. */
  time: whole(0, Number.MAX_SAFE_INTEGER),
})
