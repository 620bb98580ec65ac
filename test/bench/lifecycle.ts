/**
 * What a domain costs beside others that stand there: from the call that creates one to the first byte on its console and through its
 * end, at 1, 10, 100, 1,000 and 8,000 of them, in processor time; what the host keeps for each; and statistics of all. The standing ones are guests in
 * TypeScript of 64 pages that wait for an event. What is measured is a process whose code is compiled, which takes JavaScript some hundred
 * lives; the first ones of a process are rows of their own.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Host, type DomainOptions, type GuestProgram, type KernelSource } from '../../src/index.ts'
import { mostMebibytes } from '../../src/toolstack/boot/machine-size.ts'
import type { Report } from './report.ts'

const STEPS = [1, 10, 100, 1000, 8000] as const
const ROUNDS = 15
/** Groups of rounds; kinds take turns in each. */
const GROUPS = 4
/** Cycles of a round: asking for the processor time takes part of a millisecond itself. */
const CYCLES = 5
/** Rounds of each kind before the first that counts. */
const WARM = 120
/** Reads of statistics before those that count. */
const WARM_READS = 60
/** MiB of a standing domain. */
const STANDING = 0.25
/** MiB of memory that a process may have for the most domains, everything counted. */
const PROCESS = 8192

/** Says something, and waits. */
const hello: GuestProgram = async (kernel) => {
  kernel.console?.write('hello\n')
  await new Promise(() => undefined)
}

interface Kind {
  readonly name: string
  readonly options: Partial<DomainOptions<KernelSource>>
  readonly word: string
  /** Milliseconds. */
  readonly target: number
  /** Most times the cost beside one domain that it may cost beside 1,000. */
  readonly slope: number | null
}

const KINDS: readonly Kind[] = [
  { name: 'TypeScript guest', options: { kernel: hello, memory: 1 }, word: 'hello', target: 2, slope: 1.1 },
  { name: 'mini', options: { memory: 4 }, word: 'mini', target: 8, slope: null },
]

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!

function collect(): void {
  setFlagsFromString('--expose-gc')
  const collector = runInNewContext('gc') as () => void
  collector()
  collector()
}

/** Bytes that JavaScript holds: objects, and buffers beside guest memory. */
function heldBytes(): number {
  collect()
  const { heapUsed, arrayBuffers } = process.memoryUsage()
  return heapUsed + arrayBuffers
}

/** Milliseconds of processor time so far: others who work on the machine do not count. */
const spent = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** Milliseconds of processor time from the call to the first byte and to the end, of each of some cycles. */
async function measure(host: Host, { options, word }: Kind, count: number): Promise<number> {
  const begun = spent()
  for (let i = 0; i < count; i += 1) {
    const domain = await host.createDomain({ name: 'comes-and-goes', ...options })
    await domain.console.waitFor(word)
    await domain.destroy()
  }
  return (spent() - begun) / count
}

/** The median of some rounds of each kind, of the best of some groups of them: what else the machine does costs processor time, too. */
async function cycles(host: Host, { rounds = ROUNDS, count = CYCLES, groups = GROUPS } = {}): Promise<readonly number[]> {
  const best = KINDS.map(() => Infinity)
  for (let group = 0; group < groups; group += 1) {
    for (const [place, kind] of KINDS.entries()) {
      const times: number[] = []
      for (let round = 0; round < rounds; round += 1) times.push(await measure(host, kind, count))
      best[place] = Math.min(best[place]!, median(times))
    }
  }
  return best
}

function timeStatistics(host: Host): number {
  const times = Array.from({ length: WARM_READS + 11 }, () => {
    const begun = spent()
    host.statistics()
    return spent() - begun
  })
  return median(times.slice(WARM_READS))
}

function reportCycles(report: Report, count: number, { values, bases }: { readonly values: readonly number[]; readonly bases: readonly number[] }): void {
  for (const [place, { name, target, slope }] of KINDS.entries()) {
    const value = values[place]!
    const ratio = value / bases[place]!
    const isFlat = slope === null || count !== 1000 || ratio <= slope
    report({
      case: `${name}: create to first byte and destroy, beside ${count}`, value, unit: 'ms', baseline: 'beside 1', ratio, target,
      met: value <= target && isFlat,
    })
  }
}

/** Runs the benchmark. */
export async function run(report: Report): Promise<void> {
  const host = await Host.boot({ memory: mostMebibytes(), dom0Memory: 32, idle: 'wait', compiler: 'off' })
  for (const [which, rounds] of [['the first of a process', 1], ['the next 40', 40]] as const) {
    const cold = await cycles(host, { rounds, count: 1, groups: 1 })
    for (const [place, { name }] of KINDS.entries()) {
      report({ case: `${name}: ${which}`, value: cold[place]!, unit: 'ms', baseline: '', ratio: null, target: null, met: null })
    }
  }
  await cycles(host, { rounds: WARM, groups: 1 })
  const before = heldBytes()
  let bases: readonly number[] = []
  let standing = 0
  for (const count of STEPS) {
    for (; standing < count; standing += 1) await host.createDomain({ name: `standing-${standing}`, kernel: hello, memory: STANDING })
    await host.settled()
    collect()
    const values = await cycles(host)
    if (bases.length === 0) bases = values
    reportCycles(report, count, { values, bases })
    const value = timeStatistics(host)
    const target = count === 1000 ? 5 : null
    report({ case: `statistics of ${count} domains`, value, unit: 'ms', baseline: '', ratio: null, target, met: target === null ? null : value <= target })
    if (count < 1000) continue
    const each = (heldBytes() - before) / standing / 1024
    report({ case: `host state of each of ${standing} domains`, value: each, unit: 'KiB', baseline: '', ratio: null, target: 64, met: each <= 64 })
  }
  const held = process.memoryUsage().rss / 2 ** 20
  report({ case: `memory of the process with ${standing} domains`, value: held, unit: 'MiB', baseline: '', ratio: null, target: PROCESS, met: held <= PROCESS })
  await host.shutdown()
}
