import { describe, expect, test } from 'vitest'
import { StoreHarness, type StoreOp } from '../../../../src/testing/index.ts'

function setup() {
  const harness = new StoreHarness()
  const tools = harness.client()
  const watcher = harness.client()
  tools.ask('WRITE', '/a/b/c|1')
  const watch = (path: string, token = 't', depth?: number): string | undefined =>
    watcher.ask('WATCH', `${path}|${token}|${depth === undefined ? '' : `${depth}|`}`)
  return { harness, tools, watcher, watch }
}

test('a new watch fires once, behind its reply, even for a node that does not exist', () => {
  const { watcher, harness } = setup()
  const bytes: number[] = []
  watcher.ask('WATCH', '/none|tok|')
  for (const { type } of watcher.received) bytes.push(type)
  expect(bytes).toEqual([15])
  expect(watcher.events()).toEqual(['/none tok'])
  expect(harness.store.watchCount).toBe(1)
})

describe('a watch on /a/b sees', () => {
  test.each<[string, StoreOp, string, string[]]>([
    ['a change of the node', 'WRITE', '/a/b|2', ['/a/b t']],
    ['a change below', 'WRITE', '/a/b/c|2', ['/a/b/c t']],
    ['a new node below', 'WRITE', '/a/b/x/y|2', ['/a/b/x/y t']],
    ['the removal of the node', 'RM', '/a/b|', ['/a/b t']],
    ['the removal of a node below', 'RM', '/a/b/c|', ['/a/b/c t']],
    ['its removal along with the parent, by its own path', 'RM', '/a|', ['/a/b t']],
    ['new permissions', 'SET_PERMS', '/a/b|r0|', ['/a/b t']],
    ['nothing of a change above', 'WRITE', '/a|2', []],
    ['nothing of a neighbour with a longer name', 'WRITE', '/a/bc|2', []],
    ['nothing of a mkdir that changes nothing', 'MKDIR', '/a/b|', []],
    ['nothing of reading', 'READ', '/a/b|', []],
  ])('%s', (_, op, body, events) => {
    const { tools, watcher, watch } = setup()
    watch('/a/b')
    watcher.events()
    tools.ask(op, body)
    expect(watcher.events()).toEqual(events)
  })
})

test('a watch on the root sees everything but special nodes', () => {
  const { harness, tools, watcher, watch } = setup()
  watch('/')
  watcher.events()
  tools.ask('WRITE', '/x/y|1')
  tools.ask('RM', '/x|')
  harness.store.introduceDomain(1)
  expect(watcher.events()).toEqual(['/x/y t', '/x t'])
})

test.each([
  { path: '/a', depth: 0, events: ['/a t'] },
  { path: '/a', depth: 1, events: ['/a t', '/a/b t'] },
  { path: '/a', depth: 2, events: ['/a t', '/a/b t', '/a/b/c t'] },
  { path: '/', depth: 0, events: [] },
  { path: '/', depth: 1, events: ['/a t'] },
  { path: '/', depth: 2, events: ['/a t', '/a/b t'] },
])('with depth $depth a watch on $path reports $events', ({ path, depth, events }) => {
  const { tools, watcher, watch } = setup()
  watch(path, 't', depth)
  watcher.events()
  for (const node of ['/a', '/a/b', '/a/b/c']) tools.ask('WRITE', `${node}|2`)
  expect(watcher.events()).toEqual(events)
})

test('a watch set by a relative path reports relative paths', () => {
  const harness = new StoreHarness()
  const tools = harness.client()
  tools.ask('MKDIR', '/local/domain/3|')
  tools.ask('SET_PERMS', '/local/domain/3|n3|')
  const guest = harness.client(3)
  guest.ask('WATCH', 'device|rel|')
  guest.ask('WATCH', '/local/domain/3/device|abs|')
  guest.events()
  tools.ask('WRITE', '/local/domain/3/device/vif/0|1')
  expect(guest.events()).toEqual(['device/vif/0 rel', '/local/domain/3/device/vif/0 abs'])
})

test('the same watch twice is refused, and ending one needs exactly what it was set with', () => {
  const { watcher, watch } = setup()
  expect(watch('/a', 't')).toBe('OK|')
  expect(watch('/a', 't')).toBe('!EEXIST')
  expect(watch('/a', 'u')).toBe('OK|')
  expect(watcher.ask('UNWATCH', '/a|v|')).toBe('!ENOENT')
  expect(watcher.ask('UNWATCH', '/b|t|')).toBe('!ENOENT')
  expect(watcher.ask('UNWATCH', '/a|t|')).toBe('OK|')
  expect(watcher.ask('UNWATCH', '/a|t|')).toBe('!ENOENT')
})

test('events come in the order in which the watches were set', () => {
  const { tools, watcher, watch } = setup()
  for (const [path, token] of [['/a/b', '1'], ['/', '2'], ['/a', '3'], ['/a/b', '4']]) watch(path!, token)
  watcher.events()
  tools.ask('WRITE', '/a/b|2')
  expect(watcher.events()).toEqual(['/a/b 1', '/a/b 2', '/a/b 3', '/a/b 4'])
})

test('an event equal to one that still waits is not sent again', () => {
  const { tools, watcher, watch, harness } = setup()
  watch('/a')
  watcher.events()
  // The client's side is full, so that events stay with the server.
  for (let i = 0; i < 3000; i += 1) tools.ask('WRITE', `/a/n${i}|1`)
  const before = harness.store.events
  let fired = 0
  before.on('watch-fired', () => { fired += 1 })
  for (let i = 0; i < 50; i += 1) tools.ask('WRITE', '/a/n2999|2')
  const events = watcher.events()
  expect(fired).toBe(50)
  expect(events.filter((event) => event === '/a/n2999 t')).toHaveLength(1)
})

