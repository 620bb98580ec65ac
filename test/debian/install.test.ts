/**
 * Debian's installer with nobody at its console, out of a mirror that APT has filled, over a user-mode network onto a disk; and what has become of it: the installer's own log,
 * e2fsprogs' checker over the disk from outside, and the system itself, booted by pygrub, with its account logged in and its packages asked. And mirrors that lack or spoil a package.
 */
import { execFileSync } from 'node:child_process'
import { cpSync, symlinkSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type * as Example from '../../examples/install/index.ts'
import { builtModule } from '../support/bundle.ts'
import { GUESTS_FOLDER, guestFile, whyMissing } from '../support/guests.ts'
import { whyNoProgram } from '../support/programs.ts'

const missing = whyMissing('installerKernel', 'installerRamdisk') ?? whyNoProgram('e2fsck', '-V') ?? whyNoProgram('apt-get', '--version')
const PATIENCE = 3_600_000
const SIZE = 2 * 2 ** 30
/** Where the one partition is on the disk. */
const PARTITION = 2048 * 512

describe.skipIf(missing !== undefined)(`Debian's installer, unattended${missing ?? ''}`, { timeout: PATIENCE }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-install-'))
  let [kernel, ramdisk, mirror] = [new Uint8Array(), new Uint8Array(), '']
  let example: typeof Example
  beforeAll(async () => {
    example = await import(await builtModule('examples/install/index.ts')) as typeof Example;
    [kernel, ramdisk] = [readFileSync(guestFile('installerKernel')!), readFileSync(guestFile('installerRamdisk')!)]
    mirror = example.makeMirror(join(GUESTS_FOLDER, 'mirror'), kernel)
  }, PATIENCE)
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  /** An empty disk. */
  function blankDisk(name: string): string {
    const file = join(folder, name)
    writeFileSync(file, '')
    truncateSync(file, SIZE)
    return file
  }
  /** A file of the installed system, read from outside. */
  const fileOf = (disk: string, path: string): string =>
    execFileSync('debugfs', ['-R', `cat ${path}`, `${disk}?offset=${PARTITION}`], { encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'ignore'] })
  const check = (disk: string): string => execFileSync('e2fsck', ['-f', '-n', `${disk}?offset=${PARTITION}`], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })

  describe.each(['pvh'] as const)('as a guest of type %s', (type) => {
    const disk = blankDisk(`${type}.img`)
    let installed: Example.Installed

    test('installs, asks nobody, and powers off', async () => {
      installed = await example.install({ type, kernel, ramdisk, mirror, disk })
      expect(installed.transcript).not.toMatch(/WARNING:|BUG:|Oops|segfault/)
    })

    test('leaves a log without an error, and a file system without a fault', () => {
      const log = fileOf(disk, '/var/log/installer/syslog')
      expect(log).toContain('the system is installed')
      expect(log).not.toMatch(/last-steps: warning|base-installer: error|Failed to/)
      expect(check(disk)).toMatch(/5: Checking group summary information|Pass 5/)
    })

    test('leaves a system that pygrub boots to a login, with all packages whole', async () => {
      const system = await example.bootInstalled({ type, disk })
      expect(await system.run('id -un; hostname')).toBe('debian\ninstalled')
      expect(await system.run('cat /proc/cmdline')).toMatch(/root=UUID=\S+ ro console=hvc0/)
      expect(await system.run('dpkg --audit')).toBe('')
      expect(await system.run("dpkg-query -W -f '${db:Status-Abbrev}\\n' | sort -u")).toBe('ii')
      expect(await system.run('uname -r')).toMatch(/^6\.1\.0-\d+-cloud-amd64$/)
      expect(await system.powerOff()).toBe('poweroff')
      expect(check(disk)).toContain('Pass 5')
    })
  })

  describe('out of a mirror', () => {
    /** A copy of the mirror whose files are the same ones, but for a package. */
    function spoilt(name: string, spoil: (bytes: Uint8Array) => Uint8Array | undefined): string {
      const copy = mkdtempSync(join(folder, 'mirror-'))
      cpSync(join(mirror, 'dists'), join(copy, 'dists'), { recursive: true })
      mkdirSync(join(copy, 'pool'))
      for (const file of readdirSync(join(mirror, 'pool'))) {
        const bytes = file.startsWith(`${name}_`) ? spoil(readFileSync(join(mirror, 'pool', file))) : undefined
        if (bytes !== undefined) writeFileSync(join(copy, 'pool', file), bytes)
        else if (!file.startsWith(`${name}_`)) symlinkSync(join(mirror, 'pool', file), join(copy, 'pool', file))
      }
      return copy
    }

    test('that lacks a part of the installer ends with an error that names it', async () => {
      const broken = spoilt('bootstrap-base', () => undefined)
      await expect(example.install({ type: 'pvh', kernel, ramdisk, mirror: broken, disk: blankDisk('lacking.img') })).rejects.toThrow(/The mirror lacks \/debian\/pool\/bootstrap-base_/)
    })

    test('whose package is not what its index says ends with an error of the installer', async () => {
      const broken = spoilt('libc6', (bytes) => bytes.map((byte, at) => (at === bytes.length >> 1 ? byte ^ 1 : byte)))
      await expect(example.install({ type: 'pvh', kernel, ramdisk, mirror: broken, disk: blankDisk('spoilt.img') })).rejects.toThrow(/libc6/)
    })
  })
})
