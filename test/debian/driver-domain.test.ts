/**
 * Debian's Linux as a driver domain: our XenStore and toolstack serve, and its xen-blkback and xen-netback give a disk and a network
 * interface to another Linux and to a guest in TypeScript.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { optionalDecompressor } from '../../src/decompress/index.ts'
import { BlockFrontend, NetFrontend } from '../../src/drivers/index.ts'
import { FrontendBus, type GuestProgram } from '../../src/guest/index.ts'
import { debianDom0 } from '../../src/node/index.ts'
import { busyboxInitramfs, decodePacket, encodePacket, LinuxShell } from '../../src/testing/index.ts'
import { Host, type Domain } from '../../src/toolstack/index.ts'
import { kernelLog } from '../support/dmesg.ts'
import { guestFile, GUESTS_FOLDER, whyMissing } from '../support/guests.ts'

const missing = whyMissing('linux', 'linuxModules', 'busybox', 'dom0Tools')
const BOOT = 600_000
const module = (path: string): Uint8Array => readFileSync(`${guestFile('linuxModules')!}/kernel/drivers/${path}.ko`)

/** The bridge in the driver domain, and who asks for it. */
const [BRIDGE, OWN_MAC] = ['192.168.1.1', '00:16:3e:00:00:0a']
const [BROADCAST, NOBODY] = ['ff:ff:ff:ff:ff:ff', '00:00:00:00:00:00']

