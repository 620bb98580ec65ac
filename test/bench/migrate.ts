/**
 * Live migration of a domain with 128 MB of memory, of which 1 MiB or 32 MiB are written all the time, from one host to
 * another in this process. Total: from the call to the new domain's first instruction; downtime: from the old one's
 * last instruction to the new one's first. Wall time, and processor time of this process, which other work on the
 * machine lengthens less. Beside it QEMU (TCG) where it is installed: a machine of the same size that writes as much in
 * a loop, migrated over a local socket, with the figures that it gives itself.
 */
import { existsSync } from 'node:fs'
import { Host, type Domain } from '../../src/index.ts'
import { transportPair } from '../../src/toolstack/index.ts'
import type { Report } from './report.ts'
import { migratePaper, PAPER_PROFILES } from './support/paper-profiles.ts'
import { migrateQemu } from './support/qemu-migration.ts'

const MEGABYTES = 128
const HOT = [1, 32] as const
/** Migrations of which the middle one counts, after one to warm up. */
const RUNS = 5

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

async function startHot(host: Host, mebibytes: number): Promise<Domain> {
  const domain = await host.createDomain({ name: 'hot', memory: MEGABYTES })
  await domain.console.waitFor('tick 3')
  await domain.console.write(`hot ${mebibytes * 1024}\r`)
  await domain.console.waitFor(`hot: ${mebibytes * 256} pages`)
  return domain
}

/** One migration; the guest then proves that every page has come over. */
async function migrate(mebibytes: number): Promise<Figures> {
  const options = { memory: 192, dom0Memory: 16 }
  const [first, second] = [await Host.boot(options), await Host.boot(options)]
  const domain = await startHot(first, mebibytes)
  const { ends } = transportPair()
  const begun = now()
  let stopped = begun
  let running = begun
  const receiving = second.receiveMigration(ends[1])
  receiving.progress.on('permission-given', () => { running = now() })
  const sending = domain.migrate(ends[0])
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
    megabytes: summary.bytes / 2 ** 20,
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

/** Measures everything. */
export async function run(report: Report): Promise<void> {
  const hasQemu = existsSync('/usr/bin/qemu-system-x86_64')
  for (const mebibytes of HOT) {
    const runs: Figures[] = []
    await migrate(mebibytes)
    for (let i = 0; i < RUNS; i += 1) runs.push(await migrate(mebibytes))
    const theirs = hasQemu ? await migrateQemu(MEGABYTES, mebibytes) : undefined
    const row = (what: 'total' | 'downtime'): void => {
      const value = median(runs.map((figures) => figures[what]))
      const baseline = theirs === undefined ? 'absent: qemu-system-x86_64' : `QEMU TCG ${theirs[what].toFixed(1)} ms`
      report({
        case: `${MEGABYTES} MB, ${mebibytes} MiB hot: ${what}`, value, unit: 'ms', baseline,
        ratio: theirs === undefined ? null : value / theirs[what], target: null, met: null,
      })
      report({
        case: `${MEGABYTES} MB, ${mebibytes} MiB hot: ${what}, processor`,
        value: median(runs.map(({ work }) => work[what])),
        unit: 'ms', baseline: '', ratio: null, target: null, met: null,
      })
    }
    row('total')
    row('downtime')
    report({
      case: `${MEGABYTES} MB, ${mebibytes} MiB hot: copied while it ran`,
      value: median(runs.map(({ megabytes }) => megabytes)),
      unit: 'MiB',
      baseline: `${runs[0]!.rounds} rounds`,
      ratio: null,
      target: null,
      met: null,
    })
  }
  await reportPaper(report)
}
