/**
 * Saving and restoring a domain: MiB of its memory a second, into nothing, into memory and into a file, measured
 * against copying the same bytes (0.4 of that was aimed at, into nothing) and against writing the same bytes to a new
 * file on the same file system (0.7). What is compared runs in turns, because the page cache and whoever else uses the
 * machine change a file's speed several times over within seconds; the best of each counts.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Host, type Domain } from '../../src/index.ts'
import { fileSink } from '../../src/node/index.ts'
import type { Report } from './report.ts'

const MEBIBYTES = 128
/** The best of so many rounds counts: the first ones run code that is not compiled yet. */
const ROUNDS = 25
const TARGET = { memory: 0.4, file: 0.7 } as const

/** MiB a second of something that handles the domain's whole memory. */
async function rate(work: () => void | Promise<void>): Promise<number> {
  const begun = performance.now()
  await work()
  return MEBIBYTES / ((performance.now() - begun) / 1000)
}

/** From the moment the guest stands still to the end of the image. */
async function saveRate(domain: Domain, target: Parameters<Domain['save']>[0]): Promise<number> {
  const saving = domain.save(target, { afterwards: 'resume' })
  let begun = 0
  saving.progress.on('suspended', () => { begun = performance.now() })
  let ended = 0
  saving.progress.on('written', () => { ended = performance.now() })
  await saving
  await domain.console.waitFor('suspend was cancelled')
  return MEBIBYTES / ((ended - begun) / 1000)
}

/** The best of several measurements that are made in turns. */
async function inTurns<K extends string>(cases: Record<K, () => Promise<number>>): Promise<Record<K, number>> {
  // Object.keys forgets the names.
  const names = Object.keys(cases) as K[]
  const best = Object.fromEntries(names.map((name) => [name, 0])) as Record<K, number>
  for (let i = 0; i < ROUNDS; i += 1)
    for (const name of names) best[name] = Math.max(best[name], await cases[name]())
  return best
}

/** The domain's memory is not all zero, so that no layer below can cheat. */
async function start(host: Host): Promise<Domain> {
  const domain = await host.createDomain({ name: 'bench', memory: MEBIBYTES })
  await domain.console.waitFor('tick 3')
  await domain.console.write(`hot ${(MEBIBYTES - 4) * 1024}\r`)
  await domain.console.waitFor(/hot: \d+ pages/)
  await domain.console.write('hot 0\r')
  await domain.console.waitFor('0 pages wrong')
  return domain
}

interface Baseline {
  readonly name: string
  readonly value: number
  readonly target: number | null
}

function reportRate(report: Report, name: string, value: number, against: Baseline): void {
  const ratio = value / against.value
  report({
    case: name, value, unit: 'MiB/s', baseline: `${against.name} ${Math.round(against.value)} MiB/s`, ratio,
    target: against.target, met: against.target === null ? null : ratio >= against.target,
  })
}

async function measureSave(report: Report, domain: Domain, folder: string): Promise<Uint8Array[]> {
  const source = new Uint8Array(MEBIBYTES * 2 ** 20).fill(1)
  const copy = new Uint8Array(source.length)
  const path = join(folder, 'bench.xl')
  const chunks: Uint8Array[] = []
  const { memcpy, nothing, memory } = await inTurns({
    memcpy: () => rate(() => copy.set(source)),
    nothing: () => saveRate(domain, { keepsNothing: true, write: () => undefined }),
    memory: () => {
      chunks.length = 0
      return saveRate(domain, { write: (chunk: Uint8Array) => void chunks.push(chunk) })
    },
  })
  const { plain, saved } = await inTurns({
    plain: async () => {
      await rm(path, { force: true })
      return rate(() => writeFile(path, source))
    },
    saved: async () => {
      await rm(path, { force: true })
      return saveRate(domain, fileSink(path))
    },
  })
  reportRate(report, 'save into nothing', nothing, { name: 'memcpy', value: memcpy, target: TARGET.memory })
  reportRate(report, 'save into memory', memory, { name: 'memcpy', value: memcpy, target: null })
  reportRate(report, 'save into a file', saved, { name: 'writeFile', value: plain, target: TARGET.file })
  return chunks
}

async function measureRestore(report: Report, host: Host, chunks: readonly Uint8Array[]): Promise<void> {
  const source = new Uint8Array(MEBIBYTES * 2 ** 20).fill(1)
  const copy = new Uint8Array(source.length)
  const { memcpy, restored } = await inTurns({
    memcpy: () => rate(() => copy.set(source)),
    restored: async () => {
      let there: Domain | undefined
      const value = await rate(async () => { there = await host.restore(chunks, { paused: true }) })
      await there!.destroy()
      return value
    },
  })
  reportRate(report, 'restore from memory', restored, { name: 'memcpy', value: memcpy, target: null })
}

async function measure(report: Report, folder: string): Promise<void> {
  const host = await Host.boot({ memory: 2 * MEBIBYTES + 64, dom0Memory: 16 })
  const domain = await start(host)
  const chunks = await measureSave(report, domain, folder)
  await domain.destroy()
  await measureRestore(report, host, chunks)
  await host.shutdown()
}

/** Measures everything. */
export async function run(report: Report): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'paravirt-bench-'))
  try {
    await measure(report, folder)
  } finally {
    await rm(folder, { recursive: true })
  }
}
