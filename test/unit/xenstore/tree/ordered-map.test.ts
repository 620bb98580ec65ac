import { describe, expect, test } from 'vitest'
import { OrderedMap } from '../../../../src/xenstore/tree/ordered-map.ts'
import { SeededRandom, below } from '../../../../src/util/index.ts'

const filled = (count: number): OrderedMap<number> => {
  let map = OrderedMap.empty<number>()
  for (let i = 0; i < count; i += 1) map = map.set(`name${i}`, i)
  return map
}

describe.each([0, 1, 7, 8, 9, 32, 33, 1000, 5000])('with %i entries', (count) => {
  test('everything is found, nothing else is, and the order is that of insertion', () => {
    const map = filled(count)
    expect(map.size).toBe(count)
    expect(map.names()).toEqual(Array.from({ length: count }, (_, i) => `name${i}`))
    for (let i = 0; i < count; i += 1) expect(map.get(`name${i}`)).toBe(i)
    expect(map.get('nobody')).toBeUndefined()
    expect(map.delete('nobody')).toBe(map)
  })

  test('a change leaves every older version as it was', () => {
    const map = filled(count)
    const names = map.names()
    const longer = map.set('new', -1)
    const changed = count === 0 ? map : map.set('name0', 99)
    const shorter = map.delete('name0')
    expect(map.names()).toEqual(names)
    expect(map.get('name0')).toBe(count === 0 ? undefined : 0)
    expect(longer.names()).toEqual([...names, 'new'])
    expect(changed.names()).toEqual(names)
    expect(shorter.names()).toEqual(names.slice(1))
  })

  test('the listing is the names with a terminator each', () => {
    const map = filled(count)
    const text = map.names().map((name) => `${name}\0`).join('')
    expect(map.nameBytes).toBe(text.length)
    expect(String.fromCharCode(...map.listing())).toBe(text)
  })
})

test('names with equal hashes live side by side', () => {
  // Found by search: pairs whose 32-bit hashes in this map are equal.
  const hashOf = (name: string): number => {
    let hash = 0x811c9dc5
    for (let i = 0; i < name.length; i += 1) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193)
    return hash ^ (hash >>> 15)
  }
  const seen = new Map<number, string>()
  let pair: [string, string] | undefined
  for (let i = 0; pair === undefined; i += 1) {
    const name = `n${i.toString(36)}`
    const other = seen.get(hashOf(name))
    if (other === undefined) seen.set(hashOf(name), name)
    else pair = [other, name]
  }
  let map = filled(20)
  for (const [i, name] of pair.entries()) map = map.set(name, 100 + i)
  expect(pair.map((name) => map.get(name))).toEqual([100, 101])
  map = map.set(pair[0], 200)
  expect(pair.map((name) => map.get(name))).toEqual([200, 101])
  map = map.delete(pair[0])
  expect(pair.map((name) => map.get(name))).toEqual([undefined, 101])
  map = map.delete(pair[1])
  expect(map.names()).toEqual(filled(20).names())
})

test('random changes agree with a JavaScript map', () => {
  const random = new SeededRandom(3)
  let map = OrderedMap.empty<number>()
  const model = new Map<string, number>()
  for (let step = 0; step < 20_000; step += 1) {
    const name = `k${below(random, step < 10_000 ? 60 : 12)}`
    if (below(random, 3) === 0) {
      map = map.delete(name)
      model.delete(name)
    } else {
      map = map.set(name, step)
      model.set(name, step)
    }
    expect(map.size).toBe(model.size)
    if (step % 50 === 0) expect(map.entries()).toEqual([...model])
  }
})
