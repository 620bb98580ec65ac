/** What is said of tests that were skipped. */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { expect, test } from 'vitest'
import { skippedLines } from '../../support/skipped.ts'

test('each reason is told once, with the files, and what tells none is told of', () => {
  const of = (file: string, name: string): { readonly file: string; readonly name: string } => ({ file, name })
  expect(skippedLines([
    of('a.test.ts', 'Linux SKIPPED: no guest (npm run guests -- linux) > boots'), of('a.test.ts', 'Linux SKIPPED: no guest (npm run guests -- linux) > ends'),
    of('b.test.ts', 'is read by Linux SKIPPED: no guest (npm run guests -- linux)'), of('c.test.ts', 'the recorded names are these (SKIPPED: no gcc)'), of('d.test.ts', 'does it'),
    of('e.test.ts', 'gdb, SKIPPED:  (SKIPPED: no gcc)'), of('f.test.ts', 'rings: SKIPPED, no gcc'),
  ])).toEqual([
    '  3 skipped: no guest (npm run guests -- linux) (2 of a.test.ts, b.test.ts)', '  3 skipped: no gcc (c.test.ts, e.test.ts, f.test.ts)', '  1 skipped: it is not told why (d.test.ts)',
  ])
})

test('vitest says it at the end of a run, which fails where one does not say why', { timeout: 60_000 }, () => {
  const root = resolve(import.meta.dirname, '../../..')
  mkdirSync(join(root, '.types'), { recursive: true })
  const folder = mkdtempSync(join(root, '.types', 'skipped-'))
  try {
    const file = (skipped: string): void =>
      writeFileSync(join(folder, 'some.test.ts'), `import { test } from 'vitest'\ntest('runs', () => undefined)\ntest.skip('${skipped}', () => undefined)\n`)
    const words = [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--root', folder, '--reporter=default', `--reporter=${join(root, 'test/support/skipped-reporter.ts')}`]
    const run = () => spawnSync(process.execPath, words, { encoding: 'utf8', cwd: folder })
    file('draws SKIPPED: no pencil')
    expect(run()).toMatchObject({ status: 0, stdout: expect.stringContaining('  1 skipped: no pencil (some.test.ts)') })
    file('draws')
    expect(run()).toMatchObject({ status: 1, stdout: expect.stringContaining('  1 skipped: it is not told why (some.test.ts)') })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
