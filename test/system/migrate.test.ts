/**
 * Live migration between hosts in one process and over TCP: the domain goes on at the other side, and wherever the pipe
 * is cut, exactly one side runs it.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { MemoryFiles, type GuestKernel } from '../../src/index.ts'
import {
  Host,
  transportPair,
  type ByteSink,
  type Domain,
  type MigrateOptions,
  type MigrationTransport,
} from '../../src/toolstack/index.ts'
import { withoutLeaks } from '../../src/testing/index.ts'
import { blankFrames } from '../support/blank-frames.ts'
import { buildDiskedMini } from '../support/build-mini.ts'
import { answers, hostsOfTests, startMini } from '../support/mini.ts'
import { SharedStorage } from '../support/shared-storage.ts'

const boot = hostsOfTests({ memory: 32, dom0Memory: 8 })
const disked = buildDiskedMini()

/** Moves a domain and gives its new handle. */
async function move(domain: Domain, target: Host, options: MigrateOptions = {}): Promise<Domain> {
  const { ends } = transportPair()
  const [there] = await Promise.all([target.receiveMigration(ends[1]), domain.migrate(ends[0], options)])
  return there
}

describe('a migration', () => {
  test.each([true, false])(
    '(live: %s) moves a domain, and back, and leaves nothing behind',
    { timeout: 30_000 },
    async (live) => {
      const [first, second] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
      await withoutLeaks(first, async () => {
        const domain = await startMini(first)
        const back = await withoutLeaks(second, async () => {
          const there = await move(domain, second, { live })
          expect(first.domains()).toEqual([])
          expect([there.name, there.uuid]).toEqual(['mini', domain.uuid])
          await there.console.waitFor('mini: restored')
          await answers(there)
          return move(there, first, { live })
        })
        await back.console.waitFor('mini: restored')
        await answers(back)
        expect(await back.shutdown()).toBe('poweroff')
        await first.settled()
      })
    },
  )

  test.each([true, false])('(live: %s) only names pages of zeros where it may, and the domain finds them all the same', { timeout: 30_000 }, async (live) => {
    const [first, second] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
    const go = async (domain: Domain, to: Host, zeros: 'sent' | 'omitted'): Promise<readonly [Domain, number]> => {
      const { ends } = transportPair()
      const [there, { bytes }] = await Promise.all([to.receiveMigration(ends[1]), domain.migrate(ends[0], { live, zeros })])
      return [there, bytes]
    }
    const domain = await startMini(first)
    const { count, wrong } = blankFrames(first, domain.id)
    expect(wrong).toEqual([])
    expect(count).toBeGreaterThan(1000)
    const [there, sent] = await go(domain, second, 'sent')
    await answers(there)
    // What came with its contents is looked at, and found to be zero.
    const [back, named] = await go(there, first, 'omitted')
    expect(blankFrames(first, back.id).wrong).toEqual([])
    expect(named).toBeLessThan(sent / 2)
    await answers(back)
  })

  test('says what it does on both sides, as xl does, and what it came to', { timeout: 30_000 }, async () => {
    const [first, second] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
    const domain = await startMini(first)
    const { ends } = transportPair()
    const [sent, received]: string[][] = [[], []]
    const receiving = second.receiveMigration(ends[1])
    receiving.progress.onAny(({ type }) => {
      received!.push(type)
      if (type === 'permission-asked')
        expect(second.listDomains()[1]).toMatchObject({ name: 'mini--incoming', state: '--p---' })
    })
    const sending = domain.migrate(ends[0])
    sending.progress.onAny(({ type }) => void sent!.push(type))
    const [summary] = await Promise.all([sending, receiving])
    expect(summary).toMatchObject({ pages: expect.any(Number), bytes: expect.any(Number) })
    expect(summary.pages).toBeGreaterThanOrEqual(2048)
    expect(summary.finalPages).toBeLessThan(100)
    expect(sent).toEqual([
      'connected',
      'round',
      'pages',
      'pages',
      'suspend-requested',
      'suspended',
      'round',
      'pages',
      'handed-over',
      'running-there',
    ])
    expect(received!.filter((type) => type !== 'pages')).toEqual([
      'configuration',
      'domain-made',
      'restored',
      'permission-asked',
      'permission-given',
    ])
  })

  test('of a domain that writes all the time carries over what it wrote last', { timeout: 60_000 }, async () => {
    const [first, second] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
    const domain = await startMini(first)
    await domain.console.write('balloon 6144\r')
    await domain.console.waitFor('-> 6144 KiB')
    const { ends } = transportPair()
    const receiving = second.receiveMigration(ends[1])
    const sending = domain.migrate(ends[0], { dirtyPages: 0, maxRounds: 4, worthwhile: Infinity })
    const busy: Promise<void>[] = []
    sending.progress.on('round', ({ round }) => {
      if (round <= 4) busy.push(domain.console.write(`balloon ${round % 2 === 0 ? 8192 : 5120}\r`))
    })
    const [summary, there] = await Promise.all([sending, receiving])
    await Promise.all(busy)
    expect(summary.rounds).toBe(4)
    await there.console.waitFor('mini: restored')
    await answers(there)
    expect(there.info().totalPages).toBe(Number(/memory: (\d+) KiB/.exec(there.console.text())![1]) / 4)
  })

  describe.skipIf(disked.reason !== undefined)(`of a domain with a disk that both hosts open${disked.reason ?? ''}`, { timeout: 30_000 }, () => {
    /** A domain at the first of two hosts, whose last write is not durable. */
    const written = async (nfs: SharedStorage): Promise<{ readonly domain: Domain; readonly second: Host }> => {
      const options = (name: string): Parameters<typeof boot>[0] => ({ files: new MemoryFiles({ '/kernel': readFileSync(disked.path!) }), openDisk: () => nfs.open(name) })
      const [first, second] = [await boot({ seed: 1, ...options('first') }), await boot({ seed: 2, ...options('second') })]
      const domain = await startMini(first, { kernel: '/kernel', disks: ['/one.img,raw,xvda,rw'] as never })
      await domain.console.write('disk write 7 before the move\r')
      await domain.console.waitFor('disk: wrote, status 0')
      expect(nfs.durable(7)).toBe('')
      return { domain, second }
    }

    test.each([true, false])('(live: %s) has it opened there when all is durable that was written here', async (live) => {
      const nfs = new SharedStorage()
      const { domain, second } = await written(nfs)
      const { ends } = transportPair()
      const [there] = await Promise.all([second.receiveMigration(ends[1], { trust: 'all' }), domain.migrate(ends[0], { live })])
      await there.console.waitFor('mini: restored')
      await there.console.write('disk read 7\r')
      await there.console.waitFor('disk: status 0: before the move')
      expect(nfs.mistakes).toEqual([])
      expect(nfs.counts.get('first')).toMatchObject({ open: 0 })
    })

    test('serves it here again when the migration fails behind that', async () => {
      const nfs = new SharedStorage()
      const { domain, second } = await written(nfs)
      const { ends, cut } = transportPair()
      const receiving = second.receiveMigration(ends[1], { trust: 'all' })
      receiving.progress.on('restored', cut)
      await expect(Promise.all([domain.migrate(ends[0]), receiving])).rejects.toMatchObject({ code: 'CLOSED' })
      await receiving.catch(() => undefined)
      await domain.console.write('disk write 8 behind it\r')
      await domain.console.waitFor('disk: wrote, status 0')
      await domain.console.write('disk read 8\r')
      await domain.console.waitFor('disk: status 0: behind it')
      expect(nfs.counts.get('second')).toMatchObject({ open: 0, written: 0 })
    })

    test('goes on here when its contents cannot be made durable', async () => {
      const nfs = new SharedStorage()
      const { domain, second } = await written(nfs)
      const { ends } = transportPair()
      const receiving = second.receiveMigration(ends[1], { trust: 'all' }).catch((error: unknown) => error)
      nfs.failing = 'no space left'
      await expect(domain.migrate(ends[0])).rejects.toThrow('no space left')
      expect(await receiving).toMatchObject({ code: 'CLOSED' })
      nfs.failing = undefined
      await domain.console.write('disk write 8 behind it\r')
      await domain.console.waitFor('disk: wrote, status 0')
      expect(nfs.counts.get('second')).toBe(undefined)
    })
  })

  test('moves a guest in TypeScript with its state', { timeout: 30_000 }, async () => {
    const [first, second] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
    const program = (kernel: GuestKernel): void => {
      const places = [...((kernel.restoredState as string[] | undefined) ?? []), `place ${kernel.domid}`]
      kernel.control.saveState(() => places)
      kernel.console?.log(places.join(', '))
    }
    const domain = await first.createDomain({ name: 'traveller', memory: 2, kernel: program })
    await domain.console.waitFor('place 1')
    const { ends } = transportPair()
    const [there] = await Promise.all([second.receiveMigration(ends[1], { kernel: program }), domain.migrate(ends[0])])
    await there.console.waitFor('place 1, place 1')
  })

  test('within one host works, too', { timeout: 30_000 }, async () => {
    const host = await boot({ seed: 1 })
    const there = await move(await startMini(host), host)
    expect(host.domains()).toEqual([there])
    await there.console.waitFor('mini: restored')
    await answers(there)
  })
})

