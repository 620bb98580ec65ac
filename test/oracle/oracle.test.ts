/** A fixed share of the oracle's cases; `npm run oracle` runs as many as wished. */
import { describe, expect, it } from 'vitest'
import type { Machine } from '../../src/machine/index.ts'
import { buildMutant } from '../support/mutants.ts'
import { Comparison } from './comparison.ts'
import { nativeExecutor, whyNoShortCode } from './native.ts'

const program = nativeExecutor()
const SEED = 20_250

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

describe('regions of compiled code', () => {
  const { path, reason } = program
  const title = reason === undefined ? '' : ` (SKIPPED: ${reason})`

  it.skipIf(reason !== undefined)(`do with every form what the processor underneath and the interpreter do, alone and between two others${title}`, () => {
    const comparison = new Comparison(path!, SEED)
    const { regions, samples } = comparison.summary
    // Again with those that left their region before the end: for a page that is not there, for numbers of another kind.
    for (let turn = 0; turn < 4; turn += 1) {
      comparison.regionsAlone(comparison.left('alone'))
      comparison.regionsBetween(comparison.left('between'))
    }
    expect(samples.map(({ form, bytes, text, found }) => `${form} (${bytes}: ${text}): ${found.join(', ')}`)).toEqual([])
    expect(regions.alone.size).toBeGreaterThan(2550)
    expect(regions.between.size).toBeGreaterThan(2400)
    // Those of the x87 unit, of kernels, of segments, with operands of 16 bits on the stack, and gathers.
    expect(regions.refused.size).toBeLessThan(850)
    expect(comparison.left('alone').length).toBeLessThan(350)
  }, 120_000)

  it.skipIf(reason !== undefined).each([
    { name: 'a carry that INC and DEC forget', only: / (inc|dec) /, file: 'write/region-flags.ts', find: "if (kind === 'inc' || kind === 'dec') this.keepCarry(b)", replace: '' },
    { name: 'registers that a string instruction changed and the region forgot', only: / (movs|stos) .*f3/, file: 'write/region-calls.ts', find: 'b.registers.load({ used: use.written, written: 0 })', replace: '' },
    { name: 'instructions before an exit that nobody paid for', only: / xchg /, file: 'write/writer.ts', find: 'owed: this.owed, rip:', replace: 'owed: 0, rip:' },
  ])(`show a fault planted into them: $name${title}`, async ({ only, file, find, replace }) => {
    const library = await buildMutant<{ Machine: typeof Machine }>([{ file: `src/machine/cpu/region/${file}`, find, replace }], `export { Machine } from './src/machine/index.ts'`)
    const comparison = new Comparison(path!, SEED, { only: ({ text }) => only.test(text), library })
    for (let turn = 0; turn < 3; turn += 1) comparison.regionsAlone()
    expect(comparison.summary.samples[0]?.form).toMatch(/compiled alone/)
  }, 60_000)
})
