/**
 * `npm run oracle -- --cases N --seed S [--only NAME] [--code 64|32]`: compares our processor with the one underneath, prints the
 * table and ends with 1 when anything differs. `--record` writes the vectors that are replayed where no native
 * processor is. `--regions` makes compiled code of cases, every form alone and between two others, and counts those again first
 * that came to no end in it: at least as many cases as are asked for.
 */
import { parseArgs } from 'node:util'
import { Comparison, type Mismatch, type Summary } from './comparison.ts'
import { isaLines } from './isa-lines.ts'
import { nativeExecutor, whyNoShortCode } from './native.ts'
import { replayVectors } from './replay.ts'
import { VECTOR_SEED, type Vector, writeVectors } from './vectors.ts'

const BATCH = 4000

const hex = (value: number): string => value.toString(16)

/** Initial state of a case in one line. */
function stateText({ one }: Mismatch): string {
  const general = Array.from({ length: 16 }, (_, i) => `${hex(one.general[i * 2 + 1]!)}_${hex(one.general[i * 2]!)}`)
  const image = Array.from(one.fx, (byte) => byte.toString(16).padStart(2, '0'))
  const number = (at: number, count: number): string => image.slice(at, at + count).reverse().join('')
  return `${one.selectors.map(hex).join(' ')} | ${general.join(' ')} flags ${hex(one.flags)} rip ${hex(one.rip)} fcw ${number(0, 2)} fsw ${number(2, 2)} ` +
    `ftw ${number(4, 1)} mxcsr ${number(24, 4)} st0 ${number(32, 10)} st1 ${number(48, 10)}`
}

/** Without a native processor, or after recording: our processor against the recorded vectors. */
function replay(reason: string): number {
  const { vectors, mismatches } = replayVectors()
  for (const line of mismatches) console.log(line)
  console.log(`recorded vectors (${reason})   ${vectors}\nmismatches   ${mismatches.length}`)
  return mismatches.length === 0 ? 0 : 1
}

function main(): number {
  const { values } = parseArgs({
    options: {
      cases: { type: 'string', default: '200000' }, seed: { type: 'string', default: '1' },
      only: { type: 'string', default: '' }, show: { type: 'string', default: '40' },
      record: { type: 'boolean', default: false }, noise: { type: 'string', default: '100000' },
      code: { type: 'string', default: '' }, regions: { type: 'boolean', default: false },
    },
  })
  const program = nativeExecutor()
  if (program.path === undefined) return replay(program.reason)
  if (values.record) {
    const record = (code: 64 | 32): Vector[] => new Comparison(program.path, VECTOR_SEED, { code }).record()
    writeVectors([...record(64), ...record(32)])
    return replay('just recorded')
  }
  const only = new RegExp(values.only)
  if (values.regions) return throughRegions(new Comparison(program.path, Number(values.seed), { only: ({ text }) => only.test(text) }), values)
  const noShort = whyNoShortCode(program.path)
  if (noShort !== undefined) console.log(`32-bit code is not compared: ${noShort}`)
  const wanted = values.code === '' ? [64, 32] as const : [values.code === '32' ? 32 : 64] as const
  const codes = wanted.filter((code) => code === 64 || noShort === undefined)
  const summaries = codes.map((code) => {
    const comparison = new Comparison(program.path, Number(values.seed), { code, only: ({ text }) => only.test(text) })
    const share = codes.length === 1 ? 1 : SHARE[code]
    compare(comparison, { cases: Number(values.cases) * share, noise: Number(values.noise) * share })
    showMismatches(comparison.summary, Number(values.show))
    return comparison.summary
  })
  printTable(codes.map((code) => `${code}-bit code`), summaries)
  return summaries.every(({ mismatches }) => mismatches === 0) ? 0 : 1
}

/** Regions are made of 64-bit code only. */
function throughRegions(comparison: Comparison, values: { readonly cases: string; readonly show: string }): number {
  const { summary } = comparison
  for (let turn = 0; summary.cases < Number(values.cases) || turn < ROUNDS; turn += 1) {
    // All of them at first, then those that are left, and all of them anew.
    const isWhole = turn % ROUNDS === 0
    comparison.regionsAlone(isWhole ? undefined : comparison.left('alone'))
    comparison.regionsBetween(isWhole ? undefined : comparison.left('between'))
  }
  showMismatches(summary, Number(values.show))
  printTable(['64-bit code'], [summary])
  printRegions(comparison)
  return summary.mismatches === 0 ? 0 : 1
}

function printRegions(comparison: Comparison): void {
  const { regions } = comparison.summary
  const line = (name: string, value: number): void => console.log(name.padEnd(36) + String(value).padStart(14))
  for (const [carried, count] of regions.carried) line(`cases: ${carried}`, count)
  line('cases as natively, compiled', regions.native)
  line('forms compiled, alone', regions.alone.size)
  line('forms compiled, between others', regions.between.size)
  line('forms that no region carries out', regions.refused.size)
  line('forms left to be seen, alone', comparison.left('alone').length)
  line('forms left, between others', comparison.left('between').length)
}

/** Turns of cases that came to no end. */
const ROUNDS = 8

/** How cases are shared out between 64-bit code and the rest. */
const SHARE = { 64: 0.6, 32: 0.4 } as const

function compare(comparison: Comparison, wanted: { cases: number; noise: number }): void {
  for (let done = 0; done < wanted.cases; done += BATCH) {
    const count = Math.min(BATCH, wanted.cases - done)
    const turn = (done / BATCH) % 5
    if (turn === 3) comparison.sequences(count)
    else if (turn === 4) comparison.branches(count)
    else comparison.singles(count, done)
  }
  for (let done = 0; done < wanted.noise; done += BATCH) comparison.noise(Math.min(BATCH, wanted.noise - done))
}

function showMismatches(summary: Summary, most: number): void {
  for (const [form, count] of [...summary.byForm].sort((a, b) => b[1] - a[1]).slice(0, most)) {
    const sample = summary.samples.find((one) => one.form === form)!
    const lines = [`${count} x ${form}`, sample.bytes, sample.text, ...sample.found, `with ${stateText(sample)}`]
    console.log(lines.join('\n    '))
  }
}

function printTable(heads: readonly string[], summaries: readonly Summary[]): void {
  const line = (name: string, values: readonly (string | number)[]): void =>
    console.log(name.padEnd(36) + values.map((value) => String(value).padStart(14)).join(''))
  const row = (name: string, value: (summary: Summary) => number): void => line(name, summaries.map(value))
  line('', heads)
  row('opcode forms known to the decoder', ({ known }) => known)
  row('forms compared', ({ comparable }) => comparable)
  row('forms exercised', ({ exercised }) => exercised)
  row('cases', ({ cases }) => cases)
  row('cases of random bytes', ({ noise }) => noise)
  row('of them not offered', ({ notOffered }) => notOffered)
  row('forms with mismatches', ({ byForm }) => byForm.size)
  row('mismatches', ({ mismatches }) => mismatches)
  console.log(`lines that describe the ISA         ${isaLines()}`)
  line('seconds', [(performance.now() / 1000).toFixed(1)])
}

process.exitCode = main()
