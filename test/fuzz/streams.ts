/**
 * Hostile saved domains: a real one is damaged record by record, field by field, and given to a host. Every case must
 * end in a typed error that says where, or in a domain; and when that is gone, the host must be as it was.
 */
import { readFileSync } from 'node:fs'
import { Host, XenError, type Domain } from '../../src/index.ts'
import { openOutput, transportPair } from '../../src/toolstack/index.ts'
import { compareResources, resourceSnapshot } from '../../src/testing/index.ts'
import { SeededRandom, below } from '../../src/util/index.ts'
import { type MiniKind, buildMini } from '../support/build-mini.ts'

/** What the cases led to. */
export interface StreamFuzzResult {
  readonly refused: Readonly<Record<string, number>>
  readonly restored: number
  readonly started: number
}

/** One record or header of the file. */
export interface Part {
  readonly start: number
  readonly end: number
  /** Where its payload begins. */
  readonly body: number
}

/** Codes by which a stream may be refused. */
const CODES = new Set(['INVALID_STREAM', 'NOT_SUPPORTED', 'OUT_OF_MEMORY', 'DOMAIN_EXISTS'])
/** Cases after which everything is counted, and the hypervisor's books are checked. */
const AUDIT = 250
/** Restored domains of which one is let run. */
const START = 10
/** Instructions that a damaged guest gets. */
const LIFE = 50_000

const viewOf = (data: Uint8Array): DataView => new DataView(data.buffer, data.byteOffset, data.byteLength)

/** What the sender of a migration says behind its stream. */
const LAST_WORDS = 'domain is yours, you are cleared to unpause\0'

/** A domain of a few dozen pages, mini, built for a kind of guests: as it was sent while it ran, where pages come again, and as it was saved. */
export async function smallDomain(kind: MiniKind): Promise<{ readonly moved: Uint8Array; readonly saved: Uint8Array }> {
  const { path, reason } = buildMini(kind)
  if (path === undefined) throw new Error(`no mini for ${kind}: ${reason}`)
  const [host, other] = [await Host.boot({ memory: 32, dom0Memory: 4 }), await Host.boot({ memory: 32, dom0Memory: 4 })]
  const domain = await host.createDomain({ name: 'victim', memory: 4, type: kind === 'pvh' ? 'pvh' : 'pv', kernel: readFileSync(path) })
  await domain.console.waitFor('tick 3')
  await domain.console.write('balloon 200\r')
  await domain.console.waitFor(/KiB -> /)
  const { ends: [near, far] } = transportPair()
  const output = openOutput(near.writable)
  const moved: Uint8Array[] = []
  const recorded = { readable: near.readable, writable: { ...output, write: (chunk: Uint8Array) => {
    moved.push(chunk.slice())
    return output.write(chunk)
  } } }
  const [there] = await Promise.all([other.receiveMigration(far), domain.migrate(recorded, { dirtyPages: 0, worthwhile: Infinity, maxRounds: 3 })])
  await there.console.waitFor('mini: restored')
  const saved: Uint8Array[] = []
  await there.save({ write: (chunk: Uint8Array) => void saved.push(chunk) })
  await host.shutdown()
  await other.shutdown()
  return { moved: new Uint8Array(Buffer.concat(moved)).subarray(0, -LAST_WORDS.length), saved: new Uint8Array(Buffer.concat(saved)) }
}

/** Where the headers and records of a file are. */
export function partsOf(file: Uint8Array): Part[] {
  const view = viewOf(file)
  const config = 48 + view.getUint32(44, true)
  const parts: Part[] = [
    { start: 0, body: 48, end: config },
    { start: config, body: config, end: config + 16 },
  ]
  const record = (start: number): Part => ({
    start,
    body: start + 8,
    end: start + 8 + Math.ceil(view.getUint32(start + 4, true) / 8) * 8,
  })
  parts.push(record(config + 16))
  const image = parts.at(-1)!.end
  parts.push({ start: image, body: image, end: image + 40 })
  while (parts.at(-1)!.end < file.length) parts.push(record(parts.at(-1)!.end))
  return parts
}

const EXTREMES = [
  0, 1, 7, 8, 0x7f, 0xff, 0x1ff, 0x200, 0xfff, 0x1000, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, 0xffff_fff8, 0xffff_ffff,
]

/** Makes one damaged copy after another. */
class Damager {
  private readonly file: Uint8Array
  private readonly parts: readonly Part[]
  private readonly random: SeededRandom
  private readonly kinds: readonly (() => Uint8Array)[] = [
    () => this.cut(),
    () => this.flipHeader(),
    () => this.flipHeader(),
    () => this.setField(),
    () => this.setField(),
    () => this.flipBody(),
    () => this.flipBody(),
    () => this.reorder(),
    () => this.repeat(),
    () => this.omit(),
    () => this.grow(),
    () => this.flipConfig(),
  ]

  constructor(file: Uint8Array, seed: number) {
    this.file = file
    this.parts = partsOf(file)
    this.random = new SeededRandom(seed)
  }

  next(): Uint8Array {
    return this.kinds[below(this.random, this.kinds.length)]!()
  }

