import { describe, expect, test } from 'vitest'
import { XenconsInterface } from '../../../../src/abi/index.ts'
import { ConsoleBackend } from '../../../../src/drivers/index.ts'
import type { ConsoleEvent, ConsoleStream } from '../../../../src/drivers/index.ts'
import { ByteLog, type ByteLogState } from '../../../../src/drivers/console/byte-log.ts'
import { parseConsoleNodes } from '../../../../src/drivers/console/protocol.ts'
import type { GuestProgram } from '../../../../src/guest/index.ts'
import type { DomId } from '../../../../src/util/index.ts'
import { SeededRandom, XenError, below } from '../../../../src/util/index.ts'
import { type FakeDomain, FakeHypervisor, TestStore } from '../../../../src/testing/index.ts'

const guestId = 1 as DomId
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

interface Setup {
  readonly hub: FakeHypervisor
  readonly store: TestStore
  readonly back: FakeDomain
  readonly guest: FakeDomain
  readonly stream: ConsoleStream
  readonly backend: ConsoleBackend
  readonly events: ConsoleEvent[]
}

/** A dom0 that serves the console of one guest, whose nodes stand in XenStore as the toolstack writes them. */
async function setUp(program: GuestProgram, startAt = 0): Promise<Setup> {
  const hub = new FakeHypervisor()
  const store = new TestStore()
  const back = hub.createDomain(0, () => undefined, { store: store.connect(0) })
  await hub.settle()
  const guest = hub.createDomain(1, program, { store: store.connect(1), console: { back: 0 } })
  const ring = guest.boot.console!
  for (const field of ['inCons', 'inProd', 'outCons', 'outProd'] as const) {
    XenconsInterface[field].set(hub.view, ring.frame * 4096, startAt)
  }
  store.seed({
    '/local/domain/1/console/ring-ref': String(ring.frame),
    '/local/domain/1/console/port': String(ring.port),
    '/local/domain/1/console/limit': '1048576',
    '/local/domain/1/console/type': 'xenconsoled',
  })
  const backend = new ConsoleBackend(back.kernel)
  const stream = backend.open(guestId, { tty: '/dev/pts/0' })
  const events: ConsoleEvent[] = []
  stream.events.onAny((event) => events.push(event))
  return { hub, store, back, guest, stream, backend, events }
}

describe.each([0, 0x7fff_fffe, 0xffff_fff0])('a console whose indexes start at %i', (startAt) => {
  test('shows what the guest writes and gives the guest what is typed', async () => {
    const heard: string[] = []
    const { hub, stream } = await setUp(async (kernel) => {
      kernel.console!.log('Linux version 6.1')
      for await (const line of kernel.console!.lines()) {
        heard.push(line)
        kernel.console!.log(`you said ${line}`)
      }
    }, startAt)
    await hub.settle()
    expect(stream.connected).toBe(true)
    void stream.write('first\rsecond\r\nthird\n')
    await hub.settle()
    expect(heard).toEqual(['first', 'second', 'third'])
    expect(stream.text()).toBe('Linux version 6.1\r\nyou said first\r\nyou said second\r\nyou said third\r\n')
  })

  test('carries 300 kB in each direction through rings of 2 and 1 kB', async () => {
    const sent = Array.from({ length: 10_000 }, (_, i) => `line number ${String(i).padStart(16, '.')}`)
    const echoed: Uint8Array[] = []
    const { hub, stream } = await setUp((kernel) => {
      for (const line of sent) kernel.console!.write(`${line}\n`)
      kernel.console!.onInput((bytes) => echoed.push(bytes.slice()))
    }, startAt)
    await hub.settle(1e9)
    expect(stream.text()).toBe(sent.map((line) => `${line}\n`).join(''))
    const typing = (async () => {
      for (const line of sent) await stream.write(`${line}\n`)
    })()
    await hub.settle(1e9)
    await Promise.race([typing, hub.settle(1e9)])
    await typing
    await hub.settle()
    expect(text(Buffer.concat(echoed))).toBe(stream.text())
  })
})

