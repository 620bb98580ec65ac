import { describe, expect, test } from 'vitest'
import { ByteSource } from '../../../../src/toolstack/stream/byte-source.ts'
import { PAGE_TYPE } from '../../../../src/toolstack/stream/format.ts'
import {
  decodePageBatch, encodeNamedPages, encodePageSource, entriesOf, sourceOf, type PageEntry,
} from '../../../../src/toolstack/stream/page-data.ts'
import { SaveStreamReader } from '../../../../src/toolstack/stream/reader.ts'
import { SaveStreamWriter } from '../../../../src/toolstack/stream/writer.ts'
import { transportPair } from '../../../../src/toolstack/migrate/transport.ts'

const page = (fill: number): Uint8Array => new Uint8Array(4096).fill(fill)
const fresh = (size: number): Uint8Array => new Uint8Array(size).fill(0xee)
const ENTRIES: readonly PageEntry[] = [
  { pfn: 3, type: PAGE_TYPE.NORMAL, contents: page(1) },
  { pfn: 4, type: PAGE_TYPE.INVALID, contents: undefined },
  { pfn: 0x12_3456_789a, type: PAGE_TYPE.PINNED_L4, contents: page(2) },
  { pfn: 9, type: PAGE_TYPE.ALLOCATE_ONLY, contents: undefined },
]

describe('pages in bulk', () => {
  test('are the same bytes as pages one by one, and come back as they were', () => {
    const body = encodePageSource(sourceOf(ENTRIES), fresh)
    expect(body.length).toBe(8 + 4 * 8 + 2 * 4096)
    expect(Buffer.from(body.subarray(0, 40)).toString('hex')).toBe(
      '04000000' + '00000000' + '0300000000000000' + '04000000000000f0' + '9a785634120000c0' + '09000000000000e0',
    )
    const batch = decodePageBatch(body)
    expect([...batch.pfns]).toEqual([3, 4, 0x12_3456_789a, 9])
    expect([...batch.types]).toEqual([0, 15, 12, 14])
    expect(entriesOf(batch)).toEqual(ENTRIES)
  })

  test('that are only named are the same bytes however they are written, and are told apart from others', () => {
    const pfns = Uint32Array.of(7, 8, 0xffff_fffe)
    const entries = Array.from(pfns, (pfn): PageEntry => ({ pfn, type: PAGE_TYPE.ALLOCATE_ONLY, contents: undefined }))
    const body = encodeNamedPages(pfns, fresh)
    expect(body).toEqual(encodePageSource(sourceOf(entries), fresh))
    const apart = new Uint8Array(body.length + 1)
    apart.set(body, 1)
    for (const [each, isNamed] of [[body, true], [apart.subarray(1), false], [encodePageSource(sourceOf(ENTRIES), fresh), false]] as const) {
      const batch = decodePageBatch(each)
      expect(batch.isNamed).toBe(isNamed)
      expect(entriesOf(batch)).toEqual(each.length === body.length ? entries : ENTRIES)
    }
  })

  test.each<[string, (body: Uint8Array) => Uint8Array, RegExp]>([
    ['less than a header', (body) => body.slice(0, 7), /7 bytes are no record/],
    ['contents that are missing', (body) => body.slice(0, -1), /8192 bytes of contents wanted, 8191 left/],
    ['a reserved field', (body) => body.fill(1, 4, 5), /reserved field/],
  ])('with %s are refused', (_, damage, message) => {
    expect(() => decodePageBatch(damage(encodePageSource(sourceOf(ENTRIES), fresh)))).toThrow(message)
  })
})

describe('memory that is used again', () => {
  const PAGES = 40

  async function write(writer: SaveStreamWriter, records: number): Promise<void> {
    for (let fill = 1; fill <= records; fill += 1) {
      const pages = Array.from({ length: PAGES }, (_, pfn) => ({ pfn, type: PAGE_TYPE.NORMAL, contents: page(fill) }))
      await writer.writePages(sourceOf(pages))
    }
    await writer.writeImageRecord({ type: 'end' })
    await writer.flush()
  }

  test.each(['fresh', 'reused'] as const)('never changes under a reader in the same process (%s)', async (memory) => {
    const { ends: [left, right] } = transportPair()
    const writing = write(new SaveStreamWriter(left.writable as never), 50)
    const reader = new SaveStreamReader(right.readable, undefined, memory)
    const buffers = new Set<unknown>()
    for (let fill = 1; fill <= 50; fill += 1) {
      const record = await reader.readBulkRecord()
      if (record.type !== 'page-data') throw new Error(record.type)
      // Whatever the writer may do meanwhile.
      if (fill % 5 === 0) await new Promise((resolve) => setImmediate(resolve))
      expect(record.batch.contents.every((byte) => byte === fill)).toBe(true)
      buffers.add(record.batch.contents.buffer)
    }
    expect((await reader.readBulkRecord()).type).toBe('end')
    await writing
    expect(buffers.size).toBe(memory === 'reused' ? 3 : 50)
  })

  test('is given out by a source that puts pieces together only when it is asked to', async () => {
    const pieces = Array.from({ length: 64 }, (_, i) => new Uint8Array(1 << 14).fill(i))
    const read = async (memory: 'fresh' | 'reused', size: number): Promise<boolean> => {
      const source = new ByteSource(pieces, undefined, memory)
      await source.read(1, 'the first')
      const one = await source.read(size, 'one')
      const two = await source.read(size, 'another')
      return one.buffer === two.buffer
    }
    expect([await read('fresh', 1 << 17), await read('reused', 1 << 17), await read('reused', 1 << 15)]).toEqual(
      [false, true, false],
    )
  })
})
