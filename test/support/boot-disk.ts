/** A disk as an installed system has it: Debian's kernel, its initial RAM disk with BusyBox, GRUB's configuration. */
import { readFileSync } from 'node:fs'
import { busyboxInitramfs } from '../../src/testing/index.ts'
import { extImage, whyNoImages } from './disk-images.ts'
import { guestFile, whyMissing } from './guests.ts'

const GRUB_CFG = `set timeout=0
menuentry 'Linux out of the image' {
  linux /boot/vmlinuz console=hvc0 panic=-1 rdinit=/init from=grub.cfg
  initrd /boot/initrd.img
}
`

/** Why there can be no such disk, or no GRUB to boot from it; undefined when there can. */
export const whyNoBootDisk = (): string | undefined => whyMissing('grub64', 'grubPvh', 'linux', 'linuxModules', 'busybox') ?? whyNoImages()

/** The disk, with a file system such as `ext2`. The guest finds the driver of disks in /m. */
export function bootDisk(fileSystem: string): Uint8Array {
  const blkfront = readFileSync(`${guestFile('linuxModules')!}/kernel/drivers/block/xen-blkfront.ko`)
  return extImage({ kibibytes: 20 << 10, make: ['-t', fileSystem], files: {
    'boot/grub/grub.cfg': GRUB_CFG,
    'boot/vmlinuz': readFileSync(guestFile('linux')!),
    'boot/initrd.img': busyboxInitramfs({
      busybox: readFileSync(guestFile('busybox')!), files: { 'm/xen-blkfront.ko': blkfront },
    }),
  } })
}
