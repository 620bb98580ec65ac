/**
 * `npm run explore:planted -- [--runs N] [--seed S] [--seeds N] [--vcpus N] [--strategy NAME] [NAME ...]`: explores the planted programs, right and wrong, as long as is
 * wished. With `--seeds` from so many seeds: of each program in which run it was found, from each of them.
 */
import { parseArgs } from 'node:util'
import { explore, type StrategyName } from '../../src/testing/index.ts'
import type { Host, Moment } from '../../src/toolstack/index.ts'
import { planted, PLANTED, plantedLinux } from '../support/explore/planted.ts'

interface Sweep {
  readonly from: Moment<Host>
  readonly runs: number
  readonly seed: number
  readonly strategy: StrategyName | undefined
}

/** Explores one program and tells what came of it; true where it is as it has to be. */
async function tell(name: string, { from, ...options }: Sweep): Promise<boolean> {
  const begun = performance.now()
  const found = await explore(planted(name, from), options)
  console.log(`${found.text()}\n  ${((performance.now() - begun) / 1000).toFixed(1)} s`)
  return found.passed === name.endsWith('-fixed')
}

/** The same from many seeds, a line a program. */
async function sweep(name: string, { from, seed, seeds, ...options }: Sweep & { readonly seeds: number }): Promise<boolean> {
  const [at, seconds]: [number[], number[]] = [[], []]
  const strategies: Record<string, number> = {}
  for (let each = seed; each < seed + seeds; each += 1) {
    const begun = performance.now()
    const { failure } = await explore(planted(name, from), { ...options, seed: each, narrow: false })
    at.push(failure?.plan.index ?? Infinity)
    seconds.push((performance.now() - begun) / 1000)
    if (failure !== undefined) strategies[failure.plan.strategy] = (strategies[failure.plan.strategy] ?? 0) + 1
  }
  const found = at.filter(Number.isFinite).length
  const longest = Math.max(...seconds).toFixed(1)
  console.log(`${name}: found from ${found} of ${seeds} seeds; runs ${at.join(' ')}; by ${JSON.stringify(strategies)}; ${longest} s at most`)
  return name.endsWith('-fixed') ? found === 0 : found === seeds
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: '1000' }, seed: { type: 'string', default: '1' }, vcpus: { type: 'string', default: '2' }, strategy: { type: 'string' }, seeds: { type: 'string' },
  },
})
const settings: Sweep = {
  from: await plantedLinux(Number(values.vcpus)), runs: Number(values.runs), seed: Number(values.seed),
  // explore says which there are where this is none.
  strategy: values.strategy as StrategyName | undefined,
}
let wrong = 0
for (const name of positionals.length > 0 ? positionals : PLANTED.flatMap((one) => [one, `${one}-fixed`])) {
  const isRight = values.seeds === undefined ? await tell(name, settings) : await sweep(name, { ...settings, seeds: Number(values.seeds) })
  if (!isRight) wrong += 1
}
process.exitCode = wrong === 0 ? 0 : 1
