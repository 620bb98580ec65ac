/**
 * Moments of a whole host: taken, come back to in place, branched. A host that was brought back, a branch and one that went on
 * are the same at every moment, part by part.
 */
import { afterEach, describe, expect, test } from 'vitest'
import { mkdtempSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MemoryBlockStore, type BlockStore } from '../../src/drivers/index.ts'
import { FileBlockStore } from '../../src/node/index.ts'
import { SERVED_DISKS } from '../../src/toolstack/device-kinds/disk/disk-service.ts'
import { XenError } from '../../src/util/index.ts'
import { extImage, whyNoImages } from '../support/disk-images.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { Host, MemoryFiles, transportPair, type HostOptions, type Moment } from '../../src/toolstack/index.ts'
import { insidesOf } from '../../src/toolstack/host/host.ts'
import { hostsOfTests } from '../support/mini.ts'

const OPTIONS: HostOptions = { memory: 64, dom0Memory: 16, seed: 7, cpus: 2, openDisk: () => new MemoryBlockStore(1 << 20) }
const boot = hostsOfTests(OPTIONS)

const noDisks = whyMissing('grub64') ?? whyNoImages()
const KERNEL = '.guests/grub-xen-host/usr/lib/grub-xen/grub-x86_64-xen.bin'

const branches: Host[] = []
const halted: (() => void)[] = []
/** Halts a host until the test is over. */
const halt = async (host: Host): Promise<void> => void halted.push(await insidesOf(host).parts.loop.halt())
afterEach(async () => {
  for (const goOn of halted.splice(0)) goOn()
  for (const branch of branches.splice(0)) await branch.shutdown()
})

const frame = (text: string): Uint8Array =>
  new Uint8Array([255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 9, 0x88, 0xb5, ...new TextEncoder().encode(text)])

/** A host with two guests at work, and its moment. */
async function begin(options: HostOptions = {}) {
  const host = await boot(options)
  const domain = await host.createDomain({ name: 'one', memory: 8, disks: [{ target: 'a', vdev: 'xvda' }], nics: [''] })
  await host.createDomain({ name: 'two', memory: 8, nics: [''] })
  await domain.console.waitFor('mini> ')
  host.bridge().open()
  const moment = await host.checkpoint({ label: 'ready' })
  return { host, moment }
}

/** A halted host is given something and runs for a while; the hash of each part behind it. */
async function work(host: Host, milliseconds = 40): Promise<Readonly<Record<string, string>>> {
  const end = host.now() + milliseconds * 1e6
  void host.domain('one').console.write('echo typed\rmem\r')
  host.bridge().send(1, frame('frame'))
  void host.domain('two').setMemTarget(6)
  await insidesOf(host).parts.loop.runTo(end)
  expect(host.domain('one').console.text()).toContain('\ntyped\n')
  return host.stateHash()
}

describe('a host that is brought back in place', () => {
  test('is what it was, and goes on as a branch does, and as it did before, again and again', { timeout: 60_000 }, async () => {
    const { host, moment } = await begin()
    await host.reset(moment)
    await halt(host)
    const other = await moment.branch()
    await halt(other)
    branches.push(other)
    const first = await host.stateHash()
    expect(await other.stateHash()).toEqual(first)
    const expected = await work(host)
    expect(await work(other)).toEqual(expected)
    for (let round = 0; round < 3; round += 1) {
      for (const goOn of halted.splice(0)) goOn()
      await host.domain('two').destroy()
      await host.createDomain({ name: `three${round}`, memory: 4 })
      await host.reset(moment)
      await halt(host)
      expect(await host.stateHash()).toEqual(first)
      expect(host.hypervisor.checkInvariants()).toEqual([])
      expect(await work(host)).toEqual(expected)
    }
  })

  test('closes what was held of it, and lets nothing of that reach it', { timeout: 30_000 }, async () => {
    const { host, moment } = await begin()
    const domain = host.domain('one')
    const { store, hypervisor, dom0 } = host
    const port = host.bridge().open()
    const waiting = domain.console.waitFor('never')
    await host.reset(moment)
    await expect(waiting).rejects.toMatchObject({ code: 'CLOSED' })
    await halt(host)
    const before = await host.stateHash()
    const closed = { code: 'CLOSED', message: 'the host was brought back to a moment: ask it anew' }
    for (const call of [
      () => domain.pause(), () => domain.info(), () => domain.destroy(), () => domain.console.write('x'), () => store.write('/a', 'b'),
      () => hypervisor.listDomains(), () => port.send(frame('late')), () => dom0.kernel.hypercalls.consoleWrite(new Uint8Array(1)),
      () => domain.setMemTarget(4), () => domain.console.waitFor('never'),
    ]) await expect((async () => call())()).rejects.toMatchObject({ code: 'CLOSED' })
    await expect((async () => domain.pause())()).rejects.toMatchObject(closed)
    expect(domain.console.text()).toContain('mini> ')
    expect(await host.stateHash()).toEqual(before)
    for (const goOn of halted.splice(0)) goOn()
    await host.domain('one').console.write('echo alive\r')
    await host.domain('one').console.waitFor(/^alive$/)
  })
})

