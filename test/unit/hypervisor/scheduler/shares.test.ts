import { describe, expect, test } from 'vitest'
import type { SchedulerName } from '../../../../src/hypervisor/scheduler/index.ts'
import { ScheduleRun, SECOND, exactShares, type Pattern } from '../../../support/schedule-run.ts'

interface Case {
  readonly name: string
  readonly cpus: number
  /** Weight, cap in percent, vCPUs, CPUs that all are pinned to. */
  readonly domains: readonly { weight: number; cap?: number; vcpus?: number; pin?: number[] }[]
}

const CASES: readonly Case[] = [
  { name: 'equal weights', cpus: 1, domains: [{ weight: 256 }, { weight: 256 }, { weight: 256 }] },
  { name: '1 : 2 : 4', cpus: 1, domains: [{ weight: 128 }, { weight: 256 }, { weight: 512 }] },
  { name: '1 : 100', cpus: 1, domains: [{ weight: 10 }, { weight: 1000 }] },
  { name: '1 : 3 : 7 : 11', cpus: 1, domains: [{ weight: 100 }, { weight: 300 }, { weight: 700 }, { weight: 1100 }] },
  { name: 'three on two CPUs', cpus: 2, domains: [{ weight: 256 }, { weight: 256 }, { weight: 256 }] },
  { name: '3 : 2 : 1 on two CPUs', cpus: 2, domains: [{ weight: 768 }, { weight: 512 }, { weight: 256 }] },
  { name: 'more weight than a CPU can give', cpus: 2, domains: [{ weight: 4096 }, { weight: 512 }, { weight: 256 }] },
  { name: 'six on four CPUs', cpus: 4, domains: [1, 1, 2, 2, 3, 3].map((n) => ({ weight: n * 200 })) },
  { name: 'a cap below the share', cpus: 1, domains: [{ weight: 256, cap: 25 }, { weight: 256 }, { weight: 512 }] },
  { name: 'a cap above the share', cpus: 1, domains: [{ weight: 256, cap: 60 }, { weight: 256 }] },
  {
    name: 'caps on two CPUs', cpus: 2,
    domains: [{ weight: 256, cap: 40 }, { weight: 256 }, { weight: 128 }, { weight: 512, cap: 90 }],
  },
  {
    name: 'a cap of two vCPUs', cpus: 2,
    domains: [{ weight: 256, cap: 70, vcpus: 2 }, { weight: 256 }, { weight: 256 }],
  },
]

/** In credit2 each vCPU has its domain's weight; in credit the domain has it once. */
function expected({ cpus, domains }: Case, perVcpu: boolean): number[] {
  return exactShares(domains.map(({ weight, cap = 0, vcpus = 1 }) => ({
    weight: perVcpu ? weight * vcpus : weight, limit: cap > 0 ? cap / 100 : vcpus,
  })), cpus)
}

const DURATION = 100 * SECOND

function simulate(scheduler: SchedulerName, { cpus, domains }: Case): { shares: number[]; run: ScheduleRun } {
  const run = new ScheduleRun(scheduler, cpus)
  domains.forEach(({ weight, cap = 0, vcpus = 1 }, i) => {
    const { id } = run.domain(i + 1, new Array<Pattern | undefined>(vcpus).fill(undefined))
    run.scheduler.setParameters(id, { weight, cap })
  })
  run.workConserving = !domains.some(({ cap }) => cap)
  run.measure(DURATION)
  return { shares: domains.map((_, i) => run.share(i + 1, DURATION)), run }
}

describe.each(['credit2', 'credit'] as const)('shares under %s are within 1 % of exact', (scheduler) => {
  test.each(CASES.map((one) => [one.name, one] as const))('%s', (name, one) => {
    const { shares, run } = simulate(scheduler, one)
    const exact = expected(one, scheduler === 'credit2')
    const row = (numbers: readonly number[]): string => numbers.map((n) => n.toFixed(4)).join(' ')
    console.log(`${scheduler} | ${name} | exact ${row(exact)} | measured ${row(shares)} | ${run.switches} switches`)
    shares.forEach((share, i) => expect(Math.abs(share / exact[i]! - 1)).toBeLessThan(0.01))
  })
})

test('under round-robin all runnable vCPUs have the same share', () => {
  const run = new ScheduleRun('round-robin', 2)
  for (const id of [1, 2, 3, 4, 5]) run.domain(id)
  run.measure(DURATION)
  for (const id of [1, 2, 3, 4, 5]) expect(run.share(id, DURATION)).toBeCloseTo(0.4, 3)
})
