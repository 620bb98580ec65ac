/**
 * A persistent map from names to values that keeps the order of insertion: the children of a node. Changing it
 * makes a new map that shares nearly everything with the old one, so a transaction or a dump can keep any version.
 *
 * Up to eight entries are two plain arrays; more are a hash trie of 32-way branches, so that a directory of 100,000
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

/** What versions that differ in values alone have in common. */
class Names {
  readonly size: number
  /** Bytes of all names with a terminator each. */
  readonly bytes: number
  /** Names in order, while there are few. */
  readonly few: readonly string[] | undefined
  /** Order of the next entry of a large map. */
  readonly next: number
  listing: Uint8Array | undefined

  constructor(size: number, bytes: number, few: readonly string[] | undefined, next: number) {
    this.size = size
    this.bytes = bytes
    this.few = few
    this.next = next
    this.listing = undefined
  }
}

/** Places for names that came one behind another. */
const SEQUENCES = 512

/**
 * Directories are made alike again and again, so that names which come in one order are shared by all that have them: a table of
 * fixed size, with one successor for each hash of a first list and a name.
 */
const sequences = /* @__PURE__ */ new Array<{ readonly before: Names; readonly name: string; readonly after: Names } | undefined>(SEQUENCES).fill(undefined)

/** The few names `before`, and one more. */
function followed(before: Names, name: string): Names {
  const few = before.few!
  const last = few[few.length - 1]
  const place = (hashOf(name) ^ Math.imul(few.length, 0x9e37) ^ (last === undefined ? 0 : Math.imul(hashOf(last), 31))) & (SEQUENCES - 1)
  const known = sequences[place]
  if (known !== undefined && known.before === before && known.name === name) return known.after
  const after = new Names(before.size + 1, before.bytes + name.length + 1, [...few, name], 0)
  sequences[place] = { before, name, after }
  return after
}

/** A version of the map; it never changes. */
export class OrderedMap<T> {
  private readonly shared: Names
  /** Values in the order of the names, while there are few. */
  private readonly values: readonly T[]
  /** Everything, when there are many. */
  private readonly many: Slot<T> | undefined

  private constructor(shared: Names, values: readonly T[], many: Slot<T> | undefined) {
    this.shared = shared
    this.values = values
    this.many = many
  }

  /** The map without entries. */
  static empty<T>(): OrderedMap<T> {
    return new OrderedMap<T>(new Names(0, 0, [], 0), [], undefined)
  }

  /** How many entries it has. */
  get size(): number {
    return this.shared.size
  }

  /** Bytes of all names with a terminator each: what a listing takes on the wire. */
  get nameBytes(): number {
    return this.shared.bytes
  }

  /** The value under a name. */
  get(name: string): T | undefined {
    const { few } = this.shared
    if (few === undefined) return find(this.many!, name, hashOf(name))?.value
    // An index of -1 finds nothing.
    return this.values[few.indexOf(name)]
  }

  /** A map in which `name` has `value`: in its old place, or at the end. */
  set(name: string, value: T): OrderedMap<T> {
    const { few, size, bytes } = this.shared
    if (few === undefined) return this.setMany(name, value)
    const index = few.indexOf(name)
    if (index >= 0) {
      const values = this.values.slice()
      values[index] = value
      return new OrderedMap(this.shared, values, undefined)
    }
    const values = [...this.values, value]
    if (values.length <= SMALL) return new OrderedMap(followed(this.shared, name), values, undefined)
    return new OrderedMap(new Names(size + 1, bytes + name.length + 1, undefined, values.length), NOTHING, trieOf([...few, name], values))
  }

  private setMany(name: string, value: T): OrderedMap<T> {
    const { size, bytes, next } = this.shared
    const hash = hashOf(name)
    const old = find(this.many!, name, hash)
    const many = insert(this.many!, { name, hash, order: old?.order ?? next, value }, 0)
    if (old !== undefined) return new OrderedMap<T>(this.shared, NOTHING, many)
    return new OrderedMap<T>(new Names(size + 1, bytes + name.length + 1, undefined, next + 1), NOTHING, many)
  }

  /** A map without `name`. */
  delete(name: string): OrderedMap<T> {
    const { few, next } = this.shared
    const size = this.shared.size - 1
    const bytes = this.shared.bytes - name.length - 1
    if (few === undefined) {
      const hash = hashOf(name)
      if (find(this.many!, name, hash) === undefined) return this
      const many = remove(this.many!, name, hash, 0)!
      if (size > SMALL) return new OrderedMap<T>(new Names(size, bytes, undefined, next), NOTHING, many)
      const entries = inOrder(many)
      const names = entries.map((entry) => entry.name)
      return new OrderedMap(new Names(size, bytes, names, 0), entries.map((entry) => entry.value), undefined)
    }
    const index = few.indexOf(name)
    if (index < 0) return this
    const names = few.filter((_, i) => i !== index)
    return new OrderedMap(new Names(size, bytes, names, 0), this.values.filter((_, i) => i !== index), undefined)
  }

  /** The names in order of insertion. */
  names(): readonly string[] {
    return this.shared.few ?? inOrder(this.many!).map((entry) => entry.name)
  }

  /** Names and values in order of insertion. */
  entries(): readonly (readonly [string, T])[] {
    const { few } = this.shared
    if (few !== undefined) return few.map((name, i) => [name, this.values[i]!] as const)
    return inOrder(this.many!).map((entry) => [entry.name, entry.value] as const)
  }

  /** The names as they travel, each with a terminator. Kept, because a large one is asked for in many parts. */
  listing(): Uint8Array {
    const { shared } = this
    if (shared.listing !== undefined) return shared.listing
    const bytes = new Uint8Array(shared.bytes)
    let at = 0
    for (const name of this.names()) {
      for (let i = 0; i < name.length; i += 1) bytes[at + i] = name.charCodeAt(i)
      at += name.length + 1
    }
    shared.listing = bytes
    return bytes
  }
}

/** The values of a large map, which are in its trie. */
const NOTHING: readonly never[] = []

const inOrder = <T>(slot: Slot<T>): readonly Entry<T>[] => {
  const entries: Entry<T>[] = []
  collect(slot, entries)
  return entries.sort((a, b) => a.order - b.order)
}

const trieOf = <T>(names: readonly string[], values: readonly T[]): Slot<T> => {
  const entry = (name: string, order: number): Entry<T> => ({ name, hash: hashOf(name), order, value: values[order]! })
  const [first, ...rest] = names.map(entry)
  return rest.reduce<Slot<T>>((slot, each) => insert(slot, each, 0), first!)
}
