/** Protected domains: what both sides say, every kind of guest, the ways out, and what is refused. Their safety is in test/simulation. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { BlockFrontend, MemoryBlockStore, type BlockStore } from '../../src/drivers/index.ts'
import { FrontendBus, type GuestKernel } from '../../src/guest/index.ts'
import { connectMigration, listenMigration } from '../../src/node/index.ts'
import { withoutLeaks } from '../../src/testing/index.ts'
import {
  Host, memoryArbiter, transportPair, type Domain, type MigrationTransport, type ProtectOperation, type ProtectOptions, type StandByOptions,
} from '../../src/toolstack/index.ts'
import { buildMini } from '../support/build-mini.ts'
import { guestFile, whyMissing } from '../support/guests.ts'
import { answers, hostsOfTests, startMini } from '../support/mini.ts'
import { ENOUGH, failOver } from '../support/remus/failover.ts'
import { SHORT_KINDS } from '../support/remus/served-kinds.ts'
import { verifyStream } from '../support/verify-stream.ts'

const boot = hostsOfTests({ memory: 32, dom0Memory: 8 })
const PATIENCE = 60_000
const INTERVAL = '25ms'

/** Resolves when an epoch is acknowledged. */
const epoch = (protection: ProtectOperation, number: number): Promise<unknown> => new Promise((resolve, reject) => {
  protection.progress.on('acknowledged', (event) => { if (event.epoch >= number) resolve(event) })
  protection.catch(reject)
})

interface Both {
  readonly primary: Host
  readonly standby: Host
  readonly domain: Domain
  readonly protection: ProtectOperation
  readonly standing: ReturnType<Host['standBy']>
  cut(): void
}

/** A mini that is protected. */
async function protectMini(options: { readonly protect?: ProtectOptions; readonly standBy?: StandByOptions } = {}): Promise<Both> {
  const [primary, standby] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
  const domain = await startMini(primary)
  const { ends, cut } = transportPair()
  const standing = standby.standBy(ends[1], options.standBy ?? {})
  const protection = domain.protect(ends[0], { interval: INTERVAL, ...options.protect })
  standing.catch(() => undefined)
  await epoch(protection, 2)
  return { primary, standby, domain, protection, standing, cut }
}

/** A guest in TypeScript that counts, and goes on where it was. */
async function ticker(kernel: GuestKernel): Promise<void> {
  let { count } = (kernel.restoredState as { count: number } | undefined) ?? { count: 0 }
  kernel.control.saveState(() => ({ count }))
  if (count > 0) kernel.console?.log('ticker: restored')
  for (; ; count += 1) {
    kernel.console?.log(`at ${count}`)
    await kernel.sleep('5ms')
  }
}

/** A kind of guest that is protected. */
interface Kind {
  readonly name: string
  /** Why it cannot be started here. */
  readonly missing?: string | undefined
  start(host: Host): Promise<Domain>
  /** What a standby has to be given. */
  readonly standBy?: StandByOptions
  /** Resolves when the domain shows that it has gone on at the standby. */
  goesOn(domain: Domain): Promise<void>
}

const mini32 = buildMini('pv32')
const goesOnAsMini = async (domain: Domain): Promise<void> => {
  await domain.console.waitFor('mini: restored')
  await answers(domain)
}
const KINDS: readonly Kind[] = [
  { name: 'PV guest', start: startMini, goesOn: goesOnAsMini },
  {
    name: '32-bit PV guest', missing: mini32.path === undefined ? ` (SKIPPED: ${mini32.reason})` : undefined,
    start: async (host) => {
      const domain = await startMini(host, { kernel: readFileSync(mini32.path!) })
      expect(host.hypervisor.domainInfo(domain.id as never).kind).toBe('pv32')
      return domain
    },
    goesOn: goesOnAsMini,
  },
  {
    name: 'PVH guest', missing: whyMissing('grubPvh'),
    start: async (host) => {
      const domain = await host.createDomain({ name: 'grub', type: 'pvh', memory: 20, kernel: readFileSync(guestFile('grubPvh')!) })
      await domain.console.waitFor('grub>')
      return domain
    },
    goesOn: async (domain) => {
      await domain.console.write('echo over-$grub_cpu\r')
      await domain.console.waitFor('over-i386')
    },
  },
  {
    name: 'guest in TypeScript', standBy: { kernel: ticker },
    start: async (host) => {
      const domain = await host.createDomain({ name: 'ticker', memory: 4, kernel: ticker })
      await domain.console.waitFor('at 3')
      return domain
    },
    goesOn: async (domain) => void await domain.console.waitFor(/ticker: restored[^]*at \d+/),
  },
]
const bootBoth = async (): Promise<readonly [Host, Host]> => [await boot({ memory: 40, seed: 1 }), await boot({ memory: 40, seed: 2 })]

