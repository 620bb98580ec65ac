/** README's programs, and tests of users run by vitest with a build of the package's sources in place of the package. */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { bundle } from './bundle.ts'

const ROOT = resolve(import.meta.dirname, '../..')

/** The text of README. */
export const README = readFileSync(join(ROOT, 'README.md'), 'utf8')

/** The program of README that holds a text. */
export function readmeProgram(holds: string): string {
  const found = [...README.matchAll(/```ts\n(.*?)```/gs)].map(([, program]) => program!).find((program) => program.includes(holds))
  if (found === undefined) throw new Error(`README has no program with ${holds}`)
  return found
}

/** Runs a test by vitest; gives what vitest says. The entry points that it imports are one build, as they share what they know in the package. */
export async function runTest(program: string): Promise<string> {
  const names: string[] = []
  const placed = program.replace(/^import (\{.*\}) from 'paravirt\/([a-z/]+)'$/gm, (_all, wanted: string, name: string) => `const ${wanted} = built.entry${names.push(name)}`)
  const { path, remove } = await bundle(names.map((name, i) => `export * as entry${i + 1} from './${name}/index.ts'\n`).join(''), 'src')
  mkdirSync(join(ROOT, '.types'), { recursive: true })
  const folder = mkdtempSync(join(ROOT, '.types', 'readme-'))
  writeFileSync(join(folder, 'readme.test.ts'), `import * as built from ${JSON.stringify(path)}\n${placed}`)
  return new Promise<string>((done) => {
    execFile(process.execPath, [join(ROOT, 'node_modules/vitest/vitest.mjs'), 'run', '--root', folder, '--testTimeout=60000'], { cwd: folder }, (_error, stdout, stderr) => done(stdout + stderr))
  }).finally(() => {
    rmSync(folder, { recursive: true, force: true })
    remove()
  })
}
