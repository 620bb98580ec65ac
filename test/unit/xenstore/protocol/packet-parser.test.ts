import { describe, expect, test } from 'vitest'
import { PacketParser } from '../../../../src/xenstore/index.ts'
import { rawText } from '../../../../src/xenstore/tree/text.ts'
import { SeededRandom, below, fillRandom } from '../../../../src/util/index.ts'
import { storePacket } from '../../../../src/testing/index.ts'

/** What a parser makes of a stream that comes in pieces of these sizes, over and over. */
function parse(stream: Uint8Array, sizes: readonly number[]): string[] {
  const parser = new PacketParser()
  const found: string[] = []
  for (let at = 0, turn = 0; at < stream.length; turn += 1) {
    const size = sizes[turn % sizes.length]!
    parser.feed(stream.slice(at, at + size))
    at += size
    for (let state = parser.next(); state !== 'more'; state = parser.next()) {
      if (state === 'invalid') return [...found, 'invalid']
      const { type, requestId, transaction, body, start, end } = parser
      found.push(`${type} ${requestId} ${transaction} ${rawText(body, start, end)}`)
    }
  }
  return found
}

const join = (...parts: Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((part) => [...part]))

const stream = join(
  storePacket(2, '/a\0', { id: 1 }),
  storePacket(11, `/b\0${'x'.repeat(4093)}`, { id: 0xffffffff, tx: 7 }),
  storePacket(6, '', { id: 3 }),
  storePacket(0xffffffff, '\0\0', { id: 4 }),
)
const expected = [
  '2 1 0 /a\0', `11 4294967295 7 /b\0${'x'.repeat(4093)}`, '6 3 0 ', '4294967295 4 0 \0\0',
]

test.each([[[1]], [[2, 3]], [[15]], [[16]], [[17, 1]], [[4096]], [[100_000]]])(
  'the same messages are found when the stream comes in pieces of %j bytes',
  (sizes) => {
    expect(parse(stream, sizes)).toEqual(expected)
  },
)

test('the same messages are found however a stream is cut', () => {
  const random = new SeededRandom(5)
  for (let i = 0; i < 200; i += 1) {
    const sizes = Array.from({ length: 7 }, () => 1 + below(random, 600))
    expect(parse(stream, sizes)).toEqual(expected)
  }
})

describe('a length beyond 4096', () => {
  test.each([4097, 65536, 0x80000000, 0xffffffff])('of %i is no message, however it arrives', (length) => {
    const bad = storePacket(2, '')
    new DataView(bad.buffer).setUint32(12, length, true)
    for (const size of [1, 7, 16]) expect(parse(join(storePacket(6, ''), bad), [size])).toEqual(['6 0 0 ', 'invalid'])
  })
})

test('the parser says how many bytes it needs', () => {
  const parser = new PacketParser()
  const bytes = storePacket(2, '/abc\0')
  expect(parser.needed).toBe(16)
  parser.feed(bytes.slice(0, 5))
  expect(parser.next()).toBe('more')
  expect(parser.needed).toBe(11)
  parser.feed(bytes.slice(5, 18))
  expect(parser.next()).toBe('more')
  expect(parser.needed).toBe(3)
  parser.feed(bytes.slice(18))
  expect(parser.next()).toBe('message')
  expect(parser.needed).toBe(16)
})

test('a parser that is put off half-way keeps what it has', () => {
  const parser = new PacketParser()
  parser.feed(stream.slice(0, 30))
  parser.next()
  parser.next()
  const kept = parser.save()
  const resumed = new PacketParser()
  resumed.feed(join(kept, stream.slice(30)))
  expect(resumed.next()).toBe('message')
  expect(resumed.requestId).toBe(0xffffffff)
})

test('random bytes never make it throw', () => {
  const random = new SeededRandom(9)
  for (let i = 0; i < 500; i += 1) {
    const noise = new Uint8Array(below(random, 9000))
    fillRandom(random, noise)
    expect(() => parse(noise, [1 + below(random, 5000)])).not.toThrow()
  }
})