/** Both sides with one arbiter. */
const arbitrated = (): { readonly protect: ProtectOptions; readonly standBy: StandByOptions } => {
  const arbiter = memoryArbiter()
  return { protect: { arbiter }, standBy: { arbiter } }
}

describe('a protected domain', { timeout: PATIENCE }, () => {
  test('goes on at its standby when its host is lost, under its name and UUID, and with its memory', async () => {
    const { primary, standby, domain, protection, standing, cut } = await protectMini({ standBy: arbitrated().standBy })
    cut()
    const there = (await standing)!
    expect([there.name, there.uuid]).toEqual(['mini', domain.uuid])
    await there.console.waitFor('mini: restored')
    await answers(there)
    expect(standby.domains()).toEqual([there])
    // Nobody told the primary that it may go on.
    await expect(protection).rejects.toMatchObject({ code: 'PROTECTION_UNDECIDED', details: { domid: domain.id } })
    expect(domain.info().paused).toBe(true)
    expect(primary.domains()).toEqual([domain])
  })

  test('says what it does on both sides, and what it came to', async () => {
    const [primary, standby] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
    const domain = await startMini(primary)
    const { ends } = transportPair()
    const [sent, taken]: string[][] = [[], []]
    const standing = standby.standBy(ends[1])
    standing.progress.onAny(({ type }) => void taken!.push(type))
    const protection = domain.protect(ends[0], { interval: INTERVAL })
    expect(protection.statistics()).toBe(undefined)
    protection.progress.onAny(({ type }) => void sent!.push(type))
    await epoch(protection, 2)
    expect(domain.info().paused).toBe(false)
    const summary = await protection.unprotect()
    expect(summary).toMatchObject({ end: 'unprotected', epochs: summary.acknowledged, heldFrames: 0, diskBytes: 0 })
    expect(summary.pages).toBeGreaterThanOrEqual(2048)
    expect(summary.lastPause).toBeGreaterThan(0)
    expect(await standing).toBe(undefined)
    expect(standby.domains()).toEqual([])
    const checkpoint = ['suspend-requested', 'suspended', 'round', 'pages', 'captured', 'acknowledged']
    const once = sent!.filter((type) => type !== 'pages' && type !== 'round')
    expect(once.slice(0, 7)).toEqual(['connected', 'disks-copied', 'suspend-requested', 'suspended', 'captured', 'acknowledged', 'protected'])
    expect(sent!.slice(sent!.indexOf('protected') + 1).slice(0, 6)).toEqual(checkpoint)
    expect(taken!.slice(0, 3)).toEqual(['connected', 'committed', 'committed'])
    await answers(domain)
  })

  test('runs on where it is when its standby is lost and the arbiter says so, and can be protected again', async () => {
    const arbiter = memoryArbiter()
    expect(await arbiter.claim('primary', {})).toBe(true)
    const { primary, domain, protection, standing, cut } = await protectMini({ protect: { arbiter }, standBy: { arbiter } })
    cut()
    expect(await protection).toMatchObject({ end: 'standby-lost' })
    expect(await standing).toBe(undefined)
    await answers(domain)
    expect(primary.domains()).toEqual([domain])
    const third = await boot({ seed: 3 })
    const { ends } = transportPair()
    const again = third.standBy(ends[1])
    const protection2 = domain.protect(ends[0], { interval: INTERVAL })
    await epoch(protection2, 1)
    await protection2.unprotect()
    expect(await again).toBe(undefined)
  })

  test('is destroyed where it was when the standby was granted it', async () => {
    const { primary, protection, standing, cut } = await protectMini(arbitrated())
    // The standby hears of it first.
    const lost = new Promise((resolve) => standing.progress.on('taking-over', resolve))
    cut()
    await lost
    expect(await protection).toMatchObject({ end: 'failed-over' })
    expect(primary.domains()).toEqual([])
    await answers((await standing)!)
  })

  test.each(['abort', 'destroy', 'standby gives up'] as const)('ends without a trace at the standby: %s', async (how) => {
    const [abort, standDown] = [new AbortController(), new AbortController()]
    const { standby, domain, protection, standing } = await protectMini({ protect: { signal: abort.signal } as ProtectOptions, standBy: { signal: standDown.signal } as StandByOptions })
    await withoutLeaks(standby, async () => {
      if (how === 'abort') {
        abort.abort()
        await expect(protection).rejects.toMatchObject({ code: 'ABORTED' })
      } else if (how === 'destroy') {
        const ended = expect(protection).rejects.toMatchObject({ code: 'DOMAIN_NOT_FOUND' })
        await domain.destroy()
        await ended
      } else {
        standDown.abort()
        await expect(standing).rejects.toMatchObject({ code: 'ABORTED' })
        expect(await protection).toMatchObject({ end: 'standby-ended' })
      }
      if (how !== 'standby gives up') expect(await standing).toBe(undefined)
    })
    expect(standby.domains()).toEqual([])
    if (how !== 'destroy') await answers(domain)
  })

  test('says why its protection is over where it cannot be suspended any more, and not that the standby has given up', async () => {
    const { primary, domain, protection, standing } = await protectMini(arbitrated())
    protection.catch(() => undefined)
    // As a tool in its dom0 would, of which the toolstack knows nothing.
    primary.hypervisor.pauseDomain(domain.id as never)
    // Where it had been asked to suspend already it is waited for.
    await expect(protection).rejects.toMatchObject({ code: expect.stringMatching(/INVALID_STATE|TIMED_OUT/) })
    expect(await standing).toBe(undefined)
    primary.hypervisor.unpauseDomain(domain.id as never)
    await answers(domain)
  })

  test('can be asked to end, and then its protection is over', async () => {
    const { domain, protection, standing } = await protectMini()
    protection.catch(() => undefined)
    expect(await domain.shutdown()).toBe('poweroff')
    await expect(protection).rejects.toMatchObject({ code: expect.stringMatching(/DOMAIN_NOT_FOUND|INVALID_STATE/) })
    expect(await standing).toBe(undefined)
  })

  for (const { name, missing, start, standBy, goesOn } of KINDS) test.skipIf(missing !== undefined)(`may be a ${name}, and goes over TCP${missing ?? ''}`, async () => {
    const [primary, standby] = await bootBoth()
    const domain = await start(primary)
    const listener = await listenMigration({ port: 0 })
    const [there, here] = [listener.accept(), connectMigration({ port: listener.port })]
    const standing = standby.standBy(await there, standBy)
    const transport = await here
    const protection = domain.protect(transport, { interval: INTERVAL })
    protection.catch(() => undefined)
    await epoch(protection, 3)
    void (transport.writable as { abort(reason: unknown): Promise<void> }).abort(new Error('pulled'))
    const survivor = (await standing)!
    await goesOn(survivor)
    expect(standby.hypervisor.domainInfo(survivor.id as never).kind).toBe(primary.hypervisor.domainInfo(domain.id as never).kind)
    await expect(protection).rejects.toMatchObject({ code: 'PROTECTION_UNDECIDED' })
    await listener.close()
  })

  test.for(SHORT_KINDS.map((kind) => [`${kind.name}${kind.missing ?? ''}`, kind] as const))(
    'goes on in another process when its own is killed, and nobody outside can tell: a %s',
    async ([, kind], { skip }) => {
      skip(kind.missing !== undefined)
      const { end, kind: survivor, before, behind, violations } = await failOver(kind)
      expect({ end, survivor, violations }).toEqual({ end: 'SIGKILL', survivor: kind.hypervisorKind, violations: [] })
      // The last one may have been on its way when the process was no more.
      expect(Math.min(before + 1, behind)).toBeGreaterThanOrEqual(ENOUGH)
    },
  )
})

