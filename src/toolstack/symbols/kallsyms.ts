/**
 * Names of functions out of Linux's own tables, kallsyms, which stand in the read-only data of kernels without a symbol table: names as
 * tokens, a mark for every 256th, addresses as offsets. Nothing points to them from outside. They are found by the table of tokens, in which
 * each digit stands for itself, and what lies around it must fit to the last byte. The bytes are a stranger's: all is bounded, and
 * what does not fit is no table. Names of modules are elsewhere, and not read.
 *
 * Linux up to 6.4 writes     offsets, base, count, names, marks, [order of names], tokens, token index
 *       from 6.4 on          count, names, marks, tokens, token index, offsets, base, [order of names]
 *
 * Reference: Linux, scripts/kallsyms.c (write_src), kernel/kallsyms.c (kallsyms_sym_address, kallsyms_expand_symbol).
 */
import type { NamedFunction, SymbolLookup, SymbolPlace } from './symbol-table.ts'

/** Symbols that are looked at at most; Debian's kernels have some 170,000. */
const MOST_SYMBOLS = 1 << 20
/** Bytes of names at most, and of one name. */
const MOST_NAMES = 16 << 20
const MOST_NAME = 120
const TOKENS = 256
/** Names that are looked for one by one. */
const MOST_ASKED = 64
/** Bytes of the table of tokens at most: a byte of the index for each would not reach further. */
const MOST_TOKENS = 4096
const PER_MARK = 256
/** Lists that are looked at in front of one table of tokens, and words behind the marks that may be taken for some. */
const MOST_LISTS = 16
const MOST_BEHIND = 4
/** Places at which a table could begin that are looked at: few strings of digits are none. */
const MOST_PLACES = 64
/** Bytes of the digits with their ends, as the table of tokens has them. */
const DIGITS = 20
const ZERO = 0x30
/** Types of symbols that are code. */
const CODE: ReadonlySet<number> = /* @__PURE__ */ new Set([...'tTwW'].map((letter) => letter.charCodeAt(0)))
/** Types of symbols that are data: written, zero at first, read only. */
const DATA: ReadonlySet<number> = /* @__PURE__ */ new Set([...'dDbBrRvV'].map((letter) => letter.charCodeAt(0)))
/** Addresses of kernels, as signed numbers. */
const LOWEST = -(2 ** 47)

const aligned = (at: number): number => (at + 7) & ~7

/** Of the digits with their ends some aligned word in every 16 bytes holds two in a row. */
const STRIDE = 16

/** Where two digits in a row would have the first, if a word is such: bytes into the word, and the digit. */
function digitOf(word: number): { readonly offset: number; readonly digit: number } | undefined {
  for (const offset of [0, 1]) {
    const pair = word >>> (8 * offset)
    const digit = (pair & 0xff) - ZERO
    if ((word & (offset === 0 ? 0xff00_ff00 : 0x00ff_00ff)) === 0 && digit >= 0 && digit < 9 && (pair >>> 16 & 0xff) === digit + ZERO + 1) return { offset, digit }
  }
  return undefined
}

/** Places at which the digits of a table of tokens stand. */
function digitsIn(bytes: Uint8Array): number[] {
  const found: number[] = []
  const before = -bytes.byteOffset & 3
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + before, Math.max(0, bytes.length - before) >>> 2)
  for (let at = 0; at < words.length && found.length < MOST_PLACES; at += STRIDE / 4) {
    const word = words[at]!
    // Most are not, for one reason or the other; this loop goes over a whole kernel.
    if (word === 0 || ((word & 0xff00_ff00) !== 0 && (word & 0x00ff_00ff) !== 0)) continue
    const one = digitOf(word)
    if (one === undefined) continue
    const start = before + at * 4 + one.offset - 2 * one.digit
    if (start >= 0 && start !== found.at(-1) && isDigits(bytes, start)) found.push(start)
  }
  return found
}

function isDigits(bytes: Uint8Array, start: number): boolean {
  for (let i = 0; i < 10; i += 1) if (bytes[start + 2 * i] !== ZERO + i || bytes[start + 2 * i + 1] !== 0) return false
  return true
}

/** The table of tokens: where it begins and ends, and where each token stands. */
interface Tokens {
  readonly start: number
  /** Behind its index. */
  readonly end: number
  readonly places: Uint32Array
}

/** The tables of one kernel, in a copy of their own. */
interface KallsymsTables {
  readonly names: Uint8Array
  /** Bytes of the tokens, one behind the other, and where each begins. */
  readonly tokens: Uint8Array
  readonly places: Uint32Array
  /** By symbol: where its name stands. */
  readonly starts: Uint32Array
  /** By symbol: its address, a signed number. */
  readonly addresses: Float64Array
}

