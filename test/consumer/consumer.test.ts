/**
 * The package as those have it who install it: packed, installed into an empty folder, imported both ways on several versions of Node, bundled by
 * esbuild, Vite, Rollup and webpack, its examples and its command run. `npm run test:package` builds it first.
 */
import { execFile, execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const run = promisify(execFile)
const ROOT = resolve(import.meta.dirname, '../..')
const MANIFEST = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string; exports: Record<string, unknown> }
/** What needs something beside the package: vitest, which runs as a test alone. */
const SUBPATHS = Object.keys(MANIFEST.exports).filter((name) => name !== './package.json' && name !== './testing/vitest').map((name) => name.replace('.', 'paravirt'))
/** Versions of Node that are promised, beside the one that runs this. */
const NODES = ['20', '22', '24']
/** Bytes of the tarball at most. */
const MOST_PACKED = 8 << 20

/** What a bundled program does, and prints. */
const PROGRAM = `import { Host } from 'paravirt'
const host = await Host.boot({ memory: 64, dom0Memory: 16 })
const domain = await host.createDomain({ name: 'hello', memory: 16 })
await domain.console.waitFor('mini> ')
await domain.console.write('echo in a bundle\\n')
console.log((await domain.console.waitFor(/^in a bundle$/))[0])
await host.shutdown()
`
const PRINTED = 'in a bundle\n'

/** A test in which two guests lose a count under some schedule. */
const RACE = `import { scenario } from 'paravirt/testing'
const counter = (offset) => async (kernel) => {
  await kernel.sleep(offset)
  for (let i = 0; i < 8; i += 1) {
    await kernel.store.write('/tool/counter', String(Number(await kernel.store.read('/tool/counter')) + 1))
    await kernel.sleep('1ms')
  }
  kernel.console.log('done')
}
export default scenario({ name: 'race', host: { memory: 32, dom0Memory: 8 }, body: async ({ host, always }) => {
  host.store.write('/tool/counter', '0')
  host.store.setPermissions('/tool/counter', ['b0'])
  const guests = []
  for (const [name, offset] of [['one', '1ms'], ['two', '1.01ms']]) guests.push(await host.createDomain({ name, memory: 4, kernel: counter(offset) }))
  for (const guest of guests) await guest.console.waitFor('done')
  always(host.store.read('/tool/counter') === '16', 'every count is kept')
} })
`

/** Runs a program of JavaScript on a version of Node, which npm brings where it is another one than that which runs this. */
function onNode(version: string, words: readonly string[], cwd: string): Promise<{ readonly stdout: string }> {
  const [own] = process.versions.node.split('.')
  const command = own === version ? [process.execPath] : ['npx', '--yes', '-p', `node@${version}`, 'node']
  return run(command[0]!, [...command.slice(1), ...words], { cwd })
}

/** Bundlers, each of which writes one file of ECMAScript. */
const BUNDLERS: Readonly<Record<string, (entry: string, target: string) => Promise<unknown>>> = {
  esbuild: async (entry, outfile) => (await import('esbuild')).build({ entryPoints: [entry], outfile, bundle: true, format: 'esm', platform: 'browser', target: 'es2022', logLevel: 'error' }),
  Vite: async (entry, target) => (await import('vite')).build({
    root: resolve(entry, '..'), configFile: false, logLevel: 'error',
    build: { outDir: resolve(target, '..'), target: 'es2022', lib: { entry, formats: ['es'], fileName: () => target.split('/').at(-1)! } },
  }),
  Rollup: async (entry, file) => {
    const { rollup } = await import('rollup')
    const resolver = createRequire(entry)
    const packages = {
      name: 'packages',
      // The entry for ECMAScript, as Rollup's own plugin finds it.
      resolveId: (name: string, from?: string) => {
        if (name.startsWith('.') || name.startsWith('/') || name.startsWith('node:')) return undefined
        // It is CommonJS inside, which takes another plugin; what is made finds it where it is installed.
        if (name === 'eventemitter3') return { id: name, external: true }
        const found = JSON.parse(readFileSync(resolver.resolve(`${name}/package.json`), 'utf8')) as { module?: string; exports?: Record<string, { import?: { default?: string } | string }> }
        const entryPoint = found.exports?.['.']?.import
        const path = typeof entryPoint === 'string' ? entryPoint : entryPoint?.default ?? found.module
        return path === undefined || from === undefined ? undefined : join(resolver.resolve(`${name}/package.json`), '..', path)
      },
    }
    const warnings: string[] = []
    const bundle = await rollup({ input: entry, plugins: [packages], onwarn: ({ code = '', message }) => { if (code !== 'THIS_IS_UNDEFINED') warnings.push(`${code}: ${message}`) } })
    await bundle.write({ file, format: 'es' })
    expect(warnings).toEqual([])
  },
  webpack: async (entry, target) => {
    const { default: webpack } = await import('webpack')
    const compiler = webpack({
      mode: 'production', target: ['web', 'es2022'], context: resolve(entry, '..'), entry, experiments: { outputModule: true }, performance: false,
      output: { path: resolve(target, '..'), filename: target.split('/').at(-1)!, module: true, library: { type: 'module' } },
    })
    const stats = await promisify(compiler.run.bind(compiler))()
    const { errors = [], warnings = [] } = stats!.toJson({ all: false, errors: true, warnings: true })
    expect([...errors, ...warnings].map(({ message }) => message)).toEqual([])
  },
}

