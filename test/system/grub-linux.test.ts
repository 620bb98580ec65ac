/**
 * Debian's GRUB for Xen boots Debian's Linux out of a disk image, as that image's own grub.cfg says: GRUB reads the disk by its
 * own front-end, unpacks the kernel, builds its page tables and start info inside the domain, and jumps there. Linux then
 * takes over console, XenStore and the disk that GRUB has left.
 *
 * It takes a minute, so it runs only where it is asked for: with CI=true or LINUX_TESTS=1.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { MemoryFiles, type Host } from '../../src/index.ts'
import { extImage, whyNoImages } from '../support/disk-images.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { busyboxInitramfs } from '../../src/testing/index.ts'
import { bootLinuxHost, LinuxGuest } from '../support/linux.ts'

const KERNEL = '.guests/grub-xen-host/usr/lib/grub-xen/grub-x86_64-xen.bin'
const description = readFileSync(new URL('../../examples/xen/grub', import.meta.url), 'utf8')
const wanted = process.env['CI'] === 'true' || process.env['LINUX_TESTS'] === '1'
const missing = wanted
  ? (whyMissing('grub64', 'linux', 'linuxModules', 'busybox') ?? whyNoImages())
  : ' (SKIPPED: set LINUX_TESTS=1)'

const GRUB_CFG = `set timeout=0
menuentry 'Linux out of the image' {
  linux /boot/vmlinuz console=hvc0 panic=-1 rdinit=/init from=grub.cfg
  initrd /boot/initrd.img
}
`

/** A disk as an installed system has it, with a kernel, its initial RAM disk and GRUB's configuration. */
function bootDisk(): Uint8Array {
  const blkfront = readFileSync(`${guestFile('linuxModules')!}/kernel/drivers/block/xen-blkfront.ko`)
  return extImage({ kibibytes: 20 << 10, make: ['-t', 'ext2'], files: {
    'boot/grub/grub.cfg': GRUB_CFG,
    'boot/vmlinuz': readFileSync(guestFile('linux')!),
    'boot/initrd.img': busyboxInitramfs({
      busybox: readFileSync(guestFile('busybox')!), files: { 'm/xen-blkfront.ko': blkfront },
    }),
  } })
}

const hosts: Host[] = []
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

describe.skipIf(missing !== undefined)(`GRUB's Xen image${missing ?? ''}`, () => {
  test("boots Linux out of a disk image by the image's grub.cfg", { timeout: 900_000 }, async () => {
    const bytes = bootDisk()
    const host = await bootLinuxHost({
      files: new MemoryFiles({ [KERNEL]: readFileSync(guestFile('grub64')!) }),
      openDisk: () => new MemoryBlockStore(bytes, { readOnly: true }),
    })
    hosts.push(host)
    const text = `${description}\nmemory = 192\ndisk = ["/images/debian.img,raw,xvda,r"]`
    const domain = await host.createDomain(text.replace(/^memory = 64$/m, ''), { source: 'examples/xen/grub' })
    await domain.console.waitFor('Reading (xen/xvda)/boot/grub/grub.cfg')
    await domain.console.waitFor("Booting `Linux out of the image'")
    const linux = await new LinuxGuest(host, domain).ready()
    expect(await linux.run('cat /proc/cmdline')).toBe('console=hvc0 panic=-1 rdinit=/init from=grub.cfg')
    expect(Number(/MemTotal: +(\d+) kB/.exec(await linux.run('cat /proc/meminfo'))![1])).toBeGreaterThan(100_000)
    await linux.run('insmod /m/xen-blkfront.ko && sleep 1')
    expect(await linux.run('md5sum < /dev/xvda')).toContain(createHash('md5').update(bytes).digest('hex'))
    expect(await domain.shutdown()).toBe('poweroff')
    await host.settled()
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })
})