describe('the console back-end', () => {
  test('offers the output to several readers, from the start or from now', async () => {
    const { hub, stream, backend } = await setUp(async (kernel) => {
      kernel.console!.write('early ')
      await kernel.sleep(1_000_000)
      kernel.console!.write('late')
    })
    await hub.settle()
    const all: string[] = []
    const fresh: string[] = []
    const readers = [
      (async () => { for await (const bytes of stream.output()) all.push(text(bytes)) })(),
      (async () => { for await (const bytes of stream.output({ fromNow: true })) fresh.push(text(bytes)) })(),
    ]
    await hub.settle(2_000_000)
    await backend.close(guestId)
    await Promise.all(readers)
    expect(all.join('')).toBe('early late')
    expect(fresh.join('')).toBe('late')
  })

  test('a reader with an aborted signal ends', async () => {
    const { hub, stream } = await setUp(() => undefined)
    const abort = new AbortController()
    const reading = (async () => { for await (const bytes of stream.output({ signal: abort.signal })) void bytes })()
    await hub.settle()
    abort.abort()
    await reading
  })

  test('keeps no more output than console/limit says, and always the newest', async () => {
    const { hub, store, stream } = await setUp((kernel) => {
      for (let i = 0; i < 1000; i += 1) kernel.console!.write(`${String(i).padStart(9)}\n`)
    })
    store.seed({ '/local/domain/1/console/limit': '100' })
    await hub.settle()
    expect(stream.text().split('\n').map((line) => line.trim())).toEqual(
      ['990', '991', '992', '993', '994', '995', '996', '997', '998', '999', ''],
    )
  })

  test('leaves output in the ring while it is paused, and the guest keeps the rest', async () => {
    const { hub, guest, stream } = await setUp((kernel) => kernel.console!.write('x'.repeat(5000)))
    stream.pause()
    await hub.settle()
    expect(stream.history().length).toBe(0)
    expect(guest.kernel.console!.pendingOutput).toBe(5000 - 2048)
    stream.resume()
    await hub.settle()
    expect(stream.history().length).toBe(5000)
    expect(guest.kernel.console!.pendingOutput).toBe(0)
  })

  test('reads the last words of a guest that has ended, then lets its ring go', async () => {
    const { hub, stream, backend, events } = await setUp((kernel) => {
      kernel.console!.write('Power down.')
      kernel.shutdown('poweroff')
    })
    await hub.settle()
    expect(stream.text()).toBe('Power down.')
    await backend.close(guestId)
    expect(hub.mappings).toBe(0)
    expect(events.map(({ type }) => type)).toEqual(['connected', 'output', 'disconnected', 'closed'])
    await expect(stream.write('too late')).rejects.toMatchObject({ code: 'CLOSED' })
  })

  test('connects anew when the domain comes back with another ring', async () => {
    const { hub, store, guest, stream, events } = await setUp((kernel) => kernel.console!.write('one '))
    await hub.settle()
    const frame = guest.frames[2]!
    const port = guest.open({ kind: 'unbound', remote: 0 })
    hub.view.setUint32(guest.grantEntry(0)! + 4, frame, true)
    store.seed({ '/local/domain/1/console/ring-ref': String(frame), '/local/domain/1/console/port': String(port) })
    await hub.settle()
    XenconsInterface.out.set(hub.view, frame * 4096, new TextEncoder().encode('two'))
    XenconsInterface.outProd.set(hub.view, frame * 4096, 3)
    guest.hypercalls.sendEvent(port as never)
    await hub.settle()
    expect(stream.text()).toBe('one two')
    expect(events.map(({ type }) => type)).toEqual(['connected', 'output', 'disconnected', 'connected', 'output'])
    expect(hub.mappings).toBe(1)
  })

  test.each([['outProd', 3000], ['inCons', 1025], ['outCons', 0x8000_0000]] as const)(
    'a guest that sets %s to %i breaks its own console and nothing else', async (field, value) => {
      const { hub, guest, stream, events } = await setUp((kernel) => kernel.console!.write('sound'))
      await hub.settle()
      XenconsInterface[field].set(hub.view, guest.boot.console!.frame * 4096, value)
      guest.hypercalls.sendEvent(guest.boot.console!.port)
      void stream.write('typed')
      await hub.settle()
      expect(stream.connected).toBe(false)
      expect(events.at(-1)?.type).toBe('broken')
      expect(stream.text()).toBe('sound')
    },
  )

  test('refuses input beyond its limit when the guest does not read', async () => {
    const { hub, stream } = await setUp(() => undefined)
    await hub.settle()
    const outcomes: string[] = []
    for (const name of ['first', 'second']) {
      void stream.write(new Uint8Array(60_000)).then(() => outcomes.push(name))
      await hub.settle(1e9)
    }
    // The first is in the guest's own buffer, which has no room for the second.
    expect(outcomes).toEqual(['first'])
    await expect(stream.write(new Uint8Array(60_000))).rejects.toSatisfy((e) => XenError.is(e, 'OUT_OF_RESOURCES'))
  })

  test('does not serve a console that is somebody else\'s', async () => {
    const { hub, store, stream } = await setUp(() => undefined)
    store.seed({ '/local/domain/1/console/type': 'ioemu' })
    await hub.settle()
    expect(stream.connected).toBe(false)
    expect(store.get('/local/domain/1/console/tty')).toBe('/dev/pts/0')
  })

  test('does not bring back the directory of a console that is gone by naming its terminal', async () => {
    const { hub, store, backend } = await setUp(() => undefined)
    await hub.settle()
    await backend.close(guestId)
    store.drop('/local/domain/1/console')
    backend.open(guestId, { tty: '/dev/pts/1' })
    await hub.settle()
    expect(store.get('/local/domain/1/console')).toBeUndefined()
    expect(store.get('/local/domain/1/console/tty')).toBeUndefined()
  })
})

