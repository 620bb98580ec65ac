import { defineConfig } from 'tsup'

/** Every folder of src that is published as a subpath, by name; `index` is the package root. The others are internals. */
const subpaths = [
  'abi', 'machine', 'hypervisor', 'xenstore', 'guest', 'drivers', 'toolstack', 'testing', 'decompress', 'node',
]

export default defineConfig({
  entry: {
    index: 'src/index.ts',
    cli: 'src/node/cli.ts',
    ...Object.fromEntries(subpaths.map((name) => [`${name}/index`, `src/${name}/index.ts`])),
  },
  format: ['esm', 'cjs'],
  // Splitting both formats keeps one copy of each class across subpaths.
  splitting: true,
  dts: true,
  sourcemap: true,
  clean: true,
  target: 'es2022',
})
