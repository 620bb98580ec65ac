/**
 * Debian's packages, downloaded by name with apt-get and unpacked with dpkg-deb, a folder each: no root, nothing is
 * installed, and what is there already is left alone.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { XenError } from '../util/index.ts'

/** A package that only names another one, as Debian's newest kernel: the other one is unpacked in its place. */
const NAMES_ANOTHER = /^linux-image-.*amd64$/
/** How a package names the kernel that it stands for. */
const KERNEL_PACKAGE = /linux-image-[0-9][^ ,]*/

/** Written last, so that a folder without it is known to be incomplete. */
const STAMP = '.version'

/** Runs a program; what it says on failure becomes the error. */
function run(program: string, args: readonly string[], folder: string): string {
  try {
    return execFileSync(program, args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  } catch (error) {
    const { code, stderr } = error as { code?: string; stderr?: string }
    if (code === 'ENOENT') throw new XenError('NOT_SUPPORTED', `${program} is not installed: guests need Debian or Ubuntu`)
    throw new XenError('IO', `${program} ${args.join(' ')} failed:\n${stderr?.trim() ?? ''}`, { cause: error })
  }
}

/** Downloads a package by name into an empty folder and says which file it is. */
function download(name: string, folder: string): string {
  const place = mkdtempSync(join(folder, 'get-'))
  run('apt-get', ['download', name], place)
  const file = readdirSync(place).find((entry) => entry.endsWith('.deb'))
  if (file === undefined) throw new XenError('IO', `apt-get download ${name} brought no package`)
  return join(place, file)
}

/**
 * Fetches one package into `folder/NAME`; what it says is its name and version, or that it was there. A failure leaves what
 * was there. Throws IO, and NOT_SUPPORTED where Debian's tools are not.
 */
export function fetchPackage(name: string, { folder: given, again }: { readonly folder: string; readonly again: boolean }): string {
  // The programs that are run stand in folders of their own.
  const folder = resolve(given)
  const target = join(folder, name)
  if (!again && existsSync(join(target, STAMP))) return 'there already'
  mkdirSync(folder, { recursive: true })
  const work = mkdtempSync(join(folder, '.work-'))
  try {
    let file = download(name, work)
    const namesAnother = NAMES_ANOTHER.test(name)
    const other = namesAnother ? KERNEL_PACKAGE.exec(run('dpkg-deb', ['-f', file, 'Depends'], work))?.[0] : undefined
    if (namesAnother && other === undefined) throw new XenError('IO', `${name} no longer names a kernel package`)
    if (other !== undefined) file = download(other, work)
    const unpacked = join(work, 'unpacked')
    run('dpkg-deb', ['-x', file, unpacked], work)
    const version = run('dpkg-deb', ['-f', file, 'Package', 'Version'], work).trim().replace(/\n/g, ', ')
    writeFileSync(join(unpacked, STAMP), `${version}\n`)
    rmSync(target, { recursive: true, force: true })
    renameSync(unpacked, target)
    return version
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}