/**
 * The sender's end of a pipe that is cut at the `count`th write of either side, before or after its bytes have gone
 * over.
 */
function fragile(
  count: number,
  when: 'before' | 'after',
): { readonly ends: readonly MigrationTransport[]; readonly writes: () => number } {
  const { ends, cut } = transportPair()
  let writes = 0
  const wrap = ({ readable, writable }: MigrationTransport): MigrationTransport => ({
    readable,
    writable: {
      write: async (chunk: Uint8Array) => {
        writes += 1
        if (writes === count && when === 'before') cut()
        await (writable as { write(chunk: Uint8Array): Promise<void> }).write(chunk)
        if (writes !== count || when === 'before') return
        // Let the other side take it before the pipe breaks.
        await new Promise((resolve) => setTimeout(resolve, 20))
        cut()
      },
    },
  })
  return { ends: ends.map(wrap), writes: () => writes }
}

describe('memory that changes while it is copied', () => {
  test.each([
    [{}, 2],
    [{ worthwhile: Infinity }, 5],
    [{ maxRounds: 1 }, 1],
    [{ live: false }, 0],
  ] as const)('comes over complete, with options %o', { timeout: 60_000 }, async (options, rounds) => {
    const [first, second] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
    const domain = await startMini(first)
    await domain.console.write('hot 4096\r')
    await domain.console.waitFor('hot: 1024 pages')
    const { ends } = transportPair()
    const [there, summary] = await Promise.all([second.receiveMigration(ends[1]), domain.migrate(ends[0], options)])
    expect(summary.rounds).toBe(rounds)
    expect(summary.finalPages).toBeGreaterThan(1000)
    await there.console.waitFor('mini: restored')
    await there.console.write('hot 0\r')
    await there.console.waitFor(/hot: \d+ rounds, 0 pages wrong/)
    await answers(there)
  })
})

