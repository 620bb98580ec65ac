/**
 * A whole host saved, and a new host that goes on from it: two hosts that are given the same are the same at every moment,
 * part by part. Guests are binary; test/debian does the same with Linux.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, test } from 'vitest'
import { MemoryBlockStore, OverlayBlockStore, type BlockStore } from '../../src/drivers/index.ts'
import type { GuestKernel } from '../../src/guest/index.ts'
import { MemoryFiles, type Host, type HostOptions } from '../../src/toolstack/index.ts'
import { insidesOf } from '../../src/toolstack/host/host.ts'
import { loadHost, saveHost, type HostState } from '../../src/toolstack/host/save-host.ts'
import type { SavedTree } from '../../src/util/index.ts'
import { extImage, whyNoImages } from '../support/disk-images.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { HostPair } from '../support/host-pair.ts'
import { hostsOfTests } from '../support/mini.ts'

const OPTIONS: HostOptions = { memory: 64, dom0Memory: 16, seed: 7, cpus: 2, openDisk: () => new OverlayBlockStore(new MemoryBlockStore(1 << 20)) }
const boot = hostsOfTests(OPTIONS)

const loaded: Host[] = []
const halted: (() => void)[] = []
const pairs: HostPair[] = []
afterEach(async () => {
  for (const pair of pairs.splice(0)) await pair.end()
  for (const goOn of halted.splice(0)) goOn()
  for (const host of loaded.splice(0)) await host.shutdown()
})

const pairOf = async (host: Host, options: HostOptions): Promise<HostPair> => {
  const pair = await HostPair.of(host, options)
  pairs.push(pair)
  return pair
}

const frame = (text: string): Uint8Array =>
  new Uint8Array([255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 9, 0x88, 0xb5, ...new TextEncoder().encode(text)])

describe('a host that was saved goes on in a new host', () => {
  test('as it would have where it was: two guests with ticks, devices that wait, frames and typing, for 100 M instructions', { timeout: 60_000 }, async () => {
    const host = await boot()
    const guests = [await host.createDomain({ name: 'one', memory: 8, disks: [{ target: 'a', vdev: 'xvda' }], nics: [''] }),
      await host.createDomain({ name: 'two', memory: 8, nics: [''] })]
    await guests[0]!.console.waitFor('mini> ')
    host.bridge().open()
    host.bridge().open({ limit: 3 }).send(frame('before'))
    const pair = await pairOf(host, { ...OPTIONS, openDisk: () => { throw new Error('what lies in memory is not opened') } })
    await pair.same()
    for (let i = 0; i < 10; i += 1) {
      await pair.both((each) => each.domain('one').console.write(`echo number ${i}\r`))
      if (i === 3) await pair.both((each) => each.bridge().send(1, frame(`frame ${i}`)))
      if (i === 5) await pair.both((each) => each.domain('two').setMemTarget(6))
      await pair.run(10_000_000)
      await pair.same()
    }
    expect(pair.text('one')).toContain('number 9\n')
    expect(pair.text('two')).toContain('balloon: 8192 KiB -> 6144 KiB')
  })

  test('and its domains can be shut down, destroyed and given devices there', { timeout: 60_000 }, async () => {
    const host = await boot()
    await (await host.createDomain({ name: 'one', memory: 8, disks: [{ target: 'a', vdev: 'xvda' }], nics: [''] })).console.waitFor('tick 3')
    const state = await saveHost(host)
    const other = await loadHost(state, OPTIONS)
    loaded.push(other)
    const domain = other.domain('one')
    expect(domain.devices().map(({ name, backendState }) => [name.length > 0, backendState])).toEqual([[true, 2], [true, 2]])
    await domain.attachDisk({ target: 'b', vdev: 'xvdb' })
    await domain.detachNic(0)
    await domain.console.write('echo still here\r')
    await domain.console.waitFor(/^still here$/)
    expect(await domain.shutdown()).toBe('poweroff')
    await other.settled()
    expect(other.domains()).toEqual([])
    expect(other.hypervisor.checkInvariants()).toEqual([])
    expect(await (await other.createDomain({ name: 'new', memory: 8 })).console.waitFor('mini> ')).toBeDefined()
    // Nothing of it has touched the host that was saved.
    expect(host.domain('one').devices()).toHaveLength(2)
  })
})

const noDisks = whyMissing('grub64') ?? whyNoImages()
const KERNEL = '.guests/grub-xen-host/usr/lib/grub-xen/grub-x86_64-xen.bin'

test.skipIf(noDisks !== undefined)(`a host is saved while its guest reads a disk as fast as it can${noDisks ?? ''}`, { timeout: 120_000 }, async () => {
  const big = Array.from({ length: 20_000 }, (_, i) => `line ${i}`).join('\n')
  const image = extImage({ kibibytes: 8192, make: ['-t', 'ext2'], files: { big } })
  const options: HostOptions = {
    ...OPTIONS, memory: 128, files: new MemoryFiles({ [KERNEL]: readFileSync(guestFile('grub64')!) }), openDisk: () => new MemoryBlockStore(image),
  }
  const host = await boot(options)
  const description = readFileSync(new URL('../../examples/xen/grub', import.meta.url), 'utf8')
  const domain = await host.createDomain(`${description}\ndisk = ["/images/ext2.img,raw,xvda,w"]`, { source: 'examples/xen/grub' })
  await domain.console.waitFor('grub> ')
  await domain.console.write('md5sum (xen/xvda)/big\r')
  const reads = (): number => domain.disk('xvda').statistics?.['reads'] ?? 0
  await host.until('it to read', () => reads() > 20)
  const pair = await pairOf(host, options)
  const before = reads()
  for (let i = 0; i < 5; i += 1) {
    await pair.same()
    await pair.run(5_000_000)
  }
  await pair.until((each) => /[0-9a-f]{32} {2}\(xen/.test(each.domain(domain.name).console.text()))
  expect(reads()).toBeGreaterThan(before)
  expect(pair.text(domain.name)).toContain(createHash('md5').update(big).digest('hex'))
  await pair.same()
})

test('a host that was saved on the way is as one that was not, and so is its copy', { timeout: 60_000 }, async () => {
  const begin = async (): Promise<Host> => {
    const host = await boot()
    await host.createDomain({ name: 'one', memory: 8, nics: [''] })
    halted.push(await insidesOf(host).parts.loop.halt())
    return host
  }
  const hosts = [await begin(), await begin()]
  const runTo = async (time: number): Promise<void> => {
    for (const host of hosts) await insidesOf(host).parts.loop.runTo(time)
  }
  const moment = Math.max(...hosts.map((host) => host.now()))
  const [saved, alone] = [hosts[0]!, hosts[1]!]
  // In the middle of its boot, where every line of code is new, and later.
  for (const milliseconds of [1, 2, 20]) {
    await runTo(moment + milliseconds * 1e6)
    const copy = await loadHost(structuredClone(await saveHost(saved)), OPTIONS)
    loaded.push(copy)
    halted.push(await insidesOf(copy).parts.loop.halt())
    hosts.push(copy)
  }
  await runTo(moment + 21e6)
  for (const host of hosts) void host.domain('one').console.write('echo typed\r')
  await runTo(moment + 300e6)
  for (const host of hosts) expect(host.domain('one').console.text()).toContain('\ntyped\n')
  const expected = await alone.stateHash()
  for (const host of hosts) expect(await host.stateHash()).toEqual(expected)
})

test('a host on the wall clock goes on in a new host at the time at which it was saved', async () => {
  const options: HostOptions = { ...OPTIONS, clock: 'realtime', bootTime: new Date(0) }
  const host = await boot(options)
  await (await host.createDomain({ name: 'one', memory: 8 })).console.waitFor('mini> ')
  const state = structuredClone(await saveHost(host))
  const { time } = (state.parts['hypervisor'] as unknown as { parts: { clock: { state: { time: number } } } }).parts.clock.state
  const other = await loadHost(state, options)
  loaded.push(other)
  expect(other.hypervisor.hostInfo().time).toBe(time)
  await other.domain('one').console.write('echo still here\r')
  await other.domain('one').console.waitFor(/^still here$/)
  expect(other.now()).toBeGreaterThan(time)
})

test.skipIf(noDisks !== undefined)(`a host is not saved while the contents of a disk stay silent, and nothing of what they were asked is lost${noDisks ?? ''}`, { timeout: 120_000 }, async () => {
  const big = Array.from({ length: 2000 }, (_, i) => `line ${i}`).join('\n')
  const contents = new MemoryBlockStore(extImage({ kibibytes: 2048, make: ['-t', 'ext2'], files: { big } }))
  let speak: (() => void) | undefined
  let silence: Promise<void> | undefined
  let asked = 0
  const store: BlockStore = {
    size: contents.size, readOnly: false, write: () => undefined, flush: () => undefined, close: () => undefined,
    read: async (offset, target) => {
      asked += 1
      await silence
      contents.read(offset, target)
    },
  }
  const host = await boot({ ...OPTIONS, memory: 128, files: new MemoryFiles({ [KERNEL]: readFileSync(guestFile('grub64')!) }), openDisk: () => store })
  const description = readFileSync(new URL('../../examples/xen/grub', import.meta.url), 'utf8')
  const domain = await host.createDomain(`${description}\ndisk = ["/images/ext2.img,raw,xvda,w"]`, { source: 'examples/xen/grub' })
  await domain.console.waitFor('grub> ')
  silence = new Promise<void>((resolve) => { speak = resolve })
  asked = 0
  await domain.console.write('md5sum (xen/xvda)/big\r')
  await host.until('it to ask', () => asked > 0, { timeout: '60s' })
  const before = host.now()
  await expect(saveHost(host)).rejects.toMatchObject({ code: 'BUSY', details: { what: 'backend/vbd/1/51712: a request to its store' } })
  expect(host.now() - before).toBeLessThan(3e9)
  speak!()
  await domain.console.waitFor(createHash('md5').update(big).digest('hex'), { timeout: '60s' })
  await saveHost(host)
})

describe('a host is not saved, and goes on as before,', () => {
  test('while an operation is under way, over a guest in TypeScript that does not say its state, or with a stranger at its XenStore', { timeout: 30_000 }, async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'one', memory: 8 })
    const moving = domain.setMemTarget(6)
    await expect(saveHost(host)).rejects.toMatchObject({ code: 'BUSY', details: { what: 'memory target of domain 1' } })
    await moving
    await saveHost(host)

    const end = host.dom0.server.connectLocal()
    await expect(saveHost(host)).rejects.toMatchObject({ code: 'BUSY', message: expect.stringContaining('from outside of the host') as string })
    end.close()
    await host.settled()
    await host.dom0.kernel.store!.watch('data', () => undefined)
    const watched = 'a watch on data of code that cannot be saved'
    await expect(saveHost(host)).rejects.toMatchObject({ code: 'NOT_SUPPORTED', details: { id: 0, name: 'Domain-0', what: watched } })
    await domain.console.write('echo alive\r')
    await domain.console.waitFor(/^alive$/)

    const typed = await boot()
    const silent = ({ console }: GuestKernel): void => console?.log('here')
    await (await typed.createDomain({ name: 'typed', memory: 8, kernel: silent })).console.waitFor('here')
    const refusal = {
      code: 'NOT_SUPPORTED', details: { id: 1, name: 'typed', what: 'a program that does not say its state' },
      message: 'the host cannot be saved: domain 1 (typed) has a program that does not say its state',
    }
    await expect(typed.stateHash()).rejects.toMatchObject(refusal)
    await expect(saveHost(typed)).rejects.toMatchObject(refusal)
    await typed.domain('typed').destroy()
    expect(Object.keys(await typed.stateHash())).toContain('devices.back-ends.bus')
  })

  test('over contents that came with a disk and lie elsewhere', async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'one', memory: 8 })
    const memory = new MemoryBlockStore(4096)
    const own = { size: 4096, readOnly: false, read: () => undefined, write: () => undefined, flush: () => undefined, close: () => undefined }
    await domain.attachDisk({ target: 'x', vdev: 'xvda' }, { store: memory })
    await saveHost(host)
    await domain.attachDisk({ target: 'x', vdev: 'xvdb' }, { store: own })
    await expect(saveHost(host)).rejects.toThrow('the contents of disk xvdb of domain 1, which came with it')
  })
})

test('a disk that lies elsewhere is opened anew, with the changes that an overlay has kept above it', async () => {
  const outside = new MemoryBlockStore(8192)
  const open = () => new OverlayBlockStore({
    size: 8192, readOnly: true, read: (offset, target) => outside.read(offset, target), write: () => undefined, flush: () => undefined, close: () => undefined,
  })
  let opened = 0
  const host = await boot({ ...OPTIONS, openDisk: () => { opened += 1; return open() } })
  await host.createDomain({ name: 'one', memory: 8, disks: [{ target: 'a', vdev: 'xvda' }] })
  const state = await saveHost(host)
  const other = await loadHost(state, { ...OPTIONS, openDisk: ({ params }) => { expect(params).toBe('a'); opened += 1; return open() } })
  loaded.push(other)
  expect(opened).toBe(2)
  await expect(loadHost(state, { ...OPTIONS, openDisk: undefined })).rejects.toMatchObject({ code: 'NOT_SUPPORTED' })
})

test.each<[string, (state: { version: number; parts: Record<string, any> }) => void]>([
  ['version', (state) => { state.version = 2 }],
  ['"nothing"', (state) => { state.parts['nothing'] = { version: 1, state: {} } }],
  ['"kernel"', (state) => { delete state.parts['kernel'] }],
  ['consoles.1', ({ parts }) => { parts['kernel'].state.ports.pop() }],
  ['nobody owns port', ({ parts }) => { parts['services'].state.connections.pop() }],
  ['xenstore', ({ parts }) => { parts['xenstore'].parts['store'].state.nodes.shift() }],
  ['toolstack', ({ parts }) => { parts['toolstack'].state.domains[0].config.memory = 'much' }],
  ['hypervisor', ({ parts }) => { parts['hypervisor'].parts['clock'].state.time = -1 }],
])('a state that is none is refused, naming %s', async (what, spoil) => {
  const host = await boot()
  await host.createDomain({ name: 'one', memory: 8 })
  const state = structuredClone(await saveHost(host)) as unknown as { version: number; parts: Record<string, any> }
  spoil(state)
  const failed = await loadHost(state as unknown as SavedTree as HostState, OPTIONS).then(() => undefined, (error: unknown) => error)
  expect(failed).toMatchObject({ code: 'INVALID_STATE', message: expect.stringContaining(what) as string })
})
