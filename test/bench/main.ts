/**
 * `npm run bench` lists the benchmarks, `npm run bench -- NAME [PART ...]` runs one, or those parts of it that are named, and prints a table,
 * `--json` prints one object a line instead. Each benchmark is a file of this folder that exports `run`; it is built
 * first, with what it measures, as the published package is built.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { bundle } from '../support/bundle.ts'

const own = new Set(['main.ts', 'report.ts'])
const names = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts') && !own.has(file))
  .map((file) => file.slice(0, -3))
  .sort()

const json = process.argv.includes('--json')
const [name, ...parts] = process.argv.slice(2).filter((word) => !word.startsWith('--'))

/** The program that runs one benchmark and prints its rows. */
const program = (benchmark: string): string => `
  import { run } from './${benchmark}.ts'
  import { formatRow } from './report.ts'
  await run((row) => console.log(${json ? `JSON.stringify({ bench: '${benchmark}', ...row })` : 'formatRow(row)'}), ${JSON.stringify(parts)})
`

/** Builds and runs a benchmark; its exit status. */
async function measure(benchmark: string): Promise<number> {
  const { path, remove } = await bundle(program(benchmark), 'test/bench')
  try {
    const child = spawn(process.execPath, [path], { stdio: 'inherit' })
    const [status] = (await once(child, 'exit')) as [number | null]
    return status ?? 1
  } finally {
    remove()
  }
}

if (name === undefined) {
  console.log(`Benchmarks: ${names.join(', ')}\nRun one with: npm run bench -- NAME [PART ...] [--json]`)
} else if (!names.includes(name)) {
  console.error(`No benchmark '${name}'. There are: ${names.join(', ')}`)
  process.exitCode = 2
} else {
  process.exitCode = await measure(name)
}