test.skipIf(noDisks !== undefined)(`what guests write to a disk outside stays above it from the first moment on, in the host and in its branches${noDisks ?? ''}`, { timeout: 60_000 }, async () => {
  const file = join(mkdtempSync(join(tmpdir(), 'paravirt-moments-')), 'disk.img')
  const bytes = extImage({ kibibytes: 1024, make: ['-t', 'ext2'], files: { hello: 'hello there\n' } })
  writeFileSync(file, bytes)
  let opened = 0
  let refuse = false
  const options: HostOptions = {
    ...OPTIONS, memory: 128, files: new MemoryFiles({ [KERNEL]: readFileSync(guestFile('grub64')!) }),
    openDisk: () => {
      if (refuse) throw new XenError('IO', 'nothing is opened now')
      opened += 1
      return new FileBlockStore(file)
    },
  }
  const host = await boot(options)
  const description = readFileSync(new URL('../../examples/xen/grub', import.meta.url), 'utf8')
  const { name } = await host.createDomain(`${description}\ndisk = ["/images/ext2.img,raw,xvda,w"]`, { source: 'examples/xen/grub' })
  await host.domain(name).console.waitFor('grub> ')
  const moment = await host.checkpoint()
  const read = async (of: Host): Promise<void> => {
    await of.domain(name).console.write('cat (xen/xvda)/hello\r')
    await of.domain(name).console.waitFor('hello there')
    await of.domain(name).console.waitFor('grub> ')
  }
  await read(host)
  // A guest that writes, through the very store that its back-end has.
  const write = (of: Host): void => {
    const store = insidesOf(of).guests.devices.service(SERVED_DISKS).served(of.domain(name).id, 51712) as unknown as { store: BlockStore }
    void store.store.write(0, new Uint8Array(4096).fill(9))
  }
  write(host)
  const branch = await moment.branch()
  branches.push(branch)
  write(branch)
  await host.reset(moment)
  expect(opened).toBe(3)
  const store = insidesOf(host).guests.devices.service(SERVED_DISKS).served(host.domain(name).id, 51712) as unknown as { store: BlockStore }
  const first = new Uint8Array(4096)
  await store.store.read(0, first)
  expect(Buffer.compare(first, bytes.subarray(0, 4096))).toBe(0)
  await read(host)
  expect(Buffer.compare(readFileSync(file), bytes)).toBe(0)
  refuse = true
  await expect(host.reset(moment)).rejects.toMatchObject({ code: 'IO' })
  await expect(moment.branch()).rejects.toMatchObject({ code: 'IO' })
  await read(host)
  refuse = false
  writeFileSync(file, bytes)
  const changed = { code: 'INVALID_STATE', details: { disk: 'xvda', domid: host.domain(name).id } }
  await expect(host.reset(moment)).rejects.toMatchObject(changed)
  await expect(moment.branch()).rejects.toMatchObject(changed)
  await read(host)
  truncateSync(file, 512 * 1024)
  await expect(moment.branch()).rejects.toMatchObject({ code: 'INVALID_STATE', message: expect.stringContaining('smaller') as string })
  await expect(host.reset(moment)).rejects.toMatchObject({ code: 'INVALID_STATE' })
  await host.domain(name).console.write('\r')
  await host.domain(name).console.waitFor('grub> ')
})

