/**
 * The types as the package publishes them: what `npm test` writes into .types while it checks them, or what is written
 * anew here when a source has changed since.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, statSync } from 'node:fs'
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
    const compiler = join(ROOT, 'node_modules/typescript/lib/tsc.js')
    const options = ['--noEmit', 'false', '--emitDeclarationOnly', '--declaration', '--outDir', FOLDER]
    execFileSync(process.execPath, [compiler, '-p', ROOT, ...options], { stdio: ['ignore', 'pipe', 'inherit'] })
  }
  return join(FOLDER, 'src')
}
