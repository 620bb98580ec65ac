/**
 * The kernel of examples/guests/mini, built by its Makefile for a kind of guest, with more sources where a test has some. Built
 * once per content, into the system's folder for temporary files; where there is no gcc, says why instead.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { NativeProgram } from './native-build.ts'

const pathOf = (name: string): string => fileURLToPath(new URL(`../../${name}`, import.meta.url))
const MINI = pathOf('examples/guests/mini')

/** Kinds of guests that it can be built for. */
export const MINI_KINDS = ['pv64', 'pv32', 'pvh'] as const
/** One of them. */
export type MiniKind = (typeof MINI_KINDS)[number]

/** What is built along with the kernel, and what is left out of it. */
export interface MiniBuild {
  /** C files below the root of the project; headers beside them are found. */
  readonly more?: readonly string[]
  /** Paths of what something else has compiled. */
  readonly objects?: readonly string[]
  /** Variables of the Makefile that differ, as SOURCES for a kernel with a main of its own. */
  readonly variables?: Readonly<Record<string, string>>
}

/** All that the result depends on. */
function hashOf(kind: MiniKind, { more = [], objects = [], variables = {} }: MiniBuild): string {
  const hash = createHash('sha256').update(JSON.stringify([kind, more, variables]))
  const folders = new Set([MINI, ...more.map((name) => join(pathOf(name), '..'))])
  for (const folder of folders) {
    for (const name of readdirSync(folder).filter((entry) => /\.[chS]$|\.ld$|^Makefile$/.test(entry))) hash.update(name).update(readFileSync(join(folder, name)))
  }
  for (const path of objects) hash.update(basename(path)).update(readFileSync(path))
  return hash.digest('hex').slice(0, 16)
}

/** Builds it, or says why not. */
export function buildMini(kind: MiniKind, build: MiniBuild = {}): NativeProgram {
  if (process.arch !== 'x64' || process.platform !== 'linux') {
    return { path: undefined, reason: `needs x86-64 Linux, this is ${process.arch} ${process.platform}` }
  }
  const folder = join(tmpdir(), 'paravirt-native')
  const path = join(folder, `mini-${kind}-${hashOf(kind, build)}`)
  if (existsSync(path)) return { path, reason: undefined }
  const out = `${path}.${process.pid}`
  mkdirSync(out, { recursive: true })
  try {
    const { more = [], objects = [], variables = {} } = build
    for (const path of objects) copyFileSync(path, join(out, basename(path)))
    const settings = Object.entries({ KIND: kind, OUT: out, MORE: [...more.map(pathOf), ...objects].join(' '), ...variables }).map(([name, value]) => `${name}=${value}`)
    execFileSync('make', ['-s', '-f', join(MINI, 'Makefile'), ...settings], { stdio: ['ignore', 'ignore', 'pipe'] })
    renameSync(join(out, 'mini.elf'), path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { path: undefined, reason: 'make is not installed' }
    if (/gcc: (No such file|command not found)/.test(String((error as { stderr?: Buffer }).stderr))) return { path: undefined, reason: 'gcc is not installed' }
    throw error
  } finally {
    rmSync(out, { recursive: true, force: true })
  }
  return { path, reason: undefined }
}

/** A kernel of 64 bits with a front-end for disks, or why there is none. */
export function buildDiskedMini(): NativeProgram {
  const drivers = 'test/guests/contract'
  return buildMini('pv64', { more: readdirSync(pathOf(drivers)).filter((file) => file.endsWith('.c')).map((file) => `${drivers}/${file}`) })
}
