/** Code of the host's owner that fails while it is called for a guest: the fault stays there, and dom0 serves on. */
import { describe, expect, test } from 'vitest'
import { BlockFrontend, MemoryBlockStore, NetFrontend, type BlockStore, type UserPortOptions } from '../../src/drivers/index.ts'
import { FrontendBus, type GuestProgram } from '../../src/guest/index.ts'
import { Host, type HostOptions } from '../../src/index.ts'
import { makeElf } from '../support/elf-image.ts'

/** A host that notes the failures it is told of. */
async function boot(options: HostOptions = {}): Promise<{ host: Host; failures: string[] }> {
  const host = await Host.boot({ memory: 64, dom0Memory: 16, ...options })
  const failures: string[] = []
  host.events.on('callback-failed', ({ callback, subject, error }) =>
    failures.push(`${callback} of ${subject}: ${error instanceof Error ? error.message : String(error)}`))
  return { host, failures }
}

/** Dom0 runs, and still serves a guest that comes later. */
async function expectServing(host: Host): Promise<void> {
  expect(host.hypervisor.domainInfo(0 as never)).toMatchObject({ crashed: false, shutdown: false })
  const later = await host.createDomain({
    name: 'later', memory: 8,
    kernel: async (kernel) => kernel.console!.log(`store: ${await kernel.store!.read('name')}`),
  })
  await later.console.waitFor('store: later')
  expect(host.hypervisor.checkInvariants()).toEqual([])
  await host.shutdown()
}

const sender: GuestProgram = async (kernel) => {
  const nics = new NetFrontend()
  await new FrontendBus(kernel).register(nics)
  const nic = await nics.nic(0)
  for (let i = 0; i < 3; i += 1) await nic.send(new Uint8Array(14 + i).fill(0xff))
  kernel.console!.log('sent')
}

const fault = (): never => { throw new RangeError('short frame') }

describe('user code at a bridge', () => {
  test.each<[string, UserPortOptions['onFrame'], string]>([
    ['throws', fault, 'short frame'],
    ['rejects', async () => fault(), 'short frame'],
    ['answers a thing with a `then` that throws', () => ({ then: fault }), 'short frame'],
  ])('that %s on a frame loses the frame, and nobody else does', async (_how, onFrame, message) => {
    const { host, failures } = await boot()
    host.bridge().open({ onFrame: onFrame! })
    const other = host.bridge().open()
    const domain = await host.createDomain({ name: 'sender', memory: 8, nics: ['bridge=xenbr0'], kernel: sender })
    await domain.console.waitFor('sent')
    await host.settled()
    const frames = other[Symbol.asyncIterator]()
    for (const length of [14, 15, 16]) expect((await frames.next()).value).toHaveLength(length)
    expect(failures).toEqual(Array(3).fill(`bridge-port of xenbr0: ${message}`))
    await expectServing(host)
  })

  test('that listens in and throws harms nobody either', async () => {
    const { host, failures } = await boot()
    host.bridge().tap(fault)
    const port = host.bridge().open()
    const domain = await host.createDomain({ name: 'sender', memory: 8, nics: ['bridge=xenbr0'], kernel: sender })
    await domain.console.waitFor('sent')
    expect((await port[Symbol.asyncIterator]().next()).value).toHaveLength(14)
    expect(failures[0]).toBe('bridge-tap of xenbr0: short frame')
    await expectServing(host)
  })
})

const disk = (change: Partial<Record<keyof BlockStore, unknown>>): BlockStore => {
  const store = new MemoryBlockStore(1 << 16)
  // What a user gives may be anything; that is what is tried here.
  const properties = Object.entries(change).map(([name, value]) => [name, { value }])
  return Object.create(store, Object.fromEntries(properties) as PropertyDescriptorMap) as BlockStore
}

/** Reads, writes, flushes and discards, and says how each went. */
const diskUser: GuestProgram = async (kernel) => {
  const disks = new BlockFrontend()
  await new FrontendBus(kernel).register(disks)
  const one = await disks.disk(51712)
  const said: string[] = []
  const attempt = async (name: string, work: Promise<unknown>): Promise<void> => {
    said.push(`${name} ${await work.then(() => 'done', () => 'failed')}`)
  }
  await attempt('read', one.read(0, 8))
  await attempt('write', one.write(0, new Uint8Array(4096)))
  await attempt('flush', one.flush())
  kernel.console!.log(`all: ${said.join(', ')}.`)
}

