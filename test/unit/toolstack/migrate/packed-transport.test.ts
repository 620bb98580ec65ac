/** Pipes that pack: what comes out is what went in, runs cost nothing, and what is no packed pipe is refused. */
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { brotliCompression } from '../../../../src/node/index.ts'
import { DEFLATE, openOutput, packedTransport, transportPair, type MigrationTransport, type PackedOptions } from '../../../../src/toolstack/index.ts'
import { joinBytes, XenError } from '../../../../src/util/index.ts'
import { answers, hostsOfTests, startMini } from '../../../support/mini.ts'

const boot = hostsOfTests({ memory: 32, dom0Memory: 8 })

/** Sends chunks through a pipe that is wrapped at both ends; what came, and how many bytes the pipe itself has carried. */
async function through(chunks: readonly Uint8Array[], options: readonly [PackedOptions?, PackedOptions?] = []): Promise<{ readonly came: Uint8Array; readonly carried: number }> {
  const { ends } = transportPair()
  let carried = 0
  const writable = openOutput(ends[0].writable)
  const counted: MigrationTransport = { readable: ends[0].readable, writable: { ...writable, write: (chunk: Uint8Array) => { carried += chunk.length; return writable.write(chunk) } } }
  const [near, far] = [packedTransport(counted, options[0]), packedTransport(ends[1], options[1])]
  const came: Uint8Array[] = []
  const reading = (async () => { for await (const chunk of far.readable as AsyncIterable<Uint8Array>) came.push(chunk.slice()) })()
  // The greeting of the other end is read by whoever reads there.
  void (near.readable as AsyncIterable<Uint8Array>)[Symbol.asyncIterator]().next().catch(() => undefined)
  const output = openOutput(near.writable)
  for (const chunk of chunks) await output.write(chunk)
  await output.close()
  await reading
  return { came: joinBytes(came), carried }
}

/** The runner's own way of comparing takes bytes one by one. */
const areSame = (one: Uint8Array, other: Uint8Array): boolean => Buffer.compare(one, other) === 0

const zeros = new Uint8Array(1 << 20)
const noise = Uint8Array.from(randomBytes(1 << 16))

