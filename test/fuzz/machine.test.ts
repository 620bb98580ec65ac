/**
 * Hostile machine code on the real processor, and the proof that its fuzzer sees: faults planted into the library are
 * found. `npm run fuzz:machine` goes on for as long as wished.
 */
import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { type Patch, applyPatch, buildMutant } from '../support/mutants.ts'
import { type CaseKind, MachineFuzzer, fuzzMachine } from './machine-fuzz.ts'
import { MUTANTS, type Mutant } from './machine-mutants.ts'
import { Pv32Fuzzer } from './pv32-fuzz.ts'
import { PV32_MUTANTS } from './pv32-mutants.ts'
import { PvhFuzzer } from './pvh-fuzz.ts'
import { PVH_MUTANTS } from './pvh-mutants.ts'

const isLong = process.env['FUZZ'] === 'long'
/** Cases that FUZZ_CASES asks for, whatever the kind. */
const ASKED = process.env['FUZZ_CASES']
const SEED = 1

/** A kind of guest with its fuzzer, the cases of an ordinary run and of a long one, and how many planted faults an ordinary run has: for 64-bit PV the two that once were there. */
interface Row {
  readonly name: string
  readonly kind: CaseKind
  readonly mutants: readonly Mutant[]
  readonly cases: number
  readonly long: number
  readonly always: number
  /** Entries of page tables that a slice changes at least, on average. */
  readonly changes: number
}

const ROWS: readonly Row[] = [
  { name: '64-bit PV', kind: MachineFuzzer, mutants: MUTANTS, cases: 5, long: 100, always: 2, changes: 3 },
  { name: '32-bit PV', kind: Pv32Fuzzer, mutants: PV32_MUTANTS, cases: 2, long: 100, always: 1, changes: 1 },
  { name: 'PVH', kind: PvhFuzzer, mutants: PVH_MUTANTS, cases: 2, long: 100, always: 1, changes: 1 },
]

describe.each(ROWS)('hostile machine code in $name guests', ({ kind, mutants, cases, long, always, changes }) => {
  test('reaches nothing of others, and leaves nothing remembered that it may not', () => {
    const report = fuzzMachine({ seed: SEED, cases: Number(ASKED ?? (isLong ? long : cases)), kind })
    console.log(report.toString())
    // It would miss its aim otherwise.
    expect(report.changed / report.slices).toBeGreaterThan(changes)
    expect(report.translations / report.slices).toBeGreaterThan(3)
    expect(report.jumps).toBeGreaterThan(report.slices)
    expect(report.crashes / report.slices).toBeLessThan(0.6)
  }, 900_000)

  test.each(mutants.slice(0, isLong ? mutants.length : always))('finds a planted fault: $name', async ({ patches, within, found }) => {
    const library = await buildMutant(patches)
    expect(() => fuzzMachine({ seed: SEED, cases: within, library, kind })).toThrow(found)
  }, 900_000)
})

describe('planted faults', () => {
  const all = ROWS.flatMap(({ mutants }) => mutants)

  test('can be planted: the source holds what they replace', async () => {
    const root = new URL('../../', import.meta.url)
    for (const patch of all.flatMap(({ patches }) => patches)) {
      expect(applyPatch(await readFile(new URL(patch.file, root), 'utf8'), patch)).toContain(patch.replace)
    }
  })

  test('but not where their place is gone, or is not the only one', async () => {
    const patch: Patch = { file: 'src/hypervisor/index.ts', find: 'no such piece', replace: '' }
    expect(() => applyPatch('twice, twice', { ...patch, find: 'twice' })).toThrow(/holds 2 times/)
    await expect(buildMutant([patch])).rejects.toThrow(/holds 0 times/)
    await expect(buildMutant([{ ...patch, file: 'src/nowhere.ts' }])).rejects.toThrow(/does not consist of src\/nowhere/)
  })
})