describe('a pipe that is cut', () => {
  const isRunning = (host: Host): boolean =>
    host.domains().some((domain) => {
      const { paused, shutdown } = domain.info()
      return !paused && !shutdown
    })

  test.each(['before', 'after'] as const)(
    '%s any message leaves exactly one side running the domain, unchanged',
    { timeout: 120_000 },
    async (when) => {
      const [first, second] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
      let [here, there] = [first, second]
      await startMini(first)
      const outcomes: string[] = []
      for (let count = 1; ; count += 1) {
        const { ends, writes } = fragile(count, when)
        const domain = here.domain('mini')
        const [sent, received] = await Promise.allSettled([domain.migrate(ends[0]!), there.receiveMigration(ends[1]!)])
        await Promise.all([here.settled(), there.settled()])
        expect([count, isRunning(here), isRunning(there)]).toEqual([
          count,
          received.status === 'rejected',
          received.status === 'fulfilled',
        ])
        outcomes.push(`${sent.status}/${received.status}`)
        if (received.status === 'fulfilled') {
          // Only the report was lost: here it waits to be told.
          if (sent.status === 'rejected') {
            expect(sent.reason).toMatchObject({ code: 'MIGRATION_UNDECIDED' })
            expect(here.domain('mini--migratedaway').info().shutdown).toBe(true)
            await here.domain('mini--migratedaway').destroy()
          }
          ;[here, there] = [there, here]
        } else {
          expect(there.domains()).toEqual([])
        }
        const survivor = here.domain('mini')
        await survivor.console.waitFor(received.status === 'fulfilled' ? 'mini: restored' : 'mini>', { from: 0 })
        await answers(survivor)
        if (writes() < count) break
      }
      expect(outcomes.length).toBeGreaterThan(14)
      expect(outcomes.at(-1)).toBe('fulfilled/fulfilled')
      expect(outcomes.filter((outcome) => outcome === 'rejected/rejected').length).toBeGreaterThan(12)
    },
  )

  test.each([true, false])(
    'at the moment of the handover (the other side can still be heard: %s) leaves the domain to its owner',
    { timeout: 30_000 },
    async (heard) => {
      const [first, second] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
      const domain = await startMini(first)
      const { ends, cut } = transportPair()
      const sink = ends[0].writable as Required<ByteSink>
      const failing: MigrationTransport = {
        readable: ends[0].readable,
        writable: {
          write: async (chunk: Uint8Array) => {
            if (!new TextDecoder().decode(chunk).startsWith('domain is yours')) return sink.write(chunk)
            if (!heard) cut()
            throw new Error('connection reset')
          },
          close: () => sink.close(),
          abort: (reason: unknown) => sink.abort(reason),
        },
      }
      const [sent, received] = await Promise.allSettled([domain.migrate(failing), second.receiveMigration(ends[1])])
      expect(sent).toMatchObject({ status: 'rejected', reason: { code: heard ? 'IO' : 'MIGRATION_UNDECIDED' } })
      expect(received).toMatchObject({ status: 'rejected' })
      expect(domain.name).toBe(heard ? 'mini' : 'mini--migratedaway')
      if (!heard) domain.resume()
      expect(domain.name).toBe('mini')
      await domain.console.waitFor('mini: suspend was cancelled')
      await answers(domain)
    },
  )
})

