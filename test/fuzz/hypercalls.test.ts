import { describe, expect, test } from 'vitest'
import { HYPERVISOR } from '../../src/abi/index.ts'
import { HypercallFuzzer } from './hypercalls.ts'

/** Calls in all; the seeds share them. FUZZ_CALLS asks for more or fewer. */
const CALLS = Number(process.env['FUZZ_CALLS'] ?? (process.env['FUZZ'] === 'long' ? 1_000_000 : 80_000))
const SEEDS = [1, 2, 3, 4]
/** Calls on one host: after these the attackers have usually spoilt what they had, and a fresh host reaches more. */
const ROUND = 2000
/** Calls after which the rare ones have been reached too. */
const ENOUGH = 20_000

/** Hypercalls that have to end well often, and at all: the fuzzer would miss its aim otherwise. */
const OFTEN = [
  'mmu_update', 'mmuext_op', 'memory_op', 'grant_table_op', 'event_channel_op', 'update_va_mapping', 'vcpu_op', 'multicall',
] as const
const SOMETIMES = [
  'event_channel_op_compat', 'sched_op', 'sched_op_compat', 'physdev_op', 'callback_op', 'update_descriptor', 'set_trap_table',
  'set_segment_base', 'set_debugreg', 'stack_switch', 'vm_assist', 'xen_version', 'console_io', 'set_timer_op', 'nmi_op',
] as const

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
    const names = Object.keys(HYPERVISOR) as (keyof typeof HYPERVISOR)[]
    const table = names.filter((name) => reached.has(HYPERVISOR[name])).map((name) => `${name} ${reached.get(HYPERVISOR[name])}`)
    console.log(`seed ${seed} | ${calls} calls | ended well: ${table.join(', ')}`)
    for (const name of OFTEN) expect(reached.get(HYPERVISOR[name]) ?? 0, name).toBeGreaterThan(calls / 2000)
    if (calls >= ENOUGH) for (const name of SOMETIMES) expect(reached.get(HYPERVISOR[name]) ?? 0, name).toBeGreaterThan(0)
  }, 600_000)
})
