import { describe, expect, test } from 'vitest'
import { fuzz, fuzzStream } from './xenstore-fuzz.ts'

/** Messages for this run; the whole million is `tsx test/fuzz/xenstore.ts`. FUZZ_MESSAGES asks for more or fewer. */
const COUNT = Number(process.env['FUZZ_MESSAGES'] ?? 20_000)

describe('random messages', () => {
  test.each([1, 2, 3, 4])('with seed %i are answered as the model answers them', (seed) => {
    const result = fuzz({ seed, cases: Math.ceil(COUNT / 4) })
    // The mixture must reach what it is meant to reach.
    const kinds = ['ok', 'ENOENT', 'EACCES', 'EINVAL', 'EAGAIN']
    for (const kind of kinds) expect(result.answers[kind], kind).toBeGreaterThan(0)
    expect(result.events).toBeGreaterThan(0)
  }, 600_000)

  test('as a stream of noise harm nobody else', () => {
    const { dropped, served } = fuzzStream({ seed: 7, streams: 500 })
    expect(dropped).toBeGreaterThan(0)
    expect(served).toBeGreaterThan(0)
  })
})
