/** Debian's kernel and BusyBox, as `npx paravirt guests` has fetched them. */
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { optionalDecompressor } from '../decompress/index.ts'
import type { LinuxFiles } from '../testing/index.ts'
import type { Dom0Services } from '../toolstack/index.ts'
import { XenError } from '../util/index.ts'
import { fetchPackage } from './debian-packages.ts'
import { dom0Ramdisk } from './dom0-image.ts'
import { DOM0_PACKAGES } from './dom0-packages.ts'

/** Packages that a Linux guest needs. */
const PACKAGES = ['linux-image-amd64', 'busybox-static'] as const

/** Where guests are unless told otherwise: `PARAVIRT_GUESTS`, or `.guests` of the working directory. */
const guestsFolder = (): string => process.env['PARAVIRT_GUESTS'] ?? '.guests'

/** What is fetched: a Linux guest, or also what Linux as dom0 needs. */
export type DebianSet = 'guest' | 'dom0'

const SETS: Readonly<Record<DebianSet, readonly string[]>> = {
  guest: PACKAGES, dom0: /* @__PURE__ */ [...new Set([...PACKAGES, ...DOM0_PACKAGES])],
}

/** Fetches them, where they are not there; `tell` hears of each. Throws IO, NOT_SUPPORTED. */
export function fetchDebianGuests(tell: (line: string) => void, folder = guestsFolder(), set: DebianSet = 'guest'): void {
  for (const name of SETS[set]) tell(`${name}: ${fetchPackage(name, { folder, again: false })}`)
}

function missing(what: string, folder: string): never {
  throw new XenError('IO', `${what} is not in ${folder}: fetch it by \`npx paravirt guests\``, { details: { what, folder } })
}

/** The one entry of a folder that a pattern finds, with its path. */
function found(folder: string, pattern: RegExp): string | undefined {
  const name = existsSync(folder) ? readdirSync(folder).find((entry) => pattern.test(entry)) : undefined
  return name === undefined ? undefined : join(folder, name)
}

/** A file below a folder. */
function below(folder: string, name: string): string | undefined {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    const inside = entry.isDirectory() ? below(path, name) : entry.name === name ? path : undefined
    if (inside !== undefined) return inside
  }
  return undefined
}

/** Debian's kernel. */
const kernelOf = (folder: string): Uint8Array =>
  readFileSync(found(join(folder, 'linux-image-amd64', 'boot'), /^vmlinuz-/) ?? missing('a kernel', folder))

/** Debian's kernel, a disk with Xen's tools, and the command line that they want: dom0 for `Host.boot`. */
export interface DebianDom0 {
  readonly kernel: Uint8Array
  readonly ramdisk: Uint8Array
  readonly commandLine: string
  readonly services: Dom0Services
}

/** What `debianDom0` is made of. */
export interface DebianDom0Options {
  /** Where the packages are. Default: where `npx paravirt guests` puts them. */
  readonly folder?: string | undefined
  /** Further files of its disk, by path without a leading slash. */
  readonly files?: Readonly<Record<string, Uint8Array | string>> | undefined
  /** Who serves XenStore and consoles: its own daemons, the default, or the host, see `dom0.services` of `Host.boot`. */
  readonly services?: Dom0Services | undefined
}

/**
 * Debian's Linux as dom0, out of packages that `npx paravirt guests dom0` has fetched. Throws IO where they were not fetched.
 *
 * @example
 * const host = await Host.boot({ memory: 1024, decompress: optionalDecompressor, dom0: { ...debianDom0(), memory: 512 } })
 * await host.console.waitFor('dom0: ready')
 */
export function debianDom0({ folder = guestsFolder(), files = {}, services = 'dom0' }: DebianDom0Options = {}): DebianDom0 {
  return { kernel: kernelOf(folder), ramdisk: dom0Ramdisk(folder, files), commandLine: `console=hvc0 panic=-1 rdinit=/init${services === 'host' ? ' services=host' : ''}`, services }
}

/** Debian's kernel and BusyBox for `linux` of `paravirt/testing`. Throws IO where they were not fetched. */
export function debianGuests(folder = guestsFolder()): LinuxFiles {
  const image = join(folder, 'linux-image-amd64')
  const busybox = found(join(folder, 'busybox-static', 'bin'), /^busybox$/) ?? missing('BusyBox', folder)
  const modules = found(join(image, 'lib', 'modules'), /./)
  return {
    kernel: kernelOf(folder), busybox: readFileSync(busybox), decompress: optionalDecompressor,
    module: (name) => readFileSync((modules && below(modules, `${name}.ko`)) ?? missing(`the module ${name}`, folder)),
  }
}
