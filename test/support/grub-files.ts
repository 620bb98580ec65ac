/**
 * What Debian's grub-common makes and says of grub.cfg files: its generators run over a folder with kernels in it, and its
 * checker of scripts.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { guestFile } from './guests.ts'

/** Stands in for grub-probe, grub-file and grub-mkrelpath, which ask the machine's own disks. */
const PROBE = `#!/bin/sh
case "\${0##*/} $*" in
  *mkrelpath*) echo /boot ;;
  *--is-arm64-efi*) exit 1 ;;
  *--is-x86-multiboot2*) exit $MULTIBOOT2 ;;
  *--target=fs_uuid*) echo 1111-2222 ;;
  *--target=fs*) echo ext2 ;;
  *--target=partmap*) echo msdos ;;
  *--target=device*) echo /dev/sda1 ;;
  *hint*) echo hd0,msdos1 ;;
esac
`

/** What the generated file is about. */
export interface GeneratedBy {
  /** Settings of /etc/default/grub. */
  readonly settings?: Readonly<Record<string, string>>
  /** Versions of Linux and Xen in /boot. */
  readonly linux: readonly string[]
  readonly xen: readonly string[]
  /** Whether Xen is loaded by \`multiboot2\` or by \`multiboot\`. */
  readonly multiboot2: boolean
}

/** The grub.cfg that Debian's own scripts write for a folder /boot with such files. */
export function generateGrubCfg({ settings = {}, linux, xen, multiboot2 }: GeneratedBy): string {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-grub-'))
  try {
    for (const name of ['boot', 'bin']) mkdirSync(join(folder, name))
    for (const version of linux) {
      for (const name of ['vmlinuz', 'initrd.img']) writeFileSync(join(folder, 'boot', `${name}-${version}`), 'x')
      writeFileSync(join(folder, 'boot', `config-${version}`), 'CONFIG_XEN_DOM0=y\n')
    }
    for (const version of xen) writeFileSync(join(folder, 'boot', `xen-${version}.gz`), 'x')
    writeFileSync(join(folder, 'bin/stub'), PROBE)
    chmodSync(join(folder, 'bin/stub'), 0o755)
    for (const name of ['probe', 'file', 'mkrelpath']) symlinkSync('stub', join(folder, 'bin', `grub-${name}`))
    return ['00_header', '10_linux', '20_linux_xen', '30_uefi-firmware', '40_custom'].map((name) => {
      const script = readFileSync(join(guestFile('grubGenerators')!, name), 'utf8')
        .replaceAll('/boot/', `${folder}/boot/`).replaceAll(' /vmlinu', ` ${folder}/none/vmlinu`)
      const share = guestFile('grubShare')!
      const env = {
        PATH: `${folder}/bin:${process.env['PATH']}`, MULTIBOOT2: multiboot2 ? '0' : '1', TEXTDOMAINDIR: folder,
        pkgdatadir: share, datarootdir: folder, datadir: folder, grub_probe: `${folder}/bin/grub-probe`, grub_file: `${folder}/bin/grub-file`,
        grub_mkrelpath: `${folder}/bin/grub-mkrelpath`, GRUB_DEVICE: '/dev/sda1', GRUB_DEVICE_UUID: '1111-2222', GRUB_DEVICE_BOOT: '/dev/sda1',
        GRUB_DEVICE_BOOT_UUID: '1111-2222', GRUB_FS: 'ext2', GRUB_DISTRIBUTOR: 'Debian', GRUB_DISABLE_LINUX_UUID: 'true', GRUB_RECOVERY_TITLE: 'recovery mode',
        ...settings,
      }
      return execFileSync('sh', ['-s'], { input: script.replace(/^exec tail.*$/m, `exec tail -n +3 ${join(guestFile('grubGenerators')!, name)}`), env, encoding: 'utf8', stdio: ['pipe', 'pipe', 'ignore'] })
    }).join('')
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** What GRUB's own checker says of a script: true where it is one. */
export function isGrubScript(text: string): boolean {
  const { status, error } = spawnSync(guestFile('grubScriptCheck')!, [], { input: text, stdio: ['pipe', 'ignore', 'ignore'] })
  if (error !== undefined || (status !== 0 && status !== 1)) throw error ?? new Error(`grub-script-check ended with ${status}`)
  return status === 0
}
