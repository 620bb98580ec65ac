/** Hostile machine code on the real processor; the command `npm run fuzz:machine` goes on for as long as wished. */
import { describe, expect, test } from 'vitest'
import { fuzzMachine } from './machine-fuzz.ts'

/** Cases in all; FUZZ_CASES asks for more or fewer. */
const CASES = Number(process.env['FUZZ_CASES'] ?? (process.env['FUZZ'] === 'long' ? 200 : 5))

describe('hostile machine code', () => {
  test('reaches nothing of others, and leaves nothing remembered that it may not', () => {
    const report = fuzzMachine({ seed: 1, cases: CASES })
    console.log(report.toString())
    // It would miss its aim otherwise.
    expect(report.changed / report.slices).toBeGreaterThan(1)
    expect(report.translations / report.slices).toBeGreaterThan(3)
    expect(report.jumps).toBeGreaterThan(report.slices)
    expect(report.crashes / report.slices).toBeLessThan(0.8)
  }, 600_000)
})
