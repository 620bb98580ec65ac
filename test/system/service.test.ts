/** A host of another process: the same calls over bytes, with progress, events, streams, giving up, tokens, and hostile ends. */
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { connectHost, portTransport, serveHost, transportPair, type ConnectOptions, type Host, type RemoteHost, type ServeOptions } from '../../src/index.ts'
import { connectService, listenService } from '../../src/node/index.ts'
import { SeededRandom } from '../../src/util/index.ts'
import { messageFrame } from '../../src/toolstack/service/frames.ts'
import { hostsOfTests, startMini } from '../support/mini.ts'

const boot = hostsOfTests({ memory: 40, dom0Memory: 8, idle: 'wait' })
const remotes: RemoteHost[] = []
afterEach(() => {
  for (const remote of remotes.splice(0)) remote.close()
})

async function connected(host: Host, serve: ServeOptions = {}, options: ConnectOptions = {}): Promise<RemoteHost> {
  const { ends } = transportPair()
  serveHost(host, ends[0], serve)
  const remote = await connectHost(ends[1], options)
  remotes.push(remote)
  return remote
}

describe('a host over a connection', () => {
  test('has the same calls, with the same answers and errors', async () => {
    const host = await boot()
    const remote = await connected(host)
    const domain = await remote.createDomain({ name: 'one', memory: 8, maxMemory: 16 })
    expect([domain.id, domain.name, domain.uuid]).toEqual([1, 'one', host.domain(1).uuid])
    await domain.console.waitFor('tick 3')
    expect(await domain.console.text()).toContain('mini> ')
    await domain.console.write('echo over the wire\r')
    await domain.console.waitFor('over the wire')
    expect(await remote.listDomains()).toEqual(host.listDomains())
    expect(await domain.info()).toEqual(host.domain(1).info())
    expect(await remote.capabilities()).toEqual(host.capabilities())
    expect((await remote.domains()).map(({ name }) => name)).toEqual(['one'])
    await expect(remote.domain('two')).rejects.toMatchObject({ code: 'DOMAIN_NOT_FOUND', details: { domain: 'two' } })
    await expect(domain.setMemTarget(NaN)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(remote.createDomain({ name: 'x', memory: 4, kernel: () => undefined })).rejects.toMatchObject({ code: 'NOT_SUPPORTED' })
    expect(await domain.exists()).toBe(true)
    await domain.destroy()
    // As the handle itself says it there.
    expect([await domain.exists(), await domain.waitForShutdown(), (await domain.config()).name]).toEqual([false, 'destroyed', 'one'])
    await expect(domain.info()).rejects.toMatchObject({ code: 'DOMAIN_NOT_FOUND' })
  })

  test('tells progress, and gives up what is given up', async () => {
    const host = await boot()
    const remote = await connected(host)
    const steps: string[] = []
    const creating = remote.createDomain({ name: 'one', memory: 8 })
    const times: number[] = []
    creating.progress.onAny(({ type, time }) => {
      steps.push(type)
      times.push(time)
    })
    const domain = await creating
    expect(steps).toEqual(['image-loaded', 'domain-made', 'memory-built', 'started'])
    // By the host's clock, not this end's.
    expect(times.every((time) => time > 0 && time <= host.now())).toBe(true)
    await domain.pause()
    const stop = new AbortController()
    const setting = domain.setMemTarget(4, { signal: stop.signal })
    await host.events.once('memory-target')
    stop.abort()
    await expect(setting).rejects.toMatchObject({ code: 'ABORTED' })
    expect((await domain.memory()).target).toBe(8)
    // What a client that goes has under way is given up, too.
    const lost = domain.setMemTarget(5)
    await host.events.once('memory-target')
    remote.close()
    await expect(lost).rejects.toMatchObject({ code: 'CLOSED' })
    await host.settled()
    expect(host.domain(1).memory().target).toBe(8)
  })

  test('streams events and output, with credit, and saves and restores through it', async () => {
    const host = await boot()
    const remote = await connected(host)
    const told: string[] = []
    const off = remote.events.on('domain-paused', ({ domid }) => told.push(`paused ${domid}`))
    const domain = await remote.createDomain({ name: 'one', memory: 8 })
    await domain.console.waitFor('tick 3')
    await domain.pause()
    await domain.unpause()
    const seen: string[] = []
    for await (const event of remote.events.stream({ replay: 200, types: ['domain-created', 'domain-paused'] })) if (seen.push(event.type) === 2) break
    expect([seen, told]).toEqual([['domain-created', 'domain-paused'], ['paused 1']])
    off()
    let text = ''
    for await (const bytes of domain.console.output()) {
      text += new TextDecoder().decode(bytes)
      if (text.includes('tick 3')) break
    }
    const image: Uint8Array[] = []
    await domain.save({ write: (chunk: Uint8Array) => void image.push(chunk.slice()) })
    expect(image.reduce((sum, chunk) => sum + chunk.length, 0)).toBeGreaterThan(1 << 20)
    const again = await remote.restore((async function* () { yield* image })(), { trust: 'all' })
    await again.console.write('mem\r')
    await again.console.waitFor('0 frames disagree')
  })

  test('moves a domain from one host to another, with the client in between', async () => {
    const [here, there] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
    const [one, two] = [await connected(here), await connected(there)]
    await startMini(here)
    const { ends } = transportPair()
    const [sent, received] = await Promise.all([(await one.domain('mini')).migrate(ends[0]), two.receiveMigration(ends[1])])
    expect([sent.pages > 1000, received.name, here.domains().length, there.domains().length]).toEqual([true, 'mini', 0, 1])
  })

  test('over a message port', async () => {
    const host = await boot()
    const { port1, port2 } = new MessageChannel()
    serveHost(host, portTransport(port1))
    const remote = await connectHost(portTransport(port2))
    expect((await remote.listDomains())[0]).toMatchObject({ name: 'Domain-0' })
    remote.close()
    await remote.closed
  })
})

describe('access', () => {
  test('is by token: none, a wrong one, one of a domain, one for looking', async () => {
    const host = await boot()
    await startMini(host, { name: 'one' })
    await startMini(host, { name: 'two' })
    const serve: ServeOptions = { token: 'all', tokens: { own: { domain: 'one' }, look: { readOnly: true } } }
    for (const token of [undefined, 'wrong', '']) await expect(connected(host, serve, { token })).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
    const [all, own, look] = [await connected(host, serve, { token: 'all' }), await connected(host, serve, { token: 'own' }), await connected(host, serve, { token: 'look' })]
    expect((await all.domains()).length).toBe(2)
    expect((await own.domains()).map(({ name }) => name)).toEqual(['one'])
    await expect(own.domain('two')).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
    await (await own.domain('one')).pause()
    await expect((await look.domain('one')).unpause()).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
    await expect(look.shutdown()).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
    expect((await (await look.domain('one')).info()).paused).toBe(true)
  })

  test('is asked of the server\'s own rule for each call', async () => {
    const host = await boot()
    const asked: unknown[] = []
    const remote = await connected(host, { allow: (call) => {
      asked.push(call)
      return call.name !== 'shutdown'
    } })
    await remote.now()
    await expect(remote.shutdown()).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
    expect(asked).toEqual([{ on: 'host', domid: undefined, name: 'now' }, { on: 'host', domid: undefined, name: 'shutdown' }])
  })
})

describe('on sockets', () => {
  test('of Unix and of TCP at loopback, which wants a token', async () => {
    const host = await boot()
    const folder = mkdtempSync(join(tmpdir(), 'paravirt-service-'))
    const path = join(folder, 'host.sock')
    const service = await listenService(host, { path })
    expect(statSync(path).mode & 0o777).toBe(0o600)
    const remote = await connectService({ path })
    expect(await Promise.all(Array.from({ length: 200 }, () => remote.listDomains()))).toHaveLength(200)
    await expect(listenService(host, { port: 0 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    const tcp = await listenService(host, { port: 0 }, { token: 'secret' })
    await expect(connectService(tcp.address)).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
    expect((await (await connectService(tcp.address, { token: 'secret' })).info())).toBeTypeOf('object')
    await tcp.close()
    await service.close()
    await remote.closed
    await expect(remote.now()).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(connectService({ path })).rejects.toMatchObject({ code: 'IO' })
    rmSync(folder, { recursive: true })
  })
})

describe('a hostile end', () => {
  test('that sends anything at all gets errors or the end, and the host goes on', { timeout: 30_000 }, async () => {
    const host = await boot()
    const random = new SeededRandom(11)
    const pick = <T>(list: readonly T[]): T => list[random.next() % list.length]!
    const hello = messageFrame({ hello: 'paravirt', version: 1 })
    const junk = (depth = 0): unknown => {
      const tags = ['stream', 'sink', 'transport', 'domain', 'signal', 'bytes', 'number', 'bigint', 'date', 'error', 'object', 'undefined', 'nosuch']
      switch (random.next() % (depth > 3 ? 5 : 8)) {
        case 0: return random.next() - 2 ** 31
        case 1: return pick(['', 'one', '__proto__', 'constructor', 'x'.repeat(1000)])
        case 2: return null
        case 3: return random.next() % 2 === 0
        case 4: return { $: pick(tags), id: junk(9), text: junk(9), fields: junk(9), base64: junk(9), readable: junk(9), writable: junk(9) }
        case 5: return [junk(depth + 1), junk(depth + 1)]
        default: return { [pick(['name', 'signal', '__proto__', 'memory', 'paused', '$'])]: junk(depth + 1) }
      }
    }
    const message = (): unknown => pick([
      () => ({ call: random.next() % 8, on: pick([['host'], ['domain', 1], ['console', 1], ['events'], ['__proto__'], junk()]), name: pick(['info', 'listDomains', 'stream', 'output', 'constructor', 'createDomain', 'text', junk()]), args: pick([[], [junk()], junk()]) }),
      () => ({ cancel: junk() }), () => ({ item: junk(), value: junk() }), () => ({ end: junk(), error: junk() }), () => ({ credit: junk(), count: junk() }),
      () => ({ stop: junk() }), () => ({ done: junk() }), junk,
    ])()
    await startMini(host, { name: 'one' })
    for (let round = 0; round < 150; round += 1) {
      const { ends } = transportPair()
      const served = serveHost(host, ends[0], { messageLimit: 1 << 16 })
      const written = async (): Promise<void> => {
        const sink = ends[1].writable as { write(chunk: Uint8Array): Promise<void>; close(): void }
        if (random.next() % 8 !== 0) await sink.write(hello)
        for (let i = 0; i < 6; i += 1) {
          const frame = messageFrame(message())
          if (random.next() % 6 === 0) frame.set([random.next() & 0xff], random.next() % frame.length)
          const cut = random.next() % 8 === 0 ? random.next() % frame.length : frame.length
          await sink.write(frame.subarray(0, cut))
        }
        sink.close()
      }
      const drain = (async () => { for await (const _ of ends[1].readable as AsyncIterable<Uint8Array>) void _ })()
      await Promise.allSettled([Promise.race([written(), served.closed])])
      served.close()
      await Promise.race([drain.catch(() => undefined), new Promise((_, reject) => setTimeout(() => reject(new Error(`round ${round} hangs`)), 20_000))])
    }
    await host.settled()
    expect(host.domain('one').info().shutdown).toBe(false)
    expect(host.hypervisor.checkInvariants()).toEqual([])
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined()
  })

  test('that says nothing, or a frame that is too long, is ended', async () => {
    const host = await boot()
    const { ends } = transportPair()
    const served = serveHost(host, ends[0], { messageLimit: 1024 })
    await (ends[1].writable as { write(chunk: Uint8Array): Promise<void> }).write(new Uint8Array([0, 0, 1, 0]))
    expect(await served.closed).toMatchObject({ code: 'INVALID_STREAM' })
  })
})
