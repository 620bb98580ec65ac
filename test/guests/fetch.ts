/**
 * Fetches the guests that tests run: `npm run guests -- [SET ...] [all] [--again]`; GUEST_SETS
 * of test/support/guests.ts are the sets.
 * Without a name it is GRUB and BusyBox, the small ones.
 * Debian's packages are downloaded by name with apt-get and unpacked with dpkg-deb; no root, nothing is installed.
 * What is there already is left alone, unless asked for again. So that description files can name Linux and its disk
 * without knowing their versions, `.guests/vmlinuz` leads to the kernel, `.guests/busybox.cpio` is a disk with BusyBox, and
 * `.guests/dom0.cpio` one with Xen's tools.
 */
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { dom0Ramdisk } from '../../src/node/dom0-image.ts'
import { fetchPackage } from '../../src/node/debian-packages.ts'
import { busyboxInitramfs } from '../../src/testing/index.ts'
import { XenError } from '../../src/util/index.ts'
import { GUESTS_FOLDER, GUEST_FILES, GUEST_SETS, guestFile, setOf, type GuestSet } from '../support/guests.ts'

/** A failure that the user can do something about. */
class FetchError extends Error {}

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
  if (kernel !== undefined && guestFile('dom0Tools') !== undefined) writeFileSync(join(GUESTS_FOLDER, 'dom0.cpio'), dom0Ramdisk(GUESTS_FOLDER))
  if (busybox === undefined) return
  writeFileSync(join(GUESTS_FOLDER, 'busybox.cpio'), busyboxInitramfs({ busybox: readFileSync(busybox) }))
}

/** Fetches the sets that the arguments name, then checks that every file of theirs is there. */
export function fetchGuests(args: readonly string[]): void {
  const sets = chosenSets(args)
  mkdirSync(GUESTS_FOLDER, { recursive: true })
  for (const name of sets.flatMap((set): readonly string[] => GUEST_SETS[set])) {
    console.log(`${name}: ${fetchPackage(name, { folder: GUESTS_FOLDER, again: args.includes('--again') })}`)
  }
  const missing = GUEST_FILES.filter((file) => sets.includes(setOf(file)) && guestFile(file) === undefined)
  if (missing.length > 0) throw new FetchError(`not where they are expected in the packages: ${missing.join(', ')}`)
  nameForDescriptions()
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  try {
    fetchGuests(process.argv.slice(2))
  } catch (error) {
    if (!(error instanceof FetchError || XenError.is(error))) throw error
    console.error(error.message)
    process.exitCode = 1
  }
}
