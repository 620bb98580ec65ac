/**
 * The build of a kernel as work for a guest: examples/guests/mini by its own Makefile, with this machine's make, gcc and binutils and the libraries that these are linked
 * with. What comes out is compared with what the same programs make of it here, so nobody takes a build that failed for a quick one.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createHash } from 'node:crypto'

/** What a guest needs to build a kernel, and how. */
export interface KernelBuild {
  /** Files of its disk, by path without a leading slash. */
  readonly files: Readonly<Record<string, Uint8Array>>
  /** What its shell is to execute; it prints the sum of the kernel. */
  readonly command: string
  /** MD5 of the kernel. */
  readonly sum: string
}

const SOURCES = resolve(import.meta.dirname, '../../../examples/guests/mini')
const said = (program: string, ...options: string[]): string => execFileSync(program, options, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()

/** Where a program is by which gcc builds. */
function placeOf(program: string): string {
  const place = said('gcc', `-print-prog-name=${program}`)
  return place.startsWith('/') ? place : said('sh', '-c', `command -v ${program}`)
}

/** The libraries that a program is linked with, and their loader. */
const librariesOf = (path: string): readonly string[] => said('ldd', path).split('\n').flatMap((line) => /(\/\S+) \(0x/.exec(line)?.[1] ?? [])

function filesOf(paths: readonly string[]): Record<string, Uint8Array> {
  return Object.fromEntries(paths.map((path) => [path.slice(1), readFileSync(path)]))
}

/** The programs, what they are linked with, and the headers of the compiler's own. */
function toolchain(): Record<string, Uint8Array> {
  const programs = [...['make', 'gcc'].map((name) => said('sh', '-c', `command -v ${name}`)), ...['cc1', 'as', 'collect2', 'ld'].map(placeOf)]
  const plugin = said('gcc', '-print-file-name=liblto_plugin.so')
  const headers = said('gcc', '-print-file-name=include')
  const libraries = new Set([...programs, plugin].flatMap(librariesOf))
  return filesOf([...programs, plugin, ...libraries, ...['stdarg.h', 'stddef.h', 'stdint.h', 'stdint-gcc.h', 'stdbool.h'].map((name) => join(headers, name))])
}

/** The sum of the kernel as it is built here. */
function builtHere(): string {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-build-'))
  try {
    execFileSync('make', ['-s', '-C', SOURCES, `OUT=${folder}`], { stdio: 'ignore' })
    return createHash('md5').update(readFileSync(join(folder, 'mini.elf'))).digest('hex')
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** All of it; or why there is none. */
export function kernelBuild(): KernelBuild | string {
  try {
    const sum = builtHere()
    const sources = readdirSync(SOURCES).filter((name) => /\.(?:[chS]|ld)$|^Makefile$/.test(name)).map((name) => [`src/${name}`, readFileSync(join(SOURCES, name))] as const)
    return {
      files: { ...toolchain(), ...Object.fromEntries(sources) }, sum,
      command: 'rm -rf /tmp/out; mkdir /tmp/out; cd /src; PATH=/usr/bin:/bin make -s OUT=/tmp/out; cd /; md5sum < /tmp/out/mini.elf | cut -c 1-32',
    }
  } catch (error) {
    return `absent: make, gcc and binutils (${(error as Error).message.split('\n', 1)[0]!})`
  }
}
