import { describe, expect, test } from 'vitest'
import { HYPERVISOR } from '../../src/abi/index.ts'
import { HypercallFuzzer } from './hypercalls.ts'

/** Calls in all; the seeds share them. FUZZ_CALLS asks for more or fewer. */
const CALLS = Number(process.env['FUZZ_CALLS'] ?? (process.env['CI'] === 'true' ? 1_000_000 : 80_000))
const SEEDS = [1, 2, 3, 4]
/** Calls on one host: after these the attackers have usually spoilt what they had, and a fresh host reaches more. */
const ROUND = 4000

describe('hostile hypercalls', () => {
  test.each(SEEDS)('with seed %i do no harm, leave everything counted, and nothing behind', (seed) => {
    const reached = new Map<number, number>()
    let calls = 0
    for (let round = 0; calls < CALLS / SEEDS.length; round += 1) {
      const fuzzer = new HypercallFuzzer(seed * 1_000_000 + round)
      const counts = fuzzer.run(ROUND)
      calls += counts.calls
      for (const [number, times] of counts.reached) reached.set(number, (reached.get(number) ?? 0) + times)
      const { free, atBoot } = fuzzer.finish()
      expect(free, `round ${round}`).toBe(atBoot)
    }
    for (const name of ['mmu_update', 'mmuext_op', 'memory_op', 'grant_table_op', 'event_channel_op', 'update_va_mapping', 'vcpu_op'] as const) {
      expect(reached.get(HYPERVISOR[name]) ?? 0, name).toBeGreaterThan(calls / 2000)
    }
  }, 600_000)
})