describe.skipIf(missing !== undefined)(`Linux as a driver domain${missing ?? ''}`, { timeout: BOOT }, () => {
  let host: Host
  let driver: Domain
  beforeAll(async () => {
    host = await Host.boot({ memory: 768, dom0Memory: 16, decompress: optionalDecompressor })
    const debian = debianDom0({ folder: GUESTS_FOLDER })
    driver = await host.createDomain({
      name: 'driver', memory: 320, vcpus: 2, driverDomain: true, kernel: debian.kernel, ramdisk: debian.ramdisk, commandLine: `${debian.commandLine} services=host`,
    })
    await driver.console.waitFor('dom0: ready', { timeout: '60s' })
    await driver.console.waitFor(/dom0# $/, { timeout: '10s' })
  }, BOOT)
  afterAll(() => host?.shutdown())

  /** Types a command in the driver domain; resolves with what it printed. */
  const run = async (command: string): Promise<string> => {
    await driver.console.write(`${command}; echo "e""nd"\r`)
    await driver.console.waitFor('nd"\n', { timeout: '10s' })
    const [, output = ''] = await driver.console.waitFor(/([^]*?)end\n[^]*dom0# $/, { timeout: '60s' })
    // The kernel speaks on the same console.
    return output.replace(/^\[ *\d+\.\d+\] .*\n/gm, '')
  }

  test('serves another Linux, which writes its disk and pings its bridge', async () => {
    await run('for i in 0 1; do truncate -s 4M /tmp/disk$i; losetup /dev/loop$i /tmp/disk$i; done')
    const linux = await host.createDomain({
      name: 'linux', memory: 160, kernel: readFileSync(guestFile('linux')!), commandLine: 'console=hvc0 panic=-1 rdinit=/init',
      ramdisk: busyboxInitramfs({ busybox: readFileSync(guestFile('busybox')!), files: { 'm/xen-blkfront.ko': module('block/xen-blkfront'), 'm/xen-netfront.ko': module('net/xen-netfront') } }),
      disks: [{ vdev: 'xvda', target: '/dev/loop0', backend: 'driver' }], nics: ['bridge=xenbr0,backend=driver'],
    })
    const shell = new LinuxShell(host, linux)
    await shell.ready()
    await shell.run('insmod /m/xen-blkfront.ko; insmod /m/xen-netfront.ko; ip addr add 192.168.1.2/24 dev eth0; ip link set eth0 up')
    await shell.run('printf "written by linux" >/dev/xvda; sync')
    expect(await run('head -c 16 /tmp/disk0; echo')).toContain('written by linux')
    expect(await shell.run(`ping -c 1 -W 5 ${BRIDGE}`)).toContain('1 packets received')
    expect(linux.disk('xvda')).toMatchObject({ backend: driver.id, backendStateName: 'Connected', frontendStateName: 'Connected' })
    await linux.destroy()
    await host.settled()
    expect(await run('sleep 1; ls /sys/class/net')).not.toContain(`vif${linux.id}`)
  })

  test('serves a guest in TypeScript', async () => {
    const [disks, nics] = [new BlockFrontend({ maxQueues: 4, maxRingPageOrder: 4 }), new NetFrontend()]
    const program: GuestProgram = async (kernel) => {
      const bus = new FrontendBus(kernel)
      await bus.register(disks)
      await bus.register(nics)
      kernel.console!.log('up')
      const nic = await nics.nic(0)
      for await (const frame of nic) {
        const packet = decodePacket(frame)
        if (packet.kind === 'arp') kernel.console!.log(`${packet.sender} is at ${packet.senderMac}`)
      }
    }
    const domain = await host.createDomain({
      name: 'user', memory: 8, kernel: program, disks: [{ vdev: 'xvda', target: 'loop1', backend: 'driver' }], nics: [`mac=${OWN_MAC},bridge=xenbr0,backend=driver`],
    })
    await domain.console.waitFor('up')
    const disk = await disks.disk('xvda')
    const sector = new Uint8Array(512).fill(0x5a)
    await disk.write(3, sector)
    await disk.flush()
    expect(await disk.read(3, 1)).toEqual(sector)
    expect(await run('dd if=/tmp/disk1 bs=512 skip=3 count=1 2>/dev/null | head -c 4; echo')).toContain('ZZZZ')
    // A queue for each of its CPUs, and sixteen pages each, which is what xen-blkback has at most.
    const front = (name: string): string | undefined => host.store.tryRead(`/local/domain/${domain.id}/device/vbd/51712/${name}`)
    expect([front('multi-queue-num-queues'), front('ring-page-order'), front('ring-ref'), front('queue-1/ring-ref15') !== undefined]).toEqual(['2', '4', undefined, true])
    // More requests at once than one ring of one page takes, some of them with their segments in a page of their own.
    const parts = Array.from({ length: 100 }, (_, at) => Uint8Array.from({ length: 512 * (at % 3 === 0 ? 200 : 8) }, (_byte, place) => (place * 7 + at * 31) & 0xff))
    const places = parts.map((_, at) => 512 + parts.slice(0, at).reduce((sum, { length }) => sum + length / 512, 0))
    await Promise.all(parts.map((bytes, at) => disk.write(places[at]!, bytes)))
    for (const [at, bytes] of (await Promise.all(parts.map((part, at) => disk.read(places[at]!, part.length / 512)))).entries()) expect(Buffer.compare(bytes, parts[at]!)).toBe(0)
    const sum = createHash('md5').update(Buffer.concat(parts)).digest('hex')
    expect(await run(`dd if=/tmp/disk1 bs=512 skip=512 count=${places.at(-1)! - 512 + parts.at(-1)!.length / 512} 2>/dev/null | md5sum`)).toContain(sum)
    await disk.discard(512, 1024)
    expect((await disk.read(512, 1024)).every((byte) => byte === 0)).toBe(true)
    expect(await run('dd if=/tmp/disk1 bs=512 skip=512 count=1024 2>/dev/null | tr -d "\\0" | wc -c')).toMatch(/^0\b/m)
    expect((await disk.read(1536, 8)).some((byte) => byte !== 0)).toBe(true)
    const nic = await nics.nic(0)
    nic.send(encodePacket({ kind: 'arp', operation: 'request', source: OWN_MAC, destination: BROADCAST, senderMac: OWN_MAC, sender: '192.168.1.3', targetMac: NOBODY, target: BRIDGE }))
    await domain.console.waitFor(/192\.168\.1\.1 is at [0-9a-f:]{17}/, { timeout: '10s' })
    await domain.detachDisk('xvda')
    expect(host.store.exists(`/local/domain/${driver.id}/backend/vbd`)).toBe(false)
    await domain.destroy()
  })

  test('a file is no block device of it, and nothing is left of the try', async () => {
    const domain = await host.createDomain({ name: 'other', memory: 8, kernel: (kernel) => kernel.console!.log('up') })
    await expect(domain.attachDisk({ vdev: 'xvda', target: '/tmp/disk0', backend: 'driver' })).rejects.toMatchObject({ code: 'NOT_SUPPORTED', message: expect.stringContaining('/tmp/disk0') as string })
    expect(host.store.exists(`/local/domain/${domain.id}/device/vbd`)).toBe(false)
    await domain.destroy()
  })

  test('its kernel complains of nothing', async () => {
    expect(await run(kernelLog('WARNING|Oops|BUG:|Call Trace|blocked for more than'))).toBe('')
  })
})
