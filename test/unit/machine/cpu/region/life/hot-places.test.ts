/** Which places are hot, by their own samples alone. */
import { describe, expect, test } from 'vitest'
import { HotPlaces } from '../../../../../../src/machine/cpu/region/life/hot-places.ts'

/** Samples of a block, of which each is the only one among so many; after how many of its own it is hot. */
function samplesUntilHot(oneIn: number, threshold = 6): number {
  const places = new HotPlaces(threshold)
  for (let count = 1; count < 1000; count += 1) {
    places.now += oneIn
    if (places.count(64, 1)) return count
  }
  throw new Error('never')
}

describe('a block is hot', () => {
  test('at once where it takes a good part of all samples', () => {
    expect(samplesUntilHot(1)).toBe(6)
    expect(samplesUntilHot(3)).toBe(6)
  })

  test('after five times the samples where those are scattered', () => {
    expect(samplesUntilHot(4)).toBe(30)
    expect(samplesUntilHot(1000)).toBe(30)
  })

  test('with its first sample where one is asked for', () => {
    expect(samplesUntilHot(1000, 1)).toBe(1)
  })
})