/** Reads what lies around a table of tokens. */
class TableReader {
  private readonly bytes: Uint8Array
  private readonly view: DataView
  /** Names that may still be walked, whatever the bytes are. */
  private steps = 4 * MOST_SYMBOLS

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** The tables whose digits stand at a place; undefined where they do not fit. */
  at(digits: number): KallsymsTables | undefined {
    const tokens = this.tokens(digits)
    if (tokens === undefined) return undefined
    for (const marks of this.marks(tokens.start)) {
      const named = this.names(marks)
      if (named === undefined) continue
      const addresses = this.addresses(named, tokens)
      if (addresses === undefined) continue
      return {
        names: this.bytes.slice(named.start, named.end), tokens: this.bytes.slice(tokens.start, tokens.end),
        places: tokens.places.map((place) => place - tokens.start), starts: named.starts.map((start) => start - named.start), addresses,
      }
    }
    return undefined
  }

  /** The index behind the tokens says where each begins: at the end of the one before. */
  private tokens(digits: number): Tokens | undefined {
    const { view, bytes } = this
    const last = Math.min(digits + MOST_TOKENS, bytes.length - TOKENS * 2)
    for (let index = digits + DIGITS; index <= last; index += 1) {
      if (view.getUint16(index, true) !== 0) continue
      const start = digits - view.getUint16(index + ZERO * 2, true)
      if (start < 0 || view.getUint16(index + (ZERO + 1) * 2, true) !== digits - start + 2) continue
      const places = Uint32Array.from({ length: TOKENS }, (_, token) => start + view.getUint16(index + token * 2, true))
      if (this.areTokens(places, index)) return { start, end: index + TOKENS * 2, places }
    }
    return undefined
  }

  private areTokens(places: Uint32Array, index: number): boolean {
    for (let token = 0; token < TOKENS; token += 1) {
      const next = token + 1 < TOKENS ? places[token + 1]! : undefined
      const end = this.bytes.indexOf(0, places[token]!)
      if (end < 0 || end >= index || (next === undefined ? index - end > 8 : next !== end + 1)) return false
    }
    return true
  }

  /** Lists that may be the marks, in front of the tokens, the nearest first: they begin with 0 and ascend. */
  private *marks(before: number): Generator<Marks, void> {
    const { view } = this
    // The order of names, three bytes each, may stand between.
    const lowest = Math.max(8, before - 3 * MOST_SYMBOLS - 4 * (MOST_SYMBOLS / PER_MARK))
    let left = MOST_LISTS
    for (let start = (before & ~3) - 8; start > lowest && left > 0; start -= 4) {
      if (view.getUint32(start, true) !== 0 || view.getUint32(start + 4, true) < PER_MARK * 2 || view.getUint32(start + 4, true) > PER_MARK * MOST_NAME) continue
      let end = start + 4
      while (end + 4 <= before && view.getUint32(end, true) > view.getUint32(end - 4, true) && view.getUint32(end, true) <= MOST_NAMES) end += 4
      left -= 1
      yield { start, values: Uint32Array.from({ length: (end - start) >>> 2 }, (_, i) => view.getUint32(start + i * 4, true)) }
    }
  }

  /** Names that end in front of the marks, with their count in front of them. What stands behind the marks may ascend by chance. */
  private names(marks: Marks): NamedSymbols | undefined {
    const { view } = this
    const { start: before, values } = marks
    const least = values[Math.max(0, values.length - 1 - MOST_BEHIND)]!
    const lowest = Math.max(8, before - values.at(-1)! - PER_MARK * MOST_NAME)
    for (let start = (before - least) & ~7; start >= lowest && this.steps > 0; start -= 8) {
      const count = view.getUint32(start - 8, true)
      const wanted = Math.ceil(count / PER_MARK)
      if (wanted > values.length || wanted < values.length - MOST_BEHIND || wanted < 2 || view.getUint32(start - 4, true) !== 0) continue
      const found = this.walk(start, count, marks)
      if (found !== undefined) return found
    }
    return undefined
  }

  /** Walks all names: each mark must be where it says, and the marks must come right behind the last. */
  private walk(start: number, count: number, { start: before, values }: Marks): NamedSymbols | undefined {
    const { bytes } = this
    const starts = new Uint32Array(count)
    let at = start
    for (let symbol = 0; symbol < count; symbol += 1) {
      if ((symbol & (PER_MARK - 1)) === 0 && at - start !== values[symbol / PER_MARK]) return undefined
      starts[symbol] = at
      const length = nameLength(bytes, at)
      at += length + (bytes[at]! & 0x80 ? 2 : 1)
      this.steps -= 1
      if (length === 0 || at > before || this.steps <= 0) return undefined
    }
    return before - at < 8 ? { start, end: at, starts } : undefined
  }

