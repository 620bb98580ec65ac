import { describe, expect, test } from 'vitest'
import { isWellFormed, namesAtHand, parentPath, pathNames, pathOfBytes } from '../../../../src/xenstore/tree/known-paths.ts'
import { SeededRandom, below } from '../../../../src/util/index.ts'

const bytesOf = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0))
const read = (text: string): string => pathOfBytes(bytesOf(text), 0, text.length)

/** What the table must never change. */
const facts = (path: string): unknown => ({
  wellFormed: isWellFormed(path),
  names: isWellFormed(path) ? pathNames(path) : undefined,
  parent: parentPath(path),
})

const PATHS: readonly (readonly [string, boolean, readonly string[], string])[] = [
  ['/', true, [], '/'],
  ['/a', true, ['a'], '/'],
  ['/local/domain/1/device/vbd/51712', true, ['local', 'domain', '1', 'device', 'vbd', '51712'], '/local/domain/1/device/vbd'],
  ['@releaseDomain', true, [], '/'],
  ['/a/', false, [], '/a'],
  ['//a', false, [], '/'],
  ['/a b', false, [], '/'],
  ['/\xe9', false, [], '/'],
  [`/${'x'.repeat(127)}`, true, ['x'.repeat(127)], '/'],
  [`/${'x'.repeat(128)}`, true, ['x'.repeat(128)], '/'],
  [`/y/${'x'.repeat(3000)}`, true, ['y', 'x'.repeat(3000)], '/y'],
]

describe.each(PATHS)('the path %j', (path, wellFormed, names, parent) => {
  test.each(['at first', 'when it is kept', 'when it is found'])('is understood %s', () => {
    expect(read(path)).toBe(path)
    expect(isWellFormed(path)).toBe(wellFormed)
    if (wellFormed) expect(pathNames(path)).toEqual(names)
    expect(parentPath(path)).toBe(parent)
  })

  test('is understood as text alone', () => {
    read('/another')
    expect(facts(path)).toEqual({ wellFormed, names: wellFormed ? names : undefined, parent })
  })
})

test('a path is taken out of the middle of a message', () => {
  const bytes = bytesOf('noise/a/b\0value')
  for (let i = 0; i < 3; i += 1) expect(pathOfBytes(bytes, 5, 9)).toBe('/a/b')
})

test('the names of the path that was read last are at hand, those of others are not', () => {
  read('/a/b')
  expect(namesAtHand('/a/b')).toEqual(['a', 'b'])
  expect(namesAtHand('/a')).toBeUndefined()
  // Equal as text is enough: nobody has to pass on the very same string.
  expect(namesAtHand(['', 'a', 'b'].join('/'))).toEqual(['a', 'b'])
})

test('many paths that crowd each other out are all understood', () => {
  const random = new SeededRandom(7)
  const paths = Array.from({ length: 6000 }, (_, i) => `/local/domain/${i}/n${below(random, 10)}`)
  const wrong: string[] = []
  for (let i = 0; i < 30_000; i += 1) {
    const path = paths[below(random, i % 3 === 0 ? 50 : paths.length)]!
    if (read(path) !== path || `/${pathNames(path).join('/')}` !== path) wrong.push(path)
  }
  expect(wrong).toEqual([])
}, 60_000)

/** The table's own hash, for finding two paths that it cannot tell apart by it. */
function hashOf(text: string): number {
  let hash = 0
  for (const character of text) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193)
  return hash
}

test('two paths of the same hash are told apart by their bytes', () => {
  const seen = new Map<number, string>()
  const pairs: (readonly [string, string])[] = []
  for (let i = 0; pairs.length < 3; i += 1) {
    const path = `/p${i.toString(36).padStart(6, '0')}`
    const other = seen.get(hashOf(path))
    if (other !== undefined) pairs.push([other, path])
    seen.set(hashOf(path), path)
  }
  for (const [one, other] of pairs) {
    for (const path of [one, one, one, other, one, other, other, other, one]) expect(read(path)).toBe(path)
  }
}, 60_000)
