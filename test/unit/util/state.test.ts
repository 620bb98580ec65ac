/** The one form of state: shapes, parts, trees, hashes, differences. */
import { describe, expect, test } from 'vitest'
import {
  XenError, badState, compareStates, hashParts, hashState, part, partSet, partTree, settle, shape,
  type Part, type SavedPart, type SavedTree, type StateOf, type Stateful,
} from '../../../src/util/index.ts'

const counterShape = shape.record({ count: shape.whole(0, 9), names: shape.list(shape.text(4)), words: shape.array(Uint32Array, 2) })

/** A part that refuses a count of 7, which its shape lets through. */
class Counter implements Stateful<StateOf<typeof counterShape>> {
  count = 0
  names: string[] = []
  words = Uint32Array.of(1, 2)

  save() {
    return { count: this.count, names: [...this.names], words: this.words.slice() }
  }

  load({ count, names, words }: StateOf<typeof counterShape>): void {
    if (count === 7) throw badState('the count is 7')
    this.count = count
    this.names = [...names]
    this.words = words.slice()
  }
}

const counterPart = (counter: Counter, name = 'counter'): Part => part({ name, version: 3, shape: counterShape }, counter)

function refusalOf(work: () => void): { message: string; part: unknown } {
  try {
    work()
  } catch (error) {
    if (XenError.is(error, 'INVALID_STATE')) return { message: error.message, part: error.details['part'] }
    throw error
  }
  throw new Error('nothing was refused')
}

describe('shapes', () => {
  test.each([
    [shape.whole(0, 3), 4, ' must be a whole number from 0 to 3, got 4'],
    [shape.whole(0, 3), 1.5, ' must be a whole number from 0 to 3, got 1.5'],
    [shape.number, NaN, ' must be a number from -Infinity to Infinity, got NaN'],
    [shape.wide(8), 256n, ' must be a whole number of 8 bits, got 256n'],
    [shape.list(shape.flag, 1), [true, false], ' must have 0 to 1 elements, got 2'],
    [shape.list(shape.flag), new Array(1), '[0] must be true or false, got undefined'],
    [shape.tuple(shape.flag, shape.word), [true], ' must be a list of 2, got [true]'],
    [shape.record({ a: shape.word }), { a: 1, b: 2 }, ' has a field "b", which is unknown'],
    [shape.record({ a: shape.word }), {}, '.a must be a whole number from 0 to 4294967295, got undefined'],
    [shape.record({ a: shape.word }), Object.create({ a: 1 }) as object, ' must be a record'],
    [shape.array(Uint8Array, 4), new Uint16Array(4), ' must be a Uint8Array'],
    [shape.array(Uint8Array, 4), new Uint8Array(5), ' must have 4 elements, got 5'],
    [shape.variant('kind', { on: shape.record({ kind: shape.oneOf('on') }) }), { kind: 'toString' }, '.kind must be one of on, got "toString"'],
    [shape.where(shape.word, (value) => (value === 5 ? 'is five' : undefined)), 5, ' is five'],
    [shape.dictionary(shape.word), JSON.parse('{ "__proto__": 1 }') as object, '.__proto__ is no name'],
  ])('say what is wrong and where (%#)', (one, value, wrong) => {
    expect((one as (value: unknown) => string | undefined)(value)).toContain(wrong)
  })

  test('accept what they describe, and an optional field that is absent', () => {
    const one = shape.record<{ a: number; b?: string | undefined }>({ a: shape.word, b: shape.optional(shape.text(2)) })
    expect([one({ a: 1 }), one({ a: 1, b: undefined }), one({ a: 1, b: 'xy' })]).toEqual([undefined, undefined, undefined])
    expect(one({ a: 1, b: 'xyz' })).toContain('.b must be a text')
  })
})

describe('a part', () => {
  test('comes back from a structured clone of what it saved', () => {
    const counter = new Counter()
    Object.assign(counter, { count: 4, names: ['a'], words: Uint32Array.of(7, 8) })
    const copy = new Counter()
    counterPart(copy).load(structuredClone(counterPart(counter).save()))
    expect(copy).toEqual(counter)
  })

  test.each([
    ['nothing', undefined], ['a list', []], ['no state', { version: 3 }], ['more than it should', { version: 3, state: {}, more: 1 }],
    ['another version', { version: 2, state: new Counter().save() }],
    ['another shape', { version: 3, state: { count: 1 } }],
    ['what the part itself refuses', { version: 3, state: { ...new Counter().save(), count: 7 } }],
  ])('refuses %s by its name, and has not changed', (_, saved) => {
    const counter = new Counter()
    expect(refusalOf(() => counterPart(counter).load(saved)).part).toBe('counter')
    expect(counter).toEqual(new Counter())
  })
})

