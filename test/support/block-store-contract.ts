/** What every block store must do, as one suite: a store's own test names it and says how to make one. */
import { describe, expect, test } from 'vitest'
import type { BlockStore } from '../../src/drivers/index.ts'
import { SeededRandom, XenError, below, fillRandom } from '../../src/util/index.ts'

/** A writable store of `size` bytes that holds zeros, and how to be rid of it. */
export interface StoreMaker {
  make(size: number): BlockStore
  makeReadOnly?(size: number): BlockStore
  cleanUp?(): void
}

const SIZE = 100 * 4096 + 512

/** Declares the suite for one kind of store. */
export function blockStoreContract(name: string, maker: StoreMaker): void {
  describe(`${name}, as a block store`, () => {
    const using = async (store: BlockStore, work: (store: BlockStore) => Promise<void>): Promise<void> => {
      try {
        await work(store)
      } finally {
        await store.close()
        maker.cleanUp?.()
      }
    }
    const code = async (call: () => void | Promise<void>): Promise<string> => {
      try {
        await call()
      } catch (error) {
        if (XenError.is(error)) return error.code
        throw error
      }
      return 'nothing thrown'
    }

    test('has the size it was made with and holds zeros', () => using(maker.make(SIZE), async (store) => {
      const bytes = new Uint8Array(SIZE).fill(1)
      await store.read(0, bytes)
      expect([store.size, store.readOnly, bytes.every((byte) => byte === 0)]).toEqual([SIZE, false, true])
    }))

    test('reads back what was written and discarded, like an array of bytes', () => using(maker.make(SIZE), async (store) => {
      const model = new Uint8Array(SIZE)
      const random = new SeededRandom(21)
      for (let i = 0; i < 300; i += 1) {
        const length = 512 * (1 + below(random, 40))
        const offset = 512 * below(random, (SIZE - length) / 512 + 1)
        const bytes = new Uint8Array(length)
        if (below(random, 5) === 0 && store.discard !== undefined) {
          await store.discard(offset, length)
          model.fill(0, offset, offset + length)
        } else if (below(random, 2) === 0) {
          fillRandom(random, bytes)
          await store.write(offset, bytes)
          model.set(bytes, offset)
        } else {
          await store.read(offset, bytes)
          expect(Buffer.compare(bytes, model.subarray(offset, offset + length))).toBe(0)
        }
      }
      await store.flush()
      const all = new Uint8Array(SIZE)
      await store.read(0, all)
      expect(Buffer.compare(all, model)).toBe(0)
    }))

    test('keeps apart two writes that are under way in one cluster', () => using(maker.make(SIZE), async (store) => {
      const parts = Array.from({ length: 8 }, (_, i) => new Uint8Array(512).fill(i + 1))
      await Promise.all(parts.map((part, i) => store.write(4096 + i * 512, part)))
      const bytes = new Uint8Array(4096)
      await store.read(4096, bytes)
      expect(Array.from({ length: 8 }, (_, i) => bytes[i * 512 + 511])).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    }))

    test('refuses what is not within it, and changes nothing', () => using(maker.make(SIZE), async (store) => {
      const bytes = new Uint8Array(1024).fill(7)
      for (const offset of [SIZE - 512, SIZE, -512, 0.5, Number.NaN, 2 ** 53]) {
        expect([offset, await code(() => store.read(offset, bytes))]).toEqual([offset, 'INVALID_ARGUMENT'])
        expect([offset, await code(() => store.write(offset, bytes))]).toEqual([offset, 'INVALID_ARGUMENT'])
      }
      const end = new Uint8Array(512)
      await store.read(SIZE - 512, end)
      expect(end.every((byte) => byte === 0)).toBe(true)
    }))

    test.skipIf(maker.makeReadOnly === undefined)('refuses to be written when it is read-only', () =>
      using(maker.makeReadOnly!(SIZE), async (store) => {
        expect(store.readOnly).toBe(true)
        expect(await code(() => store.write(0, new Uint8Array(512)))).toBe('PERMISSION_DENIED')
        if (store.discard !== undefined) expect(await code(() => store.discard!(0, 512))).toBe('PERMISSION_DENIED')
        await store.read(0, new Uint8Array(512))
      }))
  })
}
