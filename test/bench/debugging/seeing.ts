/**
 * What looking into guests costs, in processor time, in turns within one process: coverage (at most 15 % slower), a trace that has ended (at most 1 %), executions of a fuzzer
 * with coverage (1,000 a second of a handler of some 300,000 instructions), BTF and kallsyms out of a running Linux (300 ms).
 */
import { fuzz, linux, traceHost, VirtualMemory } from '../../../src/debug/index.ts'
import { Host, recordCoverage, type Moment } from '../../../src/toolstack/index.ts'
import { guestFile } from '../../support/guests.ts'
import { bootLinux } from '../../support/linux.ts'
import { plantedKernel, REQUEST } from '../../support/planted-kernel.ts'
import type { Report } from '../report.ts'

const ROUNDS = 7
const EXECUTIONS = 2000
/** Rounds of five instructions of the handler. */
const HANDLER = 60_000
const WORK = 'i=0; while [ $i -lt 1500 ]; do i=$((i+1)); done; ls -lR /bin >/dev/null; for i in 1 2 3; do /bin/busybox true; done'

const spent = (): number => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}
const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = spent()
  await work()
  return spent() - begun
}

/** The same work without and with something, in turns. */
async function paired(round: (how: 'without' | 'with') => Promise<number>): Promise<{ readonly without: number; readonly with: number }> {
  const [without, withIt]: [number[], number[]] = [[], []]
  for (let i = 0; i < ROUNDS; i += 1) {
    without.push(await round('without'))
    withIt.push(await round('with'))
  }
  return { without: median(without), with: median(withIt) }
}

/** Executions of a fuzzer. */
export async function measureFuzzing(report: Report): Promise<void> {
  for (const rounds of [0, HANDLER]) {
    const host = await Host.boot({ memory: 32, dom0Memory: 8 })
    const { id } = await host.createDomain({ name: 'planted', memory: 4, kernel: plantedKernel(rounds), actions: { crash: 'preserve' } })
    // It stands while it is fuzzed, since this kernel polls for its requests; and it has dealt with one.
    const held = await host.hold()
    await held.run(20_000)
    new VirtualMemory(() => host.hypervisor, id).write(REQUEST, Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
    await held.run(500_000)
    const moment = await host.checkpoint()
    const options = (executions: number): Parameters<typeof fuzz>[0] => ({
      moment, target: 'planted', executions, instructions: 400_000, every: rounds === 0 ? 600 : 100_000,
      input: { seeds: [new Uint8Array(8)], most: 64, inject: (bytes, { memory }) => void memory.write(REQUEST, Uint8Array.of(bytes.length + 1, 0, 0, 0, ...bytes)) },
      until: ({ memory }) => memory.read(REQUEST, 1)[0] === 0,
    })
    await fuzz(options(200))
    const value = EXECUTIONS / (await timed(() => fuzz(options(EXECUTIONS))) / 1000)
    report({ case: `fuzzing, handler of ${rounds * 5 + 40} instructions`, value, unit: '1/s', baseline: 'of processor time', ratio: null, target: 1000, met: value >= 1000 })
    held.release()
    await host.shutdown()
  }
}

/** What runs on a Linux that is brought back to its shell before each round. */
async function withLinux(measure: (host: Host, moment: Moment<Host>, fresh: () => Promise<number>) => Promise<void>): Promise<void> {
  if (guestFile('linux') === undefined || guestFile('busybox') === undefined) {
    console.error('absent: Linux and BusyBox (npm run guests -- linux busybox)')
    return
  }
  const shell = await (await bootLinux({ domain: { memory: 256 } })).ready()
  const { host } = shell
  const moment = await host.checkpoint()
  await measure(host, moment, async () => {
    await host.reset(moment)
    return timed(() => shell.run(WORK))
  })
  await host.shutdown()
}

/** A trace that has ended. */
export const measureTrace = (report: Report): Promise<void> => withLinux(async (host, _moment, fresh) => {
  for (let i = 0; i < 4; i += 1) await fresh()
  const ended = await paired(async (how) => {
    if (how === 'with') traceHost(host).stop()
    return fresh()
  })
  report({ case: 'work behind a trace that has ended', value: ended.with, unit: 'ms', baseline: `${ended.without.toFixed(0)} without`, ratio: ended.with / ended.without, target: 1.01, met: ended.with <= ended.without * 1.01 })
})

/** Work whose coverage is recorded. */
export const measureCoverage = (report: Report): Promise<void> => withLinux(async (host, _moment, fresh) => {
  for (let i = 0; i < 4; i += 1) await fresh()
  const covered = await paired(async (how) => {
    const coverage = how === 'with' ? await recordCoverage(host) : undefined
    // Code is decoded and compiled anew whenever coverage begins or ends: that is not what is measured.
    for (let i = 0; i < 2; i += 1) await fresh()
    const time = await fresh()
    await coverage?.stop()
    return time
  })
  report({ case: 'work with coverage', value: covered.with, unit: 'ms', baseline: `${covered.without.toFixed(0)} without`, ratio: covered.with / covered.without, target: 1.15, met: covered.with <= covered.without * 1.15 })
})

/** What a Linux carries, read for the first time in the process, and again out of other hosts. */
export const measureSymbols = (report: Report): Promise<void> => withLinux(async (host, moment) => {
  const read = (from: Host): Promise<number> => timed(async () => linux(from, 'linux')!.btf.find('task_struct'))
  const row = (what: string, value: number, baseline: string): void => report({ case: `BTF and kallsyms of Linux read${what}`, value, unit: 'ms', baseline, ratio: null, target: 300, met: value <= 300 })
  row('', await read(host), 'of processor time, once')
  const others: number[] = []
  for (let i = 0; i < 5; i += 1) {
    const branch = await moment.branch()
    others.push(await read(branch))
    await branch.shutdown()
  }
  row(' again', median(others), 'of processor time, of another host')
})
