import { describe, expect, test } from 'vitest'
import { ByteSource } from '../../../../src/toolstack/stream/byte-source.ts'
import { MAX_RECORD_SIZE, PAGE_TYPE } from '../../../../src/toolstack/stream/format.ts'
import { SaveStreamReader } from '../../../../src/toolstack/stream/reader.ts'
import {
  type ImageRecord, type LibxlRecord, decodeImageRecord, encodeImageRecord,
} from '../../../../src/toolstack/stream/records.ts'
import { SaveStreamWriter } from '../../../../src/toolstack/stream/writer.ts'
import { SeededRandom, XenError, below } from '../../../../src/util/index.ts'

const page = (fill: number): Uint8Array => new Uint8Array(4096).fill(fill)

/** One of each record that a stream may hold. */
const imageRecords: readonly ImageRecord[] = [
  { type: 'pv-info', guestWidth: 8, pageTableLevels: 4 },
  { type: 'cpuid-policy', leaves: [{ leaf: 0, subleaf: 0xffffffff, eax: 1, ebx: 2, ecx: 3, edx: 4 }] },
  { type: 'msr-policy', msrs: [{ index: 0xce, value: 0x8000_0000_0000_0001n }] },
  { type: 'static-data-end' },
  { type: 'p2m-frames', startPfn: 0, endPfn: 1023, frames: [0x1234, 0x12_3456_7890] },
  {
    type: 'page-data',
    pages: [
      { pfn: 0, type: PAGE_TYPE.NORMAL, contents: page(1) },
      { pfn: 5, type: PAGE_TYPE.INVALID, contents: undefined },
      { pfn: 0x12_3456_789a, type: PAGE_TYPE.PINNED_L4, contents: page(2) },
    ],
  },
  { type: 'tsc-info', mode: 0, khz: 2_600_000, nanoseconds: 0x1_0000_0001n, incarnation: 2 },
  { type: 'shared-info', page: page(3) },
  { type: 'vcpu-basic', vcpu: 0, blob: new Uint8Array(5168).fill(4) },
  { type: 'vcpu-extended', vcpu: 0, blob: new Uint8Array(64).fill(5) },
  { type: 'vcpu-xsave', vcpu: 1, blob: new Uint8Array(13).fill(6) },
  { type: 'vcpu-msrs', vcpu: 1, msrs: [{ index: 0xc0000103, value: 7n }] },
  { type: 'hvm-context', context: new Uint8Array(24).fill(7) },
  { type: 'hvm-params', params: [{ index: 1, value: 0xfeffcn }, { index: 12, value: 0x1_0000_0000n }] },
  { type: 'verify' },
  { type: 'checkpoint' },
  { type: 'end' },
]

const containerRecords: readonly LibxlRecord[] = [
  { type: 'emulator-xenstore', emulator: 0, index: 0, entries: [['physmap/1', '2'], ['empty', '']] },
  { type: 'emulator-context', emulator: 2, index: 0, blob: new Uint8Array([1, 2, 3]) },
  { type: 'checkpoint-state', id: 3 },
  { type: 'checkpoint-end' },
  { type: 'end' },
]

/** A whole stream as the chunks that the writer gave to its sink. */
async function written(): Promise<Uint8Array[]> {
  const chunks: Uint8Array[] = []
  const writer = new SaveStreamWriter({ write: (chunk) => void chunks.push(chunk.slice()) })
  await writer.writeXlHeader('{"c_info": {"name": "Grüße"}}')
  await writer.writeContainerHeader()
  await writer.writeContainerRecord({ type: 'libxc-context' })
  await writer.writeImageHeader({ major: 4, minor: 17 }, 'pv')
  for (const record of imageRecords) await writer.writeImageRecord(record)
  for (const record of containerRecords) await writer.writeContainerRecord(record)
  expect(writer.offset).toBe(chunks.reduce((sum, chunk) => sum + chunk.length, 0))
  return chunks
}

function join(chunks: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0))
  let at = 0
  for (const chunk of chunks) {
    all.set(chunk, at)
    at += chunk.length
  }
  return all
}

const pieces = (all: Uint8Array, size: number): Uint8Array[] =>
  Array.from({ length: Math.ceil(all.length / size) }, (_, i) => all.subarray(i * size, (i + 1) * size))

/** Reads what {@link written} wrote. */
async function readAll(
  chunks: Iterable<Uint8Array>,
): Promise<{ config: string; image: ImageRecord[]; container: LibxlRecord[] }> {
  const reader = new SaveStreamReader(chunks)
  const { config } = await reader.readXlHeader()
  await reader.readContainerHeader()
  const container: LibxlRecord[] = [await reader.readContainerRecord()]
  expect(await reader.readImageHeader()).toEqual({ kind: 'pv', version: 3, xenMajor: 4, xenMinor: 17 })
  const image: ImageRecord[] = []
  do image.push(await reader.readImageRecord()); while (image.at(-1)!.type !== 'end')
  do container.push(await reader.readContainerRecord()); while (container.at(-1)!.type !== 'end')
  return { config, image, container }
}

