import { expect, test } from 'vitest'
import type { BlockStore } from '../../../../src/drivers/index.ts'
import { MemoryBlockStore, OverlayBlockStore, checkSize } from '../../../../src/drivers/index.ts'
import { blockStoreContract } from '../../../support/block-store-contract.ts'

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

blockStoreContract('a disk in memory', {
  make: (size) => new MemoryBlockStore(size), makeReadOnly: (size) => new MemoryBlockStore(size, { readOnly: true }),
})
blockStoreContract('an overlay over memory', { make: (size) => new OverlayBlockStore(new MemoryBlockStore(size, { readOnly: true })) })
blockStoreContract('an overlay over a store that answers late', { make: (size) => new OverlayBlockStore(late(new MemoryBlockStore(size))) })

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
