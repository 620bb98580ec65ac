/**
 * The nested case: Debian's xen-shim, a Xen that runs as a PVH guest around one PV guest, with Debian's GRUB as that guest, which
 * boots Debian's Linux out of a disk image. Console, XenStore, events, grants and the disk all pass through the shim.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { bootDisk, whyNoBootDisk } from '../support/boot-disk.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { bootLinuxHost, LinuxGuest } from '../support/linux.ts'

const missing = whyMissing('xenShim') ?? whyNoBootDisk()

describe.skipIf(missing !== undefined)(`Xen within a PVH guest${missing ?? ''}`, () => {
  test('boots GRUB, and that Linux, as PV guests', { timeout: 900_000 }, async () => {
    const bytes = bootDisk('ext2')
    const host = await bootLinuxHost({ memory: 768, openDisk: () => new MemoryBlockStore(bytes, { readOnly: true }) })
    const domain = await host.createDomain({
      name: 'nested', type: 'pvh', memory: 320, vcpus: 2, kernel: readFileSync(guestFile('xenShim')!), ramdisk: readFileSync(guestFile('grub64')!),
      commandLine: 'pv-shim console=xen,pv loglvl=all', disks: ['/images/debian.img,raw,xvda,r'],
    })
    await domain.console.waitFor(/^\(XEN\) .*Running on Xen/m)
    await domain.console.waitFor("Booting `Linux out of the image'")
    const linux = await new LinuxGuest(host, domain).ready()
    // Its own Xen is the shim, whatever that runs on.
    // What the shim says of its guest comes in between.
    expect(await linux.run('cat /sys/hypervisor/guest_type; dmesg | grep -c "Hypervisor detected: Xen PV"; nproc')).toMatch(/^PV$[^]*^1$[^]*^2$/m)
    await linux.run('insmod /m/xen-blkfront.ko && sleep 1')
    expect(await linux.run('md5sum < /dev/xvda')).toContain(createHash('md5').update(bytes).digest('hex'))
    expect(domain.console.text()).not.toMatch(/\(XEN\) .*(Panic|Xen BUG|Xen WARN)/)
    expect(await domain.shutdown()).toBe('poweroff')
    await host.settled()
    expect(host.hypervisor.checkInvariants()).toEqual([])
    await host.shutdown()
  })
})
