/**
 * Fetches the guests that tests run: `npm run guests -- [SET ...] [all] [--again]`; GUEST_SETS
 * of test/support/guests.ts are the sets.
 * Without a name it is GRUB and BusyBox, the small ones.
 * Debian's packages are downloaded by name with apt-get and unpacked with dpkg-deb; no root, nothing is installed.
 * What is there already is left alone, unless asked for again. So that description files can name Linux and its disk
 * without knowing their versions, `.guests/vmlinuz` leads to the kernel and `.guests/busybox.cpio` is a disk with BusyBox.
 */
import { execFileSync } from 'node:child_process'
import {
  existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync,
} from 'node:fs'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { busyboxInitramfs } from '../support/initramfs.ts'
import { GUESTS_FOLDER, GUEST_FILES, GUEST_SETS, guestFile, setOf, type GuestSet } from '../support/guests.ts'

/** A package that only names another one, as Debian's newest kernel: the other one is unpacked in its place. */
const NAMES_ANOTHER = /^linux-image-.*amd64$/
/** How a package names the kernel that it stands for. */
const KERNEL_PACKAGE = /linux-image-[0-9][^ ,]*/

/** Written last, so that a folder without it is known to be incomplete. */
const STAMP = '.version'

/** A failure that the user can do something about. */
class FetchError extends Error {}

/** Runs a program; what it says on failure becomes the error. */
function run(program: string, args: readonly string[], folder: string): string {
  try {
    return execFileSync(program, args, { cwd: folder, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  } catch (error) {
    const { code, stderr } = error as { code?: string; stderr?: string }
    if (code === 'ENOENT') throw new FetchError(`${program} is not installed: guests need Debian or Ubuntu`)
    throw new FetchError(`${program} ${args.join(' ')} failed:\n${stderr?.trim() ?? ''}`)
  }
}

/** Downloads a package by name into an empty folder and says which file it is. */
function download(name: string, folder: string): string {
  const place = mkdtempSync(join(folder, 'get-'))
  run('apt-get', ['download', name], place)
  const file = readdirSync(place).find((entry) => entry.endsWith('.deb'))
  if (file === undefined) throw new FetchError(`apt-get download ${name} brought no package`)
  return join(place, file)
}

/** Fetches one package into its folder; a failure leaves what was there. */
function fetchPackage(name: string, again: boolean): string {
  const target = join(GUESTS_FOLDER, name)
  if (!again && existsSync(join(target, STAMP))) return 'there already'
  const work = mkdtempSync(join(GUESTS_FOLDER, '.work-'))
  try {
    let file = download(name, work)
    const namesAnother = NAMES_ANOTHER.test(name)
    const other = namesAnother ? KERNEL_PACKAGE.exec(run('dpkg-deb', ['-f', file, 'Depends'], work))?.[0] : undefined
    if (namesAnother && other === undefined) throw new FetchError(`${name} no longer names a kernel package`)
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

/** The sets that the arguments name. */
export function chosenSets(args: readonly string[]): GuestSet[] {
  const known = Object.keys(GUEST_SETS) as GuestSet[]
  const names = args.filter((argument) => argument !== '--again')
  if (names.includes('all')) return known
  const unknown = names.find((name) => !known.includes(name as GuestSet))
  if (unknown !== undefined) throw new FetchError(`no set named ${unknown}; there are ${known.join(', ')} and all`)
  return names.length === 0 ? ['grub', 'busybox'] : (names as GuestSet[])
}

/** Gives what was fetched names without versions. */
function nameForDescriptions(): void {
  const [kernel, busybox] = [guestFile('linux'), guestFile('busybox')]
  const link = join(GUESTS_FOLDER, 'vmlinuz')
  rmSync(link, { force: true })
  if (kernel !== undefined) symlinkSync(relative(GUESTS_FOLDER, kernel), link)
  if (busybox === undefined) return
  writeFileSync(join(GUESTS_FOLDER, 'busybox.cpio'), busyboxInitramfs({ busybox: readFileSync(busybox) }))
}

/** Fetches the sets that the arguments name, then checks that every file of theirs is there. */
export function fetchGuests(args: readonly string[]): void {
  const sets = chosenSets(args)
  mkdirSync(GUESTS_FOLDER, { recursive: true })
  for (const name of sets.flatMap((set): readonly string[] => GUEST_SETS[set])) {
    console.log(`${name}: ${fetchPackage(name, args.includes('--again'))}`)
  }
  const missing = GUEST_FILES.filter((file) => sets.includes(setOf(file)) && guestFile(file) === undefined)
  if (missing.length > 0) throw new FetchError(`not where they are expected in the packages: ${missing.join(', ')}`)
  nameForDescriptions()
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  try {
    fetchGuests(process.argv.slice(2))
  } catch (error) {
    if (!(error instanceof FetchError)) throw error
    console.error(error.message)
    process.exitCode = 1
  }
}
