import { describe, expect, test } from 'vitest'
import { StoreHarness, transcriptDifferences } from '../../../src/testing/index.ts'

function setup() {
  const harness = new StoreHarness()
  const one = harness.client()
  const two = harness.client()
  one.ask('WRITE', '/a|1')
  one.ask('WRITE', '/b|1')
  return { harness, one, two }
}

test('what a transaction does is its own until it ends', () => {
  const { one, two } = setup()
  expect(transcriptDifferences([
    [one, 'TRANSACTION_START', '|', '1|'],
    [one, 'WRITE', '/a|2', 'OK|', 1],
    [one, 'WRITE', '/c/d|3', 'OK|', 1],
    [one, 'RM', '/b|', 'OK|', 1],
    [one, 'READ', '/a|', '2', 1],
    [one, 'READ', '/c/d|', '3', 1],
    [one, 'READ', '/b|', '!ENOENT', 1],
    [one, 'DIRECTORY', '/|', 'tool|a|c|', 1],
    [two, 'READ', '/a|', '1'],
    [one, 'READ', '/c/d|', '!ENOENT'],
    [two, 'READ', '/b|', '1'],
    [one, 'TRANSACTION_END', 'T|', 'OK|', 1],
    [two, 'READ', '/a|', '2'],
    [two, 'READ', '/c/d|', '3'],
    [two, 'READ', '/b|', '!ENOENT'],
    [two, 'DIRECTORY', '/|', 'tool|a|c|'],
  ])).toEqual([])
})

test('a transaction that is given up leaves nothing', () => {
  const { one } = setup()
  expect(transcriptDifferences([
    [one, 'TRANSACTION_START', '|', '1|'],
    [one, 'WRITE', '/a|2', 'OK|', 1],
    [one, 'RM', '/b|', 'OK|', 1],
    [one, 'TRANSACTION_END', 'F|', 'OK|', 1],
    [one, 'READ', '/a|', '1'],
    [one, 'READ', '/b|', '1'],
    [one, 'READ', '/a|', '!ENOENT', 1],
  ])).toEqual([])
})

describe('a conflict', () => {
  test.each([
    { what: 'a node that was read and then written by another', op: 'READ', body: '/a|', other: ['WRITE', '/a|9'] },
    { what: 'a missing node that another created', op: 'READ', body: '/n|', other: ['WRITE', '/n|9'] },
    { what: 'a node that was read and then removed', op: 'READ', body: '/a|', other: ['RM', '/a|'] },
    { what: 'a list that another added to', op: 'DIRECTORY', body: '/|', other: ['WRITE', '/n|9'] },
    { what: 'a node that was written here and by another', op: 'WRITE', body: '/a|5', other: ['WRITE', '/a|9'] },
    { what: 'a node that got other permissions', op: 'READ', body: '/a|', other: ['SET_PERMS', '/a|r0|'] },
    { what: 'two new nodes under one parent', op: 'WRITE', body: '/x|5', other: ['WRITE', '/y|9'] },
    { what: 'the same value written by another', op: 'READ', body: '/a|', other: ['WRITE', '/a|1'] },
  ] as const)('is $what', ({ op, body, other }) => {
    const { one, two } = setup()
    one.ask('TRANSACTION_START', '|')
    one.ask(op, body, 1)
    two.ask(other[0], other[1])
    one.ask('WRITE', '/result|1', 1)
    expect(one.ask('TRANSACTION_END', 'T|', 1)).toBe('!EAGAIN')
    expect(two.ask('READ', '/result|')).toBe('!ENOENT')
  })

  test.each([
    { what: 'a node that nobody touched here', op: 'READ', body: '/a|', other: ['WRITE', '/b|9'] },
    { what: 'a child of a node whose value was read', op: 'READ', body: '/a|', other: ['WRITE', '/b/c|9'] },
    { what: 'a change from before the first touch', op: 'READ', body: '/tool|', other: ['WRITE', '/a|9'], late: '/a|' },
  ] as const)('is not $what', (row) => {
    const { one, two } = setup()
    one.ask('TRANSACTION_START', '|')
    one.ask(row.op, row.body, 1)
    two.ask(row.other[0], row.other[1])
    if ('late' in row) expect(one.ask('READ', row.late, 1)).toBe('9')
    expect(one.ask('TRANSACTION_END', 'T|', 1)).toBe('OK|')
  })

  test('does not come from a transaction that was given up', () => {
    const { one, two } = setup()
    one.ask('TRANSACTION_START', '|')
    one.ask('READ', '/a|', 1)
    two.ask('TRANSACTION_START', '|')
    two.ask('WRITE', '/a|9', 1)
    two.ask('TRANSACTION_END', 'F|', 1)
    expect(one.ask('TRANSACTION_END', 'T|', 1)).toBe('OK|')
  })
})

