/** Chance as a parameter: nothing below the toolstack calls Math.random. */
import { shape } from './state-shape.ts'
import type { Stateful } from './state.ts'

/** A source of random numbers; a seeded one makes a run repeatable. */
export interface Random {
  /** The next 32 random bits, unsigned. */
  next(): number
}

/** A whole number from 0 to `limit - 1`; `limit` is at most 2^32. The bias is below 2^-20 for limits under 4096. */
export const below = (random: Random, limit: number): number =>
  Math.floor((random.next() / 0x1_0000_0000) * limit)

/** Fills `target` with random bytes. */
export function fillRandom(random: Random, target: Uint8Array): void {
  for (let i = 0; i < target.length; i += 1) target[i] = random.next() & 0xff
}

/** Position of a seeded source. It never comes to be all zeros, and would not leave them. */
export const randomShape = /* @__PURE__ */ shape.where(/* @__PURE__ */ shape.list(shape.word, 4, 4), (words) => (
  words.some((word) => word !== 0) ? undefined : 'must not be all zeros'
))

/** A seeded source's state. */
export type RandomState = readonly number[]

/**
 * xoshiro128** seeded by splitmix32: fast, repeatable, not for secrets.
 * Reference: Blackman and Vigna, "Scrambled linear pseudorandom number generators".
 */
export class SeededRandom implements Random, Stateful<RandomState> {
  private readonly state = new Uint32Array(4)

  constructor(seed: number) {
    let mix = seed >>> 0
    for (let i = 0; i < 4; i += 1) {
      mix = (mix + 0x9e3779b9) >>> 0
      let z = mix
      z = Math.imul(z ^ (z >>> 16), 0x85ebca6b)
      z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35)
      this.state[i] = z ^ (z >>> 16)
    }
  }

  next(): number {
    const s = this.state
    const s1 = s[1]!
    const scrambled = Math.imul(s1, 5)
    const result = Math.imul((scrambled << 7) | (scrambled >>> 25), 9) >>> 0
    const shifted = s1 << 9
    s[2]! ^= s[0]!
    s[3]! ^= s1
    s[1]! ^= s[2]!
    s[0]! ^= s[3]!
    s[2]! ^= shifted
    s[3] = (s[3]! << 11) | (s[3]! >>> 21)
    return result
  }

  save(): RandomState {
    return Array.from(this.state)
  }

  isAsSaved(words: RandomState): boolean {
    const { state } = this
    return state[0] === words[0] && state[1] === words[1] && state[2] === words[2] && state[3] === words[3]
  }

  load(words: RandomState): void {
    this.state.set(words)
  }
}