describe('a packed pipe', () => {
  test('carries any bytes as they are, in pieces of any size, with runs anywhere', async () => {
    const part = fc.oneof(
      fc.uint8Array({ maxLength: 300 }), fc.integer({ min: 0, max: 20_000 }).map((length) => new Uint8Array(length)),
      fc.tuple(fc.uint8Array({ minLength: 8, maxLength: 8 }), fc.integer({ min: 1, max: 2000 })).map(([word, count]) => joinBytes(Array.from({ length: count }, () => word))),
    )
    await fc.assert(fc.asyncProperty(fc.array(fc.array(part, { maxLength: 6 }).map(joinBytes), { maxLength: 4 }), async (chunks) => {
      expect(areSame((await through(chunks)).came, joinBytes(chunks))).toBe(true)
      expect(areSame((await through(chunks, [{ compression: [] }])).came, joinBytes(chunks))).toBe(true)
    }), { numRuns: 40 })
  })

  test('says memory that nobody has written, and pages of one word, in a few bytes, whether or not it packs', async () => {
    const word = joinBytes(Array.from({ length: 1 << 14 }, () => Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)))
    for (const options of [{}, { compression: [] }]) {
      const { came, carried } = await through([joinBytes([Uint8Array.of(1, 2, 3, 4), zeros, noise, word])], [options, options])
      expect(came.length).toBe(4 + zeros.length + noise.length + word.length)
      expect(carried).toBeLessThan(noise.length + 5000)
    }
  })

  test('packs by what both ends have, and not at all where they have nothing in common', async () => {
    const text = new TextEncoder().encode('a line that is said again and again\n'.repeat(4000))
    const carried = async (...options: [PackedOptions, PackedOptions]): Promise<number> => {
      const { came, carried: bytes } = await through([text], options)
      expect(areSame(came, text)).toBe(true)
      return bytes
    }
    const brotli = { compression: [brotliCompression({ level: 1 }), DEFLATE] }
    expect(await carried(brotli, brotli)).toBeLessThan(text.length / 50)
    expect(await carried(brotli, {})).toBeLessThan(text.length / 50)
    expect(await carried({}, { compression: [] })).toBeGreaterThan(text.length)
    expect(() => packedTransport(transportPair().ends[0], { compression: ['fast'] as never })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})

/** What an end that packs makes of what the other end says: the bytes that came, or the code of its error. */
async function hears(said: Uint8Array): Promise<Uint8Array | string> {
  const { ends } = transportPair()
  const { readable } = packedTransport(ends[1])
  void (async () => { for await (const _ of ends[0].readable as AsyncIterable<Uint8Array>); })()
  const output = openOutput(ends[0].writable)
  void output.write(said).then(() => output.close()).catch(() => undefined)
  const came: Uint8Array[] = []
  try {
    for await (const chunk of readable as AsyncIterable<Uint8Array>) came.push(chunk)
    return joinBytes(came)
  } catch (error) {
    return XenError.is(error) ? error.code : String(error)
  }
}

const words = (...values: readonly number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer)
const GREETING = joinBytes([words(0x6b_70_76_31, 11), new TextEncoder().encode('deflate-raw')])

describe('an end that packs', () => {
  test('takes what is right', async () => {
    expect(await hears(joinBytes([GREETING, words(0, 0, 4, 4), words(7)]))).toEqual(words(7))
    expect(await hears(joinBytes([GREETING, words(0, 1, 4096, 0), words(0, 4096, 5, 6)]))).toEqual(joinBytes(Array.from({ length: 512 }, () => words(5, 6))))
  })

  test.each<[string, () => Uint8Array | Promise<Uint8Array>]>([
    ['a host that does not pack', () => new TextEncoder().encode('xl migration receiver ready, send binary domain data.\n')],
    ['no greeting', () => new Uint8Array(0)],
    ['names without an end', () => words(0x6b_70_76_31, 0xffff_ffff)],
    ['a piece of nothing', () => joinBytes([GREETING, words(0, 0, 0, 0)])],
    ['a piece that is too large', () => joinBytes([GREETING, words(0, 1, 1 << 30, 0), words(0, 1 << 30, 0, 0)])],
    ['more runs than there is room for', () => joinBytes([GREETING, words(0, 1e6, 4096, 0)])],
    ['runs that overlap', () => joinBytes([GREETING, words(0, 2, 8192, 0), words(0, 4096, 0, 0), words(2048, 4096, 0, 0)])],
    ['a run beyond the end', () => joinBytes([GREETING, words(0, 1, 4096, 0), words(2048, 4096, 0, 0)])],
    ['a run of no words', () => joinBytes([GREETING, words(0, 1, 4096, 0), words(0, 4094, 0, 0), words(0)])],
    ['less than it says', () => joinBytes([GREETING, words(0, 0, 8, 4), words(1)])],
    ['a way that nobody named', () => joinBytes([GREETING, words(2, 0, 8, 4), words(1)])],
    ['what cannot be unpacked', () => joinBytes([GREETING, words(1, 0, 64, 4), words(0xffff_ffff)])],
    ['what unpacks to more than it says', async () => {
      const packed = await DEFLATE.pack(zeros)
      return joinBytes([GREETING, words(1, 0, 4096, packed.length), packed])
    }],
    ['an end in the middle', () => joinBytes([GREETING, words(0, 0, 8, 8), words(1)])],
  ])('refuses %s', async (_, said) => {
    expect(await hears(await said())).toBe('INVALID_STREAM')
  })

  test('refuses or takes whatever else it is told', async () => {
    const packed = await DEFLATE.pack(noise.subarray(0, 512))
    const right = joinBytes([GREETING, words(1, 1, 4096 + 512, packed.length), words(100 * 4, 4096, 1, 2), packed, words(0, 0, 8, 8), words(1, 2)])
    expect(typeof await hears(right)).toBe('object')
    await fc.assert(fc.asyncProperty(fc.array(fc.tuple(fc.nat(right.length - 1), fc.nat(255)), { minLength: 1, maxLength: 3 }), async (flips) => {
      const said = right.slice()
      for (const [at, value] of flips) said[at] = value
      const heard = await hears(said)
      if (typeof heard === 'string') expect(heard).toBe('INVALID_STREAM')
    }), { numRuns: 100 })
  })
})

describe('hosts at the ends of a packed pipe', { timeout: 30_000 }, () => {
  test('move a domain there, and protect it back', async () => {
    const [first, second] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
    const domain = await startMini(first)
    const there = transportPair().ends
    const receiving = second.receiveMigration(packedTransport(there[1]))
    await domain.migrate(packedTransport(there[0]))
    const moved = await receiving
    await answers(moved)

    const { ends, cut } = transportPair()
    const standing = first.standBy(packedTransport(ends[1]), { trust: 'all' })
    const protection = moved.protect(packedTransport(ends[0]), { interval: '5ms' })
    protection.catch(() => undefined)
    await new Promise((resolve) => void protection.progress.on('protected', resolve))
    cut()
    await answers((await standing)!)
  })

  test('say what is wrong where the other host does not pack, and the domain goes on', async () => {
    const [first, second] = [await boot({ seed: 1 }), await boot({ seed: 2 })]
    const domain = await startMini(first)
    const { ends } = transportPair()
    const receiving = second.receiveMigration(ends[1])
    receiving.catch(() => undefined)
    await expect(domain.migrate(packedTransport(ends[0]))).rejects.toMatchObject({ code: 'INVALID_STREAM' })
    // It has read what is no stream, or has seen that the other end is gone.
    await expect(receiving).rejects.toMatchObject({ code: expect.stringMatching(/^(INVALID_STREAM|CLOSED)$/) })
    await answers(domain)
  })
})
