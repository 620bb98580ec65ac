import { afterEach, describe, expect, test } from 'vitest'
import { BlockBackend, BlockFrontend, Bridge, MemoryBlockStore, NetBackend, NetFrontend, parseMac } from '../../src/drivers/index.ts'
import type { BlockStore } from '../../src/drivers/index.ts'
import { BackendBus, FrontendBus } from '../../src/guest/index.ts'
import type { GuestProgram } from '../../src/guest/index.ts'
import { Host } from '../../src/index.ts'
import { detach, devicePaths, removeDevice, seedDisk, seedNic, seeder } from '../support/devices.ts'

const hosts: Host[] = []
async function boot(): Promise<Host> {
  const host = await Host.boot({ memory: 128, dom0Memory: 16 })
  hosts.push(host)
  return host
}
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

const idle: GuestProgram = () => undefined

/** Writes a pattern to its disk, reads it back, and says what came of it. */
const diskUser: GuestProgram = async (kernel) => {
  const disks = new BlockFrontend()
  await new FrontendBus(kernel).register(disks)
  const disk = await disks.disk(51712)
  kernel.console!.log(`disk of ${disk.size} bytes`)
  const bytes = Uint8Array.from({ length: 200_000 - (200_000 % 512) }, (_, i) => (i * 7) & 0xff)
  await disk.write(100, bytes)
  await disk.flush()
  const back = await disk.read(100, bytes.length / 512)
  kernel.console!.log(back.every((byte, i) => byte === bytes[i]) ? 'same bytes' : 'other bytes')
}

describe('a disk on a real host', () => {
  test('is written, read back, and let go without a trace on hot detach', async () => {
    const host = await boot()
    const disk = new MemoryBlockStore(1 << 20)
    const backend = new BlockBackend({ open: (): BlockStore => disk })
    await new BackendBus(host.dom0.kernel).register(backend)
    const domain = await host.createDomain({ name: 'disk-user', memory: 8, kernel: diskUser })
    const store = seeder(host.store)
    seedDisk(store, { front: domain.id })
    await domain.console.waitFor('same bytes')
    expect(domain.console.text()).toContain('disk of 1048576 bytes')
    expect(disk.bytes[100 * 512 + 1]).toBe(7)
    detach(store, 'vbd', domain.id, '51712')
    await host.until('both halves to close', () => host.store.tryRead(`${devicePaths('vbd', '51712', { front: domain.id }).back}/state`) === '6')
    removeDevice(store, 'vbd', domain.id, '51712')
    await host.settled()
    expect(backend.disks.length).toBe(0)
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('is served by a driver domain that has no power over its user', async () => {
    const host = await boot()
    const driver: GuestProgram = (kernel) =>
      new BackendBus(kernel).register(new BlockBackend({ open: () => new MemoryBlockStore(1 << 20) }))
    const driverDomain = await host.createDomain({ name: 'driver', memory: 8, kernel: driver })
    const store = seeder(host.store)
    store.seed({}, { [`/local/domain/${driverDomain.id}/backend`]: [`n${driverDomain.id}`] })
    const domain = await host.createDomain({ name: 'disk-user', memory: 8, kernel: diskUser })
    seedDisk(store, { front: domain.id, back: driverDomain.id })
    await domain.console.waitFor('same bytes')
    await driverDomain.destroy()
    await host.settled()
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })
})

describe('a network on a real host', () => {
  test('carries frames between two guests and user code', async () => {
    const host = await boot()
    const { kernel } = host.dom0
    const bridge = new Bridge({ now: () => kernel.now(), post: (task) => kernel.post(task), turn: () => kernel.turn() })
    await new BackendBus(kernel).register(new NetBackend({ bridge: () => bridge }))
    const speaker = (own: number): GuestProgram => async (guest) => {
      const nics = new NetFrontend()
      await new FrontendBus(guest).register(nics)
      const nic = await nics.nic(0)
      guest.console!.log('up')
      for await (const frame of nic) {
        guest.console!.log(`got ${frame.length} from ${frame[11]}`)
        const answer = frame.slice()
        answer.set(frame.subarray(6, 12), 0)
        answer.set(nic.mac, 6)
        if (frame[5] === own) nic.send(answer)
      }
    }
    const guests = [
      await host.createDomain({ name: 'one', memory: 8, kernel: speaker(1) }),
      await host.createDomain({ name: 'two', memory: 8, kernel: speaker(2) }),
    ]
    guests.forEach((guest, index) => seedNic(seeder(host.store), guest.id, `00:16:3e:00:00:0${index + 1}`))
    for (const guest of guests) await guest.console.waitFor('up')
    const port = bridge.open()
    const frame = new Uint8Array(100)
    frame.set(parseMac('00:16:3e:00:00:02')!)
    frame.set(parseMac('00:16:3e:00:00:09')!, 6)
    port.send(frame)
    for await (const answer of port) {
      expect([answer.length, answer[5], answer[11]]).toEqual([100, 9, 2])
      break
    }
    await guests[0]!.console.waitFor('got 100 from 9')
    await guests[1]!.console.waitFor('got 100 from 9')
    for (const guest of guests) await guest.destroy()
    await host.settled()
    expect(bridge.addresses).toBe(1)
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })
})

test('a guest without devices waits for none', async () => {
  const host = await boot()
  const domain = await host.createDomain({ name: 'idle', memory: 4, kernel: idle })
  await host.settled()
  await domain.destroy()
})
