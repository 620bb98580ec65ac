/**
 * Builds a benchmark together with what it measures, by the settings of the published package (tsup.config.ts), so that
 * the code under measurement is the code that users run. Run from source by tsx, every closure carries an added call
 * that keeps its name: allocation-heavy code looks half as fast as it is.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build, type Plugin } from 'esbuild'
import { preparedModules } from '../../../tsup.config.ts'

const BENCHMARKS = resolve(import.meta.dirname, '..')
/** Below it, a bundle finds the packages that stay outside. */
const PACKAGES = resolve(BENCHMARKS, '../../node_modules')

/** Files keep what they know about where they are: programs and sources beside them are found from there. */
const places: Plugin = {
  name: 'places',
  setup: ({ onLoad }) => {
    onLoad({ filter: /\.ts$/ }, ({ path }) => ({
      loader: 'ts',
      contents: readFileSync(path, 'utf8')
        .replaceAll('import.meta.dirname', JSON.stringify(dirname(path)))
        .replaceAll('import.meta.url', JSON.stringify(pathToFileURL(path).href)),
    }))
  },
}

/** A bundle on disk. */
export interface Bundle {
  readonly path: string
  /** Deletes it. */
  remove(): void
}

/** Builds a module of TypeScript that may import from the folder of the benchmarks. */
export async function bundle(source: string): Promise<Bundle> {
  const folder = mkdtempSync(join(PACKAGES, '.bench-'))
  const path = join(folder, 'main.mjs')
  const remove = (): void => rmSync(folder, { recursive: true, force: true })
  try {
    await build({
      stdin: { contents: source, resolveDir: BENCHMARKS, loader: 'ts' }, outfile: path, plugins: [preparedModules, places], bundle: true,
      packages: 'external', platform: 'node', format: 'esm', target: 'es2022', sourcemap: true, logLevel: 'silent',
    })
  } catch (error) {
    remove()
    throw error
  }
  return { path, remove }
}
