import { describe, expect, test } from 'vitest'
import { ManualClock, XenError } from '../../../../src/util/index.ts'
import { XenStore, isMissingNode, storeErrorName, type LocalStore, type StoreEvent } from '../../../../src/xenstore/index.ts'

const errorOf = (call: () => unknown): string | undefined => {
  try {
    call()
  } catch (error) {
    return storeErrorName(error)
  }
  return 'none'
}

test('a handle reads and writes at once', () => {
  const tools = new XenStore().local()
  tools.write('/a/b', 'one')
  tools.mkdir('/a/c')
  expect(tools.read('/a/b')).toBe('one')
  expect(tools.list('/a')).toEqual(['b', 'c'])
  expect(tools.tryList('/none')).toEqual([])
  expect(tools.tryRead('/none')).toBeUndefined()
  expect(tools.exists('/a/b')).toBe(true)
  tools.rm('/a/b')
  tools.tryRm('/x/y/z')
  expect(tools.exists('/a/b')).toBe(false)
  tools.setPermissions('/a', ['n0', 'r5'])
  expect(tools.getPermissions('/a')).toEqual(['n0', 'r5'])
})

test('refusals are thrown by name', () => {
  const store = new XenStore()
  const tools = store.local()
  expect(errorOf(() => tools.read('/none'))).toBe('ENOENT')
  expect(errorOf(() => tools.rm('/x/y/z'))).toBe('ENOENT')
  expect(errorOf(() => tools.write('//', ''))).toBe('EINVAL')
  expect(errorOf(() => tools.setPermissions('/', []))).toBe('EINVAL')
  expect(errorOf(() => store.local(5).read('/tool'))).toBe('EACCES')
  try {
    tools.read('/none')
  } catch (error) {
    expect(isMissingNode(error)).toBe(true)
  }
})

describe('watches', () => {
  test('call at once and after each change, when the change is complete', () => {
    const tools = new XenStore().local()
    const seen: string[] = []
    const end = tools.watch('/a', (path) => seen.push(`${path}=${tools.tryRead(path)}`))
    tools.write('/a/b', '1')
    tools.transaction((t) => {
      t.write('/a/b', '2')
      t.write('/a/c', '3')
    })
    end()
    tools.write('/a/b', '4')
    expect(seen).toEqual(['/a=undefined', '/a/b=1', '/a/b=2', '/a/c=3'])
  })

  test('may write: what follows from that comes after the call', () => {
    const tools = new XenStore().local()
    const seen: string[] = []
    tools.watch('/a', (path) => {
      if (path === '/a/request') tools.write('/a/answer', tools.read(path))
      seen.push(path)
    })
    tools.write('/a/request', 'x')
    expect(seen).toEqual(['/a', '/a/request', '/a/answer'])
  })

  test('are also a stream', async () => {
    const tools = new XenStore().local()
    const control = new AbortController()
    const seen: string[] = []
    for await (const path of tools.changes('/a', { signal: control.signal })) {
      seen.push(path)
      if (seen.length === 3) control.abort()
      else tools.write(`/a/${seen.length}`, '')
    }
    expect(seen).toEqual(['/a', '/a/1', '/a/2'])
  })
})

test('a transaction is tried again when somebody interferes, and given up when its body throws', () => {
  const store = new XenStore()
  const tools = store.local()
  const other = store.local()
  tools.write('/n', '1')
  let attempts = 0
  const result = tools.transaction((t) => {
    attempts += 1
    const value = Number(t.read('/n'))
    if (attempts === 1) other.write('/n', '10')
    t.write('/n', String(value + 1))
    return value
  })
  expect([attempts, result, tools.read('/n')]).toEqual([2, 10, '11'])
  expect(() => tools.transaction((t) => {
    t.write('/n', 'lost')
    throw new Error('no')
  })).toThrow('no')
  expect(tools.read('/n')).toBe('11')
  expect(errorOf(() => tools.transaction(() => other.write('/n', tools.read('/n'))))).toBe('none')
})

