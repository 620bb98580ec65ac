/**
 * `npm run bench` lists the benchmarks, `npm run bench -- NAME` runs one and prints a table,
 * `--json` prints one object a line instead. Each benchmark is a file of this folder that exports `run`.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type BenchModule, formatRow } from './report.ts'

const own = new Set(['main.ts', 'report.ts'])
const names = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts') && !own.has(file))
  .map((file) => file.slice(0, -3))
  .sort()

const json = process.argv.includes('--json')
const name = process.argv.slice(2).find((word) => !word.startsWith('--'))

if (name === undefined) {
  console.log(`Benchmarks: ${names.join(', ')}\nRun one with: npm run bench -- NAME [--json]`)
} else if (!names.includes(name)) {
  console.error(`No benchmark '${name}'. There are: ${names.join(', ')}`)
  process.exitCode = 2
} else {
  const bench = (await import(pathToFileURL(join(import.meta.dirname, `${name}.ts`)).href)) as BenchModule
  await bench.run((row) => console.log(json ? JSON.stringify({ bench: name, ...row }) : formatRow(row)))
}
