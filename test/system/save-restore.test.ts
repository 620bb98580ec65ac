/**
 * Saving and restoring on whole hosts: a domain that real Xen saved goes on here, domains saved here go on here, and
 * whatever fails leaves everything as it was.
 */
import { PassThrough, Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { Host, type Domain, type GuestKernel } from '../../src/index.ts'
import { withoutLeaks } from '../../src/testing/index.ts'
import { ByteCollector } from '../support/byte-collector.ts'
import { whyMissing } from '../support/guests.ts'
import { savedMini } from '../support/saved-mini.ts'
import { verifyStream } from '../support/verify-stream.ts'
import { answers, hostsOfTests, startMini as startNamed } from '../support/mini.ts'

const boot = hostsOfTests({ memory: 64, dom0Memory: 8 })

const startMini = (host: Host, name = 'mini1'): Promise<Domain> =>
  startNamed(host, { name, commandLine: 'hello=world' })

async function save(domain: Domain, options: Parameters<Domain['save']>[1] = {}): Promise<Uint8Array> {
  const file = new ByteCollector()
  await domain.save(file, options)
  expect(file.closed).toBe(true)
  expect(file.busiest).toBe(1)
  return file.bytes()
}

const missing = whyMissing('verifyStream', 'xenPython')

describe('a domain that real Xen saved', () => {
  test('goes on here: it finds its frames, says who it is, and obeys', { timeout: 30_000 }, async () => {
    const host = await boot()
    await withoutLeaks(host, async () => {
      const domain = await host.restore(savedMini())
      await domain.console.waitFor(/mini: restored\non Xen 4\.17/)
      await domain.console.waitFor('memory: 4096 KiB of 4096 KiB, kernel and tables 152 KiB, 0 frames disagree')
      await domain.console.waitFor(`domain ${domain.id}, name: mini1`)
      await answers(domain)
      await domain.console.write('ticks 2\r')
      await domain.console.waitFor('tick 2')
      expect(await domain.shutdown()).toBe('poweroff')
      await host.settled()
    })
  })
})

describe('a saved domain', () => {
  test('goes on on another host, and again on the first', { timeout: 30_000 }, async () => {
    const [first, second] = [await boot(), await boot({ seed: 2 })]
    const domain = await startMini(first)
    await domain.console.write('write data/x kept\r')
    await domain.console.waitFor('written')
    const file = await withoutLeaks(second, async () => {
      const saved = await save(domain)
      expect(first.domains()).toEqual([])
      await startMini(second, 'other')
      const there = await second.restore(saved)
      await there.console.waitFor('mini: restored')
      await there.console.waitFor(`domain ${there.id}, name: mini1`)
      expect(there.uuid).toBe(domain.uuid)
      expect(there.config).toMatchObject({ name: 'mini1', memory: 8, commandLine: 'hello=world' })
      await answers(there)
      const again = await save(there)
      await second.domain('other').destroy()
      return again
    })
    const back = await first.restore(file)
    await back.console.waitFor('mini: restored')
    await answers(back)
  })

  test(
    'with a smaller memory than it had has that memory afterwards, and can grow again',
    { timeout: 30_000 },
    async () => {
      const host = await boot()
      const domain = await startMini(host)
      await domain.setMemTarget(4)
      const restored = await host.restore(await save(domain))
      expect(restored.info().totalPages).toBe(1024)
      await restored.console.waitFor('memory: 4096 KiB of 8192 KiB')
      await restored.setMemTarget(8)
      expect(restored.info().totalPages).toBe(2048)
    },
  )

  test('is to use as many vCPUs as it was told last', { timeout: 30_000 }, async () => {
    const host = await boot()
    const domain = await host.createDomain({ name: 'mini1', memory: 8, vcpus: 3, maxVcpus: 4 })
    await domain.console.waitFor('tick 3')
    await domain.setVcpus(2)
    const restored = await host.restore(await save(domain))
    expect(restored.config).toMatchObject({ vcpus: 2, maxVcpus: 4 })
    const nodes = [0, 1, 2, 3].map((vcpu) => host.store.read(`/local/domain/${restored.id}/cpu/${vcpu}/availability`))
    expect(nodes).toEqual(['online', 'online', 'offline', 'offline'])
    await answers(restored)
  })

  test.skipIf(missing !== undefined)(
    `is accepted by Xen's own verifier${missing ?? ''}`,
    { timeout: 30_000 },
    async () => {
      const host = await boot()
      const accepted = { status: 0, text: expect.stringContaining('Libxl Record: End') as string }
      expect(verifyStream(await save(await startMini(host)))).toEqual(accepted)
      expect(verifyStream(savedMini())).toEqual(accepted)
    },
  )

  test(
    'travels through web streams and Node streams alike, while the domain waits for a slow reader',
    { timeout: 30_000 },
    async () => {
      const host = await boot()
      const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
      const saving = (await startMini(host)).save(writable)
      const chunks: Uint8Array[] = []
      for await (const chunk of readable) {
        chunks.push(chunk.slice())
        expect(host.domain('mini1').summary().state).toBe('---s--')
      }
      await saving
      const restored = await host.restore(
        new ReadableStream<Uint8Array>({
          pull: (controller) => {
            const chunk = chunks.shift()
            if (chunk === undefined) controller.close()
            else controller.enqueue(chunk)
          },
        }),
      )
      await restored.console.waitFor('mini: restored')
      const pipe = new PassThrough({ highWaterMark: 1000 })
      const [, file] = await Promise.all([restored.save(pipe), pipe.toArray()])
      await answers(await host.restore(Readable.from(file)))
    },
  )

  test('whose reader has enough goes on', { timeout: 30_000 }, async () => {
    const host = await boot()
    const domain = await startMini(host)
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
    const restoring = host.restore(readable).catch((error: unknown) => error)
    await expect(domain.save(writable)).rejects.toMatchObject({ code: 'IO' })
    // The name is taken until the save is complete.
    expect(await restoring).toMatchObject({ code: 'DOMAIN_EXISTS' })
    await answers(domain)
  })
})

describe('a save', () => {
  test.each(['resume', 'pause'] as const)(
    'that ends in %s leaves the domain as it was',
    { timeout: 30_000 },
    async (afterwards) => {
      const host = await boot()
      const domain = await startMini(host)
      const events: string[] = []
      const operation = domain.save(new ByteCollector(), { afterwards })
      operation.progress.onAny((event) => void events.push(event.type))
      await operation
      expect([...new Set(events)]).toEqual(['suspend-requested', 'suspended', 'pages', 'written'])
      if (afterwards === 'pause') {
        expect(domain.summary().state).toBe('--p---')
        domain.unpause()
      }
      await domain.console.waitFor('mini: suspend was cancelled')
      await answers(domain)
      expect(await domain.shutdown()).toBe('poweroff')
    },
  )

  test.each([0, 500, 5_000, 1_000_000, 8_400_000])(
    'whose target fails after %i bytes lets the domain go on',
    { timeout: 30_000 },
    async (limit) => {
      const host = await boot()
      const domain = await startMini(host)
      await withoutLeaks(host, async () => {
        const target = new ByteCollector(limit)
        await expect(domain.save(target)).rejects.toMatchObject({
          code: 'IO',
          message: expect.stringContaining('the disk is full'),
        })
        expect(target.aborted).toBeDefined()
        await domain.console.waitFor('mini: suspend was cancelled')
        await answers(domain)
      })
    },
  )

  test.each(['suspend-requested', 'suspended', 'pages'])(
    'that is aborted at %s lets the domain go on',
    { timeout: 30_000 },
    async (moment) => {
      const host = await boot()
      const domain = await startMini(host)
      const abort = new AbortController()
      const operation = domain.save(new ByteCollector(), { signal: abort.signal })
      operation.progress.onAny((event) => {
        if (event.type === moment) abort.abort()
      })
      await expect(operation).rejects.toMatchObject({ code: 'ABORTED' })
      await answers(domain)
      expect(domain.info()).toMatchObject({ shutdown: false, paused: false })
    },
  )

  test('into a target that never takes anything can be aborted', { timeout: 30_000 }, async () => {
    const host = await boot()
    const domain = await startMini(host)
    const abort = new AbortController()
    const operation = domain.save({ write: () => new Promise<void>(() => undefined) }, { signal: abort.signal })
    operation.progress.on('suspended', () => setTimeout(() => abort.abort(), 10))
    await expect(operation).rejects.toMatchObject({ code: 'ABORTED' })
    await answers(domain)
  })

  test('of a guest that does not listen gives up and takes its request back', { timeout: 30_000 }, async () => {
    const host = await boot()
    const deaf = await host.createDomain({
      name: 'deaf',
      memory: 8,
      commandLine: 'run=fault',
      actions: { crash: 'preserve' },
    })
    await deaf.console.waitFor('page fault')
    await deaf.waitForShutdown()
    await expect(deaf.save(new ByteCollector())).rejects.toMatchObject({ code: 'DOMAIN_CRASHED' })
    const busy = await host.createDomain({ name: 'busy', memory: 8, commandLine: 'run=spin 1000' })
    await expect(busy.save(new ByteCollector(), { timeout: 5e7 })).rejects.toMatchObject({ code: 'TIMED_OUT' })
    expect(host.store.read(`/local/domain/${busy.id}/control/shutdown`)).toBe('')
    busy.pause()
    await expect(busy.save(new ByteCollector())).rejects.toMatchObject({ code: 'INVALID_STATE' })
  })
})

describe('a restore', () => {
  test('into a host without room, or beside a domain of that name, changes nothing', { timeout: 30_000 }, async () => {
    const host = await boot()
    await withoutLeaks(host, async () => {
      await host.createDomain({ name: 'mini1', memory: 8 })
      await expect(host.restore(savedMini())).rejects.toMatchObject({ code: 'DOMAIN_EXISTS' })
      const large = await host.createDomain({ name: 'large', memory: 46 })
      await host.domain('mini1').destroy()
      await host.createDomain({ name: 'rest', memory: 8 })
      await expect(host.restore(savedMini())).rejects.toMatchObject({ code: 'OUT_OF_MEMORY' })
      await large.destroy()
      await host.domain('rest').destroy()
    })
  })

  test('can be aborted, also while nothing comes', { timeout: 30_000 }, async () => {
    const host = await boot()
    await withoutLeaks(host, async () => {
      const file = savedMini()
      const source = new PassThrough()
      source.write(file.subarray(0, 1_000_000))
      const abort = new AbortController()
      const operation = host.restore(source, { signal: abort.signal })
      operation.progress.on('domain-made', () => setTimeout(() => abort.abort(), 20))
      await expect(operation).rejects.toMatchObject({ code: 'ABORTED' })
      source.destroy()
    })
  })

  test(
    'reads a Node stream piece by piece and leaves the domain paused when told to',
    { timeout: 30_000 },
    async () => {
      const host = await boot()
      const file = savedMini()
      const pieces = Array.from({ length: Math.ceil(file.length / 1000) }, (_, i) =>
        file.subarray(i * 1000, (i + 1) * 1000),
      )
      const domain = await host.restore(Readable.from(pieces), { paused: true })
      expect(domain.summary()).toMatchObject({ name: 'mini1', memory: 4, state: '--p---' })
      expect(host.listDomains().map(({ name }) => name)).toEqual(['Domain-0', 'mini1'])
      domain.unpause()
      await domain.console.waitFor('mini: restored')
    },
  )
})

describe('a guest in TypeScript', () => {
  /** Counts its lives, and says so. */
  const program = (kernel: GuestKernel): void => {
    const state = kernel.restoredState as { lives: number; text: string } | undefined
    const lives = (state?.lives ?? 0) + 1
    kernel.control.saveState(() => ({ lives, text: 'ä'.repeat(5000) }))
    kernel.control.afterResume(() => kernel.console?.log(`still life ${lives}`))
    kernel.console?.log(
      `life ${lives} of domain ${kernel.domid}, ${kernel.frames.free} pages, ${state?.text.length ?? 0} letters`,
    )
  }

  test('finds its state again after a restore, and its memory is as large as it was', { timeout: 30_000 }, async () => {
    const host = await boot()
    await withoutLeaks(host, async () => {
      let domain = await host.createDomain({ name: 'counter', memory: 4, kernel: program })
      await domain.console.waitFor(/life 1 of domain \d+, 1021 pages, 0 letters/)
      for (let life = 2; life < 5; life += 1) {
        const file = await save(domain)
        if (missing === undefined && life === 2)
          expect(verifyStream(file)).toEqual({
            status: 0,
            text: expect.stringContaining('Libxl Record: End') as string,
          })
        await expect(host.restore(file)).rejects.toMatchObject({ code: 'NOT_SUPPORTED' })
        domain = await host.restore(file, { kernel: program })
        await domain.console.waitFor(new RegExp(`life ${life} of domain ${domain.id}, 1021 pages, 5000 letters`))
      }
      await save(domain, { afterwards: 'resume' })
      await domain.console.waitFor('still life 4')
      expect(await domain.shutdown()).toBe('poweroff')
      await host.settled()
    })
  })
})
