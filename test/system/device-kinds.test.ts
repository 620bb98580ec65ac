/** A kind of device that the library does not know is added by a folder (test/toy-device) and a row. */
import { afterEach, describe, expect, test } from 'vitest'
import { FrontendBus, type GuestProgram } from '../../src/guest/index.ts'
import { Host, XenError, type Domain, type HostOptions } from '../../src/index.ts'
import { DeviceKinds, configFromJson, configToJson, formatDescription, parseDescription } from '../../src/toolstack/index.ts'
import { TOY } from '../toy-device/toy.ts'
import { toyFrontend } from '../toy-device/toy-frontend.ts'

const hosts: Host[] = []
async function boot(options: HostOptions = {}): Promise<Host> {
  const host = await Host.boot({ memory: 128, dom0Memory: 16, deviceKinds: [TOY], ...options })
  hosts.push(host)
  return host
}
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

/** Says what each of its toys makes of 7. */
const player: GuestProgram = async (kernel) => {
  await new FrontendBus(kernel).register(toyFrontend((id, multiple) => {
    void multiple(7).then((answer) => kernel.console!.log(`toy ${id} says ${answer}`))
  }))
  kernel.console!.log('ready')
}

const snapshot = (host: Host): unknown => ({
  frames: host.hypervisor.hostInfo().freeFrames, backends: host.store.list('/local/domain/0/backend'), libxl: host.store.list('/libxl'),
})
const has = (code: 'INVALID_CONFIG' | 'INVALID_ARGUMENT' | 'DEVICE_NOT_FOUND' | 'PERMISSION_DENIED') => (error: unknown): boolean =>
  XenError.is(error, code)

describe('a kind of device that a host was given', () => {
  test('boots with a domain from a description file, shakes hands, is listed and counted', async () => {
    const host = await boot()
    const domain = await host.createDomain('name = "a"\nmemory = 8\ntoy = [ "name=abacus,factor=6", "name=beads" ]', { kernel: player })
    await domain.console.waitFor('toy 0 says 42')
    await domain.console.waitFor('toy 1 says 14')
    await host.settled()
    expect(domain.devices()).toMatchObject([
      { kind: 'vtoy', device: 0, name: 'abacus', backendState: 4, frontendState: 4, statistics: { answers: 1 } },
      { kind: 'vtoy', device: 1, name: 'beads', backendState: 4, frontendState: 4, statistics: { answers: 1 } },
    ])
    expect(host.store.read(`/local/domain/0/backend/vtoy/${domain.id}/0/factor`)).toBe('6')
    expect(host.store.read(`/libxl/${domain.id}/device/vtoy/1/name`)).toBe('beads')
    expect(domain.config.devices).toEqual({ vtoy: [{ name: 'abacus', factor: 6, backend: '0' }, { name: 'beads', factor: 2, backend: '0' }] })
    expect(host.warnings).toEqual([])
  })

  test('is attached to a domain that runs, told of, and gone without a rest', async () => {
    const host = await boot()
    const states: string[] = []
    host.events.on('device-state', ({ kind, half, to }) => states.push(`${kind} ${half} ${to}`))
    const domain = await host.createDomain({ name: 'a', memory: 8, kernel: player })
    await domain.console.waitFor('ready')
    const before = snapshot(host)
    expect(await domain.attachDevice('vtoy', { name: 'abacus', factor: 3 })).toBe(0)
    await domain.console.waitFor('toy 0 says 21')
    await domain.detachDevice('vtoy', 'abacus')
    await host.settled()
    expect(states).toContain('vtoy back-end 4')
    expect(domain.devices()).toEqual([])
    expect(snapshot(host)).toEqual(before)
    await domain.attachDevice('vtoy', 'name=beads')
    await domain.destroy()
    await host.settled()
    expect(host.store.list('/libxl')).toEqual([])
    expect(host.hypervisor.checkInvariants()).toEqual([])
  })

  test('stands in a saved domain, which a host restores that has the kind and whose owner allows what it names', async () => {
    const [first, second] = [await boot(), await boot({ seed: 2 })]
    const domain = await first.createDomain({ name: 'a', memory: 8, kernel: player, devices: { vtoy: [{ name: 'abacus' }] } })
    await domain.attachDevice('vtoy', 'name=beads,factor=5')
    await domain.console.waitFor('toy 1 says 35')
    const [stream, copy] = saved(domain).tee()
    await expect(second.restore(copy, { kernel: player })).rejects.toSatisfy(has('PERMISSION_DENIED'))
    const restored = await second.restore(stream, { kernel: player, trust: { files: ['/toys/abacus', '/toys/beads'] } })
    expect(restored.devices().map(({ name }) => name)).toEqual(['abacus', 'beads'])
    await restored.console.waitFor('toy 1 says 35')
  })

  test('is unknown to a host that was not given it', async () => {
    const host = await boot({ deviceKinds: [] })
    const domain = await host.createDomain({ name: 'a', memory: 8, kernel: player })
    await expect(domain.attachDevice('vtoy', 'name=beads')).rejects.toSatisfy(has('INVALID_ARGUMENT'))
    await expect(host.createDomain({ name: 'b', memory: 8, kernel: player, devices: { vtoy: ['name=beads'] } }))
      .rejects.toSatisfy(has('INVALID_CONFIG'))
    await host.createDomain('name = "c"\nmemory = 8\ntoy = [ "name=beads" ]', { kernel: player })
    expect(host.warnings).toMatchObject([{ option: 'toy', reason: 'unknown' }])
  })
})

/** A domain's stream as bytes. */
function saved(domain: Domain): ReadableStream<Uint8Array> {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>(undefined, { highWaterMark: 1 << 20 })
  void domain.save(writable)
  return readable
}

describe('a host\'s own kinds, and those that it was given', () => {
  const kinds = new DeviceKinds([TOY])

  test('come out of a saved configuration and a description file as they went in', () => {
    const { config } = parseDescription('name = "a"\ndisk = [ "file:/a,xvda,w" ]\nvif = [ "" ]\ntoy = [ "name=beads,factor=9" ]', {}, kinds)
    const names = { kernel: undefined, ramdisk: undefined }
    const { toys } = JSON.parse(configToJson(config, names, kinds)) as { readonly toys: unknown }
    expect(toys).toEqual([{ name: 'beads', factor: 9 }])
    expect(configFromJson(configToJson(config, names, kinds), kinds).devices).toEqual(config.devices)
    expect(parseDescription(formatDescription(config, kinds), {}, kinds).config).toEqual(config)
  })

  test('do not share a name, and a word that is nearly one is answered with it', async () => {
    expect(() => new DeviceKinds([{ ...TOY, name: 'vbd' }])).toThrow('two kinds of devices called vbd')
    expect(() => kinds.named('vtoi')).toThrow(expect.objectContaining({ details: { kind: 'vtoi', nearest: 'vtoy' } }))
    await expect(Host.boot({ deviceKinds: [{}] as never })).rejects.toThrow('deviceKinds must be a list of kinds of devices')
  })
})