describe('the stream of a protected domain', { timeout: PATIENCE }, () => {
  /** The bytes of Xen's stream out of frames, without CHECKPOINT_END of the container, which Xen's checker does not look for within an image. */
  function xenStream(frames: Uint8Array): Uint8Array {
    const pieces: Uint8Array[] = []
    const view = new DataView(frames.buffer, frames.byteOffset, frames.byteLength)
    for (let at = 0; at + 8 <= frames.length;) {
      const [type, size] = [view.getUint32(at, true), view.getUint32(at + 4, true)]
      if (type === 2) pieces.push(frames.subarray(at + 8, at + 8 + size))
      at += 8 + size
    }
    return Buffer.concat(pieces)
  }

  const missing = whyMissing('verifyStream', 'xenPython')
  for (const { name, missing: noGuest, start, standBy } of KINDS) test.skipIf(missing !== undefined || noGuest !== undefined)(`is what libxl writes of a ${name}, as Xen's own checker has it${missing ?? noGuest ?? ''}`, async () => {
    const [primary, standby] = await bootBoth()
    const domain = await start(primary)
    const { ends } = transportPair()
    const seen: Uint8Array[] = []
    const readable = (async function* () {
      for await (const chunk of ends[1].readable as AsyncIterable<Uint8Array>) {
        seen.push(chunk.slice())
        yield chunk
      }
    })()
    const standing = standby.standBy({ readable, writable: ends[1].writable }, standBy)
    const protection = domain.protect(ends[0], { interval: INTERVAL })
    await epoch(protection, 3)
    const { epochs } = await protection.unprotect()
    await standing
    const stream = Buffer.from(xenStream(Buffer.concat(seen)))
    // CHECKPOINT of libxc and CHECKPOINT_END of libxl, both without a body.
    const both = Buffer.from([0x0e, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0])
    const parts: Buffer[] = []
    let at = 0
    for (let found = stream.indexOf(both); found >= 0; found = stream.indexOf(both, at)) {
      parts.push(stream.subarray(at, found + 8))
      at = found + 16
    }
    expect(parts).toHaveLength(epochs)
    const whole = Buffer.concat([...parts, Buffer.alloc(16)])
    const { status, text } = verifyStream(whole)
    expect([status, text.match(/Libxc Record: Checkpoint/g)?.length]).toEqual([0, epochs])
  })
})

