/**
 * A folder laid out as a Debian mirror, small: what a minimal system needs, and the parts of Debian's installer that its netboot image loads over the network.
 *
 * Debian's own index of installer parts (udebs) is not used, as mirrors may lack many of the files that it names: of those, the parts for debootstrap, partitions, accounts
 * and the boot loader are made here out of Debian's ordinary packages and three scripts. All others are Debian's, with base-installer and bootstrap-base among them.
 *
 * Reference: Debian's RepositoryFormat; the installer's internals manual for menu numbers and what parts provide.
 */
import { createHash } from 'node:crypto'
import { chmodSync, copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import { PackageFetcher, repositoryOf, runTool } from './packages.ts'

/** The release that is installed. */
export const SUITE = 'bookworm'
/** What the system is made of, beside packages that are required on any. */
const SYSTEM = ['apt', 'usr-is-merged', 'init', 'udev', 'debconf-i18n', 'initramfs-tools', 'busybox', 'zstd', 'linux-image-cloud-amd64', 'grub2-common']
/** Parts of the installer that come as Debian has them, and modules for the kernel of its image. */
const PARTS = ['base-installer', 'bootstrap-base']
const MODULES = ['ext4-modules', 'scsi-modules', 'crc-modules', 'scsi-core-modules']
/** Packages whose programs the installer needs for a partition. */
const PARTITION_TOOLS = ['e2fsprogs', 'libext2fs2', 'libcom-err2', 'fdisk', 'libfdisk1', 'libsmartcols1']
const PARTITION_FILES = /^(sbin\/(mke2fs|sfdisk)|etc\/mke2fs\.conf|(usr\/)?lib\/x86_64-linux-gnu\/lib(ext2fs|e2p|com_err|fdisk|smartcols)\.so.*)$/

const script = (name: string): string => resolve(import.meta.dirname, name)

/** The kernel that an image for netbooting has, as a bzImage says it. */
export function kernelVersion(bzImage: Uint8Array): string {
  const view = new DataView(bzImage.buffer, bzImage.byteOffset, bzImage.length)
  const at = view.getUint16(0x20e, true) + 0x200
  return new TextDecoder().decode(bzImage.subarray(at, at + 64)).split(/[ \0]/)[0]!
}

/** A part of the installer that is made here. */
interface OwnPart {
  readonly fields: Readonly<Record<string, string>>
  /** What stands in its menu; a part without one has no step of its own. */
  readonly title?: string
  readonly postinst?: string
  /** Fills the folder with its files. */
  fill(folder: string): void
}

/** Makes a part as a package file in `folder`. */
function makePart(folder: string, { fields, title, postinst, fill }: OwnPart): void {
  const work = mkdtempSync(join(folder, '.part-'))
  try {
    const control = join(work, 'DEBIAN')
    mkdirSync(control)
    const [name, ...rest] = Object.entries(fields)
    const all = [name!, ['Version', '1'], ['Architecture', 'amd64'], ['Maintainer', 'paravirt'], ['Section', 'debian-installer'], ...rest, ['Description', title ?? `${name![1]} out of Debian's packages`]]
    // Its name first: the installer's reader of indexes takes a record without one for broken.
    writeFileSync(join(control, 'control'), all.map(([name, value]) => `${name}: ${value}\n`).join(''))
    if (title !== undefined) writeFileSync(join(control, 'templates'), `Template: debian-installer/${fields['Package']!}/title\nType: text\nDescription: ${title}\n`)
    if (postinst !== undefined) {
      copyFileSync(postinst, join(control, 'postinst'))
      chmodSync(join(control, 'postinst'), 0o755)
    }
    fill(work)
    chmodSync(work, 0o755)
    runTool('dpkg-deb', ['--root-owner-group', '-Zgzip', '--build', work, join(folder, `${fields['Package']!}_1_amd64.udeb`)])
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

/** Files below a folder, by path. */
const filesBelow = (folder: string): readonly string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => !entry.isDirectory()).map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))

/** The parts that are made here, of packages that are unpacked in two folders. */
const ownParts = (debootstrap: string, tools: string): readonly OwnPart[] => [
  {
    fields: { Package: 'debootstrap-udeb', Depends: 'mounted-partitions', Priority: 'optional' },
    fill: (folder) => {
      for (const path of ['usr/sbin/debootstrap', 'usr/share/debootstrap']) cpSync(join(debootstrap, path), join(folder, path), { recursive: true, verbatimSymlinks: true })
    },
  },
  {
    fields: {
      Package: 'one-partition', Depends: 'cdebconf-udeb', Provides: 'mounted-partitions, created-fstab, partitioned-harddrives, made-filesystems, di-utils-mapdevfs',
      Priority: 'required', 'Installer-Menu-Item': '4200',
    },
    title: 'Partition the disk', postinst: script('partition.sh'),
    fill: (folder) => {
      for (const path of filesBelow(tools).filter((name) => PARTITION_FILES.test(name))) cpSync(join(tools, path), join(folder, path), { verbatimSymlinks: true })
      const hook = join(folder, 'usr/lib/base-installer.d/10unsigned')
      cpSync(script('unsigned.sh'), hook)
      chmodSync(hook, 0o755)
    },
  },
  {
    fields: { Package: 'last-steps', Depends: 'cdebconf-udeb, installed-base, kernel-installer', Provides: 'bootable-system', Priority: 'required', 'Installer-Menu-Item': '7800' },
    title: 'Finish the installation', postinst: script('finish.sh'), fill: () => undefined,
  },
]

