/** Looks at whole pages, by vectors and without: they see what a loop over the words sees, wherever the one word is that differs. */
import { describe, expect, test } from 'vitest'
import { ComparedPages } from '../../../../src/machine/image/compared-pages.ts'
import { PageLooks } from '../../../../src/machine/image/page-looks.ts'

const PAGES = 64
const WORDS = 1024

/** The last page of this memory is looked at, and the one before it. */
function setUp(vectors: boolean) {
  const memory = new WebAssembly.Memory({ initial: PAGES / 16, maximum: PAGES / 16 })
  const words = new Uint32Array(memory.buffer)
  const looks = vectors ? new PageLooks({ memory, words }) : new PageLooks({ memory, words }, { module: undefined })
  return { words, looks, pages: [PAGES - 2, PAGES - 1] }
}

describe.each([['by vectors', true], ['by words', false]])('a look at pages %s', (_, vectors) => {
  test('finds the one word that is not zero, wherever it is and whichever bit it has', () => {
    const { words, looks, pages } = setUp(vectors)
    for (const page of pages) {
      expect(looks.isZero(page)).toBe(true)
      for (let word = 0; word < WORDS; word += 1) {
        words[page * WORDS + word] = 2 ** (word % 32)
        expect([word, looks.isZero(page)]).toEqual([word, false])
        words[page * WORDS + word] = 0
      }
      // Its neighbours are not looked at.
      words[page * WORDS - 1] = 1
      expect(looks.isZero(page)).toBe(true)
      words[page * WORDS - 1] = 0
    }
  })

  test('finds the one word in which a page differs from another, wherever it is, and leaves no trace', () => {
    const { words, looks, pages } = setUp(vectors)
    const other = Uint32Array.from({ length: WORDS }, (_, i) => Math.imul(i + 1, 0x9e37_79b1))
    for (const page of pages) {
      words.set(other, page * WORDS)
      expect(looks.isSame(page, other)).toBe(true)
      for (let word = 0; word < WORDS; word += 1) {
        words[page * WORDS + word]! ^= 2 ** (word % 32)
        expect([word, looks.isSame(page, other)]).toEqual([word, false])
        words[page * WORDS + word] = other[word]!
      }
    }
    looks.end()
    expect(words.findIndex((word) => word !== 0)).toBe(pages[0]! * WORDS)
  })

  test('finds the one word in which two of its pages differ, wherever it is', () => {
    const { words, looks, pages: [one, other] } = setUp(vectors)
    for (let i = 0; i < WORDS; i += 1) words[one! * WORDS + i] = words[other! * WORDS + i] = Math.imul(i + 1, 0x9e37_79b1)
    expect([looks.areSame(one!, other!), looks.areSame(other!, one!), looks.areSame(one!, one!), looks.areSame(one!, 0)]).toEqual([true, true, true, false])
    for (let word = 0; word < WORDS; word += 1) {
      words[other! * WORDS + word]! ^= 2 ** (word % 32)
      expect([word, looks.areSame(one!, other!), looks.areSame(other!, one!)]).toEqual([word, false, false])
      words[other! * WORDS + word] = words[one! * WORDS + word]!
    }
  })
})

test('pages that are compared keep what they hold when there is room for more', () => {
  const pages = ComparedPages.make(16)!
  pages.bytes.fill(7, 3 * 4096, 4 * 4096)
  expect(pages.grow(40)).toBe(true)
  expect(pages.places).toBe(48)
  pages.copy(3, 47)
  expect([pages.areSame(3, 47), pages.areSame(3, 46), pages.bytes.length]).toEqual([true, false, 48 * 4096])
  expect(pages.grow(2 ** 20 + 1)).toBe(false)
  expect(pages.areSame(3, 47)).toBe(true)
})
