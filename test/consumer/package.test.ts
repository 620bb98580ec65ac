/** The package as a user's bundler sees it: browser-safe, importable layer by layer, and not larger than it should be. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { build } from 'esbuild'
import { afterAll, describe, expect, test } from 'vitest'
import { declarations } from '../support/declarations.ts'

const root = resolve(import.meta.dirname, '../..')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  version: string
  exports: Record<string, unknown>
  dependencies: Record<string, string>
}

/**
 * Every published entry point, and the most that it may weigh minified, in kilobytes: a few hundredths more than it does.
 * What has come to weigh: in the machine code with segments and 32-bit code (20) and its state; in all others the state of
 * every part as a shape and its check (hypervisor 25, drivers 18, guest 13: what a guest in TypeScript is saved with in its
 * host); in the machine AVX and the rest of x86-64-v3 (75), regions (30), real mode and nested translation (20); in the
 * hypervisor PVH guests and 32-bit PV guests, with the layouts of both widths (80); in the toolstack these together, disks
 * that GRUB boots from, a host's own state and its moments, pools of CPUs, policies, statistics and the service (90). What is
 * for tests boots hosts, too, and has faults and exploration (85); the XenAPI and debuggers stand on all of it. For a Linux as dom0:
 * domctl, sysctl and the other calls of Xen's own tools (hypervisor 60, abi 6); in guests the queues of events that many ports
 * need (6); in all parts what tells that nothing has changed since a moment (5). For channels, what `cpuid` says, Remus, hosts that stand between two instructions
 * and counted coverage: 40 in all that boots hosts; for folders by 9P 50 (drivers 46), for networks to the outside 45; for history, traces, profiles, Linux's types, editors, objects and the fuzzer: 120 in debuggers. For disks
 * with several rings and moves that lose nothing: 10 in drivers, 20 in all that boots hosts; for events that are stamped late: 2 in all parts; for regions that follow what was seen to run,
 * and blocks that come back: 7 in the machine; for trace buffers, and a Linux dom0 that a host serves: 9 in all that has the hypervisor, and 3 for what is behind its I/O ports;
 * for disks in qcow2 files, framebuffers and keyboards: 30 in drivers, 25 in all that boots hosts, 10 for who only reads descriptions; for trace buffers 2 in the ABI;
 * for processes and stacks as debuggers see them: 15 in debuggers; for vchans: 10 in drivers; for network interfaces of several queues, large frames and groups: 12 in drivers and in all that boots hosts;
 * for known forms of instructions and remembered jumps: 10 in all that has processors.
 * for translations kept over switches of page tables and returns in generated code: 5 in all that has processors; for frames handed out in runs: 3 in the hypervisor and in all that boots hosts.
 */
const budgets: Record<string, number> = {
  '.': 1960, './abi': 45, './machine': 545, './hypervisor': 515, './xenstore': 110, './guest': 108, './drivers': 284,
  './toolstack': 1964, './testing': 2059, './decompress': 7, './debug': 2065, './xapi': 1933, './fleet': 74, './browser': 1987,
}
const subpaths = Object.keys(manifest.exports).filter((name) => name !== './package.json')
const entry = (subpath: string): string => join(root, 'src', subpath, 'index.ts')

/** Bundles one entry for a browser; packages that only work behind a subpath of their own stay outside. */
const bundle = (subpath: string): Promise<string> =>
  build({
    entryPoints: [entry(subpath)], bundle: true, write: false, minify: true, format: 'esm', platform: 'browser',
    target: 'es2022', logLevel: 'silent', treeShaking: true,
  }).then((result) => result.outputFiles[0]!.text)

