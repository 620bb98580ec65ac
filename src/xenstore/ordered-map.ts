/**
 * A persistent map from names to values that keeps the order of insertion: the children of a node. Changing it
 * makes a new map that shares nearly everything with the old one, so a transaction or a dump can keep any version.
 *
 * Up to eight entries are a plain array; more are a hash trie of 32-way branches, so that a directory of 100,000
 * children costs no more per change than one of a hundred.
 *
 * hot path: `get` runs for every component of every path.
 *
 * Reference: Bagwell, "Ideal Hash Trees" (2001).
 */

interface Entry<T> {
  readonly name: string
  readonly hash: number
  /** Position in the order of insertion. */
  readonly order: number
  readonly value: T
}

/** A branch: a bit per occupied slot, and the occupied slots in a row. */
class Branch<T> {
  readonly bits: number
  readonly slots: readonly Slot<T>[]

  constructor(bits: number, slots: readonly Slot<T>[]) {
    this.bits = bits
    this.slots = slots
  }
}

/** An entry, a branch, or entries whose hashes are equal. */
type Slot<T> = Entry<T> | Branch<T> | readonly Entry<T>[]

const SMALL = 8
const BITS = 5

function hashOf(name: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < name.length; i += 1) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193)
  return hash ^ (hash >>> 15)
}

