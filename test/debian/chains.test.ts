/**
 * Debian's Linux on two vCPUs at work on a disk and a network, with another one that answers it: the chain of hashes of the whole host is the
 * same twice, from a moment in the middle, in a branch, and with the compiling tier off, on and mixed. With CHAINS=FOLDER it is held against
 * that of another run, from the very boot on.
 */
import { readFileSync } from 'node:fs'
import { afterAll, expect, test } from 'vitest'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { optionalDecompressor } from '../../src/decompress/index.ts'
import { chainDifference, type Host, type Moment } from '../../src/toolstack/index.ts'
import { chainAgain, chainOf, differenceAcross, elsewhere, type Act } from '../support/chains.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { bootLinuxHost, createLinux, LINUX_FILES, type LinuxGuest } from '../support/linux.ts'

const missing = whyMissing(...LINUX_FILES, 'linuxModules')
/** A link behind each million instructions. */
const WHOLE = { every: 1_000_000, links: 24 }
const HALF = { ...WHOLE, links: WHOLE.links / 2 }
const idle: Act = () => () => undefined

const WORK = [
  'dd if=/dev/urandom of=/tmp/r bs=64k count=16 2>/dev/null',
  '(while :; do dd if=/tmp/r of=/dev/xvda bs=64k conv=fsync; echo 3 > /proc/sys/vm/drop_caches; dd if=/dev/xvda bs=64k count=16 | md5sum; done) 2>/dev/null & '
    + 'while :; do ping -c 1 -W 1 10.0.0.2; done',
]

const hosts: Host[] = []
afterAll(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

/** Two of them on one bridge, the first with a disk. */
async function atWork(): Promise<Host> {
  const module = (path: string): Uint8Array => readFileSync(`${guestFile('linuxModules')!}/kernel/drivers/${path}.ko`)
  const files = { 'm/xen-blkfront.ko': module('block/xen-blkfront'), 'm/xen-netfront.ko': module('net/xen-netfront') }
  const host = await bootLinuxHost({ memory: 448, cpus: 2, openDisk: () => new MemoryBlockStore(8 << 20) })
  hosts.push(host)
  const start = async (name: string, domain: object): Promise<LinuxGuest> =>
    (await createLinux(host, { domain: { name, ...domain }, files })).ready()
  const worker = await start('linux', { memory: 192, vcpus: 2, nics: ['mac=00:16:3e:00:00:01'], disks: [{ target: 'a', vdev: 'xvda' }] })
  const peer = await start('peer', { memory: 128, nics: ['mac=00:16:3e:00:00:02'] })
  for (const [at, guest] of [worker, peer].entries()) {
    await guest.run('insmod /m/xen-netfront.ko')
    await guest.run(`until ifconfig eth0 10.0.0.${at + 1} netmask 255.255.255.0 up; do sleep 0.1; done`)
  }
  await worker.run('insmod /m/xen-blkfront.ko')
  await worker.run('until test -b /dev/xvda; do sleep 0.1; done')
  await worker.domain.console.write(`${WORK.join('\r')}\r`)
  await worker.domain.console.waitFor('bytes from 10.0.0.2')
  await worker.domain.console.waitFor(/[0-9a-f]{32} {2}-/)
  return host
}

test.skipIf(missing !== undefined)(`a chain of Linux on two vCPUs with disk and network is the same twice, from the middle, in branches, compiled or not${missing ?? ''}`, { timeout: 900_000 }, async () => {
  const host = await atWork()
  const begin = await host.checkpoint()
  const first = await chainAgain(host, begin, WHOLE, idle)
  expect(differenceAcross('linux', first)).toBeUndefined()
  for (const part of ['memory', 'hypervisor.clock', 'xenstore.store']) expect(first[0]!.parts).toHaveProperty([part])
  expect(new Set(first.map(({ parts }) => parts['memory'])).size).toBe(WHOLE.links)
  expect(chainDifference(first, await chainAgain(host, begin, WHOLE, idle))).toBeUndefined()

  const branched = async (moment: Moment<Host>, links: typeof WHOLE): Promise<Awaited<ReturnType<typeof chainOf>>> => {
    const branch = await moment.branch()
    const chain = await chainOf(branch, links, idle)
    await branch.shutdown()
    return chain
  }
  const options = { decompress: optionalDecompressor, openDisk: () => new MemoryBlockStore(8 << 20) }
  expect(chainDifference(first, await branched(begin, WHOLE))).toBeUndefined()
  for (const compiler of ['off', {}, { samples: 1, limit: 20 }] as const) {
    expect(chainDifference(first, await branched(await elsewhere(begin, { ...options, compiler }), WHOLE))).toBeUndefined()
  }

  // A moment on the way and a branch of it: what stands in the links of the way there is no part of those behind it.
  await chainAgain(host, begin, HALF, idle)
  const middle = await host.checkpoint()
  const rest = (await branched(middle, HALF)).map(({ parts }) => parts)
  const again = (await chainAgain(host, middle, HALF, idle)).map(({ parts }) => parts)
  expect(again).toEqual(rest)
  expect(rest.at(-1)).toEqual(first.at(-1)!.parts)
})
