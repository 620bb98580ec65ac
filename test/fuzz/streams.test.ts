import { describe, expect, test } from 'vitest'
import { fuzzStreams } from './streams.ts'

/** Damaged files; FUZZ_STREAMS asks for more or fewer. */
const COUNT = Number(process.env['FUZZ_STREAMS'] ?? (process.env['FUZZ'] === 'long' ? 50_000 : 1_500))

describe('a damaged saved domain', () => {
  test('is refused with an error that says where, or restored, and leaves nothing behind', { timeout: 1_800_000 }, async () => {
    const { refused, restored, started } = await fuzzStreams(COUNT)
    expect(refused['INVALID_STREAM']).toBeGreaterThan(COUNT / 4)
    expect(restored).toBeGreaterThan(COUNT / 10)
    expect(started).toBeGreaterThan(COUNT / 200)
  })
})
