import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, test } from 'vitest'
import { bundle } from '../../support/bundle.ts'

const BENCHMARKS = resolve(import.meta.dirname, '../../bench')
const benchmarks = readdirSync(BENCHMARKS).filter((name) => name.endsWith('.ts') && name !== 'main.ts' && name !== 'report.ts')

test('every benchmark can be built as the package is, and found from there again', { timeout: 60_000 }, async () => {
  const imports = benchmarks.map((name, index) => `import { run as run${index} } from './${name}'`)
  const calls = benchmarks.map((_, index) => `typeof run${index}`)
  const { path, remove } = await bundle(`
    ${imports.join('\n')}
    console.log(JSON.stringify([${calls.join()}]))
  `, 'test/bench')
  expect(path.startsWith(join(BENCHMARKS, '../../node_modules'))).toBe(true)
  expect(JSON.parse(execFileSync(process.execPath, [path], { encoding: 'utf8' }))).toEqual(benchmarks.map(() => 'function'))
  remove()
  expect(existsSync(path)).toBe(false)
})

test('a file that is bundled still knows where it was', async () => {
  const { path, remove } = await bundle(`
    import { GUESTS_FOLDER } from '../support/guests.ts'
    console.log(GUESTS_FOLDER)
  `, 'test/bench')
  expect(execFileSync(process.execPath, [path], { encoding: 'utf8' }).trim()).toBe(resolve(BENCHMARKS, '../../.guests'))
  remove()
})

test('what cannot be built is an error', async () => {
  await expect(bundle("import './no-such-benchmark.ts'", 'test/bench')).rejects.toThrow(/no-such-benchmark/)
})
