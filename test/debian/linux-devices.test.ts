/**
 * Debian's Linux uses a disk and a network interface of ours by its own xen-blkfront and xen-netfront: what it wrote is read
 * back by hash, a file system is made and used, which Debian's tools then find in order, and a guest in TypeScript answers its
 * pings.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { optionalDecompressor } from '../../src/decompress/index.ts'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { Host, MemoryFiles } from '../../src/index.ts'
import { whyNoImages } from '../support/disk-images.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { busyboxInitramfs } from '../../src/testing/index.ts'
import { pingResponder } from '../support/ping.ts'

const missing = whyMissing('linux', 'linuxModules', 'busybox') ?? whyNoImages()

const SCRIPT = `
insmod /m/xen-blkfront.ko
insmod /m/xen-netfront.ko
sleep 1
echo capacity $(cat /sys/block/xvda/size)
dd if=/dev/urandom of=/tmp/r bs=64k count=48 2>/dev/null
echo wrote $(md5sum /tmp/r)
dd if=/tmp/r of=/dev/xvda bs=64k conv=fsync 2>/dev/null
echo 3 > /proc/sys/vm/drop_caches
echo read $(dd if=/dev/xvda bs=64k count=48 2>/dev/null | md5sum)
ifconfig eth0 10.0.0.1 netmask 255.255.255.0 up
ping -c 3 -i 0.2 -W 2 10.0.0.9
for i in crc16 mbcache jbd2 crc32c_generic ext4; do insmod /m/$i.ko; done
mkdir /mnt
mke2fs /dev/xvda >/dev/null 2>&1 && mount -t ext2 /dev/xvda /mnt && echo made a file system
mkdir /mnt/folder
cp /tmp/r /mnt/folder/file
umount /mnt
echo 3 > /proc/sys/vm/drop_caches
mount -t ext2 /dev/xvda /mnt
echo found $(md5sum < /mnt/folder/file)
umount /mnt
echo ready for another disk
for i in $(seq 100); do test -b /dev/xvdb && break; sleep 0.1; done
echo hot $(md5sum < /dev/xvdb)
echo ready for it to grow
for i in $(seq 100); do grep -q ' 3072 xvdb' /proc/partitions && break; sleep 0.1; done
grep xvdb /proc/partitions
echo grown $(md5sum < /dev/xvdb)
echo ready for it to shrink
for i in $(seq 100); do grep -q ' 512 xvdb' /proc/partitions && break; sleep 0.1; done
grep xvdb /proc/partitions
echo shrunk $(md5sum < /dev/xvdb)
echo ready to lose it
for i in $(seq 100); do test -b /dev/xvdb || break; sleep 0.1; done
test -b /dev/xvdb || echo it is gone
echo all done
poweroff -f
`

const hosts: Host[] = []
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

const MODULES = [
  'drivers/block/xen-blkfront', 'drivers/net/xen-netfront', 'lib/crc16', 'fs/mbcache', 'fs/jbd2/jbd2',
  'crypto/crc32c_generic', 'fs/ext4/ext4',
]

function disk(): Uint8Array {
  const files = MODULES.map((path) =>
    [`m/${path.split('/').at(-1)}.ko`, readFileSync(`${guestFile('linuxModules')!}/kernel/${path}.ko`)] as const)
  return busyboxInitramfs({
    busybox: readFileSync(guestFile('busybox')!), script: SCRIPT, files: Object.fromEntries(files),
  })
}

/** What Debian's own tools say about a file system: whether it is whole, and the hash of a file in it. */
function inspect(image: Uint8Array, path: string): { readonly isWhole: boolean; readonly hash: string } {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-ext2-'))
  const file = join(folder, 'disk.img')
  writeFileSync(file, image)
  const { status } = spawnSync('e2fsck', ['-fn', file])
  const { stdout } = spawnSync('debugfs', ['-R', `cat ${path}`, file], { maxBuffer: image.length })
  rmSync(folder, { recursive: true })
  return { isWhole: status === 0, hash: createHash('md5').update(stdout).digest('hex') }
}

describe.skipIf(missing !== undefined)(`Debian's Linux${missing ?? ''}`, () => {
  test('uses our disk and our network by its own front-ends', { timeout: 900_000 }, async () => {
    const store = new MemoryBlockStore(16 << 20)
    const host = await Host.boot({
      memory: 320, dom0Memory: 16, decompress: optionalDecompressor, openDisk: () => store,
      files: new MemoryFiles({ linux: readFileSync(guestFile('linux')!), disk: disk() }),
    })
    hosts.push(host)
    const peer = await host.createDomain({ name: 'responder', memory: 8, kernel: pingResponder([10, 0, 0, 9]), nics: ['mac=00:16:3e:00:00:09'] })
    const linux = await host.createDomain({
      name: 'linux', kernel: 'linux', ramdisk: 'disk', memory: 192, commandLine: 'console=hvc0 panic=-1',
      disks: ['/images/one,raw,xvda,w'], nics: ['mac=00:16:3e:00:00:01'],
    })
    await linux.console.waitFor('ready for another disk')
    const second = new MemoryBlockStore(1 << 20)
    second.bytes.fill(0x33)
    await linux.attachDisk('/images/two,raw,xvdb,r', { store: second })
    await linux.console.waitFor('ready for it to grow')
    const hash = (): string => createHash('md5').update(second.bytes).digest('hex')
    const hot = hash()
    await linux.resizeDisk('xvdb', 3 << 20)
    second.bytes.fill(0x44, 1 << 20)
    const grown = hash()
    await linux.console.waitFor('ready for it to shrink')
    await linux.resizeDisk('xvdb', 512 << 10)
    await linux.console.waitFor('ready to lose it')
    await linux.detachDisk('xvdb')
    await linux.console.waitFor('all done')
    expect(await linux.waitForShutdown()).toBe('poweroff')
    expect(peer.console.text()).toBe('')

    const text = linux.console.text()
    expect(text).toMatch(/blkfront: xvda: flush diskcache: enabled; persistent grants: enabled; indirect descriptors: enabled/)
    expect(text).toContain('capacity 32768')
    const [, wrote] = /wrote ([0-9a-f]{32})/.exec(text)!
    expect(text).toContain(`read ${wrote}`)
    expect(text).toContain('3 packets transmitted, 3 packets received, 0% packet loss')
    expect(text).toContain('made a file system')
    expect(text).toContain(`found ${wrote}`)
    expect(inspect(store.bytes, '/folder/file')).toEqual({ isWhole: true, hash: wrote })
    expect(text).toContain(`hot ${hot}`)
    expect(text).toMatch(/\b3072 xvdb\b/)
    expect(text).toContain(`grown ${grown}`)
    expect(text).toMatch(/\b512 xvdb\b/)
    expect(text).toContain(`shrunk ${hash()}`)
    expect(text).toContain('it is gone')
    await host.settled()
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })
})
