/**
 * The outside of a page by a relay: through a foreign relay (wisp-js) curl fetches from Node's HTTP server as a guest's browser would, and what a relay can
 * do to whoever believes it, played by one of ours that lies.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer as createHttp } from 'node:http'
import { createServer, type AddressInfo, type Server } from 'node:net'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import { wispOutside, type RelaySocket, type WispOutside } from '../../../src/browser/index.ts'
import type { NameAnswer, OutsideStreamHears } from '../../../src/drivers/index.ts'
import { doorTo } from '../../support/outside-socket.ts'
import { whyNoProgram } from '../../support/programs.ts'
import { startWispRelay, type WispRelay } from '../../support/wisp-relay.ts'

const missing = whyNoProgram('curl', '--version')
const SIZE = 3_000_000
const open = (url: string): RelaySocket => new WebSocket(url)
/** How long something outside may take on a busy machine. */
const PATIENCE = { timeout: 20_000 }
const md5 = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex')

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

/** What an outside answers to a name. */
const asked = (outside: WispOutside, name: string, type: 'A' | 'PTR' = 'A'): NameAnswer => {
  let answer: NameAnswer | undefined
  outside.resolve({ type, name }, (given) => { answer = given })
  return answer!
}

/** Hears of a stream, in words. */
function listener(): { readonly hears: OutsideStreamHears; readonly said: string[]; bytes: number } {
  const heard = { said: [] as string[], bytes: 0, hears: undefined as unknown as OutsideStreamHears }
  heard.hears = {
    opened: () => void heard.said.push('opened'), ended: () => void heard.said.push('ended'), failed: (why) => void heard.said.push(why),
    data: (bytes) => {
      heard.bytes += bytes.length
      if (heard.said.at(-1) !== 'data') heard.said.push('data')
    },
    taken: (count) => { if (count > 0 && heard.said.at(-1) !== 'taken') heard.said.push('taken') },
  }
  return heard
}

