/** How inputs become other inputs: AFL's havoc, a few changes at a time, drawn from one seeded source. */
import { below, type Random } from '../../util/index.ts'

/** Values at which code goes wrong. */
const EDGES = [0, 1, 2, 16, 32, 64, 100, 127, 128, 255, 256, 512, 1000, 1024, 4095, 4096, 32_767, 32_768, 65_535, 65_536, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] as const
/** By how much a number is changed at most. */
const STEP = 35
/** Changes of one input at most, as a power of two. */
const MOST_CHANGES = 4

/** What inputs are made of. */
export interface MutationMaterial {
  /** Bytes of an input at most. */
  readonly most: number
  /** Words that the target knows. */
  readonly dictionary: readonly Uint8Array[]
  /** Another input, of which parts are taken. */
  other(): Uint8Array
}

type Change = (bytes: Uint8Array, random: Random, material: MutationMaterial) => Uint8Array

const width = (random: Random, length: number): number => Math.min(length, 1 << below(random, 3))

/** Writes a number of so many bytes, in either order. */
function put(bytes: Uint8Array, at: number, { size, value, isBig }: { readonly size: number; readonly value: number; readonly isBig: boolean }): void {
  for (let i = 0; i < size; i += 1) bytes[at + (isBig ? size - 1 - i : i)] = Math.floor(value / 256 ** i) & 255
}

function read(bytes: Uint8Array, at: number, { size, isBig }: { readonly size: number; readonly isBig: boolean }): number {
  let value = 0
  for (let i = 0; i < size; i += 1) value += bytes[at + (isBig ? size - 1 - i : i)]! * 256 ** i
  return value
}

function splice(bytes: Uint8Array, at: number, { removed, added }: { readonly removed: number; readonly added: Uint8Array }): Uint8Array {
  const made = new Uint8Array(bytes.length - removed + added.length)
  made.set(bytes.subarray(0, at))
  made.set(added, at)
  made.set(bytes.subarray(at + removed), at + added.length)
  return made
}

/** A part of some bytes. */
function part(bytes: Uint8Array, random: Random): Uint8Array {
  const from = below(random, bytes.length + 1)
  return bytes.slice(from, from + below(random, bytes.length - from + 1))
}

/** What changes bytes where they stand: there is at least one. */
const IN_PLACE: readonly Change[] = [
  (bytes, random) => {
    const bit = below(random, bytes.length * 8)
    bytes[bit >> 3]! ^= 1 << (bit & 7)
    return bytes
  },
  (bytes, random) => {
    bytes[below(random, bytes.length)] = below(random, 256)
    return bytes
  },
  (bytes, random) => {
    const size = width(random, bytes.length)
    put(bytes, below(random, bytes.length - size + 1), { size, value: EDGES[below(random, EDGES.length)]!, isBig: below(random, 2) === 1 })
    return bytes
  },
  (bytes, random) => {
    const how = { size: width(random, bytes.length), isBig: below(random, 2) === 1 }
    const at = below(random, bytes.length - how.size + 1)
    put(bytes, at, { ...how, value: read(bytes, at, how) + 2 ** 32 + below(random, 2 * STEP + 1) - STEP })
    return bytes
  },
  (bytes, random) => {
    const piece = part(bytes, random)
    bytes.set(piece, below(random, bytes.length - piece.length + 1))
    return bytes
  },
  (bytes, random, { dictionary }) => {
    const word = dictionary[below(random, dictionary.length)]
    if (word !== undefined && word.length <= bytes.length) bytes.set(word, below(random, bytes.length - word.length + 1))
    return bytes
  },
]

/** What makes them longer or shorter. */
const RESHAPING: readonly Change[] = [
  (bytes, random) => splice(bytes, below(random, bytes.length + 1), { removed: 0, added: Uint8Array.from({ length: 1 + below(random, 8) }, () => below(random, 256)) }),
  (bytes, random) => splice(bytes, below(random, bytes.length + 1), { removed: 0, added: part(bytes, random) }),
  (bytes, random, { other }) => splice(bytes, below(random, bytes.length + 1), { removed: 0, added: part(other(), random) }),
  (bytes, random, { dictionary }) => splice(bytes, below(random, bytes.length + 1), { removed: 0, added: dictionary[below(random, dictionary.length)] ?? new Uint8Array(0) }),
  (bytes, random) => {
    const at = below(random, bytes.length + 1)
    return splice(bytes, at, { removed: below(random, bytes.length - at + 1), added: new Uint8Array(0) })
  },
]

/** Another input, made of one by a few changes. The one stays as it is. */
export function mutate(input: Uint8Array, random: Random, material: MutationMaterial): Uint8Array {
  let bytes: Uint8Array = input.slice()
  for (let left = 1 << below(random, MOST_CHANGES); left > 0; left -= 1) {
    const changes = bytes.length === 0 || below(random, 4) === 0 ? RESHAPING : IN_PLACE
    bytes = changes[below(random, changes.length)]!(bytes, random, material)
    if (bytes.length > material.most) bytes = bytes.slice(0, material.most)
  }
  return bytes
}

/**
 * The smallest input that `keeps` still takes, as far as so many tries find it: without pieces, shorter and shorter ones, then with zeros in place of
 * what does not matter.
 */
export async function shrink(input: Uint8Array, keeps: (candidate: Uint8Array) => Promise<boolean>, tries: number): Promise<Uint8Array> {
  let best: Uint8Array = input
  let left = tries
  const attempt = async (candidate: Uint8Array): Promise<boolean> => {
    if (left <= 0) return false
    left -= 1
    if (!await keeps(candidate)) return false
    best = candidate
    return true
  }
  for (let size = 1 << Math.ceil(Math.log2(Math.max(1, best.length))); size >= 1; size >>= 1) {
    for (let at = 0; at < best.length && left > 0;) {
      if (!await attempt(splice(best, at, { removed: Math.min(size, best.length - at), added: new Uint8Array(0) }))) at += size
    }
  }
  for (let at = 0; at < best.length && left > 0; at += 1) {
    if (best[at] !== 0) await attempt(best.map((byte, i) => (i === at ? 0 : byte)))
  }
  return best
}
