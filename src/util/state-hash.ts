/**
 * Hashes over saved state, and where two states differ. The hash is over what is saved and over nothing else, so it covers
 * all that is saved. It depends on contents alone: not on the order of a record's fields, nor on the host it is computed on.
 * It finds differences; it is no protection against anybody.
 *
 * Two lanes of 32 bits, each MurmurHash3's mixing of words with constants of its own. hot path: 100 MiB of pages in about a
 * tenth of a second.
 * Reference: Austin Appleby, MurmurHash3 (x86, 32 bits).
 */
import type { SavedPart, SavedTree } from './state.ts'

const FIRST = 0xcc9e_2d51
const SECOND = 0x1b87_3593
const THIRD = 0x239b_961b
const FOURTH = 0xab0e_9789

/** What stands before a value, so that no two kinds of values look alike. */
const TAG = { none: 1, null: 2, no: 3, yes: 4, number: 5, bigint: 6, text: 7, list: 8, record: 9, array: 10 } as const

/** Takes words in, gives 64 bits. */
export class StateHasher {
  private first = 0
  private second = 0x9747_b28c
  private count = 0
  private readonly bits = new DataView(new ArrayBuffer(8))

  /** Takes one word in. */
  word(value: number): void {
    this.first = mixed(this.first, value, FIRST, SECOND)
    this.second = mixed(this.second, value, THIRD, FOURTH)
    this.count += 1
  }

  /** Takes `count` words of an array in, from `from` on. */
  words(source: Uint32Array, from: number, count: number): void {
    let { first, second } = this
    for (let i = from; i < from + count; i += 1) {
      const value = source[i]!
      first = mixed(first, value, FIRST, SECOND)
      second = mixed(second, value, THIRD, FOURTH)
    }
    this.first = first
    this.second = second
    this.count += count
  }

  /** Takes any plain data in. Throws a plain Error for what is none. */
  value(value: unknown): void {
    switch (typeof value) {
      case 'undefined': return this.word(TAG.none)
      case 'boolean': return this.word(value ? TAG.yes : TAG.no)
      case 'number': return this.number(value)
      case 'bigint': return this.text(TAG.bigint, value.toString(16))
      case 'string': return this.text(TAG.text, value)
      case 'object': return this.object(value)
      default: throw new Error(`a ${typeof value} is no state`)
    }
  }

  /** 16 hexadecimal digits of all that was taken in. */
  digits(): string {
    const { first, second } = this.pair()
    return [first, second].map((lane) => lane.toString(16).padStart(8, '0')).join('')
  }

  /** The same as two words. */
  pair(): { readonly first: number; readonly second: number } {
    return { first: finished(this.first ^ this.count) >>> 0, second: finished(this.second ^ this.count) >>> 0 }
  }

  private number(value: number): void {
    // One zero; and one NaN, whatever bits the engine gives it.
    this.bits.setFloat64(0, value + 0)
    this.word(TAG.number)
    this.word(Number.isNaN(value) ? 1 : this.bits.getUint32(0))
    this.word(Number.isNaN(value) ? 1 : this.bits.getUint32(4))
  }

  private text(tag: number, value: string): void {
    this.word(tag)
    this.word(value.length)
    for (let i = 0; i < value.length; i += 1) this.word(value.charCodeAt(i))
  }

  private object(value: object | null): void {
    if (value === null) this.word(TAG.null)
    else if (Array.isArray(value)) {
      this.word(TAG.list)
      this.word(value.length)
      for (const element of value as readonly unknown[]) this.value(element)
    } else if (ArrayBuffer.isView(value)) this.array(value)
    else this.record(value as Readonly<Record<string, unknown>>)
  }

  private record(value: Readonly<Record<string, unknown>>): void {
    const prototype: unknown = Object.getPrototypeOf(value)
    // Records of another realm have a prototype of their own.
    const isPlain = prototype === null || Object.getPrototypeOf(prototype) === null
    if (!isPlain) throw new Error('an object of a class is no state')
    const names = namesOf(value)
    this.word(TAG.record)
    this.word(names.length)
    for (const name of names) {
      this.text(TAG.text, name)
      this.value(value[name])
    }
  }

