/**
 * What a policy costs: the same work on hosts with Xen's own policy, which asks nobody, with SILO, which has one rule, and with rules
 * for everything that allow everything; in turn, in one process, in processor time.
 */
import { Host, type GuestProgram, type PolicyChoice } from '../../src/index.ts'
import type { Report } from './report.ts'

const OPEN: PolicyChoice = { name: 'open', hypercall: () => true, share: () => true, control: () => true }
const POLICIES: readonly PolicyChoice[] = ['dummy', 'silo', OPEN]
const ROUNDS = 15
const CALLS = 500_000
const CYCLES = 20

const nameOf = (policy: PolicyChoice): string => (typeof policy === 'string' ? policy : policy.name)
const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!

const spent = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** Microseconds of a hypercall and milliseconds of a domain's life on one host. */
interface Costs {
  readonly calls: number[]
  readonly lives: number[]
}

/** Makes hypercalls, each of which a rule is asked about, and tells how long they took. */
const caller = (calls: number[]): GuestProgram => (kernel) => {
  const begun = spent()
  for (let i = 0; i < CALLS; i += 1) kernel.hypercalls.currentReservation()
  calls.push((spent() - begun) * 1000 / CALLS)
  kernel.console?.write('done\n')
}
const hello: GuestProgram = (kernel) => kernel.console?.write('done\n')

/** Milliseconds from the creation of a domain to its end. */
async function live(host: Host, kernel: GuestProgram): Promise<number> {
  const begun = spent()
  const domain = await host.createDomain({ name: 'one', kernel, memory: 1 })
  await domain.console.waitFor('done')
  await domain.destroy()
  return spent() - begun
}

async function measure(host: Host, { calls, lives }: Costs): Promise<void> {
  let life = 0
  for (let i = 0; i < CYCLES; i += 1) life += await live(host, hello)
  lives.push(life / CYCLES)
  await live(host, caller(calls))
}

/** Runs the benchmark. */
export async function run(report: Report): Promise<void> {
  const places = await Promise.all(POLICIES.map(async (policy) => ({
    name: nameOf(policy), host: await Host.boot({ memory: 64, dom0Memory: 16, idle: 'wait', compiler: 'off', policy }), costs: { calls: [], lives: [] } as Costs,
  })))
  for (const { host } of places) await measure(host, { calls: [], lives: [] })
  for (let round = 0; round < ROUNDS; round += 1) for (const { host, costs } of places) await measure(host, costs)
  const [base] = places
  for (const { name, costs } of places) {
    for (const [what, unit, kept, own] of [
      ['a hypercall of a guest in TypeScript', 'us', base!.costs.calls, costs.calls], ['a domain from its creation to its end', 'ms', base!.costs.lives, costs.lives],
    ] as const) {
      const value = median(own)
      report({ case: `${what}, policy ${name}`, value, unit, baseline: 'policy dummy', ratio: value / median(kept), target: null, met: null })
    }
  }
  for (const { host } of places) await host.shutdown()
}