  private addresses({ start, starts: { length: count } }: NamedSymbols, { end }: Tokens): Float64Array | undefined {
    const size = aligned(count * 4)
    // Behind the index of tokens, or in front of the count.
    return this.offsets(aligned(end), aligned(end) + size, count) ?? this.offsets(start - 16 - size, start - 16, count)
  }

  /** Addresses out of offsets and their base; undefined where they are no kernel's. */
  private offsets(offsets: number, base: number, count: number): Float64Array | undefined {
    const { view, bytes } = this
    if (offsets < 0 || base < 0 || base + 8 > bytes.length) return undefined
    const kernel = Number(view.getBigInt64(base, true))
    if (kernel >= 0 || kernel < LOWEST || !Number.isSafeInteger(kernel)) return undefined
    let negative = 0
    for (let i = 0; i < count; i += 1) if (view.getInt32(offsets + i * 4, true) < 0) negative += 1
    // Where processors have areas of their own, offsets from zero on are addresses in those, and the others count downwards.
    const addressOf = negative * 2 > count ? (offset: number): number => (offset >= 0 ? offset : kernel - 1 - offset) : (offset: number): number => kernel + (offset >>> 0)
    const addresses = Float64Array.from({ length: count }, (_, i) => addressOf(view.getInt32(offsets + i * 4, true)))
    for (let i = 1; i < count; i += 1) if (unsigned(addresses[i]!) < unsigned(addresses[i - 1]!)) return undefined
    return addresses
  }
}

const unsigned = (address: number): number => (address < 0 ? address + 2 ** 64 : address)

/** What may be the marks: where they begin, and what ascends from there. */
interface Marks {
  readonly start: number
  readonly values: Uint32Array
}

/** Names that were walked: where they begin and end, and where each begins. */
interface NamedSymbols {
  readonly start: number
  readonly end: number
  readonly starts: Uint32Array
}

/** Tokens of the name at a place: longer ones have their number in two bytes. */
const nameLength = (bytes: Uint8Array, at: number): number => (bytes[at]! & 0x80 ? (bytes[at]! & 0x7f) | ((bytes[at + 1] ?? 0) << 7) : bytes[at]!)

/** A kernel's functions by address. */
export class Kallsyms implements SymbolLookup {
  /** Where the digits of the table of tokens stand in the bytes that were looked through. */
  readonly place: number
  private readonly tables: KallsymsTables
  /** Numbers of symbols that are code, by address. */
  private readonly code: Uint32Array
  private readonly ends: Float64Array
  private readonly asked = new Map<string, number | undefined>()
  private byName: ReadonlyMap<string, number> | undefined

  private constructor(tables: KallsymsTables, place: number) {
    this.tables = tables
    this.place = place
    const { addresses } = tables
    const code: number[] = []
    const ends: number[] = []
    for (let i = 0; i < addresses.length; i += 1) {
      // Of several names of one place the first stands, as in Linux.
      if (addresses[i]! >= 0 || !CODE.has(this.letterOf(i)) || addresses[code.at(-1) ?? -1] === addresses[i]) continue
      let next = i + 1
      while (next < addresses.length && addresses[next] === addresses[i]) next += 1
      code.push(i)
      ends.push(next < addresses.length ? addresses[next]! : addresses[i]! + 1)
    }
    this.code = Uint32Array.from(code)
    this.ends = Float64Array.from(ends)
  }

  /** The tables that some bytes hold, a kernel's image or its memory; undefined where there are none. */
  static find(bytes: Uint8Array): Kallsyms | undefined {
    const reader = new TableReader(bytes)
    for (const digits of digitsIn(bytes)) {
      const tables = reader.at(digits)
      if (tables !== undefined) return new Kallsyms(tables, digits)
    }
    return undefined
  }

  /** True where the table's digits stand at a place still, or again; of a page, as far as it has them. */
  isAt(bytes: Uint8Array, place: number): boolean {
    for (let i = 0; i < DIGITS && place + i < bytes.length; i += 1) if (bytes[place + i] !== (i & 1 ? 0 : ZERO + i / 2)) return false
    return true
  }

  /** How many symbols there are. */
  get count(): number {
    return this.tables.addresses.length
  }

