/** What fuzzers draw from a seed. */
import { below, type SeededRandom } from '../../src/util/index.ts'

/** Who draws. */
export class Draws {
  readonly random: SeededRandom

  constructor(random: SeededRandom) {
    this.random = random
  }

  /** True once in so many times. */
  chance(oneIn: number): boolean {
    return below(this.random, oneIn) === 0
  }

  pick<T>(list: readonly T[]): T {
    return list[below(this.random, list.length)]!
  }

  /** From 0 to `end` - 1. */
  below(end: number): number {
    return below(this.random, end)
  }
}
