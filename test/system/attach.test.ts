/** Attaching and detaching devices through the toolstack, from descriptions and while a guest runs. */
import { afterEach, describe, expect, test } from 'vitest'
import { BlockFrontend, MemoryBlockStore, NetFrontend } from '../../src/drivers/index.ts'
import { FrontendBus, type GuestProgram } from '../../src/guest/index.ts'
import { Host, XenError, type HostOptions } from '../../src/index.ts'
import type { DeviceProgress } from '../../src/toolstack/index.ts'

const hosts: Host[] = []
async function boot(options: HostOptions = {}): Promise<Host> {
  const host = await Host.boot({ memory: 128, dom0Memory: 16, ...options })
  hosts.push(host)
  return host
}
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

/** Writes to each disk that it gets, and says so; says its NICs' addresses. */
const user: GuestProgram = async (kernel) => {
  const disks = new BlockFrontend()
  const nics = new NetFrontend()
  const bus = new FrontendBus(kernel)
  await bus.register(disks)
  await bus.register(nics)
  kernel.console!.log('ready')
  void nics.nic(0).then((nic) => kernel.console!.log(`nic ${[...nic.mac].map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`))
  const disk = await disks.disk(51712)
  await disk.write(3, new Uint8Array(512).fill(9))
  await disk.flush()
  kernel.console!.log('written')
}

const vbd = (id: number): string => `/local/domain/0/backend/vbd/${id}/51712`
/** What must be equal before and after. */
const snapshot = (host: Host): unknown => ({
  frames: host.hypervisor.hostInfo().freeFrames, backends: host.store.list('/local/domain/0/backend'), libxl: host.store.list('/libxl'),
})

