/** A whole host with Debian's Linux saved, and a new host that goes on from it: the same at every moment, part by part. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterEach, expect, test } from 'vitest'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import type { Host, HostOptions } from '../../src/toolstack/index.ts'
import { insidesOf } from '../../src/toolstack/host/host.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { HostPair } from '../support/host-pair.ts'
import { LINUX_FILES, SECOND, bootLinux, bootLinuxHost, createLinux, type LinuxGuest } from '../support/linux.ts'

const loaded: Host[] = []
const pairs: HostPair[] = []
afterEach(async () => {
  for (const pair of pairs.splice(0)) await pair.end()
  for (const host of loaded.splice(0)) await host.shutdown()
})

const pairOf = async (host: Host, options: HostOptions): Promise<HostPair> => {
  const pair = await HostPair.of(host, options)
  pairs.push(pair)
  return pair
}

const noLinux = whyMissing(...LINUX_FILES)

/** What a host was booted with: every option is one that it may be booted with, but for its kinds of devices. */
function optionsOf(host: Host): HostOptions {
  const { servedKinds: _, deviceKinds: __, ...options } = insidesOf(host).parts.options
  return options
}

test.skipIf(noLinux !== undefined)(`Linux at its shell goes on in a new host${noLinux ?? ''}`, { timeout: 600_000 }, async () => {
  const options: HostOptions = { seed: 3 }
  const guest = await (await bootLinux({ host: options })).ready()
  const { host, domain } = guest
  loaded.push(host)
  const pair = await pairOf(host, optionsOf(host))
  await pair.same()
  await pair.both((each) => each.domain(domain.name).console.write('echo saved $((6 * 7))\r'))
  await pair.until((each) => /\nsaved 42\n/.test(each.domain(domain.name).console.text()))
  await pair.same()
  await pair.run(100_000_000)
  await pair.same()
  pair.text(domain.name)
})

const noModules = whyMissing(...LINUX_FILES, 'linuxModules')

test.skipIf(noModules !== undefined)(`two of Debian's Linux go on with pings under way and a disk being read: none is lost or doubled${noModules ?? ''}`, { timeout: 900_000 }, async () => {
  const bytes = Uint8Array.from({ length: 1 << 22 }, (_, i) => (i * 7) >> 5)
  const host = await bootLinuxHost({ seed: 3, memory: 448, openDisk: () => new MemoryBlockStore(bytes.slice()) })
  loaded.push(host)
  const modules = `${guestFile('linuxModules')!}/kernel/drivers`
  const files = { 'm/net.ko': readFileSync(`${modules}/net/xen-netfront.ko`), 'm/block.ko': readFileSync(`${modules}/block/xen-blkfront.ko`) }
  const guests: LinuxGuest[] = []
  for (const number of [1, 2]) {
    const domain = { name: `linux${number}`, memory: 192, nics: [`mac=00:16:3e:00:00:0${number}`], disks: [{ target: 'disk', vdev: 'xvda' }] }
    guests.push(await createLinux(host, { domain, files }))
  }
  for (const [i, guest] of guests.entries()) {
    await guest.ready()
    await guest.run('insmod /m/net.ko; insmod /m/block.ko')
    await guest.run(`until ifconfig eth0 10.0.0.${i + 1} netmask 255.255.255.0 up; do sleep 0.1; done`, { timeout: 20 * SECOND })
  }
  // Both ask and answer while they read, past their caches, what they have read before.
  for (const [i, { domain }] of guests.entries()) {
    await domain.console.write(`(ping -c 200 -i 0.01 10.0.0.${2 - i} | grep -e packets -e DUP; echo pinged) & ` +
      'for i in 1 2 3 4; do echo 3 > /proc/sys/vm/drop_caches; md5sum /dev/xvda; done; echo "re"ad\r')
  }
  const reads = (): number => guests[1]!.domain.disk('xvda').statistics?.['reads'] ?? 0
  const frames = (): number => guests[1]!.domain.nic(0).statistics?.['framesIn'] ?? 0
  await host.until('frames and blocks', () => reads() > 3 && frames() > 20)
  const pair = await pairOf(host, optionsOf(host))
  await pair.same()
  for (let i = 0; i < 5; i += 1) {
    await pair.run(5_000_000)
    await pair.same()
  }
  const sum = createHash('md5').update(bytes).digest('hex')
  const isDone = (text: string): boolean => /\nread\n/.test(text) && text.includes('\npinged\n')
  await pair.until((each) => guests.every(({ domain: { name } }) => isDone(each.domain(name).console.text())))
  await pair.same()
  for (const { domain: { name } } of guests) {
    const text = pair.text(name)
    expect(text).toContain('200 packets transmitted, 200 packets received, 0% packet loss')
    expect(text).not.toMatch(/DUP!|duplicates/)
    expect(text.split(`${sum}  /dev/xvda`)).toHaveLength(5)
  }
})
