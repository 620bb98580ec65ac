/** `paravirt explore`: explores the tests of a module on all processors. */
import { mkdir, writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { explore, STRATEGY_NAMES, type Exploration, type ExploreOptions, type StrategyName } from '../../testing/index.ts'
import { XenError } from '../../util/index.ts'
import { exploreWorkers } from '../explore-workers.ts'
import { textOf, type Command, type OptionValues, type Terminal } from './command.ts'
import { annotation, junit, type TimedExploration } from './reports.ts'
import { importFirst, scenariosOf, type FoundScenario } from './scenarios.ts'

function count(values: OptionValues, name: string): number | undefined {
  const text = textOf(values, name)
  if (text === undefined) return undefined
  if (!/^\d{1,15}$/.test(text)) throw new XenError('INVALID_ARGUMENT', `--${name} must be a whole number, got ${text}`)
  return Number(text)
}

function settings(values: OptionValues): ExploreOptions {
  const [budget, runs, seed] = [textOf(values, 'budget'), count(values, 'runs'), count(values, 'seed')]
  return {
    ...(budget === undefined ? {} : { budget }), ...(runs === undefined ? {} : { runs }), ...(seed === undefined ? {} : { seed }),
    // explore says which there are where this is none.
    ...(values['strategy'] === undefined ? {} : { strategy: textOf(values, 'strategy') as StrategyName }),
    ...(values['no-narrow'] === true ? { narrow: false } : {}),
  }
}

/** A file's name out of a test's. */
const fileName = (name: string): string => `${name.replace(/[^\w.-]+/g, '-')}.pvr`

async function exploreOne(
  { exported, scenario, url }: FoundScenario, { file, values, preload }: { readonly file: string; readonly values: OptionValues; readonly preload: readonly string[] },
): Promise<TimedExploration> {
  const name = scenario.name ?? (exported === 'default' ? 'test' : exported)
  const threads = count(values, 'threads') ?? availableParallelism()
  const workers = exploreWorkers(url, { exported, count: threads, preload })
  const begun = performance.now()
  const found = await explore(scenario, { ...settings(values), name, workers })
  return { found, seconds: (performance.now() - begun) / 1000, text: found.text(await written(found, { file, values, exported })) }
}

/** Writes the replay file of a failure; what replays it, behind the command's name. */
async function written(found: Exploration, { file, values, exported }: { readonly file: string; readonly values: OptionValues; readonly exported: string }): Promise<string> {
  const folder = textOf(values, 'out') ?? '.'
  const path = join(folder, fileName(found.name))
  const { replay } = found.failure ?? {}
  if (replay === undefined) return path
  await mkdir(folder, { recursive: true })
  await writeFile(path, replay.encode())
  return `${path} --test ${file}${exported === 'default' ? '' : ` --only ${exported}`}`
}

async function run({ args, values }: { readonly args: readonly string[]; readonly values: OptionValues }, terminal: Terminal): Promise<number> {
  const file = args[0]!
  const preload = await importFirst((values['import'] ?? []) as readonly string[])
  const all: TimedExploration[] = []
  for (const one of await scenariosOf(file, textOf(values, 'only'))) {
    const done = await exploreOne(one, { file, values, preload })
    all.push(done)
    if (values['json'] === true) terminal.out(JSON.stringify({ ...done.found.toJSON(), seconds: done.seconds }))
    else terminal.out(done.text)
    if (!done.found.passed && process.env['GITHUB_ACTIONS'] === 'true') terminal.out(annotation(file, done))
  }
  const report = textOf(values, 'junit')
  if (report !== undefined) await writeFile(report, junit(file, all))
  return all.every(({ found }) => found.passed) ? 0 : 1
}

/** The command. */
export const exploreCommand: Command = {
  name: 'explore', usage: 'TEST [OPTION ...]', summary: 'runs the tests of a module under many schedules, until one fails', takes: [1, 1], run,
  help: [
    'TEST is a module that exports tests made by scenario({ name, from, body }) of paravirt/testing. Each is run plainly',
    'once, and then with vCPUs preempted and timers late as drawn from the seed. The same seed finds the same, however many',
    'threads there are. A failure is narrowed to the preemption that decides, told, and written as a replay file.',
    'Status 0: nothing was found; 1: a test has failed; 2: it was not called rightly.',
  ],
  options: {
    budget: { type: 'string', value: 'TIME', help: "how long, such as 60s; else --runs" },
    runs: { type: 'string', value: 'N', help: 'schedules at most (64)' },
    seed: { type: 'string', value: 'N', help: 'what all is drawn from (1)' },
    strategy: { type: 'string', value: STRATEGY_NAMES.join('|'), help: 'one of them instead of all in turn' },
    threads: { type: 'string', value: 'N', help: 'how many (as there are processors)' },
    only: { type: 'string', value: 'NAME', help: 'the one test of this name' },
    import: { type: 'string', value: 'MODULE', help: 'imported before the test, in each thread', multiple: true },
    out: { type: 'string', value: 'FOLDER', help: 'where replay files go (.)' },
    'no-narrow': { type: 'boolean', help: 'leaves failures as they were found' },
    json: { type: 'boolean', help: 'one line of JSON for each test' },
    junit: { type: 'string', value: 'FILE', help: "a report in JUnit's XML" },
  },
}
