/** The contract of block stores finds what is wrong with a store: each row is one that does one thing wrong. */
import { expect, test } from 'vitest'
import { MemoryBlockStore, type BlockStore } from '../../../src/drivers/index.ts'
import { blockStoreContract } from '../../../src/testing/index.ts'

type Change = (store: MemoryBlockStore) => Partial<BlockStore>

/** A store in memory with one method of its own. */
const changed = (change: Change) => (size: number): BlockStore => {
  const store = new MemoryBlockStore(size)
  const base: BlockStore = {
    size: store.size, readOnly: false, read: (offset, into) => store.read(offset, into), write: (offset, from) => store.write(offset, from),
    flush: () => store.flush(), close: () => store.close(), discard: (offset, length) => store.discard(offset, length),
  }
  return { ...base, ...change(store) }
}

const rows: readonly (readonly [what: string, change: Change, check: RegExp])[] = [
  ['loses a write', () => ({ write: () => undefined }), /reads back|keeps apart/],
  ['is smaller than it was made', (store) => ({ size: store.size - 512 }), /has the size/],
  ['is full of something', (store) => ({ read: (offset, into) => { store.read(offset, into); into[0] = 9 } }), /holds zeros/],
  ['forgets to discard', () => ({ discard: () => undefined }), /reads back/],
  ['writes whole clusters from a copy', (store) => ({
    write: async (offset, from) => {
      const start = Math.floor(offset / 4096) * 4096
      const cluster = new Uint8Array(Math.min(4096, store.size - start))
      if (offset + from.length > start + cluster.length) return store.write(offset, from)
      store.read(start, cluster)
      await Promise.resolve()
      cluster.set(from, offset - start)
      store.write(start, cluster)
    },
  }), /keeps apart/],
  ['reads beyond its end', (store) => ({ read: (offset, into) => { if (offset + into.length <= store.size) store.read(offset, into) } }), /refuses what is not within/],
]

test.each(rows)('a store that %s is found', async (_, change, expected) => {
  const failed: string[] = []
  for (const { name, skip, run } of blockStoreContract({ make: changed(change) })) {
    if (skip === undefined) await run().catch(() => failed.push(name))
  }
  expect(failed.join('; ')).toMatch(expected)
})

test('one that says read-only and is written is found', async () => {
  const make = (size: number): BlockStore => new MemoryBlockStore(size)
  const lying = (size: number): BlockStore => ({ ...changed(() => ({}))(size), readOnly: true })
  const check = blockStoreContract({ make, makeReadOnly: lying }).at(-1)!
  expect(check.skip).toBeUndefined()
  await expect(check.run()).rejects.toThrow('is read-only and is written')
})
