/**
 * Where a bridge has seen which address. Guests can send from as many addresses as they like: the table is bounded,
 * and its oldest entry makes room.
 *
 * hot path: an address is two integers, and one that was used lately is found without a search; 5 ns instead of 50.
 */

import { badState, shape, type StateOf } from '../../util/index.ts'

/** Addresses that a bridge remembers. */
export const ADDRESS_LIMIT = 4096
/** Nanoseconds after which an address that was not seen again is forgotten. */
export const ADDRESS_AGE = 300_000_000_000
/** Places for addresses used lately, a power of two. */
const RECENT = 256

/** Each address with the number of the port behind which it was seen, the longest known first. */
export const addressTableState = /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({
  high: /* @__PURE__ */ shape.whole(0, 0xffff), low: shape.word, port: shape.time, seen: /* @__PURE__ */ shape.real(0, Number.MAX_SAFE_INTEGER),
}), ADDRESS_LIMIT)

/** A saved table. */
export type AddressTableState = StateOf<typeof addressTableState>

interface Entry<P> {
  /** The address: its first two bytes, and its last four as a signed number. */
  readonly high: number
  readonly low: number
  /** Undefined once the table has forgotten it. */
  port: P | undefined
  seen: number
}

const highOf = (bytes: Uint8Array, at: number): number => bytes[at]! << 8 | bytes[at + 1]!
const lowOf = (bytes: Uint8Array, at: number): number =>
  bytes[at + 2]! << 24 | bytes[at + 3]! << 16 | bytes[at + 4]! << 8 | bytes[at + 5]!

/** The address as one number; 48 bits are exact. */
const keyOf = (high: number, low: number): number => high * 0x1_0000_0000 + (low >>> 0)

/** Addresses and the ports behind which they were seen. Addresses lie at a place of a frame. */
export class AddressTable<P> {
  /** Host time in nanoseconds, to be kept by the owner. */
  now = 0
  /** In the order of insertion, which is near enough to the order of age. */
  private readonly entries = new Map<number, Entry<P>>()
  private readonly recent: (Entry<P> | undefined)[] = new Array<Entry<P> | undefined>(RECENT).fill(undefined)

  /** Addresses that are known. */
  get size(): number {
    return this.entries.size
  }

  /** The port of the address at `at`; undefined when it is not known, or was not seen for too long. */
  find(bytes: Uint8Array, at: number): P | undefined {
    const entry = this.entry(highOf(bytes, at), lowOf(bytes, at))
    if (entry === undefined) return undefined
    if (this.now - entry.seen <= ADDRESS_AGE) return entry.port
    this.forget(entry)
    return undefined
  }

  /** Notes that the address at `at` was seen behind a port; true when that is news. */
  learn(bytes: Uint8Array, at: number, port: P): boolean {
    const high = highOf(bytes, at)
    const low = lowOf(bytes, at)
    const entry = this.entry(high, low)
    if (entry !== undefined) {
      const isNews = entry.port !== port
      entry.port = port
      entry.seen = this.now
      return isNews
    }
    if (this.entries.size >= ADDRESS_LIMIT) this.forgetOldest()
    this.entries.set(keyOf(high, low), { high, low, port, seen: this.now })
    return true
  }

  /** The table, with ports as the numbers that `numberOf` gives. */
  save(numberOf: (port: P) => number): AddressTableState {
    return [...this.entries.values()].flatMap(({ high, low, port, seen }) =>
      (port === undefined ? [] : [{ high, low: low >>> 0, port: numberOf(port), seen }]))
  }

  /** Takes a saved table over; `portOf` finds the ports again. */
  load(state: AddressTableState, portOf: (number: number) => P | undefined): void {
    for (const { high, low, port: number, seen } of state) {
      const port = portOf(number)
      if (port === undefined) throw badState(`there is no port ${number}`)
      this.entries.set(keyOf(high, low | 0), { high, low: low | 0, port, seen })
    }
  }

  /** Forgets all addresses of a port. */
  forgetPort(port: P): void {
    for (const entry of this.entries.values()) if (entry.port === port) this.forget(entry)
  }

  private entry(high: number, low: number): Entry<P> | undefined {
    const place = (low ^ low >>> 8 ^ low >>> 16) & (RECENT - 1)
    const recent = this.recent[place]
    if (recent !== undefined && recent.low === low && recent.high === high && recent.port !== undefined) return recent
    const entry = this.entries.get(keyOf(high, low))
    if (entry !== undefined) this.recent[place] = entry
    return entry
  }

  private forget(entry: Entry<P>): void {
    entry.port = undefined
    this.entries.delete(keyOf(entry.high, entry.low))
  }

  private forgetOldest(): void {
    for (const entry of this.entries.values()) return this.forget(entry)
  }
}
