import { PassThrough, Writable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { type ByteSink, SaveStreamWriter, openOutput } from '../../../../src/toolstack/stream/index.ts'

const chunk = (size: number): Uint8Array => new Uint8Array(size).fill(7)

interface SlowStream {
  readonly stream: Writable
  readonly taken: number[]
  release(error?: Error): void
}

/** A Node stream that takes a chunk only when told to. */
function slowStream(): SlowStream {
  const taken: number[] = []
  let release: (error?: Error) => void = () => undefined
  const stream = new Writable({
    write: (data: Uint8Array, _, done) => {
      taken.push(data.length)
      release = (error) => done(error)
    },
  })
  return { stream, taken, release: (error) => release(error) }
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('an output', () => {
  test('into a Node stream waits for each chunk, and ends the stream', async () => {
    const { stream, taken, release } = slowStream()
    const output = openOutput(stream)
    let done = false
    const write = output.write(chunk(3)).then(() => { done = true })
    await settle()
    expect([taken, done]).toEqual([[3], false])
    release()
    await write
    await output.close()
    expect(stream.writableFinished).toBe(true)
    await expect(output.write(chunk(1))).rejects.toMatchObject({ code: 'CLOSED' })
  })

  test.each([
    ['fails', (slow: SlowStream): void => slow.release(new Error('full'))],
    ['is closed', (slow: SlowStream): void => void slow.stream.destroy()],
  ] as const)('into a Node stream that %s rejects, and later ones have delivered nothing', async (_, end) => {
    const slow = slowStream()
    const output = openOutput(slow.stream)
    const write = output.write(chunk(1))
    await settle()
    end(slow)
    await expect(write).rejects.toMatchObject({ code: 'IO' })
    await settle()
    await expect(output.write(chunk(1))).rejects.toMatchObject({ code: 'CLOSED' })
  })

  test('into a web stream is held back by its reader, and fails when the reader has enough', async () => {
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>()
    const output = openOutput(writable)
    const reader = readable.getReader()
    let done = false
    const write = output.write(chunk(5)).then(() => { done = true })
    await settle()
    expect(done).toBe(false)
    expect((await reader.read()).value).toHaveLength(5)
    await write
    await reader.cancel('enough')
    await expect(output.write(chunk(1))).rejects.toMatchObject({ code: 'IO' })
  })

  test('that is aborted tells its target why', async () => {
    const reason = new Error('no more')
    let heard: unknown
    await openOutput({ write: () => undefined, abort: (why: unknown) => { heard = why } }).abort(reason)
    expect(heard).toBe(reason)
    const stream = new PassThrough()
    const closed = new Promise((resolve) => stream.once('error', resolve))
    await openOutput(stream).abort(reason)
    expect(await closed).toBe(reason)
  })
})

describe('a writer', () => {
  const pages = (fill: number) => [{ pfn: 1, type: 0, contents: new Uint8Array(4096).fill(fill) }]

  /** Writes records of pages to a sink and gives what it was handed, as it is afterwards. */
  async function handed(sink: Partial<ByteSink>): Promise<Uint8Array[]> {
    const chunks: Uint8Array[] = []
    const writer = new SaveStreamWriter({ ...sink, write: (bytes) => void chunks.push(bytes) })
    for (let fill = 1; fill <= 30; fill += 1) {
      await writer.writeImageRecord({ type: 'page-data', pages: Array.from({ length: 20 }, () => pages(fill)[0]!) })
    }
    await writer.flush()
    return chunks
  }

  test('gives fresh memory to a sink that may keep it', async () => {
    const bodies = (await handed({})).filter((bytes) => bytes.length > 8)
    expect(bodies.map((bytes) => bytes.at(-1))).toEqual(Array.from({ length: 30 }, (_, i) => i + 1))
  })

  test('uses memory again for a sink that keeps nothing', async () => {
    const bodies = (await handed({ keepsNothing: true })).filter((bytes) => bytes.length > 8)
    expect(new Set(bodies.map(({ buffer }) => buffer)).size).toBe(2)
  })

  test('has one write under way at most, and tells of its failure at the next, or at the end', async () => {
    let under = 0
    const writer = new SaveStreamWriter({
      write: async () => {
        under += 1
        expect(under).toBe(1)
        await settle()
        under -= 1
        if (writer.offset > 30) throw new Error('full')
      },
    })
    for (let i = 0; i < 4; i += 1) await writer.writeImageRecord({ type: 'verify' })
    await expect(writer.writeImageRecord({ type: 'verify' })).rejects.toThrow('full')
    await expect(writer.flush()).rejects.toThrow('full')
  })
})
