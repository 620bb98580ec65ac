/**
 * Debian's GRUB for Xen boots Debian's Linux out of a disk image, as that image's own grub.cfg says. As a PV guest GRUB reads the disk by its
 * own front-end, unpacks the kernel, builds its page tables and start info inside the domain, and jumps there; as a PVH guest it loads
 * the kernel as a PC's GRUB does, and enters it by the 32-bit protocol. Linux then takes over console, XenStore and the disk that GRUB has left.
 * And kernels that GRUB's own tool makes of its modules for Xen.
 */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { MemoryFiles, type Host } from '../../src/index.ts'
import { bootDisk, whyNoBootDisk } from '../support/boot-disk.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { bootLinuxHost, LinuxGuest } from '../support/linux.ts'

const missing = whyNoBootDisk()

const hosts: Host[] = []
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

describe.skipIf(missing !== undefined)(`GRUB's Xen image${missing ?? ''}`, () => {
  test.each([
    ['pv', 'grub64', 'ext2', 'Xen PV'], ['pvh', 'grubPvh', 'ext4', 'Xen HVM'],
  ] as const)("of type %s boots Linux out of a disk image by the image's grub.cfg", { timeout: 900_000 }, async (type, grub, fileSystem, found) => {
    const bytes = bootDisk(fileSystem)
    const host = await bootLinuxHost({
      files: new MemoryFiles({ grub: readFileSync(guestFile(grub)!) }),
      openDisk: () => new MemoryBlockStore(bytes, { readOnly: true }),
    })
    hosts.push(host)
    const domain = await host.createDomain(`name = "grub"\ntype = "${type}"\nkernel = "grub"\nmemory = 192\ndisk = ["/images/debian.img,raw,xvda,r"]`)
    await domain.console.waitFor('Reading (xen/xvda)/boot/grub/grub.cfg')
    await domain.console.waitFor("Booting `Linux out of the image'")
    const linux = await new LinuxGuest(host, domain).ready()
    expect(domain.console.text()).toContain(`Hypervisor detected: ${found}`)
    expect(domain.console.text()).not.toMatch(/WARNING:|BUG:|Oops|Call Trace/)
    expect(await linux.run('cat /proc/cmdline')).toMatch(/^(BOOT_IMAGE=\/boot\/vmlinuz )?console=hvc0 panic=-1 rdinit=\/init from=grub\.cfg$/)
    expect(Number(/MemTotal: +(\d+) kB/.exec(await linux.run('cat /proc/meminfo'))![1])).toBeGreaterThan(100_000)
    await linux.run('insmod /m/xen-blkfront.ko && sleep 1')
    expect(await linux.run('md5sum < /dev/xvda')).toContain(createHash('md5').update(bytes).digest('hex'))
    expect(await domain.shutdown()).toBe('poweroff')
    await host.settled()
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })
})

const missingModules = whyMissing('grubMkimage', 'grubModules')

describe.skipIf(missingModules !== undefined)(`A kernel that is made of GRUB's modules${missingModules ?? ''}`, () => {
  /** A kernel of a form that says what it is and powers off. */
  function made(form: string): Uint8Array {
    const folder = mkdtempSync(join(tmpdir(), 'paravirt-grub-'))
    try {
      const [config, kernel] = [join(folder, 'early.cfg'), join(folder, 'kernel')]
      writeFileSync(config, `echo made for ${form}\nhalt\n`)
      execFileSync(guestFile('grubMkimage')!, ['-O', form, '-d', join(guestFile('grubModules')!, form), '-p', '/boot/grub', '-c', config, '-o', kernel, 'echo', 'halt'])
      return readFileSync(kernel)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  }

  test.each([['x86_64-xen', 'pv'], ['i386-xen', 'pv'], ['i386-xen_pvh', 'pvh']] as const)('for %s starts, carries its configuration out, and powers off', { timeout: 120_000 }, async (form, type) => {
    const host = await bootLinuxHost({ memory: 128 })
    hosts.push(host)
    const domain = await host.createDomain({ name: 'grub', type, memory: 64, kernel: made(form) })
    await domain.console.waitFor(`made for ${form}`)
    expect(await domain.waitForShutdown()).toBe('poweroff')
    await host.settled()
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })
})
