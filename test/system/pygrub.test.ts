/**
 * Guests that bring their kernels along in their own disks: pygrub finds them there, at each start anew; saved and moved
 * domains carry the boot loader's name and no path of this host. Images are made by Debian's mke2fs and sfdisk.
 */
import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { optionalDecompressor } from '../../src/decompress/index.ts'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { Host, MemoryFiles, embeddedKernel, type HostOptions } from '../../src/index.ts'
import { ByteCollector } from '../support/byte-collector.ts'
import { extImage, partitionedDisk, whyNoImages } from '../support/disk-images.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { busyboxInitramfs } from '../../src/testing/index.ts'

const missing = whyNoImages()
const DESCRIPTION = 'name = "guest"\nmemory = 32\nbootloader = "pygrub"\ndisk = [ "/images/guest.img,raw,xvda,w" ]\n'
const menu = (words: string): string => `menuentry 'Mini' --class mini {\n insmod ext2\n linux /boot/mini ${words}\n}\n`

/** A disk whose second partition has the embedded kernel and a grub.cfg. */
const miniDisk = (words: string): Uint8Array => partitionedDisk('gpt', [
  { start: 2048, contents: new Uint8Array(64 << 10), type: 'uefi' },
  { start: 4096, contents: extImage({ kibibytes: 1024, files: { 'boot/mini': embeddedKernel(), 'boot/grub/grub.cfg': menu(words) } }) },
])

const hosts: Host[] = []
async function boot(options: HostOptions): Promise<Host> {
  const host = await Host.boot({ memory: 128, dom0Memory: 16, ...options })
  hosts.push(host)
  return host
}
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

describe.skipIf(missing !== undefined)(`a domain with pygrub${missing ?? ''}`, () => {
  test('boots what its disk has, and again what it has then, here and where it was moved to', { timeout: 60_000 }, async () => {
    let disk: Uint8Array = miniDisk('first')
    const opened: [string, boolean, number][] = []
    const openDisk: HostOptions['openDisk'] = ({ params, readOnly, domid }) => {
      opened.push([params, readOnly, domid])
      return new MemoryBlockStore(disk)
    }
    const host = await boot({ openDisk })
    const domain = await host.createDomain(`${DESCRIPTION}extra = "more"`)
    await domain.console.waitFor('command line: first more')
    // The toolstack reads the disk for itself, then dom0's back-end opens it for the domain.
    expect(opened).toEqual([['/images/guest.img', true, 0], ['/images/guest.img', false, domain.id]])
    const vm = host.store.tryRead(`/local/domain/${domain.id}/vm`)
    expect([host.store.tryRead(`${vm}/image/kernel`), host.store.tryRead(`${vm}/image/cmdline`)]).toEqual(['/boot/mini', 'first more'])

    disk = miniDisk('second')
    const restarted = new Promise<number>((resolve) => { host.events.on('domain-restarted', ({ newDomid }) => resolve(newDomid)) })
    await domain.reboot()
    const again = host.domain(await restarted)
    await again.console.waitFor('command line: second more')

    const saved = new ByteCollector()
    await again.save(saved)
    const text = new TextDecoder('latin1').decode(saved.bytes().subarray(0, 4096))
    expect(text).toContain('"bootloader": "pygrub"')
    expect(text).not.toContain('"kernel"')
    disk = miniDisk('third')
    const other = await boot({ openDisk })
    const moved = await other.restore(saved.bytes(), { trust: { disks: ['/images/guest.img'] } })
    const elsewhere = new Promise<number>((resolve) => { other.events.on('domain-restarted', ({ newDomid }) => resolve(newDomid)) })
    await moved.reboot()
    await other.domain(await elsewhere).console.waitFor('command line: third more')
  })

  test('whose disk has nothing to boot fails and leaves nothing behind, also when it starts anew', { timeout: 60_000 }, async () => {
    let disk: Uint8Array = new Uint8Array(1 << 20)
    const host = await boot({ openDisk: () => new MemoryBlockStore(disk) })
    await expect(host.createDomain(DESCRIPTION)).rejects.toMatchObject({ code: 'INVALID_IMAGE', message: expect.stringContaining('pygrub finds no kernel in the disk') })
    await expect(host.createDomain('name = "guest"\nbootloader = "pygrub"')).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
    expect(host.domains()).toEqual([])
    disk = miniDisk('x')
    const domain = await host.createDomain(DESCRIPTION)
    await domain.console.waitFor('mini> ')
    disk = new Uint8Array(1 << 20)
    const failed = new Promise<unknown>((resolve) => { host.events.on('action-failed', ({ error }) => resolve(error)) })
    await domain.reboot()
    expect(await failed).toMatchObject({ code: 'INVALID_IMAGE' })
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })
})