describe('a domain with devices', () => {
  test('gets those of its description, and its nodes are those that xl writes', async () => {
    const contents = new MemoryBlockStore(1 << 20)
    const host = await boot({ openDisk: ({ params }) => {
      expect(params).toBe('/u/fc4.img')
      return contents
    } })
    const text = 'name = "fc4"\nmemory = 8\nnics = 1\ndisk = [\'file:/u/fc4.img,xvda,w\']'
    const domain = await host.createDomain(text, { kernel: user })
    await domain.console.waitFor('written')
    await domain.console.waitFor('nic 00:16:3e:')
    expect(contents.bytes[3 * 512]).toBe(9)
    const read = (path: string): string | undefined => host.store.tryRead(path)
    expect([read(`${vbd(domain.id)}/params`), read(`${vbd(domain.id)}/dev`), read(`${vbd(domain.id)}/state`)]).toEqual(['/u/fc4.img', 'xvda', '4'])
    expect(host.store.getPermissions(vbd(domain.id))).toEqual(['n0', `r${domain.id}`])
    const front = `/local/domain/${domain.id}/device/vbd/51712`
    expect(host.store.getPermissions(front)).toEqual([`n${domain.id}`, 'r0'])
    expect(read(`/libxl/${domain.id}/device/vbd/51712/backend`)).toBe(vbd(domain.id))
    expect(domain.devices().map(({ kind, device, backendState }) => [kind, device, backendState])).toEqual([['vbd', 51712, 4], ['vif', 0, 4]])
  })

  test('can be given a disk while it runs, and have it taken away', async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'user', memory: 8, kernel: user })
    await domain.console.waitFor('ready')
    const before = snapshot(host)
    const states: DeviceProgress[] = []
    const attaching = domain.attachDisk('/virtual,raw,xvda,rw', { store: new MemoryBlockStore(1 << 20) })
    attaching.progress.onAny((event) => states.push(event))
    await attaching
    expect(states.map(({ state }) => state)).toContain(2)
    await domain.console.waitFor('written')
    await domain.detachDisk('xvda')
    await host.settled()
    expect(domain.devices()).toEqual([])
    expect(snapshot(host)).toEqual(before)
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('tells the states of both halves as they change, whatever the guest writes there', async () => {
    const host = await boot()
    const seen: (readonly [half: string, from: number | undefined, to: number | undefined])[] = []
    const domain = await host.createDomain({ name: 'liar', memory: 8, kernel: async (kernel) => {
      await user(kernel)
      await kernel.sleep(1e7)
      for (const text of ['nonsense', '4', '9'.repeat(1000), '-1']) await kernel.store!.write('device/vbd/51712/state', text)
      kernel.console!.log('lied')
    } })
    host.events.on('device-state', ({ domid: id, kind, device, half, from, to }) => {
      expect([id, kind, device]).toEqual([domain.id, 'vbd', 51712])
      seen.push([half, from, to])
    })
    const of = (wanted: string) => seen.filter(([half]) => half === wanted).map(([, from, to]) => [from, to])
    await domain.attachDisk('/virtual,raw,xvda,rw', { store: new MemoryBlockStore(1 << 20) })
    await domain.console.waitFor('lied')
    expect(of('back-end').slice(0, 3)).toEqual([[undefined, 1], [1, 2], [2, 4]])
    expect(of('front-end')).toEqual([[undefined, 1], [1, 3], [3, 4], [4, 0], [0, 4], [4, 0]])
    await domain.destroy()
    expect(of('front-end').at(-1)).toEqual([0, undefined])
    expect(of('back-end').at(-1)).toEqual([expect.any(Number), undefined])
  })

  test('leaves nothing behind when it is destroyed with its devices connected', async () => {
    const host = await boot({ openDisk: () => new MemoryBlockStore(1 << 20) })
    const warm = await host.createDomain({ name: 'warm', memory: 8, kernel: user, disks: ['/a,raw,xvda,w'], nics: [''] })
    await warm.console.waitFor('written')
    await warm.destroy()
    await host.settled()
    const before = snapshot(host)
    const domain = await host.createDomain({ name: 'user', memory: 8, kernel: user, disks: ['/a,raw,xvda,w'], nics: [''] })
    await domain.console.waitFor('written')
    await domain.destroy()
    await host.settled()
    expect(snapshot(host)).toEqual(before)
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test.each([
    ['a target that cannot be opened', { openDisk: () => { throw new XenError('IO', 'no such image') } }, '/a,raw,xvda,w', 'IO'],
    ['no opener', {}, '/a,raw,xvda,w', 'IO'],
    ['a format that nobody knows', {}, '/a,vhd,xvda,w', 'NOT_SUPPORTED'],
    ['a format that its opener does not know', {}, '/a,qcow2,xvda,w', 'IO'],
    ['a back-end domain that does not exist', {}, '/a,raw,xvda,w,backend=nobody', 'DOMAIN_NOT_FOUND'],
  ] as const)('is not created with %s, and nothing is left behind', async (_, options, disk, code) => {
    const host = await boot(options)
    const first = await host.createDomain({ name: 'first', memory: 8, kernel: user })
    await first.attachNic()
    const before = snapshot(host)
    const creating = host.createDomain({ name: 'user', memory: 8, kernel: user, disks: [disk] })
    await expect(creating).rejects.toSatisfy((error) => XenError.is(error, code))
    await host.settled()
    expect(snapshot(host)).toEqual(before)
    expect(host.domains()).toHaveLength(1)
  })

  test('takes along the devices that it has when it is saved, with the addresses that were chosen', async () => {
    const openDisk = (): MemoryBlockStore => new MemoryBlockStore(1 << 20)
    const [first, second] = [await boot({ openDisk }), await boot({ openDisk, seed: 2 })]
    const domain = await first.createDomain({ name: 'user', memory: 8, kernel: user, disks: ['/a,raw,xvdb,w'], nics: [''] })
    await domain.detachDisk('xvdb')
    await domain.attachDisk('/c,raw,xvda,w')
    await domain.attachNic('bridge=xenbr1')
    await domain.console.waitFor('written')
    const nodes = (host: Host, id: number) => [0, 1].map((nic) =>
      ['mac', 'bridge'].map((name) => host.store.tryRead(`/local/domain/0/backend/vif/${id}/${nic}/${name}`)))
    const before = nodes(first, domain.id)
    const stream = new TransformStream<Uint8Array, Uint8Array>(undefined, { highWaterMark: 1 << 20 })
    const trust = { disks: ['/c'], bridges: ['xenbr0', 'xenbr1'] }
    const [, restored] = await Promise.all([domain.save(stream.writable), second.restore(stream.readable, { kernel: user, trust })])
    expect(restored.devices().map(({ kind, device }) => [kind, device])).toEqual([['vbd', 51712], ['vif', 0], ['vif', 1]])
    expect(nodes(second, restored.id)).toEqual(before)
    expect(before).toEqual([[expect.stringMatching(/^00:16:3e:/), 'xenbr0'], [expect.stringMatching(/^00:16:3e:/), 'xenbr1']])
    await restored.console.waitFor('written')
  })

  test('is started anew as it was at its end: same UUID and addresses, memory and disks that it was given', async () => {
    const host = await boot({ openDisk: () => new MemoryBlockStore(1 << 20) })
    const domain = await host.createDomain({
      name: 'user', memory: 8, maxVcpus: 1, kernel: user, nics: [''], actions: { reboot: 'restart' },
    })
    await domain.console.waitFor('ready')
    await domain.attachDisk('/c,raw,xvda,w')
    await domain.attachDisk('/own,raw,xvdb,w', { store: new MemoryBlockStore(1 << 20) })
    await domain.console.waitFor('written')
    await domain.setMaxMem(12)
    await domain.setMemTarget(10)
    const mac = host.store.read(`/local/domain/0/backend/vif/${domain.id}/0/mac`)
    const restarted = host.events.once('domain-restarted')
    await domain.reboot()
    const again = host.domain((await restarted).newDomid)
    expect(again.uuid).toBe(domain.uuid)
    expect(again.config).toMatchObject({ memory: 10, maxMemory: 12 })
    expect(again.devices().map(({ kind, device }) => [kind, device])).toEqual([['vbd', 51712], ['vif', 0]])
    expect(host.store.read(`/local/domain/0/backend/vif/${again.id}/0/mac`)).toBe(mac)
    await again.console.waitFor('written')
  })

  test('refuses a device that it has, and taking away one that it has not', async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'user', memory: 8, kernel: user })
    const attach = () => domain.attachDisk('/a,raw,xvdb,w', { store: new MemoryBlockStore(1 << 20) })
    await attach()
    await expect(attach()).rejects.toSatisfy((error) => XenError.is(error, 'DEVICE_EXISTS'))
    await expect(domain.detachNic(3)).rejects.toSatisfy((error) => XenError.is(error, 'DEVICE_NOT_FOUND'))
    expect(domain.devices()).toHaveLength(1)
  })
})
