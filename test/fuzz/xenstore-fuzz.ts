/**
 * Random messages of several clients to a server, each answer and each event compared with the model's. Most
 * messages make sense, some are damaged, some are noise; paths and values come from a small set, so that they meet.
 */
import { SeededRandom, below } from '../../src/util/index.ts'
import { XenStore } from '../../src/xenstore/index.ts'
import { STORE_OPS, StoreHarness, storePacket, type RawStoreClient } from '../../src/testing/index.ts'
import type { ModelClient } from './xenstore-model-types.ts'
import { ModelStore } from './xenstore-model.ts'

/** What a run did. */
export interface FuzzResult {
  readonly messages: number
  /** Answers by kind: `ok`, and errors by name. */
  readonly answers: Readonly<Record<string, number>>
  readonly events: number
}

interface Pair {
  readonly real: RawStoreClient
  readonly model: ModelClient
}

/** Messages after which everything begins anew, so that the stores stay small and a failure is short to replay. */
const ROUND = 2000

/** Makes messages. */
export class Generator {
  private readonly random: SeededRandom

  constructor(random: SeededRandom) {
    this.random = random
  }

  pick<T>(from: readonly T[]): T {
    return from[below(this.random, from.length)]!
  }

  chance(percent: number): boolean {
    return below(this.random, 100) < percent
  }

  number(limit: number): number {
    return below(this.random, limit)
  }

  private path(): string {
    const names = ['a', 'b', 'c', 'tool', 'data', 'x-1', 'long_name']
    const depth = below(this.random, 4)
    const tail = Array.from({ length: depth }, () => this.pick(names)).join('/')
    const start = this.pick(['/', '/', '/local/domain/1/', '/local/domain/2/', '', '/shared/'])
    const path = (start + tail).replace(/(?<=.)\/$/, '')
    return path === '' ? 'data' : path
  }

  private anyPath(): string {
    const odd = ['@releaseDomain', '@introduceDomain', '@other', '//', '/a/', '/a b', '']
    return this.chance(4) ? this.pick(odd) : this.path()
  }

  private perms(): string {
    const count = 1 + below(this.random, 3)
    return Array.from({ length: count }, () => this.pick(['n', 'r', 'w', 'b']) + this.pick([0, 1, 2, 3])).join('\0')
  }

  private value(): string {
    if (this.chance(3)) return 'v'.repeat(below(this.random, 3000))
    return this.pick(['', '1', 'hello', 'x\0y', '\u00ff\u0000', 'some longer value with spaces'])
  }

  private end(): string {
    return this.chance(75) ? 'T' : 'F'
  }

  private quota(): string {
    const [name, value] = this.pick([['nodes', 12], ['nodes', 1000], ['transactions', 2], ['transactions', 10],
      ['watches', 3], ['watches', 128], ['node-permissions', 2], ['node-permissions', 5], ['node-size', 90],
      ['node-size', 2048], ['transaction-nodes', 9], ['transaction-nodes', 1024]] as const)
    return `${this.pick(['1', '2', '1', '2', '3'])}\0${name}\0${value}\0`
  }

  /** One message that makes sense. */
  sensible(): { type: number; body: string } {
    const of = (op: keyof typeof STORE_OPS, body: string) => ({ type: STORE_OPS[op], body })
    const row = below(this.random, 100)
    if (row < 22) return of('WRITE', `${this.anyPath()}\0${this.value()}`)
    if (row < 40) return of('READ', `${this.anyPath()}\0`)
    if (row < 48) return of('DIRECTORY', `${this.anyPath()}\0`)
    if (row < 54) return of('MKDIR', `${this.anyPath()}\0`)
    if (row < 61) return of('RM', `${this.anyPath()}\0`)
    if (row < 68) return of('SET_PERMS', `${this.anyPath()}\0${this.perms()}\0`)
    if (row < 72) return of('GET_PERMS', `${this.anyPath()}\0`)
    if (row < 78) return of('TRANSACTION_START', '\0')
    if (row < 86) return of('TRANSACTION_END', `${this.end()}\0`)
    if (row < 91) {
      const depth = this.chance(30) ? `${below(this.random, 3)}\0` : ''
      return of('WATCH', `${this.anyPath()}\0${this.pick(['t', 'u'])}\0${depth}`)
    }
    if (row < 95) return of('UNWATCH', `${this.anyPath()}\0${this.pick(['t', 'u'])}\0`)
    if (row < 96) return of('RESET_WATCHES', '\0')
    if (row < 97) return of('SET_QUOTA', this.quota())
    if (row < 98) return of('GET_QUOTA', this.pick(['', 'nodes\0', '1\0nodes\0', 'none\0']))
    const onDomain = ['GET_DOMAIN_PATH', 'IS_DOMAIN_INTRODUCED', 'RELEASE', 'RESUME', 'GET_FEATURE', 'CONTROL'] as const
    return of(this.pick(onDomain), '7\0')
  }

  /** Any message. */
  message(): { type: number; body: string } {
    const { type, body } = this.sensible()
    const row = below(this.random, 100)
    if (row < 92) return { type, body }
    if (row < 94) return { type: below(this.random, 30), body }
    if (row < 95) return { type: this.random.next(), body }
    const at = below(this.random, body.length + 1)
    if (row < 97) return { type, body: body.slice(0, at) }
    const other = String.fromCharCode(below(this.random, 256))
    if (row < 99) return { type, body: body.slice(0, at) + other + body.slice(at + 1) }
    const noise = Array.from({ length: below(this.random, 40) }, () => String.fromCharCode(below(this.random, 256)))
    return { type: below(this.random, 27), body: noise.join('') }
  }
}