describe('a part that tells whether it is what it has saved', () => {
  class Telling extends Counter {
    looks = 0
    saves = 0

    override save() {
      this.saves += 1
      return super.save()
    }

    isAsSaved({ count, names }: StateOf<typeof counterShape>): boolean {
      this.looks += 1
      return count === this.count && names.length === this.names.length
    }
  }

  test('is not saved again, and gives what was saved before; what it does not look at is found', () => {
    const counter = new Telling()
    const tree = partTree({ name: 'all', version: 1 }, [counterPart(counter), counterPart(new Counter(), 'other')])
    const first = tree.save() as SavedTree
    expect([tree.save(first), counter.saves, counter.looks]).toEqual([first, 1, 1])
    expect(tree.save(first)).toBe(first)
    expect([tree.rewind(first), tree.overlooked(first)]).toEqual([[], []])
    counter.count = 3
    const second = tree.save(first) as SavedTree
    expect(second.parts['counter']).toEqual({ version: 3, state: { count: 3, names: [], words: Uint32Array.of(1, 2) } })
    expect(second.parts['other']).toBe(first.parts['other'])
    // It does not look at its words.
    counter.words[0] = 9
    expect(tree.save(second)).toBe(second)
    expect(tree.overlooked(second)).toEqual(['all.counter'])
  })

  test('keeps of what it saved before every field that is as it was, and changes neither', () => {
    const counter = new Counter()
    const first = counterPart(counter).save() as SavedPart & { readonly state: ReturnType<Counter['save']> }
    const before = structuredClone(first)
    counter.count = 5
    const second = counterPart(counter).save(first) as typeof first
    expect(second).toEqual({ version: 3, state: { ...before.state, count: 5 } })
    expect([second.state.names === first.state.names, second.state.words === first.state.words]).toEqual([true, true])
    counter.words = Uint32Array.of(1, 3)
    const third = counterPart(counter).save(second) as typeof first
    expect(third).toEqual({ version: 3, state: { ...before.state, count: 5, words: Uint32Array.of(1, 3) } })
    expect([third.state.names === first.state.names, first]).toEqual([true, before])
  })
})

describe('a tree of parts', () => {
  const tree = (one: Counter, two: Counter): Part =>
    partTree({ name: 'host', version: 1 }, [counterPart(one, 'one'), partTree({ name: 'inner', version: 1 }, [counterPart(two, 'two')])])

  test('saves and loads its parts by name', () => {
    const [one, two] = [new Counter(), new Counter()]
    one.count = 1
    two.count = 2
    const copies = [new Counter(), new Counter()] as const
    tree(...copies).load(structuredClone(tree(one, two).save()))
    expect(copies.map(({ count }) => count)).toEqual([1, 2])
  })

  test('refuses unknown, missing and misshapen parts by their whole path before it loads any', () => {
    const saved = tree(new Counter(), new Counter()).save() as SavedTree
    const { one, inner } = saved.parts
    const fresh = new Counter()
    const refused = (parts: object) => refusalOf(() => tree(fresh, new Counter()).load({ version: 1, parts }))
    expect(refused({ one, inner, more: one }).message).toBe('saved state of host does not fit: it has a part "more", which is unknown')
    expect(refused({ one }).message).toBe('saved state of host does not fit: it has no part "inner"')
    const bad = { version: 3, state: { ...new Counter().save(), count: 10 } }
    const good = { version: 3, state: { ...new Counter().save(), count: 5 } }
    expect(refused({ one: good, inner: { version: 1, parts: { two: bad } } })).toEqual({
      part: 'host.inner.two', message: 'saved state of host.inner.two does not fit: it.count must be a whole number from 0 to 9, got 10',
    })
    expect(fresh.count).toBe(0)
  })

  test('looks once at the form of what is settled, by each shape, and every time at what is not', () => {
    let looks = 0
    const counting: typeof counterShape = (value) => {
      looks += 1
      return counterShape(value)
    }
    const treeOf = (form: typeof counterShape): Part => partTree({ name: 'tree', version: 1 }, [part({ name: 'counter', version: 1, shape: form }, new Counter())])
    const tree = treeOf(counting)
    const saved = tree.save() as SavedTree
    for (let i = 0; i < 3; i += 1) tree.load(saved)
    expect(looks).toBe(3)
    settle(saved)
    for (let i = 0; i < 3; i += 1) treeOf(counting).load(saved)
    expect(looks).toBe(4)
    // Another form is another question, and a tree that is made of its parts' states another tree.
    expect(() => treeOf(() => ' is refused').load(saved)).toThrow('is refused')
    treeOf(counting).load(structuredClone(saved))
    expect(looks).toBe(5)
    const wrong = structuredClone(saved) as { version: number; parts: { counter: { version: number; state: { count: number } } } }
    wrong.parts.counter.state.count = 10
    settle(wrong)
    for (let i = 0; i < 2; i += 1) expect(() => treeOf(counting).load(wrong)).toThrow('count must be')
  })

  test('makes parts that come and go before it loads them', () => {
    const present = new Map([['a', new Counter()], ['b', new Counter()]])
    present.get('b')!.count = 6
    const setOf = (counters: Map<string, Counter>): Part => partSet({ name: 'set', version: 1 }, {
      present: () => [...counters].map(([name, counter]) => counterPart(counter, name)),
      make: (name) => {
        if (name.length > 1) return undefined
        counters.set(name, new Counter())
        return counterPart(counters.get(name)!, name)
      },
    })
    const copies = new Map<string, Counter>()
    setOf(copies).load(structuredClone(setOf(present).save()))
    expect(copies).toEqual(present)
    const { a } = (setOf(present).save() as SavedTree).parts
    expect(refusalOf(() => setOf(new Map()).load({ version: 1, parts: { long: a } })).part).toBe('set')
  })
})