describe('console nodes', () => {
  test.each([
    [{ 'ring-ref': '7', port: '2' }, { ringFrame: 7, port: 2, limit: 1048576 }],
    [{ 'ring-ref': '7', port: '2', limit: '100', type: 'xenconsoled' }, { ringFrame: 7, port: 2, limit: 100 }],
    [{ 'ring-ref': '7', port: '2', limit: '99999999999' }, { ringFrame: 7, port: 2, limit: 1048576 }],
    [{ 'ring-ref': '7' }, undefined],
    [{ port: '2' }, undefined],
    [{ 'ring-ref': '-1', port: '2' }, undefined],
    [{ 'ring-ref': '7', port: '0' }, undefined],
    [{ 'ring-ref': '0x7', port: '2' }, undefined],
    [{ 'ring-ref': '7', port: '4294967296' }, undefined],
    [{ 'ring-ref': '7', port: '2', type: 'ioemu' }, undefined],
  ])('%j mean %j', (nodes, expected) => {
    expect(parseConsoleNodes(nodes)).toEqual(expected)
  })
})

describe('a bounded log', () => {
  test('numbers its bytes from the beginning and forgets the oldest', () => {
    const log = new ByteLog(6)
    const at = (from: number): string => text(log.since(from))
    log.append(new TextEncoder().encode('abcd'))
    expect([log.start, log.end, at(0), at(2), at(4), at(9)]).toEqual([0, 4, 'abcd', 'cd', '', ''])
    log.append(new TextEncoder().encode('efgh'))
    expect([log.start, log.end, at(0), at(5), at(8)]).toEqual([2, 8, 'cdefgh', 'fgh', ''])
    log.append(new TextEncoder().encode('0123456789'))
    expect([log.start, log.end, at(0)]).toEqual([12, 18, '456789'])
    log.resize(2)
    expect([log.start, at(0)]).toEqual([16, '89'])
  })

  test('takes no more memory than its limit, in whatever pieces the bytes come', () => {
    const log = new ByteLog(1 << 16)
    for (let i = 0; i < 1 << 17; i += 1) log.append(Uint8Array.of(i))
    expect([log.held, log.end - log.start]).toEqual([1 << 16, 1 << 16])
    log.resize(100)
    expect([log.held, log.end - log.start]).toEqual([100, 100])
  })

  test('keeps what a plain array would, for pieces and limits of any size', () => {
    const random = new SeededRandom(17)
    const log = new ByteLog(50)
    let model: number[] = []
    let limit = 50
    for (let step = 0; step < 1000; step += 1) {
      if (below(random, 20) === 0) log.resize(limit = below(random, 5000))
      const piece = Array.from({ length: below(random, below(random, 8) === 0 ? 3000 : 20) }, () => below(random, 256))
      log.append(Uint8Array.from(piece))
      model = [...model, ...piece].slice(-limit || Infinity)
      expect(Buffer.from(log.since(log.start)).equals(Buffer.from(limit === 0 ? [] : model))).toBe(true)
      const from = log.end - below(random, 30)
      expect(log.since(from).length).toBe(Math.min(log.end - from, log.end - log.start))
      if (limit === 0) model = []
    }
  })

  test('is not written where somebody sees what was saved, whatever comes and whatever it is taken back to', () => {
    const random = new SeededRandom(29)
    const log = new ByteLog(50)
    const states: { readonly state: ByteLogState; readonly bytes: readonly number[] }[] = []
    for (let step = 0; step < 2000; step += 1) {
      const choice = below(random, 40)
      if (choice === 0) log.resize(below(random, 600))
      else if (choice < 6 && states.length > 0) {
        const { state, bytes } = states[below(random, states.length)]!
        log.load(state)
        expect([log.end, [...log.since(log.start)]]).toEqual([state.end, bytes])
      } else if (choice < 12) {
        const state = log.save()
        expect([...state.bytes]).toEqual([...log.since(log.start)])
        states.push({ state, bytes: [...state.bytes] })
      } else log.append(Uint8Array.from({ length: below(random, below(random, 8) === 0 ? 700 : 20) }, () => below(random, 256)))
    }
    for (const { state, bytes } of states) expect([...state.bytes]).toEqual(bytes)
  })

  test('is kept once by all that is saved of it along a run', () => {
    const log = new ByteLog(1 << 16)
    const states = Array.from({ length: 100 }, () => {
      log.append(new Uint8Array(600))
      return log.save()
    })
    const memory = new Set(states.map(({ bytes }) => bytes.buffer))
    expect([...memory].reduce((sum, { byteLength }) => sum + byteLength, 0)).toBeLessThan(3 * 65_536)
  })
})
