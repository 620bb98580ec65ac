/** What tests of Debian's installer share: the example built, the image that it boots, a mirror, disks, and what can be seen of a disk from outside. */
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type * as Example from '../../examples/install/index.ts'
import { builtModule } from './bundle.ts'
import { GUESTS_FOLDER, guestFile, whyMissing } from './guests.ts'
import { whyNoProgram } from './programs.ts'

const SIZE = 2 * 2 ** 30
/** Where the one partition is on a disk. */
const PARTITION = 2048 * 512

/** Why nothing can be installed here; undefined where it can. */
export const whyNoInstallation = (): string | undefined =>
  whyMissing('installerKernel', 'installerRamdisk') ?? whyNoProgram('e2fsck', '-V') ?? whyNoProgram('apt-get', '--version')

/** A folder for disks and mirrors, the example's calls, and what they are called with. */
export class InstallationBench {
  private readonly folder = mkdtempSync(join(tmpdir(), 'paravirt-install-'))
  private readonly mirror: string
  readonly example: typeof Example
  readonly image: { readonly kernel: Uint8Array; readonly ramdisk: Uint8Array }

  private constructor(example: typeof Example) {
    this.example = example
    this.image = { kernel: readFileSync(guestFile('installerKernel')!), ramdisk: readFileSync(guestFile('installerRamdisk')!) }
    this.mirror = example.makeMirror(join(GUESTS_FOLDER, 'mirror'), this.image.kernel)
  }

  /** Builds the example, and has APT fill the mirror where it is not there. */
  static async make(): Promise<InstallationBench> {
    return new InstallationBench(await import(await builtModule('examples/install/index.ts')) as typeof Example)
  }

  /** An empty disk. */
  blankDisk(name: string): string {
    const file = join(this.folder, name)
    writeFileSync(file, '')
    truncateSync(file, SIZE)
    return file
  }

  /** Installs onto a disk, out of the whole mirror or another. */
  install(type: 'pv' | 'pvh', disk: string, mirror = this.mirror): Promise<Example.Installed> {
    return this.example.install({ type, ...this.image, mirror, disk })
  }

  /** A copy of the mirror whose files are the same ones, but for a package. */
  spoiltMirror(name: string, spoil: (bytes: Uint8Array) => Uint8Array | undefined): string {
    const copy = mkdtempSync(join(this.folder, 'mirror-'))
    cpSync(join(this.mirror, 'dists'), join(copy, 'dists'), { recursive: true })
    mkdirSync(join(copy, 'pool'))
    for (const file of readdirSync(join(this.mirror, 'pool'))) {
      const [from, to] = [join(this.mirror, 'pool', file), join(copy, 'pool', file)]
      const isSpoilt = file.startsWith(`${name}_`)
      const bytes = isSpoilt ? spoil(readFileSync(from)) : undefined
      if (bytes !== undefined) writeFileSync(to, bytes)
      else if (!isSpoilt) symlinkSync(from, to)
    }
    return copy
  }

  /** A file of an installed system, read from outside by e2fsprogs. */
  fileOf(disk: string, path: string): string {
    return execFileSync('debugfs', ['-R', `cat ${path}`, `${disk}?offset=${PARTITION}`], { encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'ignore'] })
  }

  /** What e2fsprogs' checker says of a disk's file system, which it does not touch; throws where it finds a fault. */
  check(disk: string): string {
    return execFileSync('e2fsck', ['-f', '-n', `${disk}?offset=${PARTITION}`], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  }

  /** Removes disks and mirrors that were made for it. */
  close(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}
