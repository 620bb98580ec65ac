/** Our front-ends and back-ends survive the catalogue of faults, and copies of them with a mistake do not: each is found. */
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { applyPatch, buildMutant } from '../support/mutants.ts'
import { FAULT_MUTANTS } from './faults-mutants.ts'
import { LIBRARY_ENTRY, SWEEPS, sweep, type FaultLibrary } from './faults.ts'

const LONG = process.env['FUZZ'] === 'long'
const ROOT = resolve(import.meta.dirname, '../..')
/** Each copy is built by itself, which takes a second: all of them where there is time. */
const CHOSEN = LONG ? FAULT_MUTANTS : FAULT_MUTANTS.slice(0, 2)

describe('under the catalogue of faults', () => {
  test.each(Object.keys(SWEEPS))('%s: nothing is lost, left or broken', { timeout: 60_000 }, async (name) => {
    // Where there is little time every other plan has a disk with several rings.
    const seeds = LONG ? Array.from({ length: 10 }, (_, index) => index + 1) : [1 + Object.keys(SWEEPS).indexOf(name) % 2]
    for (const seed of seeds) expect(await sweep(name, undefined, seed)).toEqual([])
  })

  test('every planted mistake is there to be planted', () => {
    for (const { patches } of FAULT_MUTANTS) for (const patch of patches) expect(() => applyPatch(readFileSync(join(ROOT, patch.file), 'utf8'), patch)).not.toThrow()
    expect(FAULT_MUTANTS.length).toBeGreaterThanOrEqual(12)
  })

  test.each(CHOSEN)('it is found that $name', { timeout: 120_000 }, async ({ patches, by, found }) => {
    const library = await buildMutant<FaultLibrary>(patches, LIBRARY_ENTRY)
    const findings: string[] = []
    for (const name of by) for (let seed = 1; seed <= 5 && !findings.some((finding) => found.test(finding)); seed += 1) findings.push(...await sweep(name, library, seed))
    expect(findings.join('\n')).toMatch(found)
  })
})