  private array(value: ArrayBufferView): void {
    this.text(TAG.array, kindOf(value))
    this.word(value.byteLength)
    const isAligned = value.byteOffset % 4 === 0
    const at = isAligned ? value : new Uint8Array(value.buffer, value.byteOffset, value.byteLength).slice()
    const whole = Math.floor(value.byteLength / 4)
    this.words(new Uint32Array(at.buffer, at.byteOffset, whole), 0, whole)
    const rest = new Uint8Array(at.buffer, at.byteOffset + whole * 4, value.byteLength % 4)
    for (const byte of rest) this.word(byte)
  }
}

/** One step of a lane. */
function mixed(lane: number, value: number, before: number, after: number): number {
  let word = Math.imul(value, before)
  word = Math.imul((word << 15) | (word >>> 17), after)
  const next = lane ^ word
  return (Math.imul((next << 13) | (next >>> 19), 5) + 0xe654_6b64) | 0
}

/** The last step: every bit of the lane reaches every other. */
function finished(lane: number): number {
  let value = Math.imul(lane ^ (lane >>> 16), 0x85eb_ca6b)
  value = Math.imul(value ^ (value >>> 13), 0xc2b2_ae35)
  return value ^ (value >>> 16)
}

/** Fields in one order; those without a value count as absent. */
const namesOf = (value: Readonly<Record<string, unknown>>): string[] =>
  Object.keys(value).filter((name) => value[name] !== undefined).sort()

const kindOf = (value: object): string => Object.prototype.toString.call(value).slice(8, -1)

/** The hash of any plain data: 16 hexadecimal digits. */
export function hashState(value: unknown): string {
  const hasher = new StateHasher()
  hasher.value(value)
  return hasher.digits()
}

const isTree = (saved: SavedPart | SavedTree): saved is SavedTree => 'parts' in saved

/** The hash of every leaf of a tree, by its path: `domains.3.vcpus`. */
export function hashParts(saved: SavedPart | SavedTree, path = ''): Record<string, string> {
  if (!isTree(saved)) return { [path]: hashState(saved) }
  const below = Object.keys(saved.parts).sort().map((name) => hashParts(saved.parts[name]!, path === '' ? name : `${path}.${name}`))
  return Object.assign({}, ...below) as Record<string, string>
}

/** One difference between two states. */
export interface StateDifference {
  /** Where: `parts.clock.state.time`, or a place in an array of numbers. */
  readonly path: string
  readonly first: unknown
  readonly second: unknown
}

/** The first differences between two states, at most `most`; none when their hashes are equal. */
export function compareStates(first: unknown, second: unknown, most = 10): StateDifference[] {
  const found: StateDifference[] = []
  if (!isSame(first, second)) compare({ path: '', first, second }, found, most)
  return found
}

function compare(pair: StateDifference, found: StateDifference[], most: number): void {
  const { path, first, second } = pair
  if (!isComposite(first) || !isComposite(second) || kindOf(first) !== kindOf(second)) {
    found.push(pair)
    return
  }
  const isRow = Array.isArray(first) || ArrayBuffer.isView(first)
  const [left, right] = [first, second] as unknown as [Record<string, unknown>, Record<string, unknown>]
  const [length, other] = isRow ? [left['length'] as number, right['length'] as number] : [0, 0]
  if (length !== other) found.push({ path: `${path}.length`, first: length, second: other })
  else if (isRow) compareRows({ path, left, right, length }, found, most)
  else {
    for (const name of [...new Set([...namesOf(left), ...namesOf(right)])].sort()) {
      if (found.length >= most) return
      if (isSame(left[name], right[name])) continue
      compare({ path: path === '' ? name : `${path}.${name}`, first: left[name], second: right[name] }, found, most)
    }
  }
}

interface Rows {
  readonly path: string
  readonly left: Readonly<Record<number, unknown>>
  readonly right: Readonly<Record<number, unknown>>
  readonly length: number
}

/** Rows may have millions of elements: a path is made for those alone that differ. */
function compareRows({ path, left, right, length }: Rows, found: StateDifference[], most: number): void {
  for (let i = 0; i < length && found.length < most; i += 1) {
    if (!isSame(left[i], right[i])) compare({ path: `${path}[${i}]`, first: left[i], second: right[i] }, found, most)
  }
}

const isComposite = (value: unknown): value is object => typeof value === 'object' && value !== null

/** Equal without looking inside: one zero and one NaN, as in the hash. */
const isSame = (first: unknown, second: unknown): boolean => first === second || Object.is(first, second)
