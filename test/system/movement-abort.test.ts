/**
 * Aborting saves, restores and migrations at each place where they wait: the operation ends with ABORTED and is undone,
 * whatever the other end does or does not do, and exactly one side runs the domain.
 */
import { describe, expect, test } from 'vitest'
import { withoutLeaks } from '../../src/testing/index.ts'
import {
  Host, SaveStreamReader, transportPair, type ByteSink, type MigrationTransport,
} from '../../src/toolstack/index.ts'
import { answers, hostsOfTests, startMini } from '../support/mini.ts'

const boot = hostsOfTests({ memory: 32, dom0Memory: 8 })

const never = (): Promise<void> => new Promise(() => undefined)

describe('a save', () => {
  test('is aborted at any write of its, and the domain goes on', { timeout: 60_000 }, async () => {
    const host = await boot({ seed: 1 })
    const domain = await startMini(host)
    await withoutLeaks(host, async () => {
      for (let count = 1; ; count += 1) {
        const abort = new AbortController()
        let writes = 0
        const sink: ByteSink = {
          write: () => {
            writes += 1
            if (writes < count) return undefined
            abort.abort()
            return never()
          },
        }
        const saving = domain.save(sink, { signal: abort.signal, afterwards: 'resume' })
        const result = await saving.catch((error: unknown) => error)
        await answers(domain)
        expect(domain.info()).toMatchObject({ shutdown: false, paused: false })
        if (writes < count) {
          expect([result, count]).toEqual([undefined, count])
          expect(count).toBeGreaterThan(10)
          return
        }
        expect(result).toMatchObject({ code: 'ABORTED' })
      }
    })
  })

  test('is aborted while its target does not close', { timeout: 30_000 }, async () => {
    const host = await boot({ seed: 1 })
    const domain = await startMini(host)
    const abort = new AbortController()
    let reason: unknown
    const sink: ByteSink = {
      write: () => undefined,
      close: () => {
        setTimeout(() => abort.abort(), 5)
        return never()
      },
      abort: (why: unknown) => { reason = why },
    }
    await expect(domain.save(sink, { signal: abort.signal })).rejects.toMatchObject({ code: 'ABORTED' })
    expect(reason).toMatchObject({ code: 'ABORTED' })
    await answers(domain)
  })

  test('into a web stream that takes nothing any more is aborted', { timeout: 30_000 }, async () => {
    const host = await boot({ seed: 1 })
    const domain = await startMini(host)
    const abort = new AbortController()
    const stream = new WritableStream<Uint8Array>({ write: (chunk) => (chunk.length > 1e6 ? never() : undefined) })
    const saving = domain.save(stream, { signal: abort.signal })
    saving.progress.on('pages', () => setTimeout(() => abort.abort(), 5))
    await expect(saving).rejects.toMatchObject({ code: 'ABORTED' })
    await answers(domain)
  })
})

/** A pipe of which either end's `count`th write calls `at`. */
function watched(
  count: number,
  at: () => void,
): { readonly ends: MigrationTransport[]; readonly writes: () => number } {
  const { ends } = transportPair()
  let writes = 0
  const wrap = ({ readable, writable }: MigrationTransport): MigrationTransport => {
    const sink = writable as Required<ByteSink>
    return {
      readable,
      writable: {
        write: async (chunk: Uint8Array) => {
          writes += 1
          if (writes === count) at()
          await sink.write(chunk)
        },
        close: () => sink.close(),
        abort: (reason: unknown) => sink.abort(reason),
      },
    }
  }
  return { ends: ends.map(wrap), writes: () => writes }
}

describe('a migration', () => {
  const isRunning = (host: Host): boolean =>
    host.domains().some((domain) => {
      const { paused, shutdown } = domain.info()
      return !paused && !shutdown
    })

  test.each(['sender', 'receiver'] as const)(
    'that its %s aborts at any message leaves exactly one side running the domain',
    { timeout: 120_000 },
    async (who) => {
      let [here, there] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
      await startMini(here)
      const outcomes: string[] = []
      for (let count = 1; ; count += 1) {
        const abort = new AbortController()
        const { ends, writes } = watched(count, () => abort.abort())
        const signal = (side: typeof who) => (side === who ? { signal: abort.signal } : {})
        const [sent, received] = await Promise.allSettled([
          here.domain('mini').migrate(ends[0]!, signal('sender')),
          there.receiveMigration(ends[1]!, signal('receiver')),
        ])
        await Promise.all([here.settled(), there.settled()])
        expect([count, sent.status, isRunning(here), isRunning(there)]).toEqual([
          count, received.status, received.status === 'rejected', received.status === 'fulfilled',
        ])
        outcomes.push(received.status)
        if (received.status === 'fulfilled') [here, there] = [there, here]
        else {
          expect(who === 'sender' ? sent : received).toMatchObject({ reason: { code: 'ABORTED' } })
          expect(there.domains()).toEqual([])
        }
        await here.domain('mini').console.waitFor('mini', { from: 0 })
        await answers(here.domain('mini'))
        if (writes() < count) break
      }
      expect(outcomes.filter((outcome) => outcome === 'rejected').length).toBeGreaterThan(12)
      expect(outcomes.at(-1)).toBe('fulfilled')
    },
  )

  test('that nobody sends is no longer waited for when it is aborted', { timeout: 30_000 }, async () => {
    const host = await boot({ seed: 1 })
    await withoutLeaks(host, async () => {
      for (const delay of [0, 10]) {
        const abort = new AbortController()
        const receiving = host.receiveMigration(transportPair().ends[1], { signal: abort.signal })
        setTimeout(() => abort.abort(), delay)
        await expect(receiving).rejects.toMatchObject({ code: 'ABORTED' })
      }
    })
  })

  test('whose permission never comes is given back when the receiver gives up', { timeout: 30_000 }, async () => {
    const [first, second] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
    const chunks: Uint8Array[] = []
    await (await startMini(first)).save({ write: (chunk: Uint8Array) => void chunks.push(chunk) })
    await withoutLeaks(second, async () => {
      const { ends: [left, right] } = transportPair()
      const abort = new AbortController()
      const receiving = second.receiveMigration(right, { signal: abort.signal })
      receiving.progress.on('permission-asked', () => setTimeout(() => abort.abort(), 5))
      const sink = left.writable as ByteSink
      const heard = new SaveStreamReader(left.readable)
      const text = async (size: number): Promise<string> =>
        new TextDecoder('latin1').decode(await heard.readBytes(size, 'a message'))
      const talk = (async () => {
        expect(await text(54)).toContain('xl migration receiver ready')
        for (const chunk of chunks) await sink.write(chunk)
        expect(await text(34)).toBe('domain received, ready to unpause\0')
        return text(39 + 1 + 44)
      })()
      await expect(receiving).rejects.toMatchObject({ code: 'ABORTED' })
      expect(await talk).toBe(
        'my copy unpause results are as follows\0\u00ffdomain is yours, you are cleared to unpause\0')
    })
  })
})