describe.skipIf(missing !== undefined)(`a relay that nobody here wrote${missing ?? ''}`, { timeout: 60_000 }, () => {
  const body = Buffer.from(Uint8Array.from({ length: SIZE }, (_, at) => at * 31 + (at >>> 8) & 0xff))
  const web = createHttp((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part)).on('end', () => {
      if (request.url === '/large') response.end(body)
      else response.end(`${request.method} ${request.headers.host} ${md5(Buffer.concat(parts))}`)
    })
  })
  /** Says what it has heard, and hangs up. */
  const closing = createServer((socket) => void socket.on('error', () => undefined).once('data', (bytes) => void socket.end(`heard ${String(bytes)}`)))
  const doors: Server[] = []
  let [port, closingPort, blocked] = [0, 0, 0]
  let relay: WispRelay
  let outside: WispOutside
  beforeAll(async () => {
    [port, closingPort] = [await listen(web), await listen(closing)]
    const taken = createServer()
    blocked = await listen(taken)
    doors.push(web, closing, taken)
    relay = await startWispRelay({ blocked })
    outside = wispOutside(relay.url, { open })
  })
  afterAll(async () => {
    outside.close()
    await relay.close()
    for (const door of doors) door.close()
  })

  /** curl, whose connections are a guest's to a place. */
  async function curl(place: { readonly host: string; readonly port: number }, ...words: readonly string[]): Promise<string> {
    const door = doorTo(outside, place)
    doors.push(door)
    const at = await listen(door)
    const { stdout } = await promisify(execFile)('curl', ['-sS', '--noproxy', '*', '--max-time', '30', '--connect-to', `::127.0.0.1:${at}`, ...words], { maxBuffer: 2 * SIZE, encoding: 'latin1' })
    return stdout
  }

  test('takes guests to servers by name, and brings back whole what they send, both ways', async () => {
    const [host] = asked(outside, 'web.example').answers as [string]
    expect(host).toMatch(/^198\.18\.\d+\.\d+$/)
    expect(asked(outside, 'web.example').answers).toEqual([host])
    expect(asked(outside, host, 'PTR')).toEqual({ code: 'okay', answers: ['web.example'] })
    expect(await curl({ host, port }, 'http://web.example/')).toBe(`GET web.example ${md5(Buffer.alloc(0))}`)
    expect(md5(Buffer.from(await curl({ host, port }, 'http://web.example/large'), 'latin1'))).toBe(md5(body))
    expect(await curl({ host, port }, '--data-binary', `@${import.meta.filename}`, 'http://web.example/')).toMatch(/^POST web\.example [0-9a-f]{32}$/)
    const all = await Promise.all(Array.from({ length: 8 }, () => curl({ host: '127.0.0.1', port }, 'http://web.example/large')))
    expect(new Set(all.map((text) => md5(Buffer.from(text, 'latin1'))))).toEqual(new Set([md5(body)]))
    expect([relay.connections(), outside.refused]).toEqual([1, 0])
  })

  test('is sent more than it takes at once, in order', async () => {
    const { hears, said } = listener()
    let [sent, answer] = [0, '']
    const stream = outside.connectTcp({ host: '127.0.0.1', port }, { ...hears, taken: (count) => { sent += count }, data: (bytes) => { answer += Buffer.from(bytes).toString('latin1') } })
    const head = Buffer.from(`POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: ${SIZE}\r\n\r\n`)
    stream.write(new Uint8Array(head))
    for (let at = 0; at < SIZE; at += 1000) stream.write(new Uint8Array(body.subarray(at, at + 1000)))
    await expect.poll(() => said.at(-1), PATIENCE).toBe('ended')
    expect(sent).toBe(SIZE + head.length)
    expect(answer).toContain(`POST x ${md5(body)}`)
    stream.end()
  })

  test('says when a server hangs up, and when nobody is there, who may not be reached, or no such name is', async () => {
    const calm = listener()
    outside.connectTcp({ host: '127.0.0.1', port: closingPort }, calm.hears).write(new TextEncoder().encode('a word'))
    await expect.poll(() => calm.said, PATIENCE).toEqual(['opened', 'taken', 'data', 'ended'])
    expect(calm.bytes).toBe('heard a word'.length)
    const [none] = asked(outside, 'none.test').answers as [string]
    const ends = await Promise.all([[none, 80], ['127.0.0.1', 1], ['127.0.0.1', blocked]].map(async ([host, port]) => {
      const { hears, said } = listener()
      outside.connectTcp({ host: host as string, port: port as number }, hears)
      await expect.poll(() => said.length, PATIENCE).toBe(2)
      return said
    }))
    expect(ends).toEqual([['opened', 'reset'], ['opened', 'reset'], ['opened', 'forbidden']])
  })

  test('carries datagrams, those that come before it does among them', async () => {
    const echo = createSocket('udp4')
    echo.on('message', (bytes, { port, address }) => echo.send(`${String(bytes)} to you`, port, address))
    await new Promise<void>((resolve) => echo.bind(0, '127.0.0.1', resolve))
    const fresh = wispOutside(relay.url, { open, reach: ({ protocol, host }) => protocol === 'udp' && host === 'echo.example' })
    const heard: string[] = []
    const hears = { data: (bytes: Uint8Array) => void heard.push(new TextDecoder().decode(bytes)), failed: (why: string) => void heard.push(why) }
    const [host] = asked(fresh, 'echo.example').answers as [string]
    const way = fresh.connectUdp({ host, port: echo.address().port }, hears)
    for (const word of ['one', 'two']) way.send(new TextEncoder().encode(word))
    await expect.poll(() => [...heard].sort(), PATIENCE).toEqual(['one to you', 'two to you'])
    fresh.connectUdp({ host: '127.0.0.1', port: echo.address().port }, hears).send(new Uint8Array(1))
    expect(heard.at(-1)).toBe('forbidden')
    way.close()
    fresh.close()
    fresh.connectUdp({ host, port: 7 }, hears).send(new Uint8Array(1))
    expect(heard.at(-1)).toBe('unreachable')
    echo.close()
  })

  test('takes all streams along when it is lost, and is asked again for the next', async () => {
    const before = relay.connections()
    const lost = listener()
    outside.connectTcp({ host: '127.0.0.1', port }, lost.hears)
    await expect.poll(() => lost.said, PATIENCE).toEqual(['opened'])
    relay.cut()
    await expect.poll(() => lost.said, PATIENCE).toEqual(['opened', 'reset'])
    // A guest that tries again at once is not the reason for another connection.
    await expect.poll(() => curl({ host: '127.0.0.1', port }, 'http://web.example/').catch(() => 'not yet'), PATIENCE).toContain('GET web.example')
    expect(relay.connections()).toBe(before + 1)
  })
})

/** A relay that says what a test has it say. */
class Liar implements RelaySocket {
  binaryType = ''
  bufferedAmount = 0
  isClosed = false
  throws = false
  readonly sent: Uint8Array[] = []
  private readonly listeners: { readonly type: string; readonly listener: (event: { readonly data?: unknown }) => void }[] = []

  send(bytes: Uint8Array): void {
    if (this.throws) throw new Error('it is closing')
    this.sent.push(bytes)
  }

  close(): void {
    this.isClosed = true
  }

  addEventListener(type: string, listener: (event: { readonly data?: unknown }) => void): void {
    this.listeners.push({ type, listener })
  }

  tell(type: string, data?: unknown): void {
    for (const each of this.listeners) if (each.type === type) each.listener({ data })
  }

