/** Debian's kernel and BusyBox, as `npx paravirt guests` has fetched them. */
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { optionalDecompressor } from '../decompress/index.ts'
import type { LinuxFiles } from '../testing/index.ts'
import { XenError } from '../util/index.ts'
import { fetchPackage } from './debian-packages.ts'

/** Packages that a Linux guest needs. */
const PACKAGES = ['linux-image-amd64', 'busybox-static'] as const

/** Where guests are unless told otherwise: `PARAVIRT_GUESTS`, or `.guests` of the working directory. */
const guestsFolder = (): string => process.env['PARAVIRT_GUESTS'] ?? '.guests'

/** Fetches them, where they are not there; `tell` hears of each. Throws IO, NOT_SUPPORTED. */
export function fetchDebianGuests(tell: (line: string) => void, folder = guestsFolder()): void {
  for (const name of PACKAGES) tell(`${name}: ${fetchPackage(name, { folder, again: false })}`)
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

/** Debian's kernel and BusyBox for `linux` of `paravirt/testing`. Throws IO where they were not fetched. */
export function debianGuests(folder = guestsFolder()): LinuxFiles {
  const image = join(folder, 'linux-image-amd64')
  const kernel = found(join(image, 'boot'), /^vmlinuz-/) ?? missing('a kernel', folder)
  const busybox = found(join(folder, 'busybox-static', 'bin'), /^busybox$/) ?? missing('BusyBox', folder)
  const modules = found(join(image, 'lib', 'modules'), /./)
  return {
    kernel: readFileSync(kernel), busybox: readFileSync(busybox), decompress: optionalDecompressor,
    module: (name) => readFileSync((modules && below(modules, `${name}.ko`)) ?? missing(`the module ${name}`, folder)),
  }
}
