/**
 * `npm run chains -- [VERSION ...] [--linux] [--arm64]` runs the tests of chains of hashes with one version of Node after the other (20, 22 and 24 unless told
 * otherwise; npm brings each), and holds the chains of each against those of the first: the same links, the same hashes. `--linux`: those of
 * Debian's Linux too, some minutes each. `--arm64`: what a processor of 64-bit Arm makes of them (see arm64.ts), and nothing else. Exit status 1 where one differs.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { compareArm64 } from './arm64.ts'

const VERSIONS = ['20', '22', '24']
const SMALL = 'test/system/chains.test.ts'
const LINUX = 'test/debian/chains.test.ts'

const words = process.argv.slice(2)
const given = words.filter((word) => !word.startsWith('--'))
const tests = words.includes('--linux') ? [SMALL, LINUX] : [SMALL]
const vitest = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs')

/** Runs node of a version; what it printed, and its exit status. */
function node(version: string, command: readonly string[], env: NodeJS.ProcessEnv = {}): { readonly status: number; readonly output: string } {
  const { status, stdout, stderr } = spawnSync('npx', ['--yes', '--package', `node@${version}`, 'node', ...command], {
    encoding: 'utf8', env: { ...process.env, ...env }, maxBuffer: 1 << 26,
  })
  return { status: status ?? 1, output: `${stdout}${stderr}` }
}

/** The chains in a folder, and their links. */
function kept(folder: string): { readonly chains: number; readonly links: number } {
  const files = readdirSync(folder)
  const links = files.map((file) => (JSON.parse(readFileSync(join(folder, file), 'utf8')) as readonly unknown[]).length)
  return { chains: files.length, links: links.reduce((sum, each) => sum + each, 0) }
}

function main(versions: readonly string[]): number {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-chains-'))
  try {
    for (const version of versions) {
      const name = node(version, ['-p', '`Node ${process.version}, V8 ${process.versions.v8}, ${process.arch}`']).output.trim()
      const { status, output } = node(version, [vitest, 'run', '--maxWorkers=1', ...tests], { CHAINS: folder })
      if (status !== 0) {
        console.error(output)
        console.error(`${name}: the tests have failed, or a chain differs from that of Node ${versions[0]}`)
        return 1
      }
      const { chains, links } = kept(folder)
      console.log(`${name}: ${chains} chains of ${links} links ${version === versions[0] ? 'kept' : 'are the same'}`)
    }
    return 0
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

process.exitCode = words.includes('--arm64') ? Number(!await compareArm64()) : main(given.length > 0 ? given : VERSIONS)
