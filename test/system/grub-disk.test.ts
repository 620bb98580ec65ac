/**
 * Debian's GRUB for Xen reads a disk of ours by its own block front-end: a file system that mke2fs made, a file out of it,
 * and the image's own grub.cfg. What it reads is compared with what is in the image. A kernel in it is started by the image's
 * grub.cfg, by GRUB for 64-bit and for 32-bit PV guests; PVH is in test/debian/grub.test.ts.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { Host, MemoryFiles, embeddedKernel } from '../../src/index.ts'
import { playConsole } from '../../src/testing/index.ts'
import { buildMini } from '../support/build-mini.ts'
import { extImage, whyNoImages } from '../support/disk-images.ts'
import { guestFile, whyMissing } from '../support/guests.ts'

const KERNEL = '.guests/grub-xen-host/usr/lib/grub-xen/grub-x86_64-xen.bin'
const description = readFileSync(new URL('../../examples/xen/grub', import.meta.url), 'utf8')
const missing = whyMissing('grub64') ?? whyNoImages()

const hosts: Host[] = []
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

describe.skipIf(missing !== undefined)(`GRUB's Xen image${missing ?? ''}`, () => {
  test('reads a file system from a disk that we serve', { timeout: 120_000 }, async () => {
    const big = Array.from({ length: 20_000 }, (_, i) => `line ${i}`).join('\n')
    const image = extImage({ kibibytes: 8192, make: ['-t', 'ext2'], files: { 'hello.txt': 'hello from ext2\n', 'boot/big': big } })
    const host = await Host.boot({
      memory: 128, dom0Memory: 16, files: new MemoryFiles({ [KERNEL]: readFileSync(guestFile('grub64')!) }),
      openDisk: () => new MemoryBlockStore(image, { readOnly: true }),
    })
    hosts.push(host)
    const domain = await host.createDomain(`${description}\ndisk = ["/images/ext2.img,raw,xvda,r"]`, { source: 'examples/xen/grub' })
    const found = await playConsole(domain, [
      { expect: 'grub> ' },
      { type: 'ls\r' },
      { expect: /\n([^\n]*)\ngrub> / },
      { type: 'ls (xen/xvda)/\r' },
      { expect: /\n([^\n]*)\ngrub> / },
      { type: 'cat (xen/xvda)/hello.txt\r' },
      { expect: /(hello from [a-z0-9]+)\n/ },
      { type: 'md5sum (xen/xvda)/boot/big\r' },
      { expect: /([0-9a-f]{32}) {2}\(xen/ },
      { expect: 'grub> ' },
      { type: 'halt\r' },
    ])
    expect(found[1]?.[1]).toContain('(xen/xvda)')
    expect(found[2]?.[1]).toMatch(/boot\/ hello\.txt|hello\.txt boot\//)
    expect(found[3]?.[1]).toBe('hello from ext2')
    expect(found[4]?.[1]).toBe(createHash('md5').update(big).digest('hex'))
    expect(await domain.waitForShutdown()).toBe('poweroff')
    await host.settled()
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })
})

const mini32 = buildMini('pv32')
const unbuilt = mini32.reason === undefined ? '' : ` (${mini32.reason})`
const noKernels = whyMissing('grub64', 'grub32') ?? whyNoImages() ?? (unbuilt === '' ? undefined : unbuilt)

describe.skipIf(noKernels !== undefined)(`GRUB in a guest${noKernels ?? ''}`, () => {
  test.each([
    ['64-bit', 'grub64', 'ext4', () => embeddedKernel(), 'xen-3.0-x86_64'],
    ['32-bit', 'grub32', 'ext2', () => readFileSync(mini32.path!), 'xen-3.0-x86_32p'],
  ] as const)("starts a %s PV kernel out of the disk by the image's grub.cfg", { timeout: 120_000 }, async (_, grub, fileSystem, kernel, magic) => {
    const image = extImage({ kibibytes: 4096, make: ['-t', fileSystem], files: {
      'boot/mini': kernel(), 'boot/module': 'x'.repeat(5000),
      'boot/grub/grub.cfg': "set timeout=0\nmenuentry 'mini' {\n linux /boot/mini run=mem from=grub.cfg\n initrd /boot/module\n}\n",
    } })
    const host = await Host.boot({
      memory: 96, dom0Memory: 16, files: new MemoryFiles({ grub: readFileSync(guestFile(grub)!) }), openDisk: () => new MemoryBlockStore(image, { readOnly: true }),
    })
    hosts.push(host)
    const domain = await host.createDomain('name = "grub"\nkernel = "grub"\nmemory = 32\ndisk = ["/images/boot.img,raw,xvda,r"]')
    await domain.console.waitFor("Booting `mini'")
    await domain.console.waitFor(`magic ${magic}`)
    await domain.console.waitFor(', 5000 bytes')
    await domain.console.waitFor('command line: run=mem from=grub.cfg')
    await domain.console.waitFor(/memory: 32768 KiB of 32768 KiB.* 0 frames disagree/)
    await domain.console.waitFor('domain 1, name: grub')
    expect(await domain.shutdown()).toBe('poweroff')
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })
})
