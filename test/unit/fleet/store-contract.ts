/** What every store of a fleet does, as a suite that each implementation passes. */
import { expect, test } from 'vitest'
import type { ClusterStore, StoreBatch, StoreComparison, StoreOperation } from '../../../src/fleet/index.ts'

const absent = (key: string): StoreComparison => ({ key, target: 'version', result: 'equal', value: 0 })
const put = (key: string, value: string, lease?: string): StoreOperation => ({ type: 'put', key, value, lease })

/** The first changes of a watch. */
async function take(batches: AsyncIterable<StoreBatch>, count: number): Promise<StoreBatch[]> {
  const taken: StoreBatch[] = []
  for await (const batch of batches) {
    taken.push(batch)
    if (taken.length === count) break
  }
  return taken
}

/** Runs the suite over stores that `open` gives, each empty. `pass` lets so many milliseconds pass. */
export function storeContract(open: () => Promise<ClusterStore>, pass: (milliseconds: number) => Promise<void>): void {
  test('a key has its revisions, and is gone when it is deleted', async () => {
    const store = await open()
    expect(await store.get('a')).toBe(undefined)
    const first = await store.txn([absent('a')], [put('a', 'one'), put('b', 'ü')])
    expect(first.succeeded).toBe(true)
    expect(await store.get('a')).toEqual({ key: 'a', value: 'one', created: first.revision, modified: first.revision, version: 1, lease: undefined })
    const second = await store.txn([], [put('a', 'two')])
    expect(second.revision).toBe(first.revision + 1)
    expect(await store.get('a')).toMatchObject({ value: 'two', created: first.revision, modified: second.revision, version: 2 })
    expect((await store.range('')).entries.map(({ key, value }) => [key, value])).toEqual([['a', 'two'], ['b', 'ü']])
    await store.txn([], [{ type: 'delete', key: 'a' }])
    expect(await store.get('a')).toBe(undefined)
    store.close()
  })

  test('a transaction does one thing or the other, and all of it at one revision', async () => {
    const store = await open()
    const { revision } = await store.txn([], [put('x', '1')])
    const compare: [StoreComparison, boolean][] = [
      [{ key: 'x', target: 'value', result: 'equal', value: '1' }, true], [{ key: 'x', target: 'value', result: 'not-equal', value: '1' }, false],
      [{ key: 'x', target: 'modified', result: 'equal', value: revision }, true], [{ key: 'x', target: 'modified', result: 'less', value: revision }, false],
      [{ key: 'x', target: 'created', result: 'greater', value: revision - 1 }, true], [absent('x'), false], [absent('y'), true],
      [{ key: 'y', target: 'value', result: 'equal', value: '' }, false],
    ]
    for (const [comparison, holds] of compare) expect([comparison, (await store.txn([comparison], [])).succeeded]).toEqual([comparison, holds])
    expect(await store.txn([absent('x')], [put('y', 'then')], [put('y', 'else'), put('z', 'else')])).toMatchObject({ succeeded: false, revision: revision + 1 })
    const { entries } = await store.range('')
    expect(entries.map(({ key, value, modified }) => [key, value, modified])).toEqual([['x', '1', revision], ['y', 'else', revision + 1], ['z', 'else', revision + 1]])
    store.close()
  })

  test('of those who want a key at once one gets it', async () => {
    const store = await open()
    const all = await Promise.all(Array.from({ length: 8 }, (_, i) => store.txn([absent('one')], [put('one', String(i))])))
    expect(all.filter(({ succeeded }) => succeeded)).toHaveLength(1)
    store.close()
  })

  test('a range holds the keys with its prefix and no others', async () => {
    const store = await open()
    await store.txn([], ['hosts/a', 'hosts/b', 'host', 'hostt', 'hosts0'].map((key) => put(key, '')))
    expect((await store.range('hosts/')).entries.map(({ key }) => key)).toEqual(['hosts/a', 'hosts/b'])
    store.close()
  })

  test('a watch tells each revision once, from where it is told to, in their order', async () => {
    const store = await open()
    const { revision } = await store.txn([], [put('w/a', '1'), put('other', '1')])
    await store.txn([], [put('other', '2')])
    await store.txn([], [put('w/a', '2'), put('w/b', '1')])
    await store.txn([], [{ type: 'delete', key: 'w/a' }])
    const batches = await take(store.watch('w/', { from: revision }), 3)
    expect(batches.map(({ revision: at, changes }) => [at - revision, changes.map((change) => (change.type === 'put' ? `${change.entry.key}=${change.entry.value}` : `-${change.key}`))]))
      .toEqual([[0, ['w/a=1']], [2, ['w/a=2', 'w/b=1']], [3, ['-w/a']]])
    const next = take(store.watch('w/', { from: revision + 4 }), 1)
    await store.txn([], [put('w/c', 'x')])
    expect((await next)[0]!.revision).toBe(revision + 4)
    store.close()
  })

  test('a watch ends by its signal', async () => {
    const store = await open()
    const abort = new AbortController()
    const batches = take(store.watch('', { from: 1e6, signal: abort.signal }), 1)
    await pass(20)
    abort.abort()
    expect(await batches).toEqual([])
    store.close()
  })

  test('a lease takes its keys with it, when it is not renewed or is revoked', async () => {
    const store = await open()
    const [short, kept, revoked] = [await store.lease('1s'), await store.lease('1s'), await store.lease('60s')]
    expect([short.ttl >= 1, revoked.ttl]).toEqual([true, 60])
    await store.txn([], [put('short', '', short.id), put('kept', '', kept.id), put('revoked', '', revoked.id), put('stays', '')])
    const reached = await kept.keepAlive()
    expect([reached > 0, reached <= (await store.range('')).revision]).toEqual([true, true])
    await revoked.revoke()
    expect(await store.get('revoked')).toBe(undefined)
    for (let i = 0; i < 10; i += 1) {
      await pass(short.ttl * 300)
      await kept.keepAlive()
    }
    expect((await store.range('')).entries.map(({ key }) => key)).toEqual(['kept', 'stays'])
    await expect(short.keepAlive()).rejects.toMatchObject({ code: 'LEASE_LOST' })
    await expect(store.txn([], [put('late', '', short.id)])).rejects.toMatchObject({ code: 'LEASE_LOST' })
    await kept.revoke()
    store.close()
  }, 30_000)
}