describe('a receiver', () => {
  test('that cannot have the domain gives it back', { timeout: 30_000 }, async () => {
    const [first, second] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
    const domain = await startMini(first)
    await withoutLeaks(second, async () => {
      const rival = await second.createDomain({ name: 'mini', memory: 8 })
      const { ends } = transportPair()
      const [sent, received] = await Promise.allSettled([domain.migrate(ends[0]), second.receiveMigration(ends[1])])
      expect(sent).toMatchObject({
        status: 'rejected',
        reason: { code: 'IO', message: expect.stringContaining('goes on here') },
      })
      expect(received).toMatchObject({ status: 'rejected', reason: { code: 'DOMAIN_EXISTS' } })
      expect(domain.name).toBe('mini')
      await domain.console.waitFor('mini: suspend was cancelled')
      await answers(domain)
      await rival.destroy()
    })
  })

  test.each(['connected', 'round', 'pages', 'suspend-requested', 'suspended'] as const)(
    'whose sender aborts at %s is left with nothing, and the domain goes on',
    { timeout: 30_000 },
    async (moment) => {
      const [first, second] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
      const domain = await startMini(first)
      await withoutLeaks(second, async () => {
        const { ends } = transportPair()
        const abort = new AbortController()
        const sending = domain.migrate(ends[0], { signal: abort.signal })
        sending.progress.on(moment, () => abort.abort())
        const [sent, received] = await Promise.allSettled([sending, second.receiveMigration(ends[1])])
        expect(sent).toMatchObject({ status: 'rejected', reason: { code: 'ABORTED' } })
        expect(received).toMatchObject({ status: 'rejected' })
        await answers(domain)
      })
    },
  )

  test('that aborts lets the domain go on where it was', { timeout: 30_000 }, async () => {
    const [first, second] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
    const domain = await startMini(first)
    await withoutLeaks(second, async () => {
      const { ends } = transportPair()
      const abort = new AbortController()
      const receiving = second.receiveMigration(ends[1], { signal: abort.signal })
      receiving.progress.on('pages', () => abort.abort())
      const [sent, received] = await Promise.allSettled([domain.migrate(ends[0]), receiving])
      expect(sent).toMatchObject({ status: 'rejected' })
      expect(received).toMatchObject({ status: 'rejected', reason: { code: 'ABORTED' } })
      await answers(domain)
    })
  })
})
