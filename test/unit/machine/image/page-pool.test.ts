/** Pages that are taken into a pool, copied or taken over as they are. */
import { expect, test } from 'vitest'
import { PagePool, ZERO_PAGE } from '../../../../src/machine/image/page-pool.ts'

const WORDS = 1024

/** So many pages, each filled with its number plus one. */
const pages = (count: number): Uint32Array => Uint32Array.from({ length: count * WORDS }, (_, i) => Math.floor(i / WORDS) + 1)

test.each([1, 255, 256, 257, 700])('%i pages are taken over without a copy, and are pages as any others', (count) => {
  const pool = new PagePool()
  const words = pages(count)
  const ids = pool.adopt(words)
  expect([ids.length, pool.pages, ids.includes(ZERO_PAGE), new Set(ids).size]).toEqual([count, count, false, count])
  expect(pool.wordsOf(ids[count - 1]!).buffer).toBe(words.buffer)
  const copied = new PagePool()
  for (const [i, id] of ids.entries()) {
    expect(pool.equals(id, words, i * WORDS)).toBe(true)
    expect(pool.hash(id)).toEqual(copied.hash(copied.take(words, i * WORDS)))
  }
  // One that is copied in beside them, and one in the place of one that is gone, are nobody else's.
  const beside = pool.take(words, 0)
  pool.hold(ids[0]!)
  pool.drop(ids[0]!)
  expect(pool.equals(ids[0]!, words, 0)).toBe(true)
  pool.drop(ids[count - 1]!)
  const instead = pool.take(Uint32Array.from({ length: WORDS }, () => 7777), 0)
  expect([instead, beside, ...ids.slice(0, -1)].filter((id) => pool.wordsOf(id)[5] === 7777)).toEqual([instead])
  for (const id of [instead, beside, ...ids.slice(0, -1)]) pool.drop(id)
  expect(pool.pages).toBe(0)
  expect(pool.wordsOf(pool.take(pages(1), 0))[9]).toBe(1)
})

test('pages that are awaited come by segments, once, and their source is let go when all have come or gone', () => {
  const pool = new PagePool()
  const words = pages(200)
  const read: number[] = []
  let released = 0
  const source = {
    read: (target: Uint32Array, first: number) => {
      read.push(first)
      target.set(words.subarray(first * WORDS, first * WORDS + target.length))
    },
    release: () => { released += 1 },
  }
  const ids = pool.awaitPages(200, source)
  expect([pool.pages, new Set(ids).size, ids.includes(ZERO_PAGE), read.length]).toEqual([200, 200, false, 0])
  const target = new Uint32Array(2 * WORDS)
  pool.copy(ids[3]!, { target, at: 0, count: 2 })
  expect([target[0], target[WORDS], pool.equals(ids[63]!, words, 63 * WORDS), read]).toEqual([4, 5, true, [0]])
  // A place in what has not come is another's once its page is gone, and what lies beside it still comes.
  pool.drop(ids[70]!)
  const instead = pool.take(Uint32Array.from({ length: WORDS }, () => 7777), 0)
  expect([pool.wordsOf(instead)[5], pool.wordsOf(ids[71]!)[5], read]).toEqual([7777, 72, [0, 64]])
  for (const id of ids.slice(128, 192)) pool.drop(id)
  expect(released).toBe(0)
  expect([pool.hash(ids[199]!), released]).toEqual([pool.hash(pool.take(words, 199 * WORDS)), 1])
  expect(read).toEqual([0, 64, 192])
})