test('a transaction fires its watches at its end, each node once, in the order of first access', () => {
  const { tools, watcher, watch } = setup()
  watch('/')
  watcher.events()
  tools.ask('TRANSACTION_START', '|')
  tools.ask('WRITE', '/z|1', 1)
  tools.ask('WRITE', '/a/b/c|1', 1)
  tools.ask('WRITE', '/z|2', 1)
  tools.ask('RM', '/a|', 1)
  expect(watcher.events()).toEqual([])
  tools.ask('TRANSACTION_END', 'T|', 1)
  expect(watcher.events()).toEqual(['/z t', '/a/b/c t', '/a t'])
})

test('a transaction that conflicts or is given up fires nothing', () => {
  const { tools, watcher, watch } = setup()
  watch('/')
  watcher.events()
  tools.ask('TRANSACTION_START', '|')
  tools.ask('WRITE', '/z|1', 1)
  tools.ask('TRANSACTION_END', 'F|', 1)
  expect(watcher.events()).toEqual([])
})

describe('the right to see', () => {
  const play = (permissions: string, parent = 'n0|') => {
    const harness = new StoreHarness()
    const tools = harness.client()
    const guest = harness.client(1)
    tools.ask('WRITE', '/p/n|1')
    tools.ask('SET_PERMS', `/p|${parent}`)
    tools.ask('SET_PERMS', `/p/n|${permissions}`)
    guest.ask('WATCH', '/p/n|t|')
    guest.events()
    return { tools, guest }
  }

  test.each([
    { permissions: 'n0|', parent: 'n0|', seen: false },
    { permissions: 'n0|r1|', parent: 'n0|', seen: true },
    { permissions: 'n0|w1|', parent: 'n0|', seen: false },
    { permissions: 'n0|', parent: 'n0|r1|', seen: true },
    { permissions: 'r0|', parent: 'n0|', seen: true },
  ])('a node with $permissions under a parent with $parent is seen: $seen', ({ permissions, parent, seen }) => {
    const { tools, guest } = play(permissions, parent)
    tools.ask('WRITE', '/p/n|2')
    expect(guest.events()).toEqual(seen ? ['/p/n t'] : [])
    tools.ask('RM', '/p/n|')
    expect(guest.events()).toEqual(seen ? ['/p/n t'] : [])
  })

  test('losing the right is the last thing that is seen', () => {
    const { tools, guest } = play('n0|r1|')
    tools.ask('SET_PERMS', '/p/n|n0|')
    expect(guest.events()).toEqual(['/p/n t'])
    tools.ask('WRITE', '/p/n|2')
    expect(guest.events()).toEqual([])
  })
})

test('resetting ends all watches and transactions of a connection', () => {
  const { tools, watcher, watch, harness } = setup()
  watch('/a', '1')
  watch('/b', '2')
  watcher.ask('TRANSACTION_START', '|')
  expect(watcher.ask('RESET_WATCHES', '|')).toBe('OK|')
  watcher.events()
  tools.ask('WRITE', '/a|2')
  expect(watcher.events()).toEqual([])
  expect(watcher.ask('READ', '/a|', 1)).toBe('!ENOENT')
  expect(harness.store.watchCount).toBe(0)
  expect(harness.store.transactionCount).toBe(0)
})

describe('special watches', () => {
  test('tell of domains that come and go', () => {
    const { harness, watcher, watch } = setup()
    for (const name of ['@introduceDomain', '@releaseDomain']) watch(name)
    expect(watcher.events()).toEqual(['@introduceDomain t', '@releaseDomain t'])
    harness.store.introduceDomain(5)
    expect(watcher.events()).toEqual(['@introduceDomain t'])
    harness.store.domainShutdown(5)
    harness.store.domainShutdown(5)
    expect(watcher.events()).toEqual(['@releaseDomain t'])
    harness.store.domainResumed(5)
    harness.store.domainShutdown(5)
    expect(watcher.events()).toEqual(['@releaseDomain t'])
    harness.store.releaseDomain(5)
    expect(watcher.events()).toEqual(['@releaseDomain t'])
  })

  test('with a depth, or with a domain in their name, tell which domain it is', () => {
    const { harness, watcher, watch } = setup()
    watch('@releaseDomain', 'deep', 1)
    watch('@releaseDomain/5', 'five')
    watcher.events()
    for (const id of [5, 6]) {
      harness.store.introduceDomain(id)
      harness.store.releaseDomain(id)
    }
    expect(watcher.events()).toEqual(['@releaseDomain/5 deep', '@releaseDomain/5 five', '@releaseDomain/6 deep'])
  })

  test('are for those who may read them', () => {
    const { harness, tools } = setup()
    const guest = harness.client(1)
    guest.ask('WATCH', '@introduceDomain|i|')
    guest.ask('WATCH', '@releaseDomain|r|')
    guest.events()
    harness.store.introduceDomain(5)
    harness.store.releaseDomain(5)
    expect(guest.events()).toEqual(['@releaseDomain r'])
    // The root is nobody's parent here: that everybody may read it opens nothing.
    tools.ask('SET_PERMS', '/|r0|')
    guest.ask('GET_PERMS', '@releaseDomain|')
    harness.store.introduceDomain(6)
    harness.store.releaseDomain(6)
    expect(guest.events()).toEqual(['@releaseDomain r'])
    tools.ask('SET_PERMS', '@introduceDomain|n0|r1|')
    expect(guest.events()).toEqual(['@introduceDomain i'])
    harness.store.introduceDomain(5)
    expect(guest.events()).toEqual(['@introduceDomain i'])
  })
})