function bitCount(bits: number): number {
  const pairs = bits - ((bits >>> 1) & 0x55555555)
  const fours = (pairs & 0x33333333) + ((pairs >>> 2) & 0x33333333)
  return Math.imul((fours + (fours >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24
}

const isBranch = <T>(slot: Slot<T>): slot is Branch<T> => slot instanceof Branch
const isList = <T>(slot: Slot<T>): slot is readonly Entry<T>[] => Array.isArray(slot)

function find<T>(slot: Slot<T>, name: string, hash: number): Entry<T> | undefined {
  let at = slot
  for (let shift = 0; isBranch(at); shift += BITS) {
    const bit = 1 << ((hash >>> shift) & 31)
    if ((at.bits & bit) === 0) return undefined
    at = at.slots[bitCount(at.bits & (bit - 1))]!
  }
  if (isList(at)) return at.find((entry) => entry.name === name)
  return at.name === name ? at : undefined
}

/** A slot that holds two entries, or lists, of different place. */
function join<T>(one: Entry<T> | readonly Entry<T>[], other: Entry<T>, shift: number): Slot<T> {
  const hash = isList(one) ? one[0]!.hash : one.hash
  if (hash === other.hash) return isList(one) ? [...one, other] : [one, other]
  const first = (hash >>> shift) & 31
  const second = (other.hash >>> shift) & 31
  if (first === second) return new Branch(1 << first, [join(one, other, shift + BITS)])
  return new Branch((1 << first) | (1 << second), first < second ? [one, other] : [other, one])
}

function insert<T>(slot: Slot<T>, entry: Entry<T>, shift: number): Slot<T> {
  if (!isBranch(slot)) {
    if (isList(slot)) {
      const place = slot.findIndex((existing) => existing.name === entry.name)
      return place < 0 ? join(slot, entry, shift) : slot.map((existing, i) => (i === place ? entry : existing))
    }
    return slot.name === entry.name ? entry : join(slot, entry, shift)
  }
  const bit = 1 << ((entry.hash >>> shift) & 31)
  const place = bitCount(slot.bits & (bit - 1))
  const slots = slot.slots.slice()
  if ((slot.bits & bit) === 0) slots.splice(place, 0, entry)
  else slots[place] = insert(slots[place]!, entry, shift + BITS)
  return new Branch(slot.bits | bit, slots)
}

/** The slot without the entry, which is known to be there; undefined when nothing is left. */
function remove<T>(slot: Slot<T>, name: string, hash: number, shift: number): Slot<T> | undefined {
  if (isList(slot)) {
    const rest = slot.filter((entry) => entry.name !== name)
    return rest.length === 1 ? rest[0]! : rest
  }
  if (!isBranch(slot)) return undefined
  const bit = 1 << ((hash >>> shift) & 31)
  const place = bitCount(slot.bits & (bit - 1))
  const rest = remove(slot.slots[place]!, name, hash, shift + BITS)
  const slots = slot.slots.slice()
  if (rest !== undefined) slots[place] = rest
  else slots.splice(place, 1)
  if (slots.length === 0) return undefined
  const only = slots[0]!
  if (slots.length === 1 && !isBranch(only)) return only
  return new Branch(rest === undefined ? slot.bits & ~bit : slot.bits, slots)
}

function collect<T>(slot: Slot<T>, into: Entry<T>[]): void {
  if (isBranch(slot)) for (const inner of slot.slots) collect(inner, into)
  else if (isList(slot)) into.push(...slot)
  else into.push(slot)
}

/** What a version counts. */
interface Shape {
  readonly size: number
  readonly nameBytes: number
  /** Order of the next entry. */
  readonly next: number
}

/** A version of the map; it never changes. */
export class OrderedMap<T> {
  /** How many entries it has. */
  readonly size: number
  /** Bytes of all names with a terminator each: what a listing takes on the wire. */
  readonly nameBytes: number
  private readonly nextOrder: number
  private readonly small: readonly Entry<T>[] | undefined
  private readonly large: Slot<T> | undefined
  private listed: Uint8Array | undefined

  private constructor(content: readonly Entry<T>[] | Slot<T>, shape: Shape) {
    this.size = shape.size
    this.nameBytes = shape.nameBytes
    this.nextOrder = shape.next
    const small = shape.size <= SMALL
    this.small = small ? (content as readonly Entry<T>[]) : undefined
    this.large = small ? undefined : (content as Slot<T>)
    this.listed = undefined
  }

  /** The map without entries. */
  static empty<T>(): OrderedMap<T> {
    return new OrderedMap<T>([], { size: 0, nameBytes: 0, next: 0 })
  }

  private entry(name: string): Entry<T> | undefined {
    const { small } = this
    if (small === undefined) return find(this.large!, name, hashOf(name))
    for (let i = 0; i < small.length; i += 1) if (small[i]!.name === name) return small[i]
    return undefined
  }

  /** The value under a name. */
  get(name: string): T | undefined {
    return this.entry(name)?.value
  }

  /** A map in which `name` has `value`: in its old place, or at the end. */
  set(name: string, value: T): OrderedMap<T> {
    const old = this.entry(name)
    const { small } = this
    if (old !== undefined) {
      const entry = { name, hash: old.hash, order: old.order, value }
      const shape = { size: this.size, nameBytes: this.nameBytes, next: this.nextOrder }
      if (small === undefined) return new OrderedMap(insert(this.large!, entry, 0), shape)
      const entries = small.slice()
      entries[small.indexOf(old)] = entry
      return new OrderedMap(entries, shape)
    }
    const entry = { name, hash: hashOf(name), order: this.nextOrder, value }
    const shape = { size: this.size + 1, nameBytes: this.nameBytes + name.length + 1, next: this.nextOrder + 1 }
    if (small === undefined) return new OrderedMap(insert(this.large!, entry, 0), shape)
    if (small.length < SMALL) return new OrderedMap([...small, entry], shape)
    return new OrderedMap(small.reduce<Slot<T>>((slot, each) => insert(slot, each, 0), entry), shape)
  }

  /** A map without `name`. */
  delete(name: string): OrderedMap<T> {
    const old = this.entry(name)
    if (old === undefined) return this
    const shape = { size: this.size - 1, nameBytes: this.nameBytes - name.length - 1, next: this.nextOrder }
    if (this.small !== undefined) return new OrderedMap(this.small.filter((entry) => entry !== old), shape)
    const rest = remove(this.large!, name, old.hash, 0)!
    if (shape.size > SMALL) return new OrderedMap(rest, shape)
    const entries: Entry<T>[] = []
    collect(rest, entries)
    return new OrderedMap(entries.sort((a, b) => a.order - b.order), shape)
  }

  private ordered(): readonly Entry<T>[] {
    if (this.small !== undefined) return this.small
    const entries: Entry<T>[] = []
    collect(this.large!, entries)
    return entries.sort((a, b) => a.order - b.order)
  }

  /** The names in order of insertion. */
  names(): readonly string[] {
    return this.ordered().map((entry) => entry.name)
  }

  /** Names and values in order of insertion. */
  entries(): readonly (readonly [string, T])[] {
    return this.ordered().map((entry) => [entry.name, entry.value] as const)
  }

  /** The names as they travel, each with a terminator. Kept, because a large one is asked for in many parts. */
  listing(): Uint8Array {
    if (this.listed !== undefined) return this.listed
    const bytes = new Uint8Array(this.nameBytes)
    let at = 0
    for (const entry of this.ordered()) {
      for (let i = 0; i < entry.name.length; i += 1) bytes[at + i] = entry.name.charCodeAt(i)
      at += entry.name.length + 1
    }
    this.listed = bytes
    return bytes
  }
}
