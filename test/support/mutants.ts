/**
 * Builds of the library with a fault in them: an exact piece of the source is replaced while it is bundled, and the
 * bundle is loaded beside the source as it stands. A piece that is not there any more, or there twice, is an error, so
 * that no mutant goes on as a copy of what it should differ from.
 */
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { build, type Plugin } from 'esbuild'
import type { Library } from './machine-host.ts'

const root = resolve(import.meta.dirname, '../..')

/** One replacement in one file. */
export interface Patch {
  /** Path below the project's root. */
  readonly file: string
  readonly find: string
  readonly replace: string
}

/** Text with a piece replaced that has to be there once. */
export function applyPatch(text: string, { file, find, replace }: Patch): string {
  const pieces = text.split(find)
  if (pieces.length === 2) return pieces.join(replace)
  throw new Error(`${file} holds ${pieces.length - 1} times what is to be replaced, instead of once: ${find}`)
}

/** The layers that a mutant consists of where nothing else is said. */
const TWO_LAYERS = `export * as hypervisor from './src/hypervisor/index.ts'; export * as machine from './src/machine/index.ts'`

/** The layers that `entry` exports, with those patches; without it hypervisor and machine. `T` is what `entry` exports. */
export async function buildMutant<T = Library>(patches: readonly Patch[], entry = TWO_LAYERS): Promise<T> {
  const done = new Set<Patch>()
  const plugin: Plugin = {
    name: 'mutant',
    setup: ({ onLoad }) => onLoad({ filter: /\.ts$/ }, async ({ path }) => {
      const here = patches.filter(({ file }) => path === join(root, file))
      const text = await readFile(path, 'utf8')
      for (const patch of here) done.add(patch)
      return { contents: here.reduce(applyPatch, text), loader: 'ts' as const }
    }),
  }
  const { outputFiles } = await build({
    stdin: { contents: entry, resolveDir: root, loader: 'ts' }, bundle: true, format: 'esm', platform: 'node', target: 'node20',
    write: false, plugins: [plugin], logLevel: 'silent', external: ['node:*'],
  })
  const missed = patches.filter((patch) => !done.has(patch))
  if (missed.length > 0) throw new Error(`the library does not consist of ${missed.map(({ file }) => file).join(', ')}`)
  // The module's exports are those of the entry above.
  return await import(/* @vite-ignore */ `data:text/javascript;base64,${Buffer.from(outputFiles[0]!.contents).toString('base64')}`) as T
}
