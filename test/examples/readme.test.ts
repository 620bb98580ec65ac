/** What the README says, held against the code: its example runs as written, its tables name what there is. */
import { execFile } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'
import { bundle } from '../support/bundle.ts'
import { README as readme, readmeProgram, runTest } from '../support/readme-examples.ts'
import { statusTable, withStatusTable } from '../support/status-table.ts'

const ROOT = resolve(import.meta.dirname, '../..')

/** Runs a program of TypeScript, with the package's sources in place of the package. */
async function run(program: string): Promise<{ status: number; out: string; err: string }> {
  const { path, remove } = await bundle(program.replaceAll("from 'paravirt'", "from './index.ts'").replaceAll("from 'paravirt/testing'", "from './testing/index.ts'"), 'src')
  return new Promise((done) => {
    execFile(process.execPath, [path], { cwd: ROOT, timeout: 90_000 }, (error, out, err) => {
      remove()
      done({ status: error === null ? 0 : Number(error.code ?? -1), out, err })
    })
  })
}

describe('the README', () => {
  test('has an example that runs as written', { timeout: 100_000 }, async () => {
    const example = /```ts\n(.*?)```/s.exec(readme)?.[1] ?? ''
    expect(example).toContain("from 'paravirt'")
    const { status, out, err } = await run(example)
    const lines = out.replaceAll('\r', '').split('\n')
    expect(err).toBe('')
    expect(lines).toContain('mini> echo Xen in TypeScript')
    expect(lines).toContain('Xen in TypeScript')
    expect(lines).toContain('domain 1: poweroff')
    const table = lines.filter((line) => /^(Domain-0|hello) /.test(line)).map((line) => line.split(/\s+/).slice(0, 5))
    // The target is reached while the guest, and dom0 that hears of it, are at work.
    expect(table).toEqual([['Domain-0', '0', '64', '1', 'r-----'], ['hello', '1', '16', '1', '------']])
    expect(status).toBe(0)
  })

  test('has a test that finds a race, as written', { timeout: 100_000 }, async () => {
    const example = /```ts\n(import \{ explore \}.*?)```/s.exec(readme)?.[1] ?? ''
    const { status, out, err } = await run(example)
    expect([status, err]).toEqual([0, ''])
    const lines = out.trimEnd().split('\n')
    expect(lines.slice(0, 2)).toEqual(['FAILED: race, run 9 (random) from seed 1', '  always: every count is kept'])
    // Numbers may come to be others; what is said of them is not.
    const words = (text: readonly string[]): string[] => text.map((line) => line.replace(/[\d.]+/g, 'N').replace(/differ .*/, 'differ').trim())
    const shown = readme.split('\n').filter((line) => line.startsWith('    ')).map((line) => line.trim())
    for (const line of words(lines)) expect(words(shown)).toContain(line)
  })

  test('has a test of twenty lines that runs as written', { timeout: 120_000 }, async () => {
    const example = readmeProgram("from 'paravirt/testing/vitest'")
    expect(example.trim().split('\n').length).toBeLessThanOrEqual(24)
    expect(await runTest(example)).toMatch(/Tests .*1 passed/)
  })

  test('has the table of what a host offers as the library has it', async () => {
    const table = await statusTable()
    expect(withStatusTable(readme, table)).toBe(readme)
    expect(withStatusTable(readme, table.replace(/\d+ hypercalls/, '0 hypercalls'))).not.toBe(readme)
  })

  test('names every subpath of the package', () => {
    const { exports } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { exports: object }
    for (const name of Object.keys(exports)) {
      if (name !== './package.json') expect(readme).toContain(`\`paravirt${name.slice(1)}\``)
    }
  })

  test('names every example', () => {
    for (const folder of ['examples', 'examples/xen', 'examples/boot', 'examples/guests']) {
      for (const entry of readdirSync(join(ROOT, folder), { withFileTypes: true })) {
        const isGroup = folder === 'examples' && entry.isDirectory()
        if (!isGroup) expect(readme).toContain(`\`${folder}/${entry.name}\``)
      }
    }
  })

  test('has examples that import the package by its name, as its users do', () => {
    const files = readdirSync(join(ROOT, 'examples'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))
    expect(files.length).toBeGreaterThan(8)
    expect(files.filter((name) => /from '[^']*src\//.test(readFileSync(join(ROOT, 'examples', name), 'utf8')))).toEqual([])
  })

  test('names only commands that exist', () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: object }
    for (const [, name] of readme.matchAll(/npm run ([a-z]+)/g)) expect(Object.keys(scripts)).toContain(name)
  })
})
