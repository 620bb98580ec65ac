import { expect, test } from 'vitest'
import type { BlockStore } from '../../../../src/drivers/index.ts'
import { MemoryBlockStore, OverlayBlockStore, checkSize } from '../../../../src/drivers/index.ts'
import { ClusterSet } from '../../../../src/drivers/block/cluster-set.ts'
import { SeededRandom, below } from '../../../../src/util/index.ts'
import { describeBlockStore } from '../../../support/block-store-contract.ts'

/** The same store, answering by promises. */
const late = (store: BlockStore): BlockStore => ({
  size: store.size, readOnly: store.readOnly,
  read: async (offset, target) => {
    await Promise.resolve()
    await store.read(offset, target)
  },
  write: async (offset, source) => store.write(offset, source),
  flush: () => store.flush(),
  close: () => store.close(),
})

describeBlockStore('a disk in memory', {
  make: (size) => new MemoryBlockStore(size), makeReadOnly: (size) => new MemoryBlockStore(size, { readOnly: true }),
})
describeBlockStore('an overlay over memory', { make: (size) => new OverlayBlockStore(new MemoryBlockStore(size, { readOnly: true })) })
describeBlockStore('an overlay over a store that answers late', { make: (size) => new OverlayBlockStore(late(new MemoryBlockStore(size))) })

test('an overlay leaves the disk below as it is, and can be reverted to it', async () => {
  const below = new MemoryBlockStore(8192)
  below.bytes.fill(1)
  const overlay = new OverlayBlockStore(below)
  await overlay.write(512, new Uint8Array(512).fill(2))
  const bytes = new Uint8Array(1536)
  await overlay.read(0, bytes)
  expect([bytes[0], bytes[512], bytes[1024]]).toEqual([1, 2, 1])
  expect(below.bytes.every((byte) => byte === 1)).toBe(true)
  expect(overlay.changedBytes).toBe(4096)
  overlay.revert()
  await overlay.read(0, bytes)
  expect([bytes[512], overlay.changedBytes]).toEqual([1, 0])
})

test('of a discard of a whole disk an overlay keeps a bit for each cluster, and gives back what was changed', async () => {
  const size = 64 * 2 ** 30
  const below: BlockStore = {
    size, readOnly: true, read: (_offset, target) => void target.fill(1), write: () => undefined, flush: () => undefined, close: () => undefined,
  }
  const overlay = new OverlayBlockStore(below)
  for (let i = 0; i < 100; i += 1) await overlay.write(i * 2 ** 28 + 512, new Uint8Array(4096).fill(2))
  expect(overlay.changedBytes).toBe(200 * 4096)
  await overlay.discard(0, size)
  expect(overlay.changedBytes).toBe(size / 4096 / 8)
  const bytes = new Uint8Array(8192)
  for (const offset of [0, 2 ** 28, size - 8192]) {
    await overlay.read(offset, bytes)
    expect(bytes.every((byte) => byte === 0)).toBe(true)
  }
  await overlay.write(4096 + 512, new Uint8Array(512).fill(3))
  await overlay.read(4096, bytes)
  expect([bytes[511], bytes[512], bytes[1024], bytes[4096]]).toEqual([0, 3, 0, 0])
  overlay.revert()
  await overlay.read(0, bytes)
  expect([bytes[0], overlay.changedBytes]).toEqual([1, 0])
})

test('a discard while a write waits for the store below takes what was below away, and the write stays', async () => {
  const store = late(new MemoryBlockStore(new Uint8Array(8192).fill(1)))
  const overlay = new OverlayBlockStore(store)
  const write = overlay.write(512, new Uint8Array(512).fill(2))
  await overlay.discard(0, 8192)
  await write
  const bytes = new Uint8Array(8192)
  await overlay.read(0, bytes)
  expect([bytes[0], bytes[512], bytes[1024], bytes[4096]]).toEqual([0, 2, 0, 0])
  // The same again where the cluster was ours before.
  const second = overlay.write(0, new Uint8Array(8192).fill(3).fill(4, 4096))
  const third = overlay.write(512, new Uint8Array(8192 - 512).fill(5))
  await overlay.discard(0, 4096)
  await Promise.all([second, third])
  await overlay.read(0, bytes)
  expect([bytes[0], bytes[512], bytes[4096]]).toEqual([0, 0, 5])
})

test('a set of clusters is what a set of numbers is', () => {
  const random = new SeededRandom(6)
  const set = new ClusterSet()
  const model = new Set<number>()
  const limit = 3 * 32768
  for (let i = 0; i < 400; i += 1) {
    const from = below(random, limit)
    const to = Math.min(limit, from + below(random, below(random, 4) === 0 ? 40000 : 30))
    if (below(random, 3) > 0 || to - from > 30) {
      set.addRange(from, to)
      for (let n = from; n < to; n += 1) model.add(n)
    } else {
      for (let n = from; n < to; n += 1) expect(set.delete(n)).toBe(model.delete(n))
    }
  }
  let different = 0
  for (let n = 0; n < limit + 100; n += 1) if (set.has(n) !== model.has(n)) different += 1
  expect([different, set.held <= 3 * 4096]).toEqual([0, true])
})

test('a disk over memory answers at once, and so does an overlay over it', () => {
  const overlay = new OverlayBlockStore(new MemoryBlockStore(8192))
  expect(overlay.write(512, new Uint8Array(512))).toBeUndefined()
  expect(overlay.read(0, new Uint8Array(512))).toBeUndefined()
})

test.each([0, 512, 1 << 20])('a disk can have %i bytes', (size) => {
  expect(checkSize(size)).toBe(size)
})

test.each([1, 511, -512, 512.5, Number.NaN])('a disk cannot have %d bytes', (size) => {
  expect(() => new MemoryBlockStore(size)).toThrow()
})
