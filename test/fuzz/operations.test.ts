/**
 * Operations that overlap, and the proof that their explorer sees: faults planted into the library are found. A fault
 * of an ordinary run is found by the first exploration; all of them are planted with FUZZ=long.
 */
import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { applyPatch, buildMutant } from '../support/mutants.ts'
import { OPERATION_MUTANTS } from './operations-mutants.ts'
import { exploreOperations, type Library } from './operations.ts'

const isLong = process.env['FUZZ'] === 'long'
/** Explorations, each of which begins with two fresh hosts; FUZZ_OPERATIONS asks for more or fewer. */
const COUNT = Number(process.env['FUZZ_OPERATIONS'] ?? (isLong ? 200 : 3))
/** Operations of one exploration. */
const STEPS = 60

describe('operations that overlap, are given up at any moment, and meet guests that lie', () => {
  test('end with a code, leave hosts and XenStore as they were, and never run a domain twice', { timeout: 1_800_000 }, async () => {
    const outcomes = new Map<string, number>()
    for (let seed = 1; seed <= COUNT; seed += 1) {
      const exploration = await exploreOperations(seed, STEPS)
      expect(exploration.findings, `seed ${seed}`).toEqual([])
      for (const [name, times] of exploration.outcomes) outcomes.set(name, (outcomes.get(name) ?? 0) + times)
    }
    // It would miss its aim if most of what it begins were refused.
    const done = [...outcomes].filter(([name]) => name.endsWith(': done')).reduce((sum, [, times]) => sum + times, 0)
    expect(done).toBeGreaterThan((COUNT * STEPS) / 5)
    if (COUNT > 20) for (const name of ['save', 'migrate', 'receive', 'attach disk', 'detach disk']) expect(outcomes.has(`${name}: done`)).toBe(true)
  })
})

/** The layers that the explorer works with. */
const LAYERS = ['drivers', 'guest', 'toolstack'].map((layer) => `export * as ${layer} from './src/${layer}/index.ts'`).join('\n')
/** Planted faults of an ordinary run. */
const ALWAYS = 1

describe('a planted fault is found', () => {
  test.each(OPERATION_MUTANTS.slice(0, isLong ? OPERATION_MUTANTS.length : ALWAYS))('$name', { timeout: 600_000 }, async ({ patches, within, found }) => {
    const library = await buildMutant<Library>(patches, LAYERS)
    const findings: string[] = []
    for (let seed = 1; seed <= within && !findings.some((finding) => found.test(finding)); seed += 1) {
      findings.push(...(await exploreOperations(seed, STEPS, library)).findings)
    }
    expect(findings).toContainEqual(expect.stringMatching(found))
  })

  test('and every one can be planted: the source holds what it replaces', async () => {
    for (const patch of OPERATION_MUTANTS.flatMap(({ patches }) => patches)) {
      const text = await readFile(new URL(`../../${patch.file}`, import.meta.url), 'utf8')
      expect(applyPatch(text, patch)).toContain(patch.replace)
    }
  })
})