  /** The function that holds an address (a signed number); undefined when none does. */
  find(address: number): SymbolPlace | undefined {
    const { addresses } = this.tables
    let [low, high] = [0, this.code.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (addresses[this.code[middle]!]! <= address) low = middle + 1
      else high = middle
    }
    if (low === 0 || address >= this.ends[low - 1]!) return undefined
    const symbol = this.code[low - 1]!
    const start = addresses[symbol]!
    return { name: this.nameOf(symbol), offset: address - start, size: this.ends[low - 1]! - start }
  }

  /** The address of a function, a signed number; undefined where there is none of that name. */
  addressOf(name: string): number | undefined {
    const found = this.numberOf(name)
    return found === undefined || !CODE.has(this.letterOf(found)) ? undefined : this.tables.addresses[found]
  }

  /** The address of a symbol of any kind: data where the kernel has all of them (CONFIG_KALLSYMS_ALL), places in processors' areas as they stand. */
  symbol(name: string): number | undefined {
    const found = this.numberOf(name)
    return found === undefined ? undefined : this.tables.addresses[found]
  }

  /** The first symbol of a name. Few names are ever asked for, and to look for one is some fifty times faster than to write all of them. */
  private numberOf(name: string): number | undefined {
    if (this.byName !== undefined) return this.byName.get(name)
    if (this.asked.has(name)) return this.asked.get(name)
    if (this.asked.size >= MOST_ASKED) return (this.byName = this.numbered()).get(name)
    let number: number | undefined
    for (let i = 0; i < this.tables.addresses.length && number === undefined; i += 1) if (this.isNamed(i, name)) number = i
    this.asked.set(name, number)
    return number
  }

  private isNamed(symbol: number, name: string): boolean {
    const { names, starts, tokens, places } = this.tables
    const start = starts[symbol]!
    const first = start + (names[start]! & 0x80 ? 2 : 1)
    const end = first + nameLength(names, start)
    // In front of the name stands the letter of its kind.
    let matched = -1
    for (let at = first; at < end; at += 1) {
      for (let byte = places[names[at]!]!; tokens[byte] !== 0 && byte < tokens.length; byte += 1, matched += 1) {
        if (matched >= 0 && name.charCodeAt(matched) !== tokens[byte]) return false
      }
    }
    return matched === name.length && matched <= MOST_NAME
  }

  /** Numbers by name, of several the first. */
  private numbered(): ReadonlyMap<string, number> {
    const found = new Map<string, number>()
    for (let i = this.tables.addresses.length - 1; i >= 0; i -= 1) found.set(this.nameOf(i), i)
    return found
  }

  /** All functions by address, with every name that a place has. */
  functions(): readonly NamedFunction[] {
    const { addresses } = this.tables
    const found: NamedFunction[] = []
    for (let i = 0, place = 0; i < addresses.length; i += 1) {
      if (addresses[i]! >= 0 || !CODE.has(this.letterOf(i))) continue
      while (addresses[this.code[place]!]! < addresses[i]!) place += 1
      found.push({ address: addresses[i]!, name: this.nameOf(i), size: this.ends[place]! - addresses[i]! })
    }
    return found
  }

  /** All data by address, where the kernel has its names (CONFIG_KALLSYMS_ALL); what lies in processors' own areas has no address here. */
  objects(): readonly NamedFunction[] {
    const { addresses } = this.tables
    const found: NamedFunction[] = []
    let next = 0
    for (let i = 0; i < addresses.length; i += 1) {
      if (addresses[i]! >= 0 || !DATA.has(this.letterOf(i))) continue
      for (next = Math.max(next, i + 1); next < addresses.length && addresses[next] === addresses[i];) next += 1
      found.push({ address: addresses[i]!, name: this.nameOf(i), size: (addresses[next] ?? addresses[i]! + 1) - addresses[i]! })
    }
    return found
  }

  private letterOf(symbol: number): number {
    const { names, starts, tokens, places } = this.tables
    const at = starts[symbol]! + (names[starts[symbol]!]! & 0x80 ? 2 : 1)
    return tokens[places[names[at]!]!]!
  }

  private nameOf(symbol: number): string {
    const { names, starts, tokens, places } = this.tables
    const start = starts[symbol]!
    const first = start + (names[start]! & 0x80 ? 2 : 1)
    const end = first + nameLength(names, start)
    let name = ''
    for (let at = first; at < end && name.length <= MOST_NAME; at += 1) {
      // Whatever a hostile table holds: it is printed.
      for (let byte = places[names[at]!]!; tokens[byte] !== 0 && byte < tokens.length; byte += 1) name += tokens[byte]! > 0x20 && tokens[byte]! < 0x7f ? String.fromCharCode(tokens[byte]!) : '?'
    }
    return name.slice(1, MOST_NAME + 1)
  }
}