  /** Says a packet: a type, a stream, and what follows. */
  say(type: number, stream: number, ...rest: readonly number[]): void {
    this.tell('message', Uint8Array.of(type, stream & 255, stream >>> 8 & 255, stream >>> 16 & 255, stream >>> 24, ...rest).buffer)
  }
}

describe('a relay that lies', () => {
  const made: Liar[] = []
  const start = (): { readonly outside: WispOutside; readonly liar: () => Liar } => {
    const outside = wispOutside('ws://relay.example/', {
      open: () => {
        made.push(new Liar())
        return made.at(-1)!
      },
    })
    return { outside, liar: () => made.at(-1)! }
  }
  const place = { host: '198.51.100.7', port: 80 }
  afterEach(() => {
    for (const liar of made.splice(0)) liar.tell('close')
    vi.useRealTimers()
  })

  test('is heard in packets alone, of streams that there are', () => {
    const { outside, liar } = start()
    const { hears, said } = listener()
    outside.connectTcp(place, hears)
    const nonsense = [
      'text', 7, null, undefined, {}, new ArrayBuffer(0), new ArrayBuffer(4), Uint8Array.of(9, 1, 0, 0, 0).buffer, Uint8Array.of(0, 1, 0, 0, 0).buffer, Uint8Array.of(5, 0, 0, 0, 0, 2, 0).buffer,
      Uint8Array.of(3, 1, 0, 0, 0).buffer, Uint8Array.of(3, 0, 0, 0, 0, 1, 1, 1, 1, 1).buffer, Uint8Array.of(4, 1, 0, 0, 0).buffer, Uint8Array.of(1, 1, 0, 0, 0, 1, 80, 0, 97).buffer,
      // Before its first word, and of nobody's.
      Uint8Array.of(2, 1, 0, 0, 0, 65).buffer, Uint8Array.of(4, 1, 0, 0, 0, 2).buffer,
    ]
    for (const message of nonsense) liar().tell('message', message)
    expect([outside.refused, said, liar().sent]).toEqual([nonsense.length, [], []])
    liar().say(3, 0, 1, 0, 0, 0)
    expect([said, liar().sent.map((bytes) => [...bytes.subarray(0, 8)])]).toEqual([['opened'], [[1, 1, 0, 0, 0, 1, 80, 0]]])
    for (const stream of [0, 2, 0xffff_ffff]) liar().say(2, stream, 65)
    liar().say(3, 0, 1, 0, 0, 0)
    expect([outside.refused, said]).toEqual([nonsense.length + 4, ['opened']])
  })

  test('says its last once, with any reason', () => {
    const { outside, liar } = start()
    const reasons = [0x01, 0x02, 0x03, 0x41, 0x42, 0x43, 0x44, 0x47, 0x48, 0x49, 0x81, 0xff]
    const all = reasons.map((reason, i) => {
      const heard = listener()
      const stream = outside.connectTcp(place, heard.hears)
      if (i === 0) liar().say(3, 0, 8, 0, 0, 0)
      for (let times = 0; times < 2; times += 1) liar().say(4, i + 1, reason)
      liar().say(2, i + 1, 65)
      stream.write(Uint8Array.of(1))
      stream.end()
      stream.reset()
      return heard.said.slice(1).join(' ')
    })
    expect(all).toEqual(['reset', 'ended reset', 'reset', 'unreachable', 'unreachable', 'timed-out', 'refused', 'timed-out', 'forbidden', 'forbidden', 'reset', 'reset'])
    expect(outside.refused).toBe(2 * reasons.length)
  })

  test('gets no more than is its due, however much it allows, and nothing while nothing goes out', () => {
    vi.useFakeTimers()
    const { outside, liar } = start()
    const { hears } = listener()
    let taken = 0
    const stream = outside.connectTcp(place, { ...hears, taken: (count) => { taken += count } })
    liar().say(3, 0, 0, 0, 0, 0)
    stream.write(new Uint8Array(64 << 20))
    expect([liar().sent.length, taken]).toEqual([1, 0])
    liar().say(3, 1, 255, 255, 255, 255)
    expect([liar().sent.length, taken]).toEqual([1 + 256, 256 << 15])
    expect(Math.max(...liar().sent.map(({ length }) => length))).toBe(5 + (32 << 10))
    liar().bufferedAmount = 5 << 20
    liar().say(3, 1, 2, 0, 0, 0)
    vi.advanceTimersByTime(1000)
    expect(liar().sent.length).toBe(257)
    liar().bufferedAmount = 0
    vi.advanceTimersByTime(100)
    expect(liar().sent.length).toBe(259)
  })

  test('does not fill the memory of a page whose guest takes nothing', () => {
    const { outside, liar } = start()
    const [greedy, other] = [listener(), listener()]
    outside.connectTcp(place, greedy.hears).pause()
    outside.connectTcp(place, other.hears)
    liar().say(3, 0, 8, 0, 0, 0)
    const flood = new Uint8Array((1 << 20) + 5)
    flood.set([2, 1, 0, 0, 0])
    for (let count = 0; count < 300; count += 1) liar().tell('message', flood.buffer)
    expect([greedy.said, greedy.bytes]).toEqual([['opened', 'reset'], 0])
    expect([...liar().sent.at(-1)!]).toEqual([4, 1, 0, 0, 0, 0x81])
    expect(outside.refused).toBe(300 - 257)
    liar().say(2, 2, 65)
    expect(other.said).toEqual(['opened', 'data'])
  })

  test('has what it has sent read to the end, also when it has gone meanwhile', () => {
    const { outside, liar } = start()
    const { hears, said } = listener()
    const stream = outside.connectTcp(place, hears)
    liar().say(3, 0, 8, 0, 0, 0)
    stream.pause()
    liar().say(2, 1, 65, 66)
    liar().say(4, 1, 2)
    expect(said).toEqual(['opened'])
    stream.resume()
    stream.resume()
    expect(said).toEqual(['opened', 'data', 'ended'])
  })

  test('that says nothing, or throws, is given up, and not asked again and again', () => {
    vi.useFakeTimers()
    const { outside, liar } = start()
    const first = listener()
    outside.connectTcp(place, first.hears)
    vi.advanceTimersByTime(9_000)
    expect([first.said, made.length]).toEqual([[], 1])
    vi.advanceTimersByTime(2_000)
    expect([first.said, liar().isClosed]).toEqual([['unreachable'], true])
    const [second, third] = [listener(), listener()]
    outside.connectTcp(place, second.hears)
    liar().tell('error')
    for (let count = 0; count < 100; count += 1) outside.connectTcp(place, third.hears)
    expect([second.said, new Set(third.said), made.length]).toEqual([['unreachable'], new Set(['unreachable']), 2])
    vi.advanceTimersByTime(2_000)
    const fourth = listener()
    outside.connectTcp(place, fourth.hears).write(Uint8Array.of(1))
    liar().throws = true
    liar().say(3, 0, 8, 0, 0, 0)
    liar().tell('close')
    expect(fourth.said).toEqual(['opened', 'taken', 'reset'])
  })

  test('is let go when no guest has needed it for a while, and a stream whose guest has said its last when nothing more comes', () => {
    vi.useFakeTimers()
    const { outside, liar } = start()
    const { hears, said } = listener()
    const stream = outside.connectTcp(place, hears)
    liar().say(3, 0, 8, 0, 0, 0)
    stream.write(Uint8Array.of(1))
    stream.end()
    vi.advanceTimersByTime(9_000)
    liar().say(2, 1, 65)
    vi.advanceTimersByTime(9_000)
    expect(said).toEqual(['opened', 'taken', 'data'])
    vi.advanceTimersByTime(2_000)
    expect(said).toEqual(['opened', 'taken', 'data', 'ended'])
    expect([...liar().sent.at(-1)!]).toEqual([4, 1, 0, 0, 0, 2])
    expect(liar().isClosed).toBe(false)
    vi.advanceTimersByTime(40_000)
    expect(liar().isClosed).toBe(true)
  })
})