test('a transaction that always conflicts is the caller\'s error in the end', () => {
  const store = new XenStore()
  const tools = store.local()
  const other = store.local()
  expect(errorOf(() => tools.transaction((t) => {
    t.exists('/n')
    other.write('/n', 'again')
  }))).toBe('EAGAIN')
})

test('events tell what was done, by whom, and when', () => {
  const clock = new ManualClock(5)
  const store = new XenStore({ clock })
  const tools = store.local()
  const seen: (StoreEvent['type'])[] = []
  store.events.onAny((event) => seen.push(event.type))
  const operations: unknown[] = []
  store.events.on('operation', ({ operation, path, domid, error, time }) =>
    operations.push([operation, path, domid, error, time]))
  tools.watch('/a', () => undefined)
  tools.write('/a', '1')
  errorOf(() => tools.read('/none'))
  store.introduceDomain(3)
  store.releaseDomain(3)
  tools.close()
  expect(operations).toEqual([
    ['watch', '/a', 0, undefined, 5], ['write', '/a', 0, undefined, 5], ['read', '/none', 0, 'ENOENT', 5],
    ['reset-watches', '', 0, undefined, 5],
  ])
  expect(seen).toEqual([
    'operation', 'watch-fired', 'watch-fired', 'operation', 'operation', 'domain-introduced', 'domain-released',
    'operation', 'connection-closed',
  ])
})

describe('what a caller gives in the place of an argument', () => {
  const trap = (): never => { throw new Error('a trap') }
  const revoked = Proxy.revocable({}, {})
  revoked.revoke()
  const WRONG: readonly (readonly [string, unknown])[] = [
    ['nothing', undefined], ['null', null], ['a number', 1e300], ['a symbol', Symbol('path')], ['a promise', Promise.resolve('/tool')],
    ['an object whose traps throw', new Proxy({}, { get: trap, has: trap, ownKeys: trap })], ['a proxy that is revoked', revoked.proxy],
    ['an object that is no text', { toString: trap }], ['a function', trap],
  ]
  const CALLS: Readonly<Record<string, (store: LocalStore, wrong: never) => unknown>> = {
    read: (store, wrong) => store.read(wrong), readBytes: (store, wrong) => store.readBytes(wrong), tryRead: (store, wrong) => store.tryRead(wrong),
    exists: (store, wrong) => store.exists(wrong), list: (store, wrong) => store.list(wrong), tryList: (store, wrong) => store.tryList(wrong),
    countChildren: (store, wrong) => store.countChildren(wrong), mkdir: (store, wrong) => store.mkdir(wrong), rm: (store, wrong) => store.rm(wrong),
    tryRm: (store, wrong) => store.tryRm(wrong), getPermissions: (store, wrong) => store.getPermissions(wrong),
    'write: path': (store, wrong) => store.write(wrong, ''), 'write: value': (store, wrong) => store.write('/tool/x', wrong),
    'setPermissions: path': (store, wrong) => store.setPermissions(wrong, ['n0']), 'setPermissions: list': (store, wrong) => store.setPermissions('/tool', wrong),
    'setPermissions: entry': (store, wrong) => store.setPermissions('/tool', [wrong]),
    'watch: path': (store, wrong) => store.watch(wrong, () => undefined),
  }

  test.each(Object.entries(CALLS))('%s refuses it by a code, and the store is as it was', (_name, call) => {
    const store = new XenStore()
    const local = store.local()
    for (const [what, wrong] of WRONG) {
      let thrown: unknown
      try {
        call(local, wrong as never)
      } catch (error) {
        thrown = error
      }
      expect(XenError.is(thrown), `${what}: ${String(thrown)}`).toBe(true)
    }
    expect([local.list('/tool'), local.getPermissions('/tool')]).toEqual([['xenstored'], ['n0']])
  })

  test('a list of permissions that changes afterwards changes nothing', () => {
    const local = new XenStore().local()
    const list: [{ domid: number; access: number }] = [{ domid: 0, access: 0 }]
    local.setPermissions('/tool', list)
    list[0].access = 3
    expect(local.getPermissions('/tool')).toEqual(['n0'])
  })
})