test('a node once read stays as it was, whatever others do', () => {
  const { one, two } = setup()
  one.ask('TRANSACTION_START', '|')
  expect(one.ask('READ', '/a|', 1)).toBe('1')
  two.ask('WRITE', '/a|9')
  expect(one.ask('READ', '/a|', 1)).toBe('1')
})

test('transactions do not nest, and unknown ones do not exist', () => {
  const { one, two } = setup()
  expect(transcriptDifferences([
    [one, 'TRANSACTION_START', '|', '1|'],
    [one, 'TRANSACTION_START', '|', '!EBUSY', 1],
    [one, 'TRANSACTION_START', '|', '!ENOENT', 7],
    [two, 'READ', '/a|', '!ENOENT', 1],
    [one, 'TRANSACTION_START', '|', '2|'],
    [one, 'TRANSACTION_END', 'F|', 'OK|', 1],
    [one, 'TRANSACTION_START', '|', '3|'],
    [one, 'WATCH', '/a|t|', 'OK|', 999],
    [one, 'UNWATCH', '/a|t|', 'OK|', 999],
  ])).toEqual([])
})

test('removing a tree and building another in its place is one change', () => {
  const { one, two } = setup()
  two.ask('WRITE', '/t/old/deep|1')
  two.ask('WRITE', '/t/keep|1')
  expect(transcriptDifferences([
    [one, 'TRANSACTION_START', '|', '1|'],
    [one, 'RM', '/t|', 'OK|', 1],
    [one, 'READ', '/t/keep|', '!ENOENT', 1],
    [one, 'WRITE', '/t/keep|2', 'OK|', 1],
    [one, 'DIRECTORY', '/t|', 'keep|', 1],
    [one, 'TRANSACTION_END', 'T|', 'OK|', 1],
    [two, 'DIRECTORY', '/t|', 'keep|'],
    [two, 'READ', '/t/keep|', '2'],
    [two, 'READ', '/t/old/deep|', '!ENOENT'],
  ])).toEqual([])
})

test('a node made and removed within a transaction was never there', () => {
  const { one, two } = setup()
  one.ask('TRANSACTION_START', '|')
  one.ask('WRITE', '/n/m|1', 1)
  one.ask('RM', '/n|', 1)
  expect(one.ask('TRANSACTION_END', 'T|', 1)).toBe('OK|')
  expect(two.ask('READ', '/n|')).toBe('!ENOENT')
  expect(two.ask('DIRECTORY', '/|')).toBe('tool|a|b|')
})

test('a node made anew below one that then goes, goes with it', () => {
  const { one, two } = setup()
  one.ask('WRITE', '/p/q/r|1')
  one.ask('TRANSACTION_START', '|')
  one.ask('RM', '/p/q/r|', 1)
  one.ask('WRITE', '/p/q/r|2', 1)
  one.ask('RM', '/p|', 1)
  expect(one.ask('TRANSACTION_END', 'T|', 1)).toBe('OK|')
  expect(two.ask('READ', '/p/q/r|')).toBe('!ENOENT')
  expect(two.ask('DIRECTORY', '/|')).toBe('tool|a|b|')
})

test('permissions set within a transaction hold from its end on', () => {
  const { harness, one } = setup()
  const guest = harness.client(1)
  one.ask('TRANSACTION_START', '|')
  one.ask('SET_PERMS', '/a|n0|r1|', 1)
  one.ask('SET_PERMS', '@releaseDomain|n0|', 1)
  expect(one.ask('GET_PERMS', '/a|', 1)).toBe('n0|r1|')
  expect(guest.ask('READ', '/a|')).toBe('!EACCES')
  expect(one.ask('TRANSACTION_END', 'T|', 1)).toBe('OK|')
  expect(guest.ask('READ', '/a|')).toBe('1')
  expect(one.ask('GET_PERMS', '@releaseDomain|')).toBe('n0|')
})

test('the events tell of starts, commits, conflicts and of giving up', () => {
  const { harness, one, two } = setup()
  const seen: string[] = []
  harness.store.events.onAny((event) => {
    if (event.type.startsWith('transaction')) seen.push(event.type)
  })
  one.ask('TRANSACTION_START', '|')
  one.ask('READ', '/a|', 1)
  two.ask('WRITE', '/a|2')
  one.ask('TRANSACTION_END', 'T|', 1)
  one.ask('TRANSACTION_START', '|')
  one.ask('TRANSACTION_END', 'T|', 2)
  one.ask('TRANSACTION_START', '|')
  one.ask('TRANSACTION_END', 'F|', 3)
  expect(seen).toEqual([
    'transaction-started', 'transaction-conflicted', 'transaction-started', 'transaction-committed',
    'transaction-started', 'transaction-aborted',
  ])
})
