/**
 * Debian's Linux with a disk in a qcow2 file above a raw one: it makes a file system there by its own tools, mounts it, writes, removes and trims, and Debian's qemu-img
 * and e2fsck judge the file outside.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { debianGuests, nodeDisks } from '../../src/node/index.ts'
import { whyNoImages } from '../support/disk-images.ts'
import { GUESTS_FOLDER, whyMissing } from '../support/guests.ts'
import { bootLinuxHost, createLinux, LINUX_FILES } from '../support/linux.ts'
import { checkImage, qemuImg, whyNoQemuImg } from '../support/qemu-img.ts'

const missing = whyMissing(...LINUX_FILES, 'linuxModules') ?? whyNoImages() ?? whyNoQemuImg()
const MODULES = ['xen-blkfront', 'crc16', 'mbcache', 'jbd2', 'crc32c_generic', 'ext4']
const SIZE = 32 << 20

const folder = mkdtempSync(join(tmpdir(), 'paravirt-qcow2-'))
afterAll(() => rmSync(folder, { recursive: true }))
const at = (name: string): string => join(folder, name)

/** Clusters that qemu-img finds in use. */
const CLUSTER = 1 << 16
const clusters = (name: string): number => (JSON.parse(qemuImg('check', '-f', 'qcow2', '--output=json', at(name))) as { readonly 'allocated-clusters': number })['allocated-clusters']

/** The whole disk as qemu-img reads it. */
function converted(name: string): string {
  qemuImg('convert', '-f', 'qcow2', '-O', 'raw', at(name), at(`${name}.raw`))
  return at(`${name}.raw`)
}

describe.skipIf(missing !== undefined)(`Debian's Linux with a disk in a qcow2 file${missing ?? ''}`, { timeout: 600_000 }, () => {
  test('makes a file system, writes, removes and trims: the file is sound at any time, and another Linux goes on with it', async () => {
    const below = Buffer.alloc(SIZE)
    for (let place = 0; place < SIZE; place += 4096) below.writeUInt32LE(place, place)
    writeFileSync(at('base.raw'), below)
    qemuImg('create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', 'base.raw', at('disk.qcow2'))
    const host = await bootLinuxHost({ openDisk: nodeDisks(folder, { confined: true }) })
    const guests = debianGuests(GUESTS_FOLDER)
    const files = Object.fromEntries(MODULES.map((name) => [`m/${name}.ko`, guests.module(name)]))
    const start = async (name: string) => {
      const shell = await createLinux(host, { domain: { name, memory: 160, disks: ['format=qcow2,vdev=xvda,access=rw,target=disk.qcow2'] }, files })
      await shell.ready()
      await shell.run(`${MODULES.map((module) => `insmod /m/${module}.ko`).join('; ')}; until [ -b /dev/xvda ]; do sleep 0.1; done; mkdir /mnt`)
      return shell
    }
    const first = await start('first')
    // What nobody has written is what lies below.
    expect(await first.run('dd if=/dev/xvda bs=4k skip=5 count=1 2>/dev/null | head -c 4 | od -An -t u4')).toBe(String(5 * 4096))
    expect(await first.run('md5sum </dev/xvda')).toContain(createHash('md5').update(below).digest('hex'))
    await first.run('mke2fs /dev/xvda >/dev/null 2>&1; mount -t ext4 /dev/xvda /mnt')
    const sum = await first.run('dd if=/dev/urandom of=/tmp/r bs=64k count=96 2>/dev/null; cp /tmp/r /mnt/kept; cp /tmp/r /mnt/gone; mkdir /mnt/folder; echo text >/mnt/folder/file; sync; md5sum </tmp/r')
    checkImage(at('disk.qcow2'))
    const full = clusters('disk.qcow2')
    expect(full).toBeGreaterThan((12 << 20) / CLUSTER)
    // What is trimmed is no cluster of the file any more, but for pieces at the ends of what was removed.
    await first.run('rm /mnt/gone; sync; fstrim /mnt; sync')
    checkImage(at('disk.qcow2'))
    expect(full - clusters('disk.qcow2')).toBeGreaterThan((5 << 20) / CLUSTER)
    await first.run('umount /mnt')
    await first.domain.destroy()
    checkImage(at('disk.qcow2'))
    expect(spawnSync('e2fsck', ['-fn', converted('disk.qcow2')]).status).toBe(0)
    const { stdout } = spawnSync('debugfs', ['-R', 'cat /kept', converted('disk.qcow2')], { maxBuffer: 32 << 20 })
    expect(sum).toContain(createHash('md5').update(stdout).digest('hex'))
    const second = await start('second')
    expect(await second.run('mount -t ext4 /dev/xvda /mnt; md5sum </mnt/kept; cat /mnt/folder/file; ls -1 /mnt')).toBe(`${sum}\ntext\nfolder\nkept\nlost+found`)
    await second.run('echo more >/mnt/more; umount /mnt')
    await host.shutdown()
    checkImage(at('disk.qcow2'))
    expect(spawnSync('e2fsck', ['-fn', converted('disk.qcow2')]).status).toBe(0)
    // What lies below was only read.
    expect(Buffer.compare(readFileSync(at('base.raw')), below)).toBe(0)
  })
})
