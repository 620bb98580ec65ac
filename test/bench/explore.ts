/**
 * Exploring from a moment: schedules a second of processor time and thread, for a program of about 10 million instructions at the shell of
 * Debian's Linux on two vCPUs (target 20), beside plain runs from the same moment; what narrowing takes; how large a replay file is; and what the
 * seam for schedules costs a host on which none is set: a loop of guests that change all the time, on a host as it is and on one that had a director
 * and has none any more (target 1 % at most).
 */
import { Host, type Moment } from '../../src/toolstack/index.ts'
import { explore, Runner, STRATEGY_NAMES, type RunPlan } from '../../src/testing/index.ts'
import { insidesOf } from '../../src/toolstack/host/host.ts'
import { guestFile } from '../support/guests.ts'
import { planted, plantedLinux } from '../support/explore/planted.ts'
import type { Report } from './report.ts'
import { bestRates } from './support/rates.ts'

const plain = { baseline: '', ratio: null, target: null, met: null } as const
const PROGRAM = 'few-instructions-fixed'
const RUNS = 20

async function measureRates(report: Report, from: Moment<Host>): Promise<void> {
  const runner = new Runner(planted(PROGRAM, from), from)
  let horizon = 1
  const planOf = (strategy: RunPlan['strategy'], index: number): RunPlan => ({
    index, strategy, seed: index, horizon, faults: [], window: { from: 0, to: Number.MAX_SAFE_INTEGER }, mark: -1, wantsHashes: false, wantsTrace: false,
  })
  const strategies = ['plain', ...STRATEGY_NAMES] as const
  horizon = (await runner.run(planOf('plain', 0))).contended
  let busy = 0
  const rates = await bestRates(strategies.map((strategy) => ({
    count: RUNS,
    work: async (count) => {
      const begun = await runner.run(planOf(strategy, 0))
      busy = Math.max(busy, begun.busy)
      for (let index = 1; index < count; index += 1) await runner.run(planOf(strategy, index))
    },
  })), 3)
  const before = (await runner.run({ ...planOf('plain', 0), window: { from: 0, to: 0 } })).busy
  await runner.end()
  for (const [index, strategy] of strategies.entries()) {
    report({
      case: `schedules, ${strategy}`, value: rates[index]!, unit: '1/s', baseline: `plain ${rates[0]!.toFixed(1)}, ${(before / 1e6).toFixed(1)} M instr. since boot`,
      ratio: rates[0]! / rates[index]!, target: strategy === 'plain' ? null : 20, met: strategy === 'plain' ? null : rates[index]! >= 20,
    })
  }
}

async function measureNarrowing(report: Report, from: Moment<Host>): Promise<void> {
  for (const name of ['lost-update', 'lock-order', 'aba']) {
    const found = await explore(planted(name, from), { runs: 256 })
    const { narrowed, replay, plan } = found.failure ?? {}
    if (narrowed === undefined || replay === undefined || plan === undefined) continue
    const most = 2 * Math.ceil(Math.log2(Math.max(2, narrowed.of))) + 10
    report({ case: `${name}: schedules until it is found`, value: plan.index, unit: '', ...plain, target: 64, met: plan.index <= 64 })
    report({ case: `${name}: runs to narrow it`, value: narrowed.runs, unit: '', ...plain, baseline: `${narrowed.of} interventions`, target: most, met: narrowed.runs <= most })
    const kilobytes = replay.encode().length / 1000
    report({ case: `${name}: replay file`, value: kilobytes, unit: 'kB', ...plain, target: 100, met: kilobytes <= 100 })
  }
}

/** A host on which two guests in machine code compute, so that the scheduler is asked as often as it can be. */
async function busyHost(): Promise<Host> {
  const host = await Host.boot({ memory: 64, dom0Memory: 16 })
  for (const name of ['one', 'two']) {
    const domain = await host.createDomain({ name, memory: 8 })
    await domain.console.waitFor('tick 3')
  }
  for (const domain of host.domains()) await domain.console.write('spin 1000000\r')
  return host
}

/** Rates of two hosts that do the same, in turns: one that never had a director, and one that had one. */
async function measureSeam(report: Report): Promise<void> {
  const hosts = [await busyHost(), await busyHost()] as const
  hosts[1].hypervisor.direct({ decide: () => undefined })
  hosts[1].hypervisor.direct()
  const steps = hosts.map((host) => async (count: number): Promise<void> => {
    const { loop } = insidesOf(host).parts
    const goOn = await loop.halt()
    for (let step = 0; step < count; step += 1) await loop.step(100_000)
    goOn()
  })
  const [without = 0, had = 0] = await bestRates(steps.map((work) => ({ work, count: 400 })))
  report({
    case: 'steps of a host that had a director', value: had, unit: '1/s', baseline: `${without.toFixed(0)} on one that had none`, ratio: without / had, target: 1.01,
    met: without / had <= 1.01,
  })
  for (const host of hosts) await host.shutdown()
}

/** Runs the benchmark. */
export async function run(report: Report): Promise<void> {
  await measureSeam(report)
  if (guestFile('linux') === undefined || guestFile('busybox') === undefined) {
    console.error('absent: Linux and BusyBox (npm run guests -- linux busybox)')
    return
  }
  const from = await plantedLinux(2)
  await measureRates(report, from)
  await measureNarrowing(report, from)
}
