/** The oracle's share of the ordinary tests; `npm run oracle` runs as many cases as wished. */
import { describe, expect, it } from 'vitest'
import { Comparison } from './comparison.ts'
import { allForms, whyNotCompared } from './forms.ts'
import { nativeExecutor } from './native.ts'
import { replayVectors } from './replay.ts'

const program = nativeExecutor()
const SEED = 20_250

describe('the processor against recorded vectors', () => {
  it('agrees with each of them, one for nearly every form', () => {
    const { vectors, mismatches } = replayVectors()
    expect(mismatches).toEqual([])
    expect(vectors).toBeGreaterThan(2300)
  }, 60_000)
})

describe('the forms of the decode table', () => {
  it('are all compared but those that a process cannot judge', () => {
    const left = allForms().filter((form) => whyNotCompared(form) !== undefined)
    expect(new Set(left.map(({ row }) => row.alias ?? row.name)).size).toBeLessThan(28)
  })
})

describe.skipIf(program.path === undefined)(`the processor against the one underneath ${program.reason ?? ''}`, () => {
  const comparison = new Comparison(program.path ?? '', SEED)
  const { summary } = comparison
  const agrees = (): void => {
    expect(summary.samples.map(({ form, bytes, found }) => `${form} (${bytes}): ${found.join(', ')}`)).toEqual([])
  }

  it('agrees on single instructions of every form', () => {
    for (let done = 0; done < 12_000; done += 4000) comparison.singles(4000, done)
    expect(summary.exercised).toBe(summary.comparable)
    agrees()
  }, 120_000)

  it('agrees on short sequences and on blocks with branches', () => {
    comparison.sequences(2000)
    comparison.branches(2000)
    agrees()
  }, 60_000)

  it('raises the same exceptions for random bytes', () => {
    comparison.noise(4000)
    agrees()
  }, 60_000)
})
