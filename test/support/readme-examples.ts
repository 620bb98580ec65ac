/** README's programs, and tests of users run by vitest with a build of the package's sources in place of the package. */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { builtModule } from './bundle.ts'

const ROOT = resolve(import.meta.dirname, '../..')

/** The text of README. */
export const README = readFileSync(join(ROOT, 'README.md'), 'utf8')

/** The program of README that holds a text. */
export function readmeProgram(holds: string): string {
  const found = [...README.matchAll(/```ts\n(.*?)```/gs)].map(([, program]) => program!).find((program) => program.includes(holds))
  if (found === undefined) throw new Error(`README has no program with ${holds}`)
  return found
}

/** Runs a test by vitest, one that has all of one entry point of the package; gives what vitest says. */
export async function runTest(program: string): Promise<string> {
  const [, name] = /'paravirt\/([a-z/]+)'/.exec(program)!
  const entry = await builtModule(`src/${name}/index.ts`)
  mkdirSync(join(ROOT, '.types'), { recursive: true })
  const folder = mkdtempSync(join(ROOT, '.types', 'readme-'))
  writeFileSync(join(folder, 'readme.test.ts'), program.replaceAll(`'paravirt/${name}'`, JSON.stringify(entry)))
  return new Promise<string>((done) => {
    execFile(process.execPath, [join(ROOT, 'node_modules/vitest/vitest.mjs'), 'run', '--root', folder, '--testTimeout=60000'], { cwd: folder }, (_error, stdout, stderr) => done(stdout + stderr))
  }).finally(() => rmSync(folder, { recursive: true, force: true }))
}