  private pick<T>(list: readonly T[]): T {
    return list[below(this.random, list.length)]!
  }

  private pieces(parts: readonly Part[]): Uint8Array {
    return new Uint8Array(Buffer.concat(parts.map(({ start, end }) => this.file.subarray(start, end))))
  }

  /** The stream ends inside a record. */
  private cut(): Uint8Array {
    const { start, end } = this.pick(this.parts)
    return this.file.slice(0, start + below(this.random, end - start))
  }

  /** One bit of a header, or of the first words of a body. */
  private flipHeader(): Uint8Array {
    const { start, body, end } = this.pick(this.parts)
    return this.flipAt(start + below(this.random, Math.min(end - start, body - start + 64)))
  }

  private flipBody(): Uint8Array {
    const { start, end } = this.pick(this.parts)
    return this.flipAt(start + below(this.random, end - start))
  }

  private flipAt(place: number): Uint8Array {
    const copy = this.file.slice()
    copy[place]! ^= 1 << below(this.random, 8)
    return copy
  }

  private flipConfig(): Uint8Array {
    const { body, end } = this.parts[0]!
    const copy = this.file.slice()
    for (let i = 0; i <= below(this.random, 3); i += 1)
      copy[body + below(this.random, end - body)] = this.pick([...'{}[]",:0123456789-eE\\ \0']).charCodeAt(0)
    return copy
  }

  /** A field becomes the least, the greatest, or a number beside a limit. */
  private setField(): Uint8Array {
    const copy = this.file.slice()
    const { start, body, end } = this.pick(this.parts)
    const words = Math.min(end - start, body - start + 256) >> 2
    for (let i = 0; i <= below(this.random, 2); i += 1)
      viewOf(copy).setUint32(start + below(this.random, words) * 4, this.pick(EXTREMES), true)
    return copy
  }

  private reorder(): Uint8Array {
    const order = [...this.parts]
    const [a, b] = [below(this.random, order.length), below(this.random, order.length)]
    ;[order[a], order[b]] = [order[b]!, order[a]!]
    return this.pieces(order)
  }

  private repeat(): Uint8Array {
    const order = [...this.parts]
    order.splice(below(this.random, order.length + 1), 0, this.pick(this.parts))
    return this.pieces(order)
  }

  private omit(): Uint8Array {
    const left = below(this.random, this.parts.length)
    return this.pieces(this.parts.filter((_, i) => i !== left))
  }

  /** A record with more behind it than it should have, and a length that may say so. */
  private grow(): Uint8Array {
    const part = this.pick(this.parts)
    const more = new Uint8Array((1 + below(this.random, 600)) * 8).fill(below(this.random, 256))
    const copy = new Uint8Array(Buffer.concat([this.file.subarray(0, part.end), more, this.file.subarray(part.end)]))
    if (part.body - part.start === 8 && below(this.random, 2) === 0) {
      const view = viewOf(copy)
      view.setUint32(part.start + 4, view.getUint32(part.start + 4, true) + more.length, true)
    }
    return copy
  }
}

/** Throws when an error is not what a caller is promised. */
function checkRefusal(error: unknown): string {
  if (!XenError.is(error) || !CODES.has(error.code))
    throw new Error('a damaged stream led to an error of another kind', { cause: error })
  if (error.code !== 'INVALID_STREAM') return error.code
  if (typeof error.details['offset'] !== 'number') throw new Error('the error does not say where', { cause: error })
  return error.code
}

/** Gives `count` damaged files of a domain of a kind to a host, and checks it. */
export async function fuzzStreams(kind: MiniKind, count: number, seed = 1): Promise<StreamFuzzResult> {
  const { moved, saved } = await smallDomain(kind)
  const damagers = [new Damager(moved, seed), new Damager(saved, seed)] as const
  const host = await Host.boot({ memory: 16, dom0Memory: 4 })
  await host.settled()
  const before = resourceSnapshot(host)
  const refused: Record<string, number> = {}
  let restored = 0
  let started = 0
  const audit = async (): Promise<void> => {
    await host.settled()
    const wrong = [
      ...compareResources(before, resourceSnapshot(host)),
      ...host.hypervisor.checkInvariants().map((finding) => JSON.stringify(finding)),
    ]
    if (wrong.length > 0) throw new Error(`the host is not as it was: ${wrong.join('; ')}`)
  }
  const live = async (domain: Domain): Promise<void> => {
    restored += 1
    if (restored % START === 0) {
      started += 1
      domain.unpause()
      host.hypervisor.run({ instructions: LIFE })
    }
    if (domain.exists)
      await domain.destroy().catch((error: unknown) => {
        if (!XenError.is(error, 'DOMAIN_NOT_FOUND')) throw error
      })
  }
  for (let i = 1; i <= count; i += 1) {
    const domain = await host.restore(damagers[i & 1]!.next(), { paused: true }).catch((error: unknown) => {
      const code = checkRefusal(error)
      refused[code] = (refused[code] ?? 0) + 1
    })
    if (domain !== undefined) await live(domain)
    if (i % AUDIT === 0) await audit()
  }
  await audit()
  await host.shutdown()
  return { refused, restored, started }
}
