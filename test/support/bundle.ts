/**
 * Builds a program together with what it imports, by the settings of the published package (tsup.config.ts). A benchmark so built measures the code
 * that users run: from source by tsx every closure carries an added call that keeps its name, and allocation-heavy code looks half as fast as it is.
 * And a program starts in 0.3 s instead of the 2 that tsx takes to translate a thousand files.
 */
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build, type BuildOptions, type Plugin } from 'esbuild'
import { preparedModules } from '../../tsup.config.ts'

const ROOT = resolve(import.meta.dirname, '../..')
/** Below it, a bundle finds the packages that stay outside. */
const PACKAGES = join(ROOT, 'node_modules')
const BUILT = join(ROOT, '.types/built')

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

type Entry = Pick<BuildOptions, 'stdin' | 'entryPoints'>

async function make(entry: Entry): Promise<Bundle> {
  const made = mkdtempSync(join(PACKAGES, '.bench-'))
  const path = join(made, 'main.mjs')
  const remove = (): void => rmSync(made, { recursive: true, force: true })
  try {
    await build({
      ...entry, outfile: path, plugins: [preparedModules, places], bundle: true, packages: 'external', platform: 'node', format: 'esm', target: 'es2022', sourcemap: true,
      logLevel: 'silent',
    })
  } catch (error) {
    remove()
    throw error
  }
  return { path, remove }
}

/** Builds a module of TypeScript that imports as one in `folder` does, below the project's root. */
export const bundle = (source: string, folder: string): Promise<Bundle> => make({ stdin: { contents: source, resolveDir: join(ROOT, folder), loader: 'ts' } })

const built = new Map<string, Promise<string>>()

/**
 * A module of the project, as `examples/xm.ts`, built with what it imports, once in this process; where it is, for Node to run or to import. A program that starts
 * itself again is none for this.
 */
export function builtModule(file: string): Promise<string> {
  const path = built.get(file) ?? place(file)
  built.set(file, path)
  return path
}

/** Builds it where those of other processes of tests are, which may be at the same. */
async function place(file: string): Promise<string> {
  const { path, remove } = await make({ entryPoints: [join(ROOT, file)] })
  mkdirSync(BUILT, { recursive: true })
  const place = join(BUILT, `${file.replaceAll(/[/.]/g, '-')}.mjs`)
  renameSync(path, place)
  remove()
  return place
}
