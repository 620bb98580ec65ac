/**
 * Recorded vectors: one case of each form with what a processor made of it, for machines without gcc or an x86-64
 * processor. A case is kept as its recipe, an outcome as what differs from the initial state. One JSON array a line,
 * compressed.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gunzipSync, gzipSync } from 'node:zlib'
import type { Leniency } from './compare.ts'
import { caseOf, type Recipe } from './encode.ts'
import { LONG_SELECTORS, modeOf } from './segments.ts'
import { FX_BYTES, type OracleCase, type Outcome } from './wire.ts'

/** What is kept of one form. */
export interface Vector {
  readonly form: string
  readonly recipe: Recipe
  readonly outcome: Outcome
  readonly leniency: Leniency
}

/** Seed of the data regions' contents in all vectors. */
export const VECTOR_SEED = 1

const FILE = fileURLToPath(new URL('../golden/oracle-vectors.jsonl.gz', import.meta.url))

const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const fromHex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'))

type Line = readonly [
  form: string, seed: number, rip: number, code: string, steps: number,
  general: readonly (readonly [number, number, number])[], patches: readonly (readonly [number, string])[],
  leniency: Leniency, end: readonly number[], state: readonly (readonly [number, number])[],
  fx: readonly (readonly [number, string])[], changes: readonly (readonly [number, number, number])[],
  selectors?: readonly number[], upper?: readonly (readonly [number, string])[],
]

/** Words of an outcome besides memory and the floating-point image, in a fixed order. */
function stateWords(o: Pick<Outcome, 'general' | 'rip' | 'flags' | 'fsBase' | 'gsBase' | 'selectors'>): number[] {
  return [...o.general, ...o.rip, o.flags, ...o.fsBase, ...o.gsBase, ...o.selectors]
}

/** The initial state seen as an outcome, so that differences can be told. */
const initialWords = (one: OracleCase): number[] =>
  stateWords({
    general: one.general, rip: [one.rip, 0], flags: one.flags, fsBase: [one.fsBase, 0], gsBase: [one.gsBase, 0],
    selectors: one.selectors,
  })

function differingRuns(before: Uint8Array, after: Uint8Array): [number, string][] {
  const runs: [number, string][] = []
  for (let at = 0; at < Math.min(before.length, FX_BYTES); at += 4) {
    if (toHex(before.subarray(at, at + 4)) === toHex(after.subarray(at, at + 4))) continue
    const last = runs[runs.length - 1]
    if (last !== undefined && last[0] + last[1].length / 2 === at) last[1] += toHex(after.subarray(at, at + 4))
    else runs.push([at, toHex(after.subarray(at, at + 4))])
  }
  return runs
}

const withRuns = (before: Uint8Array, runs: readonly (readonly [number, string])[]): Uint8Array => {
  const bytes = before.slice()
  for (const [at, run] of runs) bytes.set(fromHex(run), at)
  return bytes
}

function toLine({ form, recipe, outcome, leniency }: Vector): Line {
  const one = caseOf(recipe)
  const before = initialWords(one)
  const { code, selectors } = recipe.mode
  const upper = differingRuns(one.upper, outcome.upper)
  const state = stateWords(outcome).flatMap((word, index) => (word === before[index] ? [] : [[index, word] as const]))
  return [
    form, recipe.stateSeed, recipe.rip, toHex(recipe.code), recipe.steps, recipe.general,
    recipe.patches.map(({ address, bytes }) => [address, toHex(bytes)] as const), leniency,
    [outcome.end, outcome.error, ...outcome.cr2, outcome.steps], state, differingRuns(one.fx, outcome.fx),
    outcome.changes.map(({ address, low, high }) => [address, low, high] as const),
    ...(code === 64 && upper.length === 0 ? [] as const : upper.length === 0 ? [selectors] as const : [selectors, upper] as const),
  ]
}

function fromLine(line: Line): Vector {
  const [form, stateSeed, rip, code, steps, general, patches, leniency, end, state, fxRuns, changes, selectors, upperRuns] = line
  const recipe: Recipe = {
    stateSeed, rip, code: fromHex(code), steps, general, mode: modeOf(selectors ?? LONG_SELECTORS),
    patches: patches.map(([address, bytes]) => ({ address, bytes: fromHex(bytes) })),
  }
  const one = caseOf(recipe)
  const words = initialWords(one)
  for (const [index, word] of state) words[index] = word
  const fx = withRuns(one.fx.subarray(0, FX_BYTES), fxRuns)
  const pair = (at: number): [number, number] => [words[at]!, words[at + 1]!]
  const outcome: Outcome = {
    end: end[0]!, error: end[1]!, cr2: [end[2]!, end[3]!], steps: end[4]!,
    general: Uint32Array.from(words.slice(0, 32)), rip: pair(32), flags: words[34]!,
    fsBase: pair(35), gsBase: pair(37), selectors: words.slice(39), fx,
    changes: changes.map(([address, low, high]) => ({ address, low, high })), faults: 0,
    upper: withRuns(one.upper, upperRuns ?? []),
  }
  return { form, recipe, outcome, leniency }
}

/** Writes the file. */
export function writeVectors(vectors: readonly Vector[]): void {
  writeFileSync(FILE, gzipSync(vectors.map((vector) => JSON.stringify(toLine(vector))).join('\n'), { level: 9 }))
}

/** Reads the file. */
export function readVectors(): Vector[] {
  const text = gunzipSync(readFileSync(FILE)).toString()
  return text.split('\n').map((line) => fromLine(JSON.parse(line) as Line))
}
