/**
 * Random programs on a processor that compiles what it runs and on one that does not, and the proof that this sees: faults
 * planted into the compiling tier are found. `npm run fuzz:programs` goes on for as long as wished.
 */
import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import type { Machine } from '../../src/machine/index.ts'
import { applyPatch, buildMutant } from '../support/mutants.ts'
import { SUBJECTS } from './subjects.ts'
import { MUTANTS } from './tier-mutants.ts'
import { MOST_BUDGET, TierFuzzer, type TierOptions } from './tiers-fuzz.ts'

const isLong = process.env['FUZZ'] === 'long'
/** Programs for each way to compile; FUZZ_PROGRAMS asks for more or fewer. */
const COUNT = Number(process.env['FUZZ_PROGRAMS'] ?? (isLong ? 12 : 2))
/** Planted faults of an ordinary run. */
const ALWAYS = 2
const SEED = 1
const SHORT_CODE = new Set(['interpreter', 'regions at once'])

describe.each(SUBJECTS.map((subject) => [subject.name, subject] as const))('with %s', (name, { options }) => {
  // Of 32-bit code nothing is compiled but the kernel below: two of the ways show what there is to show.
  const codes = isLong || SHORT_CODE.has(name) ? [64, 32] as const : [64] as const
  test.each(codes)('random programs of %s-bit code come to the same', (code) => {
    const fuzzer = new TierFuzzer({ code, ...options })
    for (let i = 0; i < COUNT; i += 1) fuzzer.run(SEED + i)
    console.log(fuzzer.report.toString())
    const { regions, samples, samplesInRegions, programs } = fuzzer.report
    if (code === 32 || samples === 0) return
    // They would miss their aim if next to nothing were compiled; few instructions without a loop are not.
    expect(regions / programs).toBeGreaterThan(6)
    expect(samplesInRegions / samples).toBeGreaterThan(0.2)
  }, 600_000)
})

describe('at every place', () => {
  /** A program that runs for long, and what is compiled of it at once. */
  const PROGRAM = 4
  const at = (more: Partial<TierOptions>): TierFuzzer => new TierFuzzer({ code: 64, ...SUBJECTS[2]!.options, budgets: 0, interrupts: 0, ...more })

  test('a budget of every size from 0 to 300 comes to the same', () => {
    const fuzzer = at({ budgets: MOST_BUDGET + 1 })
    for (let i = 0; i < (isLong ? 4 : 1); i += 1) fuzzer.run(PROGRAM + i)
    expect(fuzzer.report.runs).toBeGreaterThan(MOST_BUDGET)
    expect(fuzzer.report.regions).toBeGreaterThan(10)
  }, 600_000)

  test('an interrupt at each of the first boundaries comes to the same', () => {
    const all = isLong ? 1000 : 200
    const fuzzer = at({ interrupts: { all } })
    fuzzer.run(PROGRAM)
    expect(fuzzer.report.runs).toBeGreaterThan(all)
    expect(fuzzer.report.regions).toBeGreaterThan(10)
  }, 600_000)
})

describe('a fault planted into the compiling tier is found', () => {
  test.each(MUTANTS.slice(0, isLong ? MUTANTS.length : ALWAYS))('$name', async ({ patches, within, found }) => {
    const library = await buildMutant<{ Machine: typeof Machine }>(patches, `export { Machine } from './src/machine/index.ts'`)
    const run = (): void => {
      const fuzzers = SUBJECTS.slice(1, 4).map(({ options: { subject } }) => (
        new TierFuzzer({ code: 64, reference: { compiler: 'off' }, subject: { ...subject, library }, patience: 30 })
      ))
      for (let i = 0; i < within; i += 1) for (const fuzzer of fuzzers) fuzzer.run(SEED + i)
    }
    expect(run).toThrow(found)
  }, 600_000)

  test('and every one can be planted: the source holds what it replaces', async () => {
    const root = new URL('../../', import.meta.url)
    for (const patch of MUTANTS.flatMap(({ patches }) => patches)) {
      expect(applyPatch(await readFile(new URL(patch.file, root), 'utf8'), patch)).toContain(patch.replace)
    }
  })
})
