/** The encoding of protocol buffers, read by a library of others. */
import protobuf from 'protobufjs'
import { expect, test } from 'vitest'
import { MessageWriter } from '../../../src/debug/protobuf/message-writer.ts'

const { root } = protobuf.parse('syntax = "proto3"; message M { int64 a = 1; repeated uint64 b = 2; fixed64 c = 3; string d = 4; M e = 5; bytes f = 1000; }')
const M = root.lookupType('M')
const read = (bytes: Uint8Array): unknown => M.toObject(M.decode(bytes), { longs: String, bytes: Array })

test('whatever is written is what another reader reads', () => {
  const bytes = new MessageWriter(1).number(1, -5).numbers(2, [0, 127, 128, 2 ** 53 - 1, (1n << 64n) - 1n]).fixed64(3, -1n).text(4, 'wörter')
    .message(5, (inner) => inner.number(1, 300)).raw(1000, Uint8Array.of(1, 2, 3)).take()
  expect(read(bytes)).toEqual({
    a: '-5', b: ['0', '127', '128', '9007199254740991', '18446744073709551615'], c: '18446744073709551615', d: 'wörter', e: { a: '300' }, f: [1, 2, 3],
  })
})

test('a writer begins anew behind what was taken', () => {
  const writer = new MessageWriter()
  expect([writer.number(1, 1).take(), writer.take(), writer.number(1, 2).take()]).toEqual([Uint8Array.of(8, 1), new Uint8Array(0), Uint8Array.of(8, 2)])
})