describe('moments', () => {
  test('form a tree, have labels, and are refused by a code once they are gone or are another host\'s', { timeout: 30_000 }, async () => {
    const { host, moment } = await begin()
    await host.until('a while', () => true)
    const second = await host.checkpoint()
    await host.reset(moment)
    const third = await host.checkpoint({ label: 'third' })
    expect(moment.tree()).toMatchObject({ moment, children: [{ moment: second, children: [] }, { moment: third, children: [] }] })
    expect([moment.label, second.label, third.parent]).toEqual(['ready', undefined, moment])
    second.dispose()
    expect(second.exists).toBe(false)
    await expect(second.branch()).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(host.reset(second)).rejects.toMatchObject({ code: 'CLOSED' })
    expect(() => second.hashes()).toThrow('does not exist any more')
    const other = await boot()
    await expect(other.reset(moment)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(host.checkpoint({ name: 'x' } as object)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    const both = Promise.allSettled([host.checkpoint(), host.checkpoint()])
    expect((await both).map(({ status }) => status)).toEqual(['fulfilled', 'rejected'])
    await expect(host.reset(third)).resolves.toBeUndefined()
  })

  test('are not taken, and hosts not brought back, while a domain is saved or moves; both go on', { timeout: 30_000 }, async () => {
    const { host, moment } = await begin()
    const other = await boot()
    const { ends } = transportPair()
    const arrival = other.receiveMigration(ends[1], { trust: 'all' })
    const movements = [host.domain('one').save({ write: () => undefined }), host.domain('two').migrate(ends[0])]
    for (const call of [() => host.checkpoint(), () => host.reset(moment), () => host.stateHash()]) await expect(call()).rejects.toMatchObject({ code: 'BUSY' })
    await Promise.all(movements)
    await (await arrival).console.waitFor('mini: restored')
    await host.checkpoint()
    await host.reset(moment)
    expect(host.domains().map(({ name }) => name)).toEqual(['one', 'two'])
  })

  test('share their pages, make room by the rule, or are refused with nothing changed', { timeout: 30_000 }, async () => {
    const { host, moment } = await begin({ moments: { memory: 2, whenFull: 'evict' } })
    const moments = []
    do {
      for (const domain of host.domains()) await domain.destroy()
      const domain = await host.createDomain({ name: 'big', memory: 8, ramdisk: new Uint8Array(200_000).fill(moments.length + 1) })
      await domain.console.waitFor('mini> ')
      moments.push(await host.checkpoint())
    } while (moments[0]!.exists && moments.length < 40)
    // Those without a label have made room, the oldest first.
    expect([moment.exists, moments.length > 2]).toEqual([true, true])
    const left = moments.filter(({ exists }) => exists)
    expect(left).toEqual(moments.slice(-left.length))
    await host.reset(left[0]!)
    const small = await boot({ moments: { memory: '1M' } })
    await small.createDomain({ name: 'big', memory: 8, ramdisk: Uint8Array.from({ length: 2 << 20 }, (_, i) => i >> 8) })
    await expect(small.checkpoint()).rejects.toMatchObject({ code: 'OUT_OF_MEMORY', details: { limit: 1, moments: 0 } })
    await small.createDomain({ name: 'goes on', memory: 4 })
  })

  test('have machines made ahead for branches, which then are as any others', { timeout: 30_000 }, async () => {
    const { host, moment } = await begin()
    const earlier = await host.checkpoint()
    moment.prepare(2)
    moment.prepare()
    const hosts = [await moment.branch(), await moment.branch(), await moment.branch(), await earlier.branch()]
    branches.push(...hosts)
    const hashes = await Promise.all(hosts.map(async (each) => {
      await halt(each)
      return each.stateHash()
    }))
    expect(hashes).toEqual([moment.hashes(), moment.hashes(), moment.hashes(), earlier.hashes()])
    for (const count of [0, 5, 1.5, '2']) expect(() => moment.prepare(count as number)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }) as Error)
    moment.dispose()
    expect(() => moment.prepare()).toThrow(expect.objectContaining({ code: 'CLOSED' }) as Error)
    for (const ready of [-1, 5, 0.5, '1' as unknown as number]) await expect(Host.boot({ ...OPTIONS, moments: { ready } })).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
  })

  test.each([0, 1, 4])('are as any others where the first checkpoint has made %i machines ready', { timeout: 30_000 }, async (ready) => {
    const { host, moment } = await begin({ moments: { ready } })
    const hosts = [await moment.branch(), await moment.branch()]
    branches.push(...hosts)
    for (const each of [host, ...hosts]) await halt(each)
    for (const each of hosts) expect(await each.stateHash()).toEqual(moment.hashes())
  })

  test('of branches that are shut down leave their machines to the next ones, whatever moment and options those have', { timeout: 30_000 }, async () => {
    const { host, moment } = await begin()
    await host.domain('two').destroy()
    const later = await host.checkpoint()
    const seeded: unknown[] = []
    for (const [from, options] of [[moment, {}], [moment, {}], [later, {}], [moment, { seed: 5 }], [moment, { interference: {} }], [moment, { seed: 5 }], [later, {}]] as const) {
      const branch = await from.branch(options)
      branches.push(branch)
      await halt(branch)
      const hashes = await branch.stateHash()
      if ('seed' in options) seeded.push(hashes)
      else expect(hashes).toEqual(from.hashes())
      expect(branch.hypervisor.checkInvariants()).toEqual([])
      for (const goOn of halted.splice(0)) goOn()
      await branch.domain('one').console.write('mem\r')
      await branch.createDomain({ name: 'three', memory: 4 })
      await branch.shutdown()
    }
    expect(seeded[0]).toEqual(seeded[1])
    expect(seeded[0]).not.toEqual(moment.hashes())
    moment.dispose()
    const last = await later.branch()
    branches.push(last)
    await halt(last)
    expect(await last.stateHash()).toEqual(later.hashes())
  })

  test('of a host without the wall\'s time branch into one that follows it, from the moment\'s own time on, and waits', { timeout: 30_000 }, async () => {
    const host = await boot({ idle: '1ms' })
    const moment = await host.checkpoint()
    const branch = await moment.branch({ clock: 'realtime' })
    branches.push(branch)
    const [begun, wall] = [branch.now(), performance.now()]
    expect(begun).toBeGreaterThanOrEqual(moment.time)
    expect(begun).toBeLessThan(moment.time + 60e9)
    // Nothing happens on it: a virtual clock would be there at once, and its host would say that nothing can come.
    await branch.until('nothing', () => false, { timeout: '50ms' }).catch((error: unknown) => { if (!XenError.is(error, 'TIMED_OUT')) throw error })
    expect(performance.now() - wall).toBeGreaterThan(45)
    // What is taken of it follows the wall, too.
    const later = await (await branch.checkpoint()).branch()
    branches.push(later)
    const again = performance.now()
    await expect(later.until('nothing', () => false, { timeout: '20ms' })).rejects.toMatchObject({ code: 'TIMED_OUT' })
    expect(performance.now() - again).toBeGreaterThan(15)
    await expect(moment.branch({ clock: 'sundial' as never })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  test('of a branch with another seed go on with other chance', { timeout: 30_000 }, async () => {
    const { moment } = await begin()
    const hosts = [await moment.branch(), await moment.branch({ seed: 5 }), await moment.branch({ seed: 5 })]
    branches.push(...hosts)
    const states = await Promise.all(hosts.map(async (each) => {
      await halt(each)
      return each.stateHash()
    }))
    expect(states[1]).toEqual(states[2])
    const differ = Object.keys(states[0]!).filter((part) => states[0]![part] !== states[1]![part])
    expect(differ).toEqual(expect.arrayContaining(['hypervisor.random', 'kernel', 'seeds', 'toolstack']))
    for (const part of differ) expect(part).toMatch(/random|kernel|seeds|toolstack|guests/)
  })
})

/** Moments of a host behind each of so many millions of instructions: the links of a chain. */
async function chain(from: Host, { links, plant }: { readonly links: number; readonly plant?: number }): Promise<readonly Moment<Host>[]> {
  const { loop, machine: { memory }, control } = insidesOf(from).parts
  const found: Moment<Host>[] = []
  for (let link = 0; link < links; link += 1) {
    if (link === plant) {
      const frame = control.domainFrames(from.domain('two').id)[1000]!
      memory.bytes[frame * 4096 + 100]! ^= 1
      memory.markWritten(frame)
    }
    if (link === 2) void from.domain('one').console.write('echo link\rmem\r')
    await loop.step(1_000_000)
    found.push(await from.checkpoint())
  }
  return found
}

describe('chains of hashes', () => {
  test('of two runs are the same, with the compiling tier or without, and one that was led astray is found by link, part and frame', { timeout: 60_000 }, async () => {
    const { host, moment } = await begin()
    const chains: (readonly Moment<Host>[])[] = []
    for (const plant of [undefined, undefined, 5]) {
      await host.reset(moment)
      await halt(host)
      chains.push(await chain(host, { links: 8, ...(plant === undefined ? {} : { plant }) }))
      for (const goOn of halted.splice(0)) goOn()
    }
    const target: Uint8Array[] = []
    await moment.save({ write: (chunk: Uint8Array) => void target.push(chunk.slice()) })
    const compiled = await (await Host.loadMoment(Buffer.concat(target), { ...OPTIONS, compiler: { samples: 1, slice: 500 } })).branch()
    branches.push(compiled)
    await halt(compiled)
    chains.push(await chain(compiled, { links: 8 }))
    const [first, second, astray, other] = chains.map((links) => links.map((link) => link.hashes()))
    expect(second).toEqual(first)
    expect(other).toEqual(first)
    expect(astray!.findIndex((link, i) => JSON.stringify(link) !== JSON.stringify(first![i]))).toBe(5)
    const planted = insidesOf(host).parts.control.domainFrames(host.domain('two').id)[1000]
    expect(chains[2]![5]!.differences(chains[0]![5]!)).toEqual({ parts: ['memory'], frames: [planted] })
    expect(chains[3]![7]!.differences(chains[0]![7]!)).toEqual({ parts: [], frames: [] })
  })
})
