import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { build } from 'esbuild'
import { afterAll, expect, test } from 'vitest'
import { exploreWorkers } from '../../../src/node/index.ts'

const root = resolve(import.meta.dirname, '../../..')
const folder = mkdtempSync(join(tmpdir(), 'paravirt-threads-'))
afterAll(() => rmSync(folder, { recursive: true }))

test('threads find what one thread finds, are ended where a body gives no turn, and refuse a module without a test', { timeout: 60_000 }, async () => {
  await build({
    entryPoints: {
      'explore-worker': join(root, 'src/node/explore-worker.ts'),
      ...Object.fromEntries(['threads', 'counter', 'hostile'].map((name) => [name, join(root, `test/support/explore/${name}.ts`)])),
    },
    outdir: folder, bundle: true, splitting: true, format: 'esm', platform: 'node', target: 'es2022', logLevel: 'silent', external: ['7z-wasm', 'lz4js'],
    outExtension: { '.js': '.js' }, banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  })
  writeFileSync(join(folder, 'package.json'), '{"type":"module"}')
  const told = JSON.parse(execFileSync(process.execPath, [join(folder, 'threads.js')], { encoding: 'utf8' })) as Record<string, unknown>
  expect(told['alone']).toMatchObject({ passed: false, failure: { kind: 'property', message: 'always: every count is kept' } })
  expect(told['together']).toEqual(told['alone'])
  expect(told['forced']).toMatchObject({ kind: 'endless', message: 'the body has given JavaScript no turn for 1 s' })
  expect(told['refused']).toEqual([
    'INVALID_ARGUMENT hostile.js exports no test as none: a scenario, or a function', 'INVALID_ARGUMENT hostile.js exports no test as missing: a scenario, or a function',
  ])
})

test.each<[string, string, object]>([
  ['no module', '/nowhere/test.mjs', {}],
  ['no threads', import.meta.filename, { count: 0 }],
  ['an unknown option', import.meta.filename, { threads: 2 }],
  ['a loader that is no place', import.meta.filename, { preload: [7] }],
])('%s is refused', (_, path, options) => {
  expect(() => exploreWorkers(path, options as object)).toThrowError(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
})