const noLinux = whyNoImages() ?? whyMissing('linux', 'busybox')
describe.skipIf(noLinux !== undefined)(`Debian's Linux in its own disk${noLinux ?? ''}`, () => {
  test('is unpacked and started with its ramdisk and the words of its grub.cfg', { timeout: 100_000 }, async () => {
    const files = {
      'boot/vmlinuz': readFileSync(guestFile('linux')!), 'boot/initrd.img': busyboxInitramfs({ busybox: readFileSync(guestFile('busybox')!) }),
      'boot/grub/grub.cfg': "set default=0\nmenuentry 'Debian' --class debian {\n linux /boot/vmlinuz root=/dev/xvda1 console=hvc0\n initrd /boot/initrd.img\n}\n",
    }
    const disk = new MemoryBlockStore(partitionedDisk('dos', [{ start: 2048, contents: extImage({ kibibytes: 20_480, files }), bootable: true }]))
    const host = await boot({ memory: 256, decompress: optionalDecompressor, openDisk: () => disk })
    const domain = await host.createDomain('name = "debian"\nmemory = 160\nbootloader = "/usr/bin/pygrub"\ndisk = [ "/x,raw,xvda,r" ]')
    await domain.console.waitFor('Command line: root=/dev/xvda1 console=hvc0')
    await domain.console.waitFor(/RAMDISK: \[mem 0x[0-9a-f]+-0x[0-9a-f]+\]/)
    await domain.destroy()
  })
})

const noGrub = whyMissing('grub64')
describe.skipIf(noGrub !== undefined)(`GRUB as a kernel${noGrub ?? ''}`, () => {
  const grub = noGrub === undefined ? readFileSync(guestFile('grub64')!) : new Uint8Array()
  test.each(['kernel = "pvgrub64"', 'firmware = "pvgrub64"', 'kernel = "grub-x86_64-xen.bin"'])('%s', { timeout: 60_000 }, async (line) => {
    const host = await boot({ files: new MemoryFiles({ '/usr/lib/grub-xen/grub-x86_64-xen.bin': grub }) })
    const domain = await host.createDomain(`name = "grub"\nmemory = 64\n${line}`)
    await domain.destroy()
    const none = await boot({ files: new MemoryFiles({}) })
    await expect(none.createDomain(`name = "grub"\n${line}`)).rejects.toMatchObject({ code: 'IO', message: expect.stringMatching(/no file of this host is GRUB for Xen .*grub-xen-host/) })
  })

  test.each(['kernel = "pvgrub32"', 'firmware = "pvgrub32"'])('%s is a guest of 32 bits', { timeout: 60_000 }, async (line) => {
    const image = readFileSync(guestFile('grub64')!.replace('x86_64-xen', 'i386-xen'))
    const host = await boot({ files: new MemoryFiles({ '/usr/lib/grub-xen/grub-i386-xen.bin': image }) })
    const domain = await host.createDomain(`name = "grub"\nmemory = 64\n${line}`)
    expect(host.hypervisor.domainInfo(domain.id)?.addressSize).toBe(32)
    await domain.destroy()
  })
})