test('a name that is none has no address, a thousand names have one each, and the oldest goes for the four thousand and ninety-seventh', () => {
  const outside = wispOutside('wss://relay.example/')
  for (const name of ['', 'a b', 'é', '-', `${'a'.repeat(254)}`, 'a\u0000']) expect(asked(outside, name).code).toBe('no-name')
  const all = Array.from({ length: 4096 }, (_, i) => asked(outside, `n${i}.example`).answers[0]!)
  expect(new Set(all).size).toBe(4096)
  expect(all.filter((address) => /\.(?:0|255)$/.test(address))).toEqual([])
  expect(asked(outside, 'one.more').answers).toEqual([all[0]])
  expect(asked(outside, all[0]!, 'PTR').answers).toEqual(['one.more'])
  expect(asked(outside, 'n0.example').answers).toEqual([all[1]])
  expect(asked(outside, '198.51.100.7', 'PTR').code).toBe('no-name')
})

test('an address that is none, and options of a wrong type, are refused', () => {
  for (const url of ['', 'relay', 'http://relay.example/', 'ws://relay.example/wisp', 7, null]) {
    expect(() => wispOutside(url as string)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  }
  expect(() => wispOutside('ws://relay.example/', { reach: 7 } as never)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  expect(() => wispOutside('ws://relay.example/', { reachable: () => true } as never)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
})