describe('a saved-domain stream', () => {
  test.each([1, 7, 4096, 1 << 20])('reads back as it was written, in pieces of %i bytes', async (size) => {
    const result = await readAll(pieces(join(await written()), size))
    expect(result.config).toBe('{"c_info": {"name": "Grüße"}}')
    expect(result.image).toEqual(imageRecords)
    expect(result.container).toEqual([{ type: 'libxc-context' }, ...containerRecords])
  })

  test('cut anywhere it is refused with a typed error that says where', async () => {
    const all = join(await written())
    const random = new SeededRandom(7)
    for (let i = 0; i < 200; i += 1) {
      const cut = all.subarray(0, below(random, all.length - 1))
      const error = await readAll([cut]).catch((caught: unknown) => caught)
      expect(XenError.is(error, 'INVALID_STREAM')).toBe(true)
      expect((error as XenError).details).toHaveProperty('offset')
    }
  })

  test('with any byte changed it is refused with a typed error or read as other content, never otherwise', async () => {
    const all = join(await written())
    const random = new SeededRandom(8)
    for (let i = 0; i < 500; i += 1) {
      const changed = all.slice()
      changed[below(random, all.length)]! ^= 1 << below(random, 8)
      const error = await readAll([changed]).then(
        () => undefined,
        (caught: unknown) => caught,
      )
      if (error !== undefined && !XenError.is(error, 'INVALID_STREAM'))
        expect((error as Error).name).toBe('AssertionError')
    }
  })
})

describe('an image record', () => {
  const dataView = (body: Uint8Array): DataView => new DataView(body.buffer, body.byteOffset, body.byteLength)
  const damaged = (record: ImageRecord, damage: (view: DataView) => void): (() => ImageRecord) => {
    const raw = encodeImageRecord(record)
    const body = raw.body.slice()
    damage(dataView(body))
    return () => decodeImageRecord({ type: raw.type, body })
  }
  const pages: ImageRecord = { type: 'page-data', pages: [{ pfn: 1, type: PAGE_TYPE.NORMAL, contents: page(1) }] }

  test.each([
    ['no pages', damaged(pages, (v) => v.setUint32(0, 0, true)), /no pages/],
    ['more pages than fit', damaged(pages, (v) => v.setUint32(0, 0xffffffff, true)), /do not fit/],
    ['a reserved page type', damaged(pages, (v) => v.setUint32(12, 0x5000_0000, true)), /type 5 is reserved/],
    ['reserved page number bits', damaged(pages, (v) => v.setUint32(12, 0x0010_0000, true)), /reserved bits/],
    ['contents where there are none', damaged(pages, (v) => v.setUint32(12, 0xf000_0000, true)), /too many/],
    ['a wrong guest width', damaged(imageRecords[0]!, (v) => v.setUint8(0, 2)), /guest width 2/],
    ['wrong levels', damaged(imageRecords[0]!, (v) => v.setUint8(1, 5)), /5 page-table levels/],
    ['a p2m that ends before it starts', damaged(imageRecords[4]!, (v) => v.setUint32(0, 5000, true)), /beyond end/],
    ['an unknown mandatory type', () => decodeImageRecord({ type: 0x77, body: new Uint8Array(0) }), /0x77 is unknown/],
    ['an empty HVM context', () => decodeImageRecord({ type: 0x09, body: new Uint8Array(0) }), /HVM_CONTEXT: it is empty/],
    ['fewer HVM parameters than it says', () => decodeImageRecord({ type: 0x0a, body: new Uint8Array([2, ...new Array<number>(23).fill(0)]) }), /2 parameters do not fill/],
    ['a record of old toolstacks', () => decodeImageRecord({ type: 0x0b, body: new Uint8Array(8) }), /0xb is unknown/],
    ['a short shared info', () => decodeImageRecord({ type: 0x07, body: new Uint8Array(8) }), /not a page/],
  ])('with %s is refused', (_, decode, message) => {
    expect(decode).toThrow(message)
    expect(decode).toThrow(expect.objectContaining({ code: 'INVALID_STREAM' }))
  })

  test('that is optional and unknown is passed over', () => {
    expect(decodeImageRecord({ type: 0x8000_0077, body: new Uint8Array(3) })).toEqual({
      type: 'unknown',
      number: 0x8000_0077,
    })
  })
})

test.each([MAX_RECORD_SIZE + 1, 128 << 20, 0xffff_ffff])('a record of %i bytes, which is longer than any that is written, is refused before it is read', async (size) => {
  const head = new Uint8Array(8)
  new DataView(head.buffer).setUint32(4, size, true)
  let asked = 0
  const chunks = (function* () {
    yield head
    for (;;) {
      asked += 1
      yield new Uint8Array(1 << 16)
    }
  })()
  await expect(new SaveStreamReader(chunks).readImageRecord()).rejects.toMatchObject({
    code: 'INVALID_STREAM', message: expect.stringContaining(`${MAX_RECORD_SIZE} are allowed`) as string,
  })
  expect(asked).toBe(0)
})

describe('a byte source', () => {
  test('joins pieces and counts offsets', async () => {
    const source = new ByteSource([new Uint8Array([1]), new Uint8Array(0), new Uint8Array([2, 3, 4])])
    expect([...(await source.read(3, 'three'))]).toEqual([1, 2, 3])
    expect(source.offset).toBe(3)
    await expect(source.read(2, 'the tail')).rejects.toThrow(/ends inside the tail: 2 bytes wanted at offset 3, 1 left/)
  })
})
