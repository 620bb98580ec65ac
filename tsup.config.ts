/** How the package is built: its entries, its declarations, and the interpreter's modules, which are written ahead so that processes that use it need not. */
import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Plugin } from 'esbuild'
import { defineConfig } from 'tsup'
import ts from 'typescript'
import { microTable } from './src/machine/cpu/interpreter/compiled.ts'
import { writeInterpreter } from './src/machine/cpu/interpreter/module.ts'
import type { PackedModule, PreparedModule } from './src/machine/cpu/interpreter/prepared-modules.ts'
import { writeSingles } from './src/machine/cpu/interpreter/singles.ts'

/** What is used of lz4js, which has no types. */
interface Lz4 {
  compressBound(length: number): number
  compressBlock(source: Uint8Array, target: Uint8Array, from: number, length: number, table: Uint32Array): number
}

function packed(bytes: Uint8Array): PackedModule {
  const lz4 = createRequire(import.meta.url)('lz4js') as Lz4
  const target = new Uint8Array(lz4.compressBound(bytes.length))
  const size = lz4.compressBlock(bytes, target, 0, bytes.length, new Uint32Array(1 << 16))
  return { length: bytes.length, packed: Buffer.from(target.subarray(0, size)).toString('base64') }
}

/** All that are prepared. */
export function prepareModules(): Readonly<Record<PreparedModule | 'index', PackedModule>> {
  const table = microTable()
  return {
    interpreter: packed(writeInterpreter(table, 64)), vector: packed(writeSingles(table, 'vector', 64)), avx: packed(writeSingles(table, 'avx', 64)),
    index: packed(new TextEncoder().encode(JSON.stringify(table.index))),
  }
}

/** Puts them into the place of the empty list. */
export const preparedModules: Plugin = {
  name: 'prepared-modules',
  setup: (build) => {
    build.onLoad({ filter: /[\\/]interpreter[\\/]prepared-modules\.ts$/ }, () => ({ contents: `export const PREPARED_MODULES = ${JSON.stringify(prepareModules())}` }))
  },
}

const ROOT = import.meta.dirname
/** What a declaration imports of the package's own, up to the ending. */
const OWN_IMPORT = /((?:\bfrom |\bimport\(|^import )["']\.[^"'\n]*)\.ts(?=["'])/gm

/**
 * Writes the declarations, a file for each of src, once for whoever imports and once for whoever requires. The compiler's own, not rolled into one:
 * that took 4 GB for what takes half of one.
 */
function writeDeclarations(entries: readonly string[]): void {
  const { options } = ts.parseJsonConfigFileContent(ts.readConfigFile(join(ROOT, 'tsconfig.json'), ts.sys.readFile).config, ts.sys, ROOT)
  const program = ts.createProgram(entries.map((entry) => join(ROOT, entry)), {
    ...options, noEmit: false, emitDeclarationOnly: true, declaration: true, outDir: join(ROOT, 'dist'), rootDir: join(ROOT, 'src'),
  })
  const { emitSkipped, diagnostics } = program.emit(undefined, (file, text) => {
    ts.sys.writeFile(file, text.replace(OWN_IMPORT, '$1.js'))
    ts.sys.writeFile(file.replace(/\.d\.ts$/, '.d.cts'), text.replace(OWN_IMPORT, '$1.cjs'))
  }, undefined, true)
  if (emitSkipped || diagnostics.length > 0) throw new Error(ts.formatDiagnostics(diagnostics, { getCanonicalFileName: (name) => name, getCurrentDirectory: () => ROOT, getNewLine: () => '\n' }))
}

/** Takes away the maps of CommonJS: tsup makes these files from those for `import`, and their maps lead to themselves, by the path they were built at. */
function dropSelfMaps(): void {
  const dist = join(ROOT, 'dist')
  for (const name of readdirSync(dist, { recursive: true, encoding: 'utf8' }).filter((each) => each.endsWith('.cjs'))) {
    const path = join(dist, name)
    writeFileSync(path, readFileSync(path, 'utf8').replace(/\n\/\/# sourceMappingURL=\S+\s*$/, '\n'))
    rmSync(`${path}.map`, { force: true })
  }
}

/** Every folder of src that is published as a subpath, by name; `index` is the package root. The others are internals. */
const subpaths = [
  'abi', 'machine', 'hypervisor', 'xenstore', 'guest', 'drivers', 'toolstack', 'testing', 'testing/vitest', 'debug', 'browser', 'decompress', 'xapi', 'fleet', 'node',
]

const entry = {
  index: 'src/index.ts',
  cli: 'src/node/cli.ts',
  'explore-worker': 'src/node/explore-worker.ts',
  ...Object.fromEntries(subpaths.map((name) => [`${name}/index`, `src/${name}/index.ts`])),
}

export default defineConfig({
  entry,
  format: ['esm', 'cjs'],
  // Splitting both formats keeps one copy of each class across subpaths.
  splitting: true,
  // Where a file lies is asked by import.meta.url, which CommonJS has no word for.
  shims: true,
  // Its sixty files take a quarter of the time of an import; what is used of them is little.
  noExternal: ['zod'],
  esbuildPlugins: [preparedModules],
  onSuccess: async () => {
    dropSelfMaps()
    writeDeclarations(Object.values(entry))
  },
  sourcemap: true,
  // The sources are in the package: maps name them, and do not hold them a second and third time.
  esbuildOptions: (options) => { options.sourcesContent = false },
  clean: true,
  target: 'es2022',
})
