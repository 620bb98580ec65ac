/**
 * A test of a guest, its disk and its network without any test runner: `npx tsx examples/testing.ts [SEED]`. A host for one test is made, its
 * disk fails now and then, somebody pings the guest, and what the guest says it has written is held against the disk. When something
 * fails, the error has the seed that repeats it, what fired, and the last words of the guest; at the end the host must hold nothing.
 */
import { BlockFrontend, MemoryBlockStore, NetFrontend } from 'paravirt/drivers'
import { FrontendBus } from 'paravirt/guest'
import type { GuestProgram } from 'paravirt'
import { assertNodes, assertShown, expectSector, networkPeer, testHost } from 'paravirt/testing'

const seed = Number(process.argv[2] ?? 7)
const wordOf = (sector: number): string => `sector ${sector}`

/** Writes a word into each of ten sectors, again where that fails; takes frames from whoever sends some. */
const writer: GuestProgram = async (kernel) => {
  const [disks, nics, bus] = [new BlockFrontend(), new NetFrontend(), new FrontendBus(kernel)]
  await bus.register(disks)
  await bus.register(nics)
  const nic = await nics.nic(0)
  nic.onFrame((frame) => kernel.console!.log(`a frame of ${frame.length} bytes`))
  const disk = await disks.disk('xvda')
  for (let sector = 0; sector < 10; sector += 1) {
    const bytes = new Uint8Array(512)
    bytes.set(new TextEncoder().encode(wordOf(sector)))
    for (let tries = 1; ; tries += 1) {
      const isDone = await disk.write(sector, bytes).then(() => true, () => false)
      if (isDone) kernel.console!.log(`wrote ${sector}, tries ${tries}`)
      if (isDone) break
    }
  }
  kernel.console!.log('done')
}

const disk = new MemoryBlockStore(1 << 20)
await testHost({ seed, faults: [{ fault: 'disk-error', request: 'write', probability: 0.4 }], openDisk: () => disk }, async (host) => {
  const domain = await host.createDomain({ name: 'writer', memory: 8, kernel: writer, disks: ['phy:disk,xvda,w'], nics: ['mac=00:16:3e:00:00:01'] })
  await domain.console.expect({ done: 'done' }, { timeout: '10s' })
  for (let sector = 0; sector < 10; sector += 1) await expectSector(disk, sector, wordOf(sector))

  using peer = networkPeer(host)
  await host.waitForNode('/local/domain/0/backend/vif/1/0/state', '4', { timeout: '5s' })
  peer.send({ kind: 'udp', destination: '00:16:3e:00:00:01', source: peer.mac, from: peer.ip, to: '10.0.0.1', fromPort: 9, toPort: 9, data: new Uint8Array(10) })
  await domain.console.expect(/^a frame of \d+ bytes$/, { timeout: '5s' })

  assertShown(domain, ['wrote 0', 'wrote 9', 'done', 'a frame of 52 bytes'])
  assertNodes(host, { '1/name': 'writer', '1/device/vbd/51712/state': '4' })
  console.log(`${host.faults.fired.length} writes have failed, and everything is on the disk`)
})