describe('what cannot be protected is refused, and goes on', { timeout: PATIENCE }, () => {
  /** Protects a mini by an end of the test's own; what it comes to. */
  async function against(say: (there: MigrationTransport) => Promise<void>): Promise<unknown> {
    const domain = await startMini(await boot({ seed: 1 }))
    const { ends } = transportPair()
    const outcome = domain.protect(ends[0], { interval: INTERVAL, peerTimeout: '300ms' }).catch((error: unknown) => error)
    await say(ends[1])
    const result = await outcome
    await answers(domain)
    return result
  }
  const write = async ({ writable }: MigrationTransport, bytes: readonly number[]): Promise<void> => (writable as { write(chunk: Uint8Array): Promise<void> }).write(Uint8Array.from(bytes))

  test.each([
    ['another version', [1, 0, 0, 0, 4, 0, 0, 0, 9, 0, 0, 0], 'INVALID_STREAM'],
    ['what is no greeting', [8, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0], 'INVALID_STREAM'],
    ['a frame of no type', [99, 0, 0, 0, 0, 0, 0, 0], 'INVALID_STREAM'],
    ['a frame without end', [2, 0, 0, 0, 255, 255, 255, 255], 'INVALID_STREAM'],
  ])('a standby that says %s', async (_, bytes, code) => {
    expect(await against((there) => write(there, bytes))).toMatchObject({ code })
  })

  test('a standby that says nothing', async () => {
    expect(await against(async () => undefined)).toMatchObject({ end: 'standby-lost' })
  })

  test('a standby that acknowledges what it was not sent', async () => {
    const domain = await startMini(await boot({ seed: 1 }))
    const { ends } = transportPair()
    void (async () => { for await (const _ of ends[1].readable as AsyncIterable<Uint8Array>); })()
    const protection = domain.protect(ends[0], { interval: INTERVAL }).catch((error: unknown) => error)
    await write(ends[1], [1, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0])
    expect(await protection).toMatchObject({ end: 'standby-lost' })
    await answers(domain)
  })

  test('a standby whose host does not allow it, has no such disk, or one that is too small', async () => {
    const stores = new Map<string, BlockStore>([['/big', new MemoryBlockStore(8192)]])
    const primary = await boot({ seed: 1, openDisk: ({ params }) => stores.get(params)! })
    const domain = await startMini(primary, { disks: [{ target: '/big', vdev: 'xvda' }] as never })
    const attempt = async (options: StandByOptions): Promise<readonly unknown[]> => {
      const standby = await boot({ seed: 2 })
      const { ends } = transportPair()
      const standing = standby.standBy(ends[1], options).catch((error: unknown) => (error as { code: string }).code)
      const protection = domain.protect(ends[0], { interval: INTERVAL }).then(({ end }) => end, (error: unknown) => error)
      return [await standing, await protection]
    }
    expect(await attempt({})).toEqual(['PERMISSION_DENIED', 'standby-ended'])
    expect(await attempt({ trust: 'all' })).toEqual(['IO', 'standby-ended'])
    expect(await attempt({ trust: 'all', disks: { xvda: new MemoryBlockStore(4096) } })).toEqual(['INVALID_ARGUMENT', 'standby-ended'])
    await answers(domain)
  })

  test.each([
    ['a guest in TypeScript without its program', ticker, undefined, 'NOT_SUPPORTED'],
    ['a binary kernel with a program in TypeScript', undefined, ticker, 'INVALID_ARGUMENT'],
  ] as const)('a standby for %s, before it has taken anything', async (_, runs, given, code) => {
    const [primary, standby] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
    const domain = await primary.createDomain({ name: 'guest', memory: 8, kernel: runs })
    await domain.console.waitFor(runs === undefined ? 'tick 3' : 'at 3')
    const { ends } = transportPair()
    const taken: string[] = []
    const standing = standby.standBy(ends[1], { kernel: given })
    standing.progress.onAny(({ type }) => void taken.push(type))
    const protection = domain.protect(ends[0], { interval: INTERVAL })
    await expect(standing).rejects.toMatchObject({ code })
    expect(await protection).toMatchObject({ end: 'standby-ended', acknowledged: 0 })
    expect(taken).toEqual(['connected'])
    expect(standby.domains()).toEqual([])
    if (runs === undefined) await answers(domain)
    else {
      const [, last] = [...domain.console.text().matchAll(/at (\d+)\s/g)].at(-1)!
      await domain.console.waitFor(`at ${Number(last) + 5}`)
    }
  })

  test('options that are none, and a domain that is being moved', async () => {
    const domain = await startMini(await boot({ seed: 1 }))
    const { ends } = transportPair()
    await expect(domain.protect(ends[0], { interval: 'soon' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(domain.protect(ends[0], { pace: 1 } as never)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(domain.protect({} as never)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    const moving = domain.migrate(ends[0]).catch((error: unknown) => error)
    await expect(domain.protect(transportPair().ends[0])).rejects.toMatchObject({ code: 'BUSY' })
    await domain.destroy()
    await moving
  })
})

/** A guest that writes the next number into its disk and then says it: its memory is never behind the disk by more than what was under way. */
async function counter(kernel: GuestKernel): Promise<void> {
  const [disks, bus] = [new BlockFrontend(), new FrontendBus(kernel)]
  let { count } = (kernel.restoredState as { count: number } | undefined) ?? { count: 0 }
  kernel.control.saveState(() => ({ count }))
  await bus.register(disks)
  const disk = await disks.disk('xvda')
  kernel.console?.log(`memory ${count}, disk ${new DataView((await disk.read(0, 1)).buffer).getUint32(0)}`)
  for (;;) {
    const sector = new Uint8Array(512)
    new DataView(sector.buffer).setUint32(0, count + 1)
    await disk.write(0, sector)
    count += 1
    kernel.console?.log(`wrote ${count}`)
    await kernel.sleep('5ms')
  }
}

describe('the disks of a standby', { timeout: PATIENCE }, () => {
  const WRITE = 4
  const EPOCH = 6

  /** What comes by a pipe, frame by frame, until it is broken behind a write of the fourth epoch. */
  async function* torn(readable: MigrationTransport['readable'], cut: () => void): AsyncGenerator<Uint8Array, void> {
    let [bytes, epochs] = [Buffer.alloc(0), 0]
    for await (const chunk of readable as AsyncIterable<Uint8Array>) {
      bytes = Buffer.concat([bytes, chunk])
      while (bytes.length >= 8 && bytes.length >= 8 + bytes.readUInt32LE(4)) {
        const [type, end] = [bytes.readUInt32LE(0), 8 + bytes.readUInt32LE(4)]
        yield bytes.subarray(0, end)
        bytes = bytes.subarray(end)
        if (type === EPOCH) epochs += 1
        if (type === WRITE && epochs >= 3) return cut()
      }
    }
  }

  async function protectCounter(store: MemoryBlockStore, wrap: (readable: MigrationTransport['readable'], cut: () => void) => MigrationTransport['readable']): Promise<{ readonly standby: Host; readonly standing: ReturnType<Host['standBy']> }> {
    const [primary, standby] = [await boot({ seed: 1, openDisk: () => new MemoryBlockStore(4096) }), await boot({ seed: 2, openDisk: () => store })]
    const domain = await primary.createDomain({ name: 'counter', memory: 4, kernel: counter, disks: [{ target: '/count', vdev: 'xvda' }] })
    await domain.console.waitFor('wrote 3')
    const { ends, cut } = transportPair()
    const standing = standby.standBy({ readable: wrap(ends[1].readable, cut), writable: ends[1].writable }, { kernel: counter, trust: 'all', heartbeat: '1ms' })
    domain.protect(ends[0], { interval: INTERVAL }).catch(() => undefined)
    return { standby, standing }
  }

  test('take nothing of an epoch that has not come as a whole', async () => {
    const store = new MemoryBlockStore(4096)
    const { standing } = await protectCounter(store, torn)
    const [committed, taken]: Uint8Array[][] = [[], []]
    standing.progress.on('committed', () => void committed!.push(store.bytes.slice()))
    standing.progress.on('taking-over', () => void taken!.push(store.bytes.slice()))
    const there = (await standing)!
    expect(committed).toHaveLength(3)
    expect(taken).toEqual([committed!.at(-1)])
    await there.console.waitFor(/memory \d+, disk \d+[^]*wrote \d+/)
  })

  test('are not taken over when one has failed in the middle of an epoch, though the primary is lost', async () => {
    let [losePrimary, commits] = [(): void => undefined, 0]
    class FailingStore extends MemoryBlockStore {
      override async write(offset: number, bytes: Uint8Array): Promise<void> {
        if (commits < 2) return super.write(offset, bytes)
        losePrimary()
        // Long enough for a sign of life, by which it is noticed.
        await new Promise((resolve) => setTimeout(resolve, 50))
        throw new Error('the disk is broken')
      }
    }
    const { standby, standing } = await protectCounter(new FailingStore(4096), (readable, cut) => {
      losePrimary = cut
      return readable
    })
    standing.progress.on('committed', () => { commits += 1 })
    await expect(standing).rejects.toThrow('the disk is broken')
    expect(standby.domains()).toEqual([])
  })
})

describe('a domain that is only moved', { timeout: PATIENCE }, () => {
  test('stands still behind its first epoch, and goes on here when the other host gives up', async () => {
    const [primary, standby] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
    const domain = await startMini(primary)
    const { ends } = transportPair()
    const giveUp = new AbortController()
    const standing = standby.standBy(ends[1], { signal: giveUp.signal }).catch(() => undefined)
    const protection = domain.protect(ends[0], { paused: true, interval: INTERVAL })
    await epoch(protection, 1)
    expect(domain.info().paused).toBe(true)
    giveUp.abort()
    expect(await protection).toMatchObject({ end: 'standby-ended', epochs: 1 })
    await standing
    domain.unpause()
    await answers(domain)
  })

  test('keeps a disk in a storage that both hosts open, which takes nothing more here, and is refused where the other opens something else', async () => {
    const shared = new MemoryBlockStore(4096, { storage: 'nfs1' })
    const [primary, standby] = [await boot({ seed: 1, openDisk: () => shared }), await boot({ seed: 2, openDisk: () => shared })]
    const domain = await primary.createDomain({ name: 'counter', memory: 4, kernel: counter, disks: [{ target: '/count', vdev: 'xvda' }] })
    await domain.console.waitFor('wrote 3')
    await expect(domain.protect(transportPair().ends[0])).rejects.toMatchObject({ code: 'NOT_SUPPORTED', details: { disk: 'xvda' } })

    const other = transportPair()
    const refused = standby.standBy(other.ends[1], { kernel: counter, trust: 'all', disks: { xvda: new MemoryBlockStore(4096) } })
    expect((await Promise.allSettled([domain.protect(other.ends[0], { paused: true }), refused]))).toMatchObject([{ value: { end: 'standby-ended' } }, { reason: { code: 'INVALID_ARGUMENT' } }])
    // It was asked for when the domain stood still.
    domain.unpause()
    await domain.console.waitFor('wrote 20')

    const { ends, cut } = transportPair()
    const standing = standby.standBy(ends[1], { kernel: counter, trust: 'all' })
    const protection = domain.protect(ends[0], { paused: true, arbiter: { claim: async () => false } })
    await epoch(protection, 1)
    expect(protection.statistics()).toMatchObject({ diskBytes: 0 })
    cut()
    const there = (await standing)!
    const [, memory, disk] = await there.console.waitFor(/memory (\d+), disk (\d+)/)
    expect(Number(memory)).toBeGreaterThan(19)
    expect([Number(memory), Number(memory) + 1]).toContain(Number(disk))
    await there.console.waitFor(`wrote ${Number(memory) + 5}`)
    expect(await protection).toMatchObject({ end: 'failed-over' })
  })
})