describe('hashes and differences', () => {
  const values: readonly unknown[] = [
    undefined, null, false, true, 0, 1, -1, 0.5, NaN, Infinity, 2 ** 53, 0n, 1n, '', '0', 'a', [], [0], [[0]], [0, 0], {}, { a: 0 }, { b: 0 },
    { a: { b: 0 } }, new Uint8Array(0), new Uint8Array(1), new Uint8Array(2), Uint8Array.of(0, 1), Uint16Array.of(256), Uint32Array.of(1, 2, 3),
    Uint32Array.of(0x8000_0000, 0x8000_0000), Uint32Array.of(0, 0),
  ]

  test('different values have different hashes, and clones equal ones', () => {
    const hashes = values.map((value) => hashState(value))
    expect(new Set(hashes).size).toBe(values.length)
    expect(values.map((value) => hashState(structuredClone(value)))).toEqual(hashes)
  })

  test('neither the order of fields, nor absent ones, nor where bytes lie, nor the sign of zero counts', () => {
    expect(hashState({ a: 1, b: 2 })).toBe(hashState({ b: 2, a: 1, c: undefined }))
    expect(hashState(Uint8Array.of(1, 2, 3, 4, 5))).toBe(hashState(Uint8Array.of(9, 1, 2, 3, 4, 5).subarray(1)))
    expect(hashState(-0)).toBe(hashState(0))
  })

  test('what is no plain data is no state', () => {
    expect(() => hashState(new Map())).toThrow('no state')
    expect(() => hashState(() => 0)).toThrow('no state')
  })

  test('each leaf of a tree has its own, so that a difference has a name', () => {
    const counters = [new Counter(), new Counter()] as const
    const tree = partTree({ name: 'host', version: 1 }, [
      counterPart(counters[0], 'one'), partTree({ name: 'inner', version: 1 }, [counterPart(counters[1], 'two')]),
    ])
    const before = tree.save()
    counters[1].words[1] = 77
    const after = tree.save()
    const [first, second] = [hashParts(before), hashParts(after)]
    expect(Object.keys(first)).toEqual(['inner.two', 'one'])
    expect(first['one']).toBe(second['one'])
    expect(first['inner.two']).not.toBe(second['inner.two'])
    expect(compareStates(before, after)).toEqual([{ path: 'parts.inner.parts.two.state.words[1]', first: 2, second: 77 }])
  })

  test('differences are the places, as many as are asked for, and none where hashes are equal', () => {
    expect(compareStates({ a: [1, 2], b: 0 }, { a: [1, 3], b: -0, c: 'x' })).toEqual([
      { path: 'a[1]', first: 2, second: 3 }, { path: 'c', first: undefined, second: 'x' },
    ])
    expect(compareStates([1, 2], [1])).toEqual([{ path: '.length', first: 2, second: 1 }])
    expect(compareStates(new Uint32Array(100), new Uint32Array(100).fill(1), 3)).toHaveLength(3)
    expect(compareStates(new Uint8Array(1), new Uint16Array(1))).toHaveLength(1)
    for (const value of values) expect(compareStates(value, structuredClone(value))).toEqual([])
  })
})