const hashOf = (algorithm: string, bytes: Uint8Array): string => createHash(algorithm).update(bytes).digest('hex')

/** The index of package files: what each says of itself, where it is and its hashes. Which are required of a system says Debian's index, not the package. */
function indexOf(root: string, names: readonly string[], required: ReadonlySet<string>): string {
  return names.map((name) => {
    const bytes = readFileSync(join(root, 'pool', name))
    const said = runTool('dpkg-deb', ['-f', join(root, 'pool', name)]).trim()
    const control = name.endsWith('.udeb') ? said : said.replace(/^Priority: .*$/m, `Priority: ${required.has(name.split('_')[0]!) ? 'required' : 'optional'}`)
    return `${control}\nFilename: pool/${name}\nSize: ${bytes.length}\nMD5sum: ${hashOf('md5', bytes)}\nSHA256: ${hashOf('sha256', bytes)}\n`
  }).join('\n')
}

/** Writes the indexes, packed and not, and what lists them. */
function writeIndexes(root: string, required: ReadonlySet<string>): void {
  const names = readdirSync(join(root, 'pool')).sort()
  const indexes = { 'main/binary-amd64': names.filter((name) => name.endsWith('.deb')), 'main/debian-installer/binary-amd64': names.filter((name) => name.endsWith('.udeb')) }
  const sums: string[] = []
  const keep = (path: string, bytes: Uint8Array): void => {
    writeFileSync(join(root, 'dists', SUITE, path), bytes)
    sums.push(` ${hashOf('sha256', bytes)} ${bytes.length} ${path}`)
  }
  for (const [folder, files] of Object.entries(indexes)) {
    mkdirSync(join(root, 'dists', SUITE, folder), { recursive: true })
    const text = Buffer.from(indexOf(root, files, required))
    keep(`${folder}/Packages`, text)
    keep(`${folder}/Packages.gz`, gzipSync(text))
    keep(`${folder}/Release`, Buffer.from(`Archive: ${SUITE}\nOrigin: Debian\nLabel: Debian\nComponent: main\nArchitecture: amd64\n`))
  }
  const fields = [`Origin: Debian`, 'Label: Debian', `Suite: ${SUITE}`, `Codename: ${SUITE}`, `Date: ${new Date(0).toUTCString().replace('GMT', 'UTC')}`, 'Architectures: all amd64', 'Components: main', 'SHA256:']
  writeFileSync(join(root, 'dists', SUITE, 'Release'), `${[...fields, ...sums].join('\n')}\n`)
}

/** Fetches what the mirror holds into its pool; gives the names of packages that are required of a system. */
function fillPool(root: string, kernel: string): ReadonlySet<string> {
  const pool = join(root, 'pool')
  mkdirSync(pool, { recursive: true })
  // Versions' epochs stand in names of APT's files and not in a mirror's.
  const keep = (file: string): void => copyFileSync(file, join(pool, basename(file).replace(/_\d+%3a/, '_')))
  const debs = new PackageFetcher(join(root, 'apt-debs'))
  const required = debs.withPriority('required')
  debs.withDependencies([...required, ...SYSTEM]).forEach(keep)
  const udebs = new PackageFetcher(join(root, 'apt-udebs'), [`deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${repositoryOf(SUITE)} ${SUITE} main/debian-installer`])
  udebs.alone([...PARTS, ...MODULES.map((name) => `${name}-${kernel}-di`)]).forEach(keep)
  const unpack = (files: readonly string[], place: string): string => {
    for (const file of files) runTool('dpkg-deb', ['-x', file, join(root, place)])
    return join(root, place)
  }
  const [debootstrap, tools] = [unpack(debs.alone(['debootstrap']), 'unpacked-debootstrap'), unpack(debs.alone(PARTITION_TOOLS), 'unpacked-tools')]
  for (const part of ownParts(debootstrap, tools)) makePart(pool, part)
  for (const fetcher of [debs, udebs]) fetcher.close()
  for (const place of [debootstrap, tools]) rmSync(place, { recursive: true })
  return new Set(required)
}

/** Makes the mirror in a folder, unless it is there already. `bzImage` is the installer's kernel. A failure leaves nothing there. */
export function makeMirror(folder: string, bzImage: Uint8Array): string {
  const root = resolve(folder)
  if (existsSync(join(root, 'dists'))) return root
  mkdirSync(resolve(root, '..'), { recursive: true })
  const work = mkdtempSync(`${root}.work-`)
  try {
    writeIndexes(work, fillPool(work, kernelVersion(bzImage)))
    rmSync(root, { recursive: true, force: true })
    renameSync(work, root)
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
  return root
}
