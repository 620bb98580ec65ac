/**
 * The ordinary tests with a compiling tier that compiles nearly everything it sees: `npm run test:compiled`. A machine of which a
 * test says nothing else takes a sample every few hundred instructions and compiles what one sample has found. The tests
 * themselves are the same, so what they expect is expected of compiled code.
 */
import { defineConfig } from 'vitest/config'

/** Source text that is replaced while a test loads it; it has to be there once. */
const REPLACED: readonly { readonly file: string; readonly find: RegExp; readonly replace: string }[] = [
  {
    file: 'src/machine/cpu/region/life/defaults.ts', find: /(COMPILER_DEFAULTS: CompilerSettings = \{).*\}/,
    replace: '$1 samples: 1, slice: 300, limit: 100, batch: 1, modules: 1000 }',
  },
]

export default defineConfig({
  plugins: [{
    name: 'eager-compiler',
    enforce: 'pre',
    transform: (text: string, id: string): string | undefined => {
      const row = REPLACED.find(({ file }) => id.endsWith(`/${file}`))
      if (row === undefined) return undefined
      if (text.split(row.find).length < 2) throw new Error(`${row.file} does not hold ${row.find.source}`)
      return text.replace(row.find, row.replace)
    },
  }],
  test: {
    root: new URL('../..', import.meta.url).pathname,
    // What compiles by settings of its own, what looks at a processor's innermost state with the samples in it, what is generated or built in other processes, what nothing executes in.
    exclude: ['**/node_modules/**', 'test/tiers/**', 'test/unit/machine/cpu/region/**', 'test/unit/**/recycled*.test.ts', 'test/debian/**', 'test/*.test.ts', 'test/unit/{abi,xenstore,rings,util,decompress,examples}/**'],
    testTimeout: 60_000,
  },
})
