import { expect, test } from 'vitest'
import { CHANGE_LIMIT, XenStore } from '../../../../src/xenstore/index.ts'
import { ChangeQueue } from '../../../../src/xenstore/store/change-queue.ts'

test('equal changes wait once, in the order in which they came first', () => {
  const queue = new ChangeQueue('/w')
  for (const path of ['/w/b', '/w/a', '/w/b']) queue.push(path)
  expect([queue.size, queue.take(), queue.take(), queue.take()]).toEqual([2, '/w/b', '/w/a', undefined])
})

test('of more different changes than may wait the watched path stands for all', () => {
  const queue = new ChangeQueue('/w')
  let most = 0
  for (let i = 0; i < 10 * CHANGE_LIMIT; i += 1) {
    queue.push(`/w/${i}`)
    most = Math.max(most, queue.size)
  }
  expect(most).toBe(CHANGE_LIMIT)
  expect(queue.take()).toBe('/w')
})

test('a slow reader of the changes of a domain that makes ever new nodes is told that anything may have changed', async () => {
  const store = new XenStore().local()
  const abort = new AbortController()
  const changes = store.changes('/data', { signal: abort.signal })
  expect((await changes.next()).value).toBe('/data')
  for (let i = 0; i < 3 * CHANGE_LIMIT; i += 1) {
    store.write(`/data/${i}`, '')
    store.rm(`/data/${i}`)
  }
  expect((await changes.next()).value).toBe('/data')
  let rest = 0
  const reading = (async () => { for await (const _ of changes) rest += 1 })()
  await new Promise((resolve) => setImmediate(resolve))
  abort.abort()
  await reading
  expect(rest).toBeLessThan(CHANGE_LIMIT)
})
