/**
 * Saving, restoring and migrating hold a few records in memory, however large the domain is and however slow the other
 * end: the writer waits for its target, and the reader takes no more than it needs.
 */
import { afterEach, describe, expect, test } from 'vitest'
import { Host, type Domain } from '../../src/index.ts'
import { transportPair, type ByteSink } from '../../src/toolstack/index.ts'

const MEBIBYTE = 2 ** 20
/** A domain several times as large as what may be under way. */
const MEMORY = 48
/** One record of pages: 1,024 of them, their numbers and the header. */
const RECORD = 1024 * (4096 + 8) + 16

const hosts: Host[] = []
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

async function start(): Promise<Domain> {
  const host = await Host.boot({ memory: MEMORY + 24, dom0Memory: 8 })
  hosts.push(host)
  const domain = await host.createDomain({ name: 'large', memory: MEMORY })
  await domain.console.waitFor('tick 3')
  return domain
}

/** Takes its time for each chunk, and counts what it has been given and not yet taken. */
class SlowSink implements ByteSink {
  readonly keepsNothing: boolean
  readonly buffers = new Set<ArrayBufferLike>()
  total = 0
  most = 0
  private held = 0

  constructor(keepsNothing: boolean) {
    this.keepsNothing = keepsNothing
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.held += chunk.length
    this.most = Math.max(this.most, this.held)
    if (chunk.length > MEBIBYTE) this.buffers.add(chunk.buffer)
    await new Promise((resolve) => setTimeout(resolve, 5))
    this.held -= chunk.length
    this.total += chunk.length
  }
}

describe('a slow target', () => {
  test.each([true, false])('is never given more than one record at a time (memory used again: %s)', async (again) => {
    const domain = await start()
    const sink = new SlowSink(again)
    await domain.save(sink)
    expect(sink.total).toBeGreaterThan(MEMORY * MEBIBYTE)
    expect(sink.most).toBeLessThanOrEqual(RECORD)
    expect(sink.buffers.size).toBe(again ? 2 : MEMORY / 4)
  })

  test('that is a web stream holds the writer back by what it has room for', async () => {
    const domain = await start()
    let [given, taken, most] = [0, 0, 0]
    const counted = new WritableStream<Uint8Array>(
      {
        write: async (chunk) => {
          most = Math.max(most, given - taken)
          await new Promise((resolve) => setTimeout(resolve, 5))
          taken += chunk.length
        },
      },
      { highWaterMark: 1, size: (chunk) => {
        given += chunk.length
        return 1
      } },
    )
    await domain.save(counted)
    expect(taken).toBeGreaterThan(MEMORY * MEBIBYTE)
    expect(most).toBeLessThanOrEqual(2 * RECORD)
  })

  test('at the other end of a migration does, too', async () => {
    const domain = await start()
    const there = await Host.boot({ memory: MEMORY + 24, dom0Memory: 8 })
    hosts.push(there)
    const { ends } = transportPair()
    let [ahead, most] = [0, 0]
    const sink = ends[0].writable as ByteSink
    const slow: ByteSink = {
      write: async (chunk) => {
        ahead += chunk.length
        most = Math.max(most, ahead)
        await new Promise((resolve) => setTimeout(resolve, 5))
        await sink.write(chunk)
        ahead -= chunk.length
      },
    }
    const receiving = there.receiveMigration(ends[1])
    await domain.migrate({ readable: ends[0].readable, writable: slow })
    await (await receiving).console.waitFor('mini: restored')
    expect(most).toBeLessThanOrEqual(RECORD)
  })
})

describe('a fast source', () => {
  test('is read no further than to the end of the record at hand', async () => {
    const domain = await start()
    const host = hosts[0]!
    const chunks: Uint8Array[] = []
    await domain.save({ write: (chunk: Uint8Array) => void chunks.push(chunk) })
    const [file, piece] = [new Uint8Array(Buffer.concat(chunks)), 1 << 16]
    let [pulled, most] = [0, 0]
    function* pieces(): Iterable<Uint8Array> {
      for (let at = 0; at < file.length; at += piece) {
        pulled = Math.min(file.length, at + piece)
        yield file.subarray(at, at + piece)
      }
    }
    const restoring = host.restore(pieces(), { paused: true })
    restoring.progress.on('pages', ({ bytes }) => { most = Math.max(most, pulled - bytes) })
    await restoring
    expect(pulled).toBe(file.length)
    expect(most).toBeLessThan(piece)
  })
})
