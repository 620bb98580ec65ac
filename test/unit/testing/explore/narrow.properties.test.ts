/** Properties of narrowing, whatever fails when: by fast-check, over failures that are made up. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { narrow } from '../../../../src/testing/explore/narrow.ts'
import type { RunFailure, RunPlan, RunReport } from '../../../../src/testing/index.ts'

const failure: RunFailure = { kind: 'property', message: 'always: x', details: '', time: 1 }
const plan: RunPlan = { index: 1, strategy: 'random', seed: 1, horizon: 1, faults: [], window: { from: 0, to: 1e9 }, mark: -1, wantsHashes: false, wantsTrace: false }

/** Runs that fail where `fails` says so of the interventions in effect, and how many there were. */
function world(count: number, fails: (made: readonly number[]) => boolean): { play(plan: RunPlan): Promise<RunReport>; runs: number } {
  const made = {
    runs: 0,
    play: async ({ window }: RunPlan): Promise<RunReport> => {
      made.runs += 1
      const inEffect = Array.from({ length: count }, (_, number) => number).filter((number) => number >= window.from && number < window.to)
      return {
        index: 1, properties: [], interventions: count, start: 0, end: 1, contended: 1, busy: 1, digest: '', hashes: { a: inEffect.join() },
        failure: fails(inEffect) ? failure : undefined,
      }
    },
  }
  return made
}

test('a failure that needs some interventions is narrowed to a window that has them all, and the last of them decides', async () => {
  await fc.assert(fc.asyncProperty(fc.integer({ min: 1, max: 3000 }).chain((count) => fc.tuple(
    fc.constant(count), fc.uniqueArray(fc.nat(count - 1), { minLength: 1, maxLength: 5 }),
  )), async ([count, needed]) => {
    const all = world(count, (made) => needed.every((one) => made.includes(one)))
    const narrowed = await narrow(plan, { failure, interventions: count }, (one) => all.play(one))
    expect(narrowed.plan.window).toEqual({ from: Math.min(...needed), to: Math.max(...needed) + 1 })
    expect(narrowed.deciding).toBe(Math.max(...needed))
    expect([narrowed.failing.failure, narrowed.passing!.failure]).toEqual([failure, undefined])
    expect(narrowed.differs).toEqual(['a'])
    expect(narrowed.runs).toBe(all.runs)
    expect(narrowed.runs).toBeLessThanOrEqual(2 * Math.ceil(Math.log2(count)) + 10)
  }))
})

test('whatever else fails, what is told fails, costs no more runs, and passes without the deciding one', async () => {
  await fc.assert(fc.asyncProperty(fc.integer({ min: 1, max: 500 }), fc.func(fc.boolean()), async (count, chance) => {
    // Fails with all of them, passes without any, and otherwise as it comes.
    const all = world(count, (made) => made.length === count || (made.length > 0 && chance(made[0], made.length)))
    const narrowed = await narrow(plan, { failure, interventions: count }, (one) => all.play(one))
    expect(narrowed.failing.failure).toEqual(failure)
    expect(narrowed.passing!.failure).toBeUndefined()
    expect(narrowed.runs).toBeLessThanOrEqual(2 * Math.ceil(Math.log2(count)) + 10)
  }))
})
