/**
 * Live migration of a domain with 128 MB of memory, of which 1 MiB or 32 MiB are written all the time, and of one with 512 MB and 256 MiB, from one host to
 * another in this process. Total: from the call to the new domain's first instruction; downtime: from the old one's
 * last instruction to the new one's first. The receiver waits before, as QEMU's does. QEMU's code was compiled before it began, V8 compiles while it runs and has done so for what a migration takes after
 * some twenty of them: so those of the first size begin to count behind the 30th of the process, and the first, and the 4th to the 12th, while code is on its way, have rows of their own. Wall time,
 * and processor time of this process, which other work on the machine lengthens less. Beside it QEMU (TCG) where it is installed: a machine of the same size that writes as much in
 * a loop, migrated over a local socket, from the command to the event of the new one that it runs, and from the event of the old one that it stands to that. QEMU's
 * own figures, which end when its sender is done, are in a row of their own.
 */
import { existsSync } from 'node:fs'
import { Host, type Domain } from '../../src/index.ts'
import { DEFLATE, openOutput, packedTransport, transportPair, type MigrationTransport, type PackedOptions } from '../../src/toolstack/index.ts'
import type { Report } from './report.ts'
import { migratePaper, PAPER_PROFILES } from './support/paper-profiles.ts'
import { migrateQemu, type QemuFigures } from './support/qemu-migration.ts'

/** Sizes in MiB; behind so many migrations to warm up, the middle one of `runs` counts. */
interface Case {
  readonly memory: number
  readonly hot: number
  readonly warm: number
  readonly runs: number
  /** How often as long as QEMU's they may be. */
  readonly target: number | null
}

const CASES: readonly Case[] = [
  { memory: 128, hot: 1, warm: 30, runs: 9, target: 2 }, { memory: 128, hot: 32, warm: 3, runs: 5, target: null }, { memory: 512, hot: 256, warm: 3, runs: 3, target: null },
]
/** Of a process's migrations those that come first, but for the very first: while the code is compiled. */
const EARLY = { from: 3, to: 12 } as const
/** Ways of packing a pipe. */
const WAYS: readonly (readonly [name: string, options: PackedOptions | undefined])[] = [['zeros named', undefined], ['runs told', { compression: [] }], ['runs told, the rest deflated', { compression: [DEFLATE] }]]

interface Figures {
  readonly total: number
  readonly downtime: number
  /** The same in processor time. */
  readonly work: { readonly total: number; readonly downtime: number }
  readonly rounds: number
  readonly megabytes: number
}

/** Milliseconds on the clock, and milliseconds of processor used. */
interface Moment {
  readonly wall: number
  readonly processor: number
}

function now(): Moment {
  const { user, system } = process.cpuUsage()
  return { wall: performance.now(), processor: (user + system) / 1000 }
}

async function startHot(host: Host, { memory, hot: mebibytes }: Pick<Case, 'memory' | 'hot'>): Promise<Domain> {
  const domain = await host.createDomain({ name: 'hot', memory })
  await domain.console.waitFor('tick 3')
  await domain.console.write(`hot ${mebibytes * 1024}\r`)
  await domain.console.waitFor(`hot: ${mebibytes * 256} pages`)
  return domain
}

/** A transport that counts what is sent by it. */
function counting({ readable, writable }: MigrationTransport): { readonly transport: MigrationTransport; carried: number } {
  const output = openOutput(writable)
  const counted = {
    carried: 0,
    transport: { readable, writable: { ...output, write: (chunk: Uint8Array) => {
      counted.carried += chunk.length
      return output.write(chunk)
    } } },
  }
  return counted
}