describe('the package', () => {
  test('gives every entry point a budget, or runs it on Node only', () => {
    // What is for vitest runs where vitest does.
    expect(subpaths.filter((name) => name !== './node' && name !== './testing/vitest').sort()).toEqual(Object.keys(budgets).sort())
  })

  test.each(Object.entries(budgets))('%s bundles for a browser within %i kB', { timeout: 60_000 }, async (subpath, kilobytes) => {
    const text = await bundle(subpath)
    expect(text).not.toMatch(/["']node:/)
    expect(text.length / 1024).toBeLessThan(kilobytes)
  })

  test('layers below the toolstack do not pay for zod', { timeout: 60_000 }, async () => {
    expect(await bundle('./toolstack')).toContain('ZodError')
    for (const subpath of ['./machine', './hypervisor', './xenstore', './guest', './drivers']) {
      expect(await bundle(subpath)).not.toContain('ZodError')
    }
  })

  test('who only reads and writes descriptions pays for no driver', { timeout: 60_000 }, async () => {
    const contents = "export { DeviceKinds, formatDescription, parseDescription, resolveDomainOptions } from './src/toolstack/index.ts'"
    const { metafile } = await build({
      stdin: { contents, resolveDir: root, loader: 'ts' }, bundle: true, write: false, minify: true, format: 'esm', target: 'es2022', metafile: true,
    })
    const [{ bytes, inputs }] = Object.values(metafile.outputs) as [(typeof metafile.outputs)[string]]
    const brought = Object.keys(inputs).filter((file) => inputs[file]!.bytesInOutput > 0 && /^src\/(?!toolstack|util)/.test(file))
    // The names of disks are read by the same table as their numbers; schedulers have their names in one place.
    expect(brought.sort()).toEqual(['src/drivers/block/virtual-device.ts', 'src/hypervisor/scheduler/names.ts'])
    expect(bytes / 1024).toBeLessThan(106)
  })

  test('who only tests drivers pays for no host', { timeout: 60_000 }, async () => {
    const contents = "export { FakeHypervisor, ScriptedProcessor, TestStore, during } from './src/testing/index.ts'"
    const { outputFiles } = await build({
      stdin: { contents, resolveDir: root, loader: 'ts' }, bundle: true, write: false, minify: true, format: 'esm', target: 'es2022', treeShaking: true,
    })
    expect(outputFiles[0]!.text.length / 1024).toBeLessThan(236)
  })

  test('a page pays for no host that is in its worker', { timeout: 60_000 }, async () => {
    const contents = "export { connectTerminal, connectWorker } from './src/browser/index.ts'; export { transportPair } from './src/index.ts'"
    const { outputFiles } = await build({
      stdin: { contents, resolveDir: root, loader: 'ts' }, bundle: true, write: false, minify: true, format: 'esm', target: 'es2022', treeShaking: true,
    })
    expect(outputFiles[0]!.text.length / 1024).toBeLessThan(42)
  })

  test('has the version that the lock file and the changelog have', () => {
    const text = (file: string): string => readFileSync(join(root, file), 'utf8')
    const { version, packages } = JSON.parse(text('package-lock.json')) as { version: string; packages: Record<string, { version: string }> }
    expect([version, packages['']!.version]).toEqual([manifest.version, manifest.version])
    const sections = [...text('CHANGELOG.md').matchAll(/^## \[(.*?)\](?: - (.*))?$/gm)].map(([, name, date]) => [name, date])
    expect(sections.slice(0, 2)).toEqual([['Unreleased', undefined], [manifest.version, expect.stringMatching(/^\d{4}-\d\d-\d\d$/)]])
  })

  test('names its few dependencies in docs/contributing.md', () => {
    const text = readFileSync(join(root, 'docs', 'contributing.md'), 'utf8')
    for (const name of Object.keys(manifest.dependencies)) expect(text).toContain(`| ${name} |`)
  })
})

/** Compilers of users: the oldest that is supported, and the newest. */
const COMPILERS = ['typescript-5.4', 'typescript-6.0']

describe('the published types', () => {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-types-'))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  /** A program that takes all of every entry point for browsers, and is checked to the last declaration. */
  const prepare = (): void => {
    const types = declarations()
    const modules = Object.keys(budgets).map((name, i) => `export * as entry${i} from '${join(types, name, 'index.js')}'`)
    writeFileSync(join(folder, 'user.ts'), `${modules.join('\n')}\n`)
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({
      compilerOptions: {
        noEmit: true, strict: true, exactOptionalPropertyTypes: true, target: 'es2022', module: 'esnext',
        moduleResolution: 'bundler', lib: ['es2022', 'dom'], types: [], skipLibCheck: false,
      },
      files: ['user.ts'],
    }))
  }

  // A type that is inferred is named by the shortest way to it. By an index around the file, entry points and their parts would be circles.
  test('reach nothing by an index of what they are themselves a part of', { timeout: 240_000 }, () => {
    const types = declarations()
    const files = readdirSync(types, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.d.ts'))
    const around = files.filter((name) => !name.endsWith('index.d.ts')).flatMap((name) =>
      [...readFileSync(join(types, name), 'utf8').matchAll(/(?:from |import\()["']([^"']*\/index\.ts)["']/g)]
        .filter(([, index]) => !relative(resolve(types, dirname(name), dirname(index!)), join(types, name)).startsWith('..'))
        .map(([text]) => `${name}: ${text}`))
    expect(files.length).toBeGreaterThan(700)
    expect(around).toEqual([])
  })

  test.each(COMPILERS)('compile with %s and the libraries es2022 and dom alone', { timeout: 240_000 }, (name) => {
    prepare()
    const compiler = join(root, 'node_modules', name, 'lib/tsc.js')
    const { status, stdout } = spawnSync(process.execPath, [compiler, '-p', folder], { encoding: 'utf8' })
    expect([stdout, status]).toEqual(['', 0])
  })
})