describe('a block store', () => {
  test.each<[string, Partial<Record<keyof BlockStore, unknown>>, string, number]>([
    ['throws', { read: fault }, 'read failed, write done, flush done', 1],
    ['rejects', { write: async () => fault() }, 'read done, write failed, flush done', 1],
    ['answers numbers', { read: () => 5, write: () => 5, flush: () => 5 }, 'read done, write done, flush done', 0],
    ['answers what is hardly a promise', { flush: () => ({ then: () => undefined, catch: 5 }), read: fault }, '', 1],
    ['throws when it is closed', { close: fault }, 'read done, write done, flush done', 1],
    ['rejects when it is closed', { close: async () => fault() }, 'read done, write done, flush done', 1],
  ])('that %s fails its own requests only', async (_how, change, said, count) => {
    const { host, failures } = await boot({ openDisk: () => disk(change) })
    const domain = await host.createDomain({ name: 'user', memory: 8, disks: ['any,raw,xvda,w'], kernel: diskUser })
    if (said !== '') await domain.console.waitFor(`all: ${said}.`)
    else await host.until('a failure', () => failures.length > 0)
    if (said !== '') await domain.destroy()
    expect(failures).toHaveLength(count)
    if (count > 0) expect(failures[0]).toBe(`block-store of domain ${domain.id}, xvda: short frame`)
    if (said !== '') await expectServing(host)
  })

  test.each<[string, unknown, string]>([
    ['nothing', undefined, 'undefined is no block store'],
    ['a number', 5, 'number is no block store'],
    ['a store without methods', { size: 512, readOnly: false }, 'a block store has no method read'],
    ['a size that is none', disk({ size: Number.NaN }), 'a disk of NaN bytes is not a whole number of sectors'],
    ['a size that is a text', disk({ size: '512' }), 'a disk of 512 bytes is not a whole number of sectors'],
    ['a discard that cannot be called', disk({ discard: 1 }), 'a block store has a `discard` that is no method'],
  ])('that is %s is refused when it is attached', async (_what, store, message) => {
    const { host } = await boot({ openDisk: () => store as BlockStore })
    await expect(host.createDomain({ name: 'user', memory: 8, disks: ['any,raw,xvda,w'], kernel: () => undefined }))
      .rejects.toMatchObject({ code: 'IO', message: expect.stringContaining(message) as string })
    expect(host.domains()).toEqual([])
    await expectServing(host)
  })
})

test.each<[string, () => unknown, string]>([
  ['nothing', () => undefined, 'INVALID_ARGUMENT'], ['a text', () => 'elf', 'INVALID_ARGUMENT'], ['a buffer of another kind', () => new ArrayBuffer(9), 'INVALID_ARGUMENT'],
  ['too little', () => new Uint8Array(9), 'INVALID_IMAGE'],
])('files that answer %s make the creation fail with a typed error', async (_what, read, code) => {
  const { host } = await boot({ files: { read: async () => read() as Uint8Array } })
  await expect(host.createDomain({ name: 'user', memory: 8, kernel: '/k' })).rejects.toMatchObject({ code })
  if (code === 'INVALID_ARGUMENT') {
    await expect(host.createDomain({ name: 'user', memory: 8, ramdisk: '/r' })).rejects.toMatchObject({ code, details: { option: 'files', path: '/r' } })
  }
  await expectServing(host)
})

describe('a watch', () => {
  test('whose listener throws leaves the guest that wrote, the store and the other listeners as they are', async () => {
    const { host, failures } = await boot()
    const seen: string[] = []
    host.store.watch('/local/domain', (path) => { if (path.endsWith('/data/x')) fault() })
    host.store.watch('/local/domain', (path) => { if (path.endsWith('/data/x')) seen.push(path) })
    await host.dom0.kernel.store!.watch('/local/domain', (path) => { if (path.endsWith('/data/x')) fault() })
    const domain = await host.createDomain({
      name: 'writer', memory: 8,
      kernel: async (kernel) => {
        for (const value of ['1', '2']) await kernel.store!.write('data/x', value)
        kernel.console!.log('written')
      },
    })
    await domain.console.waitFor('written')
    await host.settled()
    expect(seen).toHaveLength(2)
    expect([...new Set(failures)].sort()).toEqual([
      'store-watch of /local/domain/1/data/x: short frame', 'store-watch of /local/domain: short frame',
    ])
    await expectServing(host)
  })
})

describe('a source of entropy', () => {
  // rdrand rax; sbb ebx, ebx (all ones when a number came); ud2
  test.each<[string, () => unknown]>([
    ['throws', fault], ['answers what is no number', () => undefined], ['answers too much', () => 2 ** 32],
  ])('that %s gives the guest no number, which the carry flag says', async (_how, next) => {
    const { host, failures } = await boot({ entropy: { next: next as () => number } })
    const code = [0x48, 0x0f, 0xc7, 0xf0, 0x19, 0xdb, 0x0f, 0x0b]
    const kernel = makeElf({
      entry: 0x1000n, segments: [{ address: 0x1000, bytes: Uint8Array.from(code) }], notes: [{ type: 5, value: 'xen-3.0' }],
    })
    const domain = await host.createDomain({ name: 'secret', memory: 8, kernel, actions: { crash: 'preserve' } })
    expect(await domain.waitForShutdown({ timeout: 1e9 })).toBe('crash')
    expect(host.hypervisor.getVcpuContext(domain.id as never, 0).user).toMatchObject({ rax: 0n, rbx: 0n })
    expect(failures[0]).toContain('entropy of the host: ')
    await expectServing(host)
  })
})
