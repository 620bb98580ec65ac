/** The stream of a protected domain: what it takes its memory from must not show in it. */
import { describe, expect, test } from 'vitest'
import { CheckpointStream } from '../../../../src/toolstack/remus/checkpoint-stream.ts'
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

describe('a stream of checkpoints', () => {
  test('holds the same whether its memory is used again from one epoch to the next or not', async () => {
    const [again, fresh] = [await written(true), await written(false)]
    expect(again.bytes.equals(fresh.bytes)).toBe(true)
    expect(again.memory.size).toBeLessThan(fresh.memory.size)
  })
})
