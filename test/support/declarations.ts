/**
 * The types as the package publishes them, of its sources alone, written anew where one of them has changed since. They are not checked here: `npm run test:types`
 * does that, and to write them alone takes a quarter of the time.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

const ROOT = resolve(import.meta.dirname, '../..')
const FOLDER = join(ROOT, '.types')

/** Time of the newest source. */
function newest(folder: string): number {
  return Math.max(...readdirSync(folder, { withFileTypes: true }).map((entry) =>
    entry.isDirectory() ? newest(join(folder, entry.name)) : statSync(join(folder, entry.name)).mtimeMs))
}

/** The folder with one declaration file for each of src. */
export function declarations(): string {
  const written = join(FOLDER, 'src/index.d.ts')
  if (!existsSync(written) || statSync(written).mtimeMs < newest(join(ROOT, 'src'))) {
    mkdirSync(FOLDER, { recursive: true })
    const config = join(FOLDER, 'tsconfig.json')
    writeFileSync(config, JSON.stringify({
      extends: '../tsconfig.json', include: ['../src'], exclude: [],
      compilerOptions: { noEmit: false, emitDeclarationOnly: true, declaration: true, noCheck: true, outDir: '.', rootDir: '..' },
    }))
    execFileSync(process.execPath, [join(ROOT, 'node_modules/typescript/lib/tsc.js'), '-p', config], { stdio: ['ignore', 'pipe', 'inherit'] })
  }
  return join(FOLDER, 'src')
}
