/** README's programs, and its tests run by vitest with the package's sources in place of the package. */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

const ROOT = resolve(import.meta.dirname, '../..')

/** The text of README. */
export const README = readFileSync(join(ROOT, 'README.md'), 'utf8')

/** The program of README that holds a text. */
export function readmeProgram(holds: string): string {
  const found = [...README.matchAll(/```ts\n(.*?)```/gs)].map(([, program]) => program!).find((program) => program.includes(holds))
  if (found === undefined) throw new Error(`README has no program with ${holds}`)
  return found
}

/** Runs a test by vitest; gives what vitest says. */
export function runTest(program: string): Promise<string> {
  mkdirSync(join(ROOT, '.types'), { recursive: true })
  const folder = mkdtempSync(join(ROOT, '.types', 'readme-'))
  writeFileSync(join(folder, 'readme.test.ts'), program.replace(/'paravirt\/([a-z/]+)'/g, (_all, name: string) => JSON.stringify(join(ROOT, 'src', name, 'index.ts'))))
  return new Promise<string>((done) => {
    execFile(process.execPath, [join(ROOT, 'node_modules/vitest/vitest.mjs'), 'run', '--root', folder, '--testTimeout=60000'], { cwd: folder }, (_error, stdout, stderr) => done(stdout + stderr))
  }).finally(() => rmSync(folder, { recursive: true, force: true }))
}
