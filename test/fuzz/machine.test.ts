/**
 * Hostile machine code on the real processor, and the proof that its fuzzer sees: faults planted into the library are
 * found. `npm run fuzz:machine` goes on for as long as wished.
 */
import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { type Patch, applyPatch, buildMutant } from '../support/mutants.ts'
import { fuzzMachine } from './machine-fuzz.ts'
import { MUTANTS } from './machine-mutants.ts'

const isLong = process.env['FUZZ'] === 'long'
/** Cases in all; FUZZ_CASES asks for more or fewer. */
const CASES = Number(process.env['FUZZ_CASES'] ?? (isLong ? 200 : 5))
/** Planted faults of an ordinary run: the two that once were there. */
const ALWAYS = 2
const SEED = 1

describe('hostile machine code', () => {
  test('reaches nothing of others, and leaves nothing remembered that it may not', () => {
    const report = fuzzMachine({ seed: SEED, cases: CASES })
    console.log(report.toString())
    // It would miss its aim otherwise.
    expect(report.changed / report.slices).toBeGreaterThan(3)
    expect(report.translations / report.slices).toBeGreaterThan(3)
    expect(report.jumps).toBeGreaterThan(report.slices)
    expect(report.crashes / report.slices).toBeLessThan(0.6)
  }, 600_000)
})

describe('a planted fault is found', () => {
  test.each(MUTANTS.slice(0, isLong ? MUTANTS.length : ALWAYS))('$name', async ({ patches, within, found }) => {
    const library = await buildMutant(patches)
    expect(() => fuzzMachine({ seed: SEED, cases: within, library })).toThrow(found)
  }, 600_000)

  test('and every one can be planted: the source holds what it replaces', async () => {
    const root = new URL('../../', import.meta.url)
    for (const patch of MUTANTS.flatMap(({ patches }) => patches)) {
      expect(applyPatch(await readFile(new URL(patch.file, root), 'utf8'), patch)).toContain(patch.replace)
    }
  })

  test('but not where its place is gone, or is not the only one', async () => {
    const patch: Patch = { file: 'src/hypervisor/index.ts', find: 'no such piece', replace: '' }
    expect(() => applyPatch('twice, twice', { ...patch, find: 'twice' })).toThrow(/holds 2 times/)
    await expect(buildMutant([patch])).rejects.toThrow(/holds 0 times/)
    await expect(buildMutant([{ ...patch, file: 'src/nowhere.ts' }])).rejects.toThrow(/does not consist of src\/nowhere/)
  })
})