/** Sets the scene: homes for two domains, and a place that both may use. */
function scene(pairs: readonly Pair[], model: ModelStore): void {
  const lines: readonly (readonly [number, string])[] = [
    [11, '/local/domain/1\0'], [14, '/local/domain/1\0n1\0'],
    [11, '/local/domain/2\0'], [14, '/local/domain/2\0n2\0r1\0'],
    [11, '/shared\0s'], [14, '/shared\0n0\0b1\0b2\0'],
  ]
  for (const [type, body] of lines) {
    pairs[0]!.real.ask(type, body)
    model.answer(pairs[0]!.model, type, body, 0)
  }
}

/** What each domain is said to use must be what counting all nodes anew gives. */
function checkAccounts(harness: StoreHarness, pairs: readonly Pair[]): void {
  for (const { real } of pairs) real.ask('RESET_WATCHES', '|')
  const counted = new XenStore()
  counted.part().load(structuredClone(harness.store.part().save()))
  for (const { id, usage } of harness.store.domains()) {
    const anew = counted.domain(id)!.usage
    if (anew.nodes !== usage.nodes || anew.memory !== usage.memory) {
      throw new Error(`domain ${id} uses ${JSON.stringify(anew)}, but is said to use ${JSON.stringify(usage)}`)
    }
  }
}

/** One round; the trace of messages is in the error when the two disagree. */
function round(generator: Generator, count: number, tally: Record<string, number>): number {
  const harness = new StoreHarness()
  const model = new ModelStore()
  const pairs = [0, 0, 1, 2, 1].map((domid): Pair => ({ real: harness.client(domid), model: model.connect(domid) }))
  scene(pairs, model)
  const trace: string[] = []
  let events = 0
  for (let i = 0; i < count; i += 1) {
    const who = generator.number(pairs.length)
    const pair = pairs[who]!
    const { type, body } = generator.message()
    const open = [...pair.model.transactions.keys()]
    const wild = generator.chance(2) ? generator.number(5) : 0
    const tx = open.length > 0 && generator.chance(70) ? generator.pick(open) : wild
    trace.push(`${who}: ${type} ${JSON.stringify(body)} tx ${tx}`)
    const expected = model.answer(pair.model, type, body, tx).replaceAll('\0', '|')
    const given = pair.real.ask(type, Uint8Array.from(body, (c) => c.charCodeAt(0)), tx) ?? 'nothing'
    const answer = given.startsWith('!') ? `${given}|` : given
    const kind = given.startsWith('!') ? given.slice(1) : 'ok'
    tally[kind] = (tally[kind] ?? 0) + 1
    if (expected !== '!SKIP|' && answer !== expected) {
      throw new Error(`expected ${expected}, got ${answer}\n${shorten(trace)}`)
    }
    for (const [n, each] of pairs.entries()) {
      const got = each.real.takeEvents()
      // Equal events that wait together are sent once, except for special ones.
      const all = each.model.events.splice(0)
      const want = all.filter((event, at) => event.startsWith('@') || all.indexOf(event) === at)
      events += got.length
      if (got.join('\n') !== want.join('\n')) {
        throw new Error(`client ${n}: expected events ${want}, got ${got}\n${shorten(trace)}`)
      }
    }
  }
  checkAccounts(harness, pairs)
  return events
}

/** The last messages before a difference; a whole round is replayed by its seed. */
const shorten = (trace: readonly string[]): string => trace.slice(-60).map((line) => line.slice(0, 120)).join('\n')

/** Runs `cases` messages. Throws at the first difference. */
export function fuzz(options: { readonly seed: number; readonly cases: number }): FuzzResult {
  const generator = new Generator(new SeededRandom(options.seed))
  const answers: Record<string, number> = {}
  let events = 0
  for (let done = 0; done < options.cases; done += ROUND) {
    events += round(generator, Math.min(ROUND, options.cases - done), answers)
  }
  return { messages: options.cases, answers, events }
}

/** Noise as a byte stream, cut at random: nothing may throw, and the server must drop who breaks the rules. */
export function fuzzStream(options: {
  readonly seed: number
  readonly streams: number
}): { dropped: number; served: number } {
  const random = new SeededRandom(options.seed)
  const harness = new StoreHarness()
  const witness = harness.client()
  let dropped = 0
  let served = 0
  for (let i = 0; i < options.streams; i += 1) {
    const client = harness.client(below(random, 3))
    for (let piece = 0; piece < 20; piece += 1) {
      const body = 'x'.repeat(below(random, 50))
      const bytes = storePacket(below(random, 30), body, { id: random.next(), tx: below(random, 3) })
      for (let n = below(random, 4); n > 0; n -= 1) bytes[below(random, bytes.length)] = random.next() & 0xff
      client.send(bytes.subarray(0, 1 + below(random, bytes.length)))
    }
    client.collect()
    if (client.transport.state === 'ended') dropped += 1
    else served += 1
    client.transport.close()
    harness.server.process()
    if (witness.ask('READ', '/tool|') !== '') throw new Error('a bystander was harmed')
  }
  if (harness.server.clients !== 1) throw new Error(`${harness.server.clients} clients are left`)
  return { dropped, served }
}
