/** The oracle's share of the ordinary tests; `npm run oracle` runs as many cases as wished. */
import { describe, expect, it } from 'vitest'
import { Comparison } from './comparison.ts'
import { allForms, whyNotCompared } from './forms.ts'
import { nativeExecutor, whyNoShortCode } from './native.ts'
import { replayVectors } from './replay.ts'

const program = nativeExecutor()
const SEED = 20_250

describe('the processor against recorded vectors', () => {
  it('agrees with each of them, one for nearly every form', () => {
    const { vectors, mismatches } = replayVectors()
    expect(mismatches).toEqual([])
    expect(vectors).toBeGreaterThan(4300)
  }, 60_000)
})

describe('the forms of the decode table', () => {
  it.each([64, 32] as const)('of %s-bit code are all compared but those that a process cannot judge', (code) => {
    const left = allForms(code).filter((form) => whyNotCompared(form, code) !== undefined)
    expect(new Set(left.map(({ row }) => row.alias ?? row.name)).size).toBeLessThan(28)
  })
})

const reasons: Readonly<Record<64 | 32, string | undefined>> = {
  64: program.reason, 32: program.path === undefined ? program.reason : whyNoShortCode(program.path),
}

describe.each([64, 32] as const)('%s-bit code on the processor and on the one underneath', (code) => {
  const reason = reasons[code]
  const comparison = new Comparison(program.path ?? '', SEED, { code })
  const { summary } = comparison
  const agrees = (): void => {
    expect(summary.samples.map(({ form, bytes, text, found }) => `${form} (${bytes}: ${text}): ${found.join(', ')}`)).toEqual([])
  }
  const test = (name: string, milliseconds: number, body: () => void): void => {
    const title = reason === undefined ? name : `${name} (SKIPPED: ${reason})`
    it.skipIf(reason !== undefined)(title, body, milliseconds)
  }

  test('agrees on single instructions of every form', 120_000, () => {
    for (let done = 0; done < 20_000; done += 4000) comparison.singles(4000, done)
    expect(summary.exercised).toBe(summary.comparable)
    agrees()
  })

  test('agrees on short sequences and on blocks with branches', 60_000, () => {
    comparison.sequences(2000)
    comparison.branches(2000)
    agrees()
  })

  test('raises the same exceptions for random bytes', 60_000, () => {
    comparison.noise(4000)
    agrees()
  })
})
