/**
 * Debian's GRUB for Xen reads a disk of ours by its own block front-end: a file system that mke2fs made, a file out of it,
 * and the image's own grub.cfg. What it reads is compared with what is in the image.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { Host, MemoryFiles } from '../../src/index.ts'
import { playConsole } from '../../src/testing/index.ts'
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
