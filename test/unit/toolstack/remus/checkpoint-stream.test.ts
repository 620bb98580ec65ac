/** The stream of a protected domain: what it takes its memory from must not show in it. */
import { describe, expect, test } from 'vitest'
import { CheckpointStream } from '../../../../src/toolstack/remus/checkpoint-stream.ts'
import { decodePageBatch } from '../../../../src/toolstack/stream/page-data.ts'
import { hasContents, IMAGE_RECORD, PAGE_TYPE } from '../../../../src/toolstack/stream/format.ts'
import { SeededRandom, below } from '../../../../src/util/index.ts'
import { PAGE_SIZE } from '../../../../src/x86/index.ts'

const EPOCHS = 12

/** Epochs of many records each, some of them of pages that are as they were, with the copy's records before them: all bytes that are sent, and the memory that they lay in. */
async function written(keepsNothing: boolean): Promise<{ readonly bytes: Buffer; readonly memory: ReadonlySet<ArrayBufferLike> }> {
  const random = new SeededRandom(7)
  const sent: Buffer[] = []
  const memory = new Set<ArrayBufferLike>()
  // Of a sink that keeps nothing, all is looked at before it is done, and not later.
  const send = async (chunk: Uint8Array): Promise<void> => {
    await Promise.resolve()
    if (chunk.length > PAGE_SIZE * 20) memory.add(chunk.buffer)
    sent.push(Buffer.from(chunk))
  }
  const stream = new CheckpointStream(send, { remembered: 64, keepsNothing })
  const record = async (): Promise<void> => {
    const pfns = Array.from({ length: 20 + below(random, 20) }, () => below(random, 200))
    const copy = (into: Uint8Array): void => pfns.forEach((pfn, i) => into.fill(below(random, 4) + pfn, i * PAGE_SIZE, (i + 1) * PAGE_SIZE))
    await stream.writer.writePages({ pfns, types: new Uint8Array(pfns.length), copy })
  }
  for (let i = 0; i < 6; i += 1) await record()
  for (let epoch = 0; epoch < EPOCHS; epoch += 1) {
    await stream.putAside()
    for (let records = 1 + below(random, 12); records > 0; records -= 1) await record()
    for (const chunk of await stream.endEpoch()) await send(chunk)
  }
  return { bytes: Buffer.concat(sent), memory }
}

/** A page as it stands in a stream: its type, and the byte with which this test fills it. */
const seen = (type: number, filling: number | undefined): string => `${type} ${filling}`
const filled = [0, 1].map((filling) => Buffer.alloc(PAGE_SIZE, filling))

/** The pages in what was sent of an epoch, in their order. */
function pagesIn(bytes: Buffer): (readonly [pfn: number, page: string])[] {
  const pages: (readonly [pfn: number, page: string])[] = []
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  for (let at = 0; at < bytes.length;) {
    const [type, length] = [view.getUint32(at, true), view.getUint32(at + 4, true)]
    if (type === IMAGE_RECORD.PAGE_DATA) {
      const batch = decodePageBatch(bytes.subarray(at + 8, at + 8 + length))
      let place = 0
      batch.pfns.forEach((pfn, i) => {
        const contents = hasContents(batch.types[i]!) ? batch.contents.subarray(place * PAGE_SIZE, ++place * PAGE_SIZE) : undefined
        pages.push([pfn, seen(batch.types[i]!, contents && filled.findIndex((page) => page.equals(contents)))])
      })
    }
    at += 8 + Math.ceil(length / 8) * 8
  }
  return pages
}

/** Epochs in which random pages get random types and contents; how often one was written as it had been written last. */
async function follow(remembered: number): Promise<number> {
  const random = new SeededRandom(remembered + 1)
  const stream = new CheckpointStream(() => Promise.resolve(), { remembered, keepsNothing: true })
  const [truth, receiver] = [new Map<number, string>(), new Map<number, string>()]
  let again = 0
  for (let epoch = 0; epoch < EPOCHS; epoch += 1) {
    await stream.putAside()
    for (let records = 0; records < 3; records += 1) {
      const pfns = [...new Set(Array.from({ length: 400 }, () => below(random, 1500)))]
      const types = Uint8Array.from(pfns, () => [PAGE_TYPE.NORMAL, PAGE_TYPE.NORMAL, PAGE_TYPE.L1, PAGE_TYPE.INVALID][below(random, 4)]!)
      const fillings = pfns.map((_, i) => (hasContents(types[i]!) ? below(random, 2) : undefined))
      pfns.forEach((pfn, i) => truth.set(pfn, seen(types[i]!, fillings[i])))
      const full = fillings.filter((filling) => filling !== undefined)
      await stream.writer.writePages({ pfns, types, copy: (into) => full.forEach((filling, i) => into.set(filled[filling]!, i * PAGE_SIZE)) })
    }
    for (const [pfn, page] of pagesIn(Buffer.concat(await stream.endEpoch()))) {
      if (receiver.get(pfn) === page) again += 1
      receiver.set(pfn, page)
    }
    expect([...truth].filter(([pfn, page]) => receiver.get(pfn) !== page)).toEqual([])
  }
  return again
}

describe('a stream of checkpoints', () => {
  test('has what every page is at the end of each epoch, and of pages that are remembered only what differs', async () => {
    expect(await follow(1500)).toBe(0)
    // Of those that are not remembered, or whose memory there is no room for, everything.
    const [some, none] = [await follow(300), await follow(0)]
    expect(some).toBeGreaterThan(0)
    expect(none).toBeGreaterThan(some)
  })

  test('holds the same whether its memory is used again from one epoch to the next or not', async () => {
    const [again, fresh] = [await written(true), await written(false)]
    expect(again.bytes.equals(fresh.bytes)).toBe(true)
    expect(again.memory.size).toBeLessThan(fresh.memory.size)
  })
})
