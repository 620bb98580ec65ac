/**
 * Saving and restoring a domain: MiB of its memory a second, into nothing, into memory and into a file, measured
 * against copying the same bytes (0.4 of that was aimed at, into nothing) and against writing the same bytes to the
 * same file system (0.7).
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Host, type Domain } from '../../src/index.ts'
import { fileSink } from '../../src/node/index.ts'
import type { Report } from './report.ts'

const MEBIBYTES = 128
/** The best of so many counts: the first ones run code that is not compiled yet. */
const ROUNDS = 15
const TARGET = { memory: 0.4, file: 0.7 } as const

const best = (rates: readonly number[]): number => Math.max(...rates)

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

async function repeat(once: () => Promise<number>): Promise<number> {
  const rates: number[] = []
  for (let i = 0; i < ROUNDS; i += 1) rates.push(await once())
  return best(rates)
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

async function measure(report: Report, folder: string): Promise<void> {
  const host = await Host.boot({ memory: 2 * MEBIBYTES + 64, dom0Memory: 16 })
  const domain = await start(host)
  const source = new Uint8Array(MEBIBYTES * 2 ** 20).fill(1)
  const copy = new Uint8Array(source.length)
  const memcpy = await repeat(() => rate(() => copy.set(source)))
  const row = (
    name: string,
    value: number,
    against: { readonly name: string; readonly value: number; readonly target: number | null },
  ): void => {
    const ratio = value / against.value
    report({
      case: name, value, unit: 'MiB/s', baseline: `${against.name} ${Math.round(against.value)} MiB/s`, ratio,
      target: against.target, met: against.target === null ? null : ratio >= against.target,
    })
  }
  row('save into nothing', await repeat(() => saveRate(domain, { keepsNothing: true, write: () => undefined })), {
    name: 'memcpy',
    value: memcpy,
    target: TARGET.memory,
  })
  const chunks: Uint8Array[] = []
  row('save into memory', await repeat(() => {
    chunks.length = 0
    return saveRate(domain, { write: (chunk: Uint8Array) => void chunks.push(chunk) })
  }), { name: 'memcpy', value: memcpy, target: null })
  const path = join(folder, 'bench.xl')
  const file = await repeat(() => rate(() => writeFile(path, source)))
  row('save into a file', await repeat(() => saveRate(domain, fileSink(path))), {
    name: 'writeFile',
    value: file,
    target: TARGET.file,
  })
  await domain.destroy()
  const restored = await repeat(async () => {
    let there: Domain | undefined
    const value = await rate(async () => { there = await host.restore(chunks, { paused: true }) })
    await there!.destroy()
    return value
  })
  row('restore from memory', restored, { name: 'memcpy', value: memcpy, target: null })
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
