import { describe, expect, test } from 'vitest'
import { bytesOf, hexOf, packet, PACKET_SIZE, PacketReader } from '../../../../src/debug/gdb/packets.ts'
import { SeededRandom } from '../../../../src/util/index.ts'

const ascii = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0))
const texts = (reader: PacketReader, bytes: Uint8Array): string[] => reader.take(bytes).map((one) => (one.type === 'packet' ? one.text : one.type))

describe('packets of the remote protocol', () => {
  test.each([['OK', '$OK#9a'], ['', '$#00'], ['a}b#c$d*', '$a}]b}\u0003c}\u0004d}\n#ec']])('%s is written as %s', (text, written) => {
    expect(String.fromCharCode(...packet(text))).toBe(written)
    expect(texts(new PacketReader(), packet(text))).toEqual([text])
  })

  test('come however they are cut, between acknowledgements and Ctrl-C', () => {
    const bytes = ascii('+$g#67\u0003-$m0,4#fd')
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      const reader = new PacketReader()
      expect([...texts(reader, bytes.subarray(0, cut)), ...texts(reader, bytes.subarray(cut))]).toEqual(['acknowledged', 'g', 'interrupt', 'again', 'm0,4'])
    }
  })

  test.each([['a wrong sum', '$g#00'], ['no sum', '$g#zz'], ['too long', `$${'a'.repeat(PACKET_SIZE + 1)}#00`]])('with %s are damaged, and the next one is read', (_name, text) => {
    expect(texts(new PacketReader(), ascii(`${text}$g#67`))).toEqual(['damaged', 'g'])
  })

  test('one that begins anew in the middle is the later one', () => {
    expect(texts(new PacketReader(), ascii('noise$m00$g#67'))).toEqual(['g'])
  })

  test('of any text are read as they were written; noise is no packet', () => {
    const random = new SeededRandom(5)
    const reader = new PacketReader()
    for (let i = 0; i < 300; i += 1) {
      const text = String.fromCharCode(...Array.from({ length: random.next() % 40 }, () => random.next() % 256))
      expect(texts(reader, packet(text))).toEqual([text])
    }
    expect(texts(new PacketReader(), Uint8Array.from({ length: 5000 }, () => 0x40 + (random.next() % 60)))).toEqual([])
  })

  test('bytes are digits', () => {
    expect(hexOf(Uint8Array.of(0, 255, 16))).toBe('00ff10')
    expect(bytesOf('00Ff10')).toEqual(Uint8Array.of(0, 255, 16))
    expect([bytesOf('0'), bytesOf('0g')]).toEqual([undefined, undefined])
  })
})