describe('the package, installed', { timeout: 300_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-user-'))
  const installed = join(folder, 'node_modules/paravirt')
  let tarball: string
  beforeAll(async () => {
    if (!existsSync(join(ROOT, 'dist/index.js'))) throw new Error('there is no dist: npm run build')
    const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd: ROOT, maxBuffer: 1 << 26 })
    const { filename } = Object.values(JSON.parse(stdout.slice(stdout.search(/^[[{]/m))) as Record<string, { filename: string }>)[0]!
    tarball = join(folder, filename)
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'user', private: true, type: 'module' }))
    await run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', tarball], { cwd: folder })
  }, 300_000)
  afterAll(() => rmSync(folder, { recursive: true, force: true }), 60_000)

  test('holds what a user needs, and nothing that only its makers do, in little room', () => {
    const files = execFileSync('tar', ['-tzf', tarball], { encoding: 'utf8', maxBuffer: 1 << 26 }).split('\n').map((name) => name.replace('package/', ''))
    for (const name of ['README.md', 'LICENSE', 'CHANGELOG.md', 'dist/index.js', 'dist/index.cjs', 'dist/index.d.ts', 'dist/cli.js', 'docs/guides/README.md', 'docs/errors.md', 'examples/start.ts', 'examples/browser/page.ts']) {
      expect(files).toContain(name)
    }
    expect(files.filter((name) => /^(test|\.|node_modules)/.test(name) || name.endsWith('.moment'))).toEqual([])
    expect(statSync(tarball).size).toBeLessThan(MOST_PACKED)
  })

  test('has maps that lead to sources which are there', () => {
    const maps = readdirSync(join(installed, 'dist'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.map'))
    const sources = (name: string): string[] => (JSON.parse(readFileSync(join(installed, 'dist', name), 'utf8')) as { sources: string[] }).sources
    // Nothing tells where it was built.
    expect(maps.flatMap(sources).filter((source) => source.startsWith('/'))).toEqual([])
    const named = maps.flatMap((name) => sources(name).map((source) => join(installed, 'dist', name, '..', source)))
    const own = named.filter((path) => path.startsWith(join(installed, 'src')))
    expect(own.length).toBeGreaterThan(1000)
    expect(own.filter((path) => !existsSync(path))).toEqual([])
  })

  test.each(NODES)('every entry is imported and required on Node %s, and a host runs there', async (version) => {
    const names = JSON.stringify(SUBPATHS)
    const program = `
      import { createRequire } from 'node:module'
      const require = createRequire(import.meta.url)
      for (const name of ${names}) if (Object.keys(await import(name)).join() !== Object.keys(require(name)).join()) throw new Error(name)
      ${PROGRAM.replace("import { Host } from 'paravirt'", "const { Host } = await import('paravirt')")}
      console.log(process.versions.node.split('.')[0])`
    writeFileSync(join(folder, 'imports.mjs'), program)
    const { stdout } = await onNode(version, ['imports.mjs'], folder)
    expect(stdout).toBe(`${PRINTED}${version}\n`)
  })

  test.each(Object.keys(BUNDLERS))('%s bundles it, and what it makes runs', async (name) => {
    const place = join(folder, name)
    mkdirSync(place, { recursive: true })
    writeFileSync(join(place, 'entry.js'), PROGRAM)
    const target = join(place, 'out', 'bundle.mjs')
    await BUNDLERS[name]!(join(place, 'entry.js'), target)
    const { stdout } = await run(process.execPath, [target], { cwd: tmpdir() })
    expect(stdout).toBe(PRINTED)
  })

  test('the README\'s examples run as they stand, the tests by vitest', async () => {
    const readme = readFileSync(join(installed, 'README.md'), 'utf8')
    const [host, test, race] = [...readme.matchAll(/```ts\n(.*?)```/gs)].map(([, source]) => source!)
    const [shown] = /FAILED: race, .*/.exec(readme)!
    const tsx = pathToFileURL(createRequire(join(ROOT, 'package.json')).resolve('tsx')).href
    for (const [name, source, said] of [['host.ts', host, 'Xen in TypeScript'], ['race.ts', race, shown]] as const) {
      writeFileSync(join(folder, name), source!)
      expect((await run(process.execPath, ['--import', tsx, name], { cwd: folder })).stdout).toContain(said)
    }
    writeFileSync(join(folder, 'web.test.ts'), test!)
    await run('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--save-dev', `vitest@${(JSON.parse(readFileSync(join(ROOT, 'node_modules/vitest/package.json'), 'utf8')) as { version: string }).version}`], { cwd: folder })
    const { stdout } = await run('npx', ['vitest', 'run', '--reporter=json', 'web.test.ts'], { cwd: folder, maxBuffer: 1 << 26 })
    expect(JSON.parse(stdout.slice(stdout.indexOf('{')))).toMatchObject({ numPassedTests: 1, numFailedTests: 0 })
  })

  test('the lines of docs/llms.txt do what they say', async () => {
    const lines = [...readFileSync(join(installed, 'docs/llms.txt'), 'utf8').matchAll(/^ {4}(node .*|npx .*)$/gm)].map(([, line]) => line!)
    const said = await Promise.all(lines.map(async (line) => (await run('bash', ['-c', line], { cwd: folder })).stdout))
    expect(said).toEqual([
      expect.stringContaining('mini: a small Xen kernel'), 'hello from TypeScript\n\n', 'a\n', 'passed: test, 4 runs from seed 1\n', expect.stringContaining('explore'),
    ])
  })

  test('its command explores on one version of Node, tells JUnit and GitHub, and replays to the last bit on each', async () => {
    writeFileSync(join(folder, 'race.mjs'), RACE)
    const options = ['race.mjs', '--runs', '40', '--threads', '2', '--out', 'found', '--junit', 'report.xml']
    const explored = await run('npx', ['paravirt', 'explore', ...options], { cwd: folder, env: { ...process.env, GITHUB_ACTIONS: 'true' } }).catch((error: unknown) => error)
    expect(explored).toMatchObject({ code: 1, stdout: expect.stringMatching(/^FAILED: race, run \d+ [^]*again: npx paravirt replay found\/race\.pvr --test race\.mjs\n::error file=race\.mjs,title=race failed::FAILED: race/) })
    expect(readFileSync(join(folder, 'report.xml'), 'utf8')).toMatch(/<testsuite name="paravirt" tests="1" failures="1" [^]*<failure type="property" message="always: every count is kept">FAILED: race/)
    const cli = join(installed, 'dist/cli.js')
    for (const version of NODES) {
      const { stdout } = await onNode(version, [cli, 'replay', 'found/race.pvr', '--test', 'race.mjs'], folder)
      expect(stdout).toMatch(/^race: recorded as always: every count is kept\n {2}now: always: every count is kept, at \d+ ns\n {2}the same run, to the last bit\n$/)
    }
  })

  test('its command says what it can, and where guests come from', async () => {
    const help = (await run('npx', ['paravirt', '--help'], { cwd: folder })).stdout
    for (const word of ['run', 'explore', 'replay', 'guests', 'verify', 'xl', 'debug', 'dap']) expect(help).toContain(word)
    expect((await run('npx', ['paravirt', '--version'], { cwd: folder })).stdout.trim()).toContain(MANIFEST.version)
    expect((await run('npx', ['paravirt', 'guests', '--help'], { cwd: folder })).stdout).toMatch(/Debian/)
  })
})
