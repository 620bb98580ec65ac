/** A folder in memory: what every store of files does, its bounds, and its saved form. */
import { describe, expect, test } from 'vitest'
import { errnoOf, MemoryFileStore, memoryFilesState } from '../../../../src/drivers/index.ts'
import { describeFileStore } from '../../../support/file-store-contract.ts'

describeFileStore('a folder in memory', { make: (tree) => new MemoryFileStore(tree), isWhole: true })

const FACTS = { mode: 0o644, uid: 7, gid: 8 }
const WRITE = { read: true, write: true, append: false, truncate: false }
const refusal = (call: () => unknown): string | undefined => {
  try {
    call()
    return undefined
  } catch (error) {
    return errnoOf(error)
  }
}

describe('a folder in memory', () => {
  test('grows to what it may have in bytes and in files, and gives back what goes', () => {
    const store = new MemoryFileStore({}, { capacity: 1000, mostFiles: 4 })
    const file = store.create(['a'], WRITE, FACTS)
    expect(refusal(() => file.write(2 ** 50, new Uint8Array(1)))).toBe('ENOSPC')
    expect(refusal(() => file.change({ size: 1001 }))).toBe('ENOSPC')
    file.write(0, new Uint8Array(600))
    expect(refusal(() => store.symlink(['l'], 'x'.repeat(500), FACTS))).toBe('ENOSPC')
    store.makeFolder(['b'], FACTS)
    store.makeFolder(['c'], FACTS)
    expect(refusal(() => store.makeFolder(['d'], FACTS))).toBe('ENOSPC')
    store.remove(['a'], 'file')
    // It is open still.
    expect(refusal(() => store.makeFolder(['d'], FACTS))).toBe('ENOSPC')
    file.close()
    store.makeFolder(['d'], FACTS)
    expect(store.space().freeFiles).toBe(0)
    store.remove(['d'], 'folder')
    store.create(['e'], WRITE, FACTS).write(0, new Uint8Array(1000))
  })

  test('is saved whole, with files that have no name and are open, and goes on from there', () => {
    const store = new MemoryFileStore({ 'a/b': 'one', l: { link: 'a/b' }, run: { contents: 'x', mode: 0o755 } })
    const file = store.create(['gone'], WRITE, FACTS)
    file.write(0, new Uint8Array([1, 2, 3]))
    store.remove(['gone'], 'file')
    store.link(['a', 'b'], ['second'])
    const state = store.save()
    expect(memoryFilesState(state)).toBeUndefined()
    expect(store.isAsSaved(state)).toBe(true)
    const copy = MemoryFileStore.from(structuredClone(state))
    expect(copy.save()).toEqual(state)
    expect([...copy.openAgain(store.identityOf(file), WRITE).read(0, 9) as Uint8Array]).toEqual([1, 2, 3])
    expect([copy.stat(['second']).links, copy.stat(['run']).mode, copy.stat(['gone'.slice(0, 1) === 'g' ? 'l' : '']).kind]).toEqual([2, 0o755, 'link'])
    file.write(3, new Uint8Array([4]))
    expect(store.isAsSaved(state)).toBe(false)
    // What has not changed is not saved again.
    const unchanged = (one: typeof state): unknown => one.nodes.find(({ identity }) => identity === store.stat(['a', 'b']).identity)
    expect(unchanged(store.save())).toBe(unchanged(state))
  })

  test.each([
    ['a root that is none', [{ identity: 1, kind: 'file' }]],
    ['a folder in two places', [{ identity: 1, kind: 'folder', children: [{ name: 'a', identity: 2 }, { name: 'b', identity: 2 }] }, { identity: 2, kind: 'folder', children: [] }]],
    ['a child that is not there', [{ identity: 1, kind: 'folder', children: [{ name: 'a', identity: 9 }] }]],
    ['a name that leads out', [{ identity: 1, kind: 'folder', children: [{ name: '..', identity: 2 }] }, { identity: 2, kind: 'file' }]],
    ['a root below itself', [{ identity: 1, kind: 'folder', children: [{ name: 'a', identity: 1 }] }]],
    ['two of one number', [{ identity: 1, kind: 'folder', children: [] }, { identity: 1, kind: 'file' }]],
    ['a number that is still to be given', [{ identity: 1, kind: 'folder', children: [] }, { identity: 5, kind: 'file' }]],
  ])('is not loaded with %s', (_, nodes) => {
    const time = { seconds: 0, nanoseconds: 0 }
    const whole = nodes.map((node) => ({ mode: 0, uid: 0, gid: 0, accessed: time, modified: time, changed: time, bytes: undefined, target: undefined, children: undefined, ...node }))
    expect(() => MemoryFileStore.from({ readOnly: false, capacity: 100, mostFiles: 10, next: 3, nodes: whole as never })).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }))
  })
})