/** One migration, over a pipe that is packed or not; the guest then proves that every page has come over. */
async function migrate(size: Pick<Case, 'memory' | 'hot'>, packed?: PackedOptions): Promise<Figures> {
  const options = { memory: size.memory + 64, dom0Memory: 16 }
  const [first, second] = [await Host.boot(options), await Host.boot(options)]
  const domain = await startHot(first, size)
  const { ends } = transportPair()
  const wire = packed === undefined ? undefined : counting(ends[0])
  const [near, far] = wire === undefined ? ends : [packedTransport(wire.transport, packed), packedTransport(ends[1], packed)]
  const receiving = second.receiveMigration(far)
  // It has said that it is there.
  await new Promise((resolve) => setImmediate(resolve))
  const begun = now()
  let stopped = begun
  let running = begun
  second.events.on('domain-started', () => { running = now() })
  // As QEMU does: pages of zeros are only named.
  const sending = domain.migrate(near, { zeros: packed === undefined ? 'omitted' : 'sent' })
  sending.progress.on('suspended', () => { stopped = now() })
  const [summary, there] = await Promise.all([sending, receiving])
  await there.console.waitFor('mini: restored')
  await there.console.write('hot 0\r')
  const [, wrong] = await there.console.waitFor(/hot: \d+ rounds, (\d+) pages wrong/)
  if (wrong !== '0') throw new Error(`${wrong} pages were lost`)
  await first.shutdown()
  await second.shutdown()
  return {
    total: running.wall - begun.wall,
    downtime: running.wall - stopped.wall,
    work: { total: running.processor - begun.processor, downtime: running.processor - stopped.processor },
    rounds: summary.rounds,
    megabytes: (wire?.carried ?? summary.bytes) / 2 ** 20,
  }
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!

/** The paper's four guests in virtual time over 1 Gbit/s: none is to be worse than there. */
async function reportPaper(report: Report): Promise<void> {
  for (const profile of PAPER_PROFILES) {
    const { factor, downtime, total, rounds } = await migratePaper(profile)
    const row = (what: string, value: number, { unit, paper }: { readonly unit: string; readonly paper: number | undefined }): void => report({
      case: `${profile.name}, ${profile.memory} MB: ${what}`, value, unit, baseline: paper === undefined ? '' : `NSDI 2005: ${paper}`, ratio: paper === undefined ? null : value / paper,
      target: paper ?? null, met: paper === undefined ? null : value <= paper,
    })
    row('data over memory', factor, { unit: '', paper: profile.factor })
    row('downtime, virtual', downtime, { unit: 'ms', paper: profile.downtime })
    report({ case: '  total, virtual', value: total / 1000, unit: 's', baseline: `${rounds} rounds`, ratio: null, target: null, met: null })
  }
}

/** The middle of several migrations of QEMU's, each figure by itself. */
async function medianQemu({ memory, hot, runs: count }: Pick<Case, 'memory' | 'hot' | 'runs'>): Promise<QemuFigures> {
  const runs: QemuFigures[] = []
  for (let i = 0; i < count; i += 1) runs.push(await migrateQemu(memory, hot))
  const middle = (of: (figures: QemuFigures) => number): number => median(runs.map(of))
  return {
    total: middle(({ total }) => total), downtime: middle(({ downtime }) => downtime),
    own: { total: middle(({ own }) => own.total), downtime: middle(({ own }) => own.downtime) },
  }
}

/** One size beside QEMU's, where that is there. */
async function reportCase(report: Report, { memory, hot, warm, runs: count, target }: Case): Promise<void> {
  const all: Figures[] = []
  while (all.length < warm + count) all.push(await migrate({ memory, hot }))
  const [first, early, runs] = [all[0]!, all.slice(EARLY.from, EARLY.to), all.slice(warm)]
  const theirs = existsSync('/usr/bin/qemu-system-x86_64') ? await medianQemu({ memory, hot, runs: count }) : undefined
  const plain = { baseline: '', ratio: null, target: null, met: null }
  for (const what of ['total', 'downtime'] as const) {
    const value = median(runs.map((figures) => figures[what]))
    const ratio = theirs === undefined ? null : value / theirs[what]
    report({
      case: `${memory} MB, ${hot} MiB hot: ${what}`, value, unit: 'ms', baseline: theirs === undefined ? 'absent: qemu-system-x86_64' : `QEMU TCG ${theirs[what].toFixed(1)} ms`,
      ratio, target: ratio === null ? null : target, met: ratio === null || target === null ? null : ratio <= target,
    })
    if (theirs !== undefined) report({ case: `  by QEMU's own count`, value: theirs.own[what], unit: 'ms', ...plain, ratio: value / theirs.own[what] })
    report({ case: `  the first of this size`, value: first[what], unit: 'ms', ...plain, ratio: theirs === undefined ? null : first[what] / theirs[what] })
    if (warm >= EARLY.to) {
      const begun = median(early.map((figures) => figures[what]))
      report({ case: `  the 4th to the 12th of the process`, value: begun, unit: 'ms', ...plain, ratio: theirs === undefined ? null : begun / theirs[what] })
    }
    report({ case: `${memory} MB, ${hot} MiB hot: ${what}, processor`, value: median(runs.map(({ work }) => work[what])), unit: 'ms', ...plain })
  }
  report({ case: `${memory} MB, ${hot} MiB hot: copied while it ran`, value: median(runs.map(({ megabytes }) => megabytes)), unit: 'MiB', ...plain, baseline: `${runs[0]!.rounds} rounds` })
}

/** What a pipe carries of the smallest, packed in several ways. */
async function reportPacked(report: Report): Promise<void> {
  for (const [name, options] of WAYS) {
    const runs: Figures[] = []
    for (let i = 0; i < 3; i += 1) runs.push(await migrate({ memory: 128, hot: 1 }, options))
    report({
      case: `128 MB, 1 MiB hot, ${name}`, value: median(runs.map(({ megabytes }) => megabytes)), unit: 'MiB carried', baseline: `${median(runs.map(({ total }) => total)).toFixed(0)} ms`, ratio: null, target: null, met: null,
    })
  }
}

/** Measures everything, or those parts that are named: `qemu`, `packed`, `paper`. */
export async function run(report: Report, parts: readonly string[] = []): Promise<void> {
  const isWanted = (part: string): boolean => parts.length === 0 || parts.includes(part)
  if (isWanted('qemu')) for (const each of CASES) await reportCase(report, each)
  if (isWanted('packed')) await reportPacked(report)
  if (isWanted('paper')) await reportPaper(report)
}
