import { describe, expect, test } from 'vitest'
import { StoreHarness, transcriptDifferences, type TranscriptLine, type StoreOp, type RawStoreClient } from '../../../src/testing/index.ts'

interface Who {
  readonly dom0: RawStoreClient
  readonly dom1: RawStoreClient
  readonly dom2: RawStoreClient
}

/** Plays lines with dom0, domain 1 and domain 2 connected and domain 1 at home. */
function play(lines: (who: Who) => readonly TranscriptLine[]): void {
  const harness = new StoreHarness()
  const who = { dom0: harness.client(0), dom1: harness.client(1), dom2: harness.client(2) }
  for (const id of [1, 2]) {
    who.dom0.ask('WRITE', `/local/domain/${id}|`)
    who.dom0.ask('SET_PERMS', `/local/domain/${id}|n${id}|`)
  }
  expect(transcriptDifferences(lines(who))).toEqual([])
}

describe('reading and writing', () => {
  test('a new store has what xenstored puts there', () => play(({ dom0 }) => [
    [dom0, 'DIRECTORY', '/|', 'tool|local|'],
    [dom0, 'DIRECTORY', '/tool|', 'xenstored|'],
    [dom0, 'READ', '/tool/xenstored|', ''],
    [dom0, 'GET_PERMS', '/|', 'n0|'],
    [dom0, 'GET_PERMS', '@introduceDomain|', 'n0|'],
    [dom0, 'GET_PERMS', '@releaseDomain|', 'n0|r32757|'],
  ]))

  test('writing creates what is missing above, and children stay in order', () => play(({ dom0 }) => [
    [dom0, 'WRITE', '/a/b/c|hello', 'OK|'],
    [dom0, 'READ', '/a/b/c|', 'hello'],
    [dom0, 'READ', '/a/b|', ''],
    [dom0, 'WRITE', '/a/z|1', 'OK|'],
    [dom0, 'WRITE', '/a/a|2', 'OK|'],
    [dom0, 'WRITE', '/a/b|again', 'OK|'],
    [dom0, 'DIRECTORY', '/a|', 'b|z|a|'],
  ]))

  test('a value may hold any bytes, terminators too', () => play(({ dom0 }) => [
    [dom0, 'WRITE', '/a|x|y||\u00ff', 'OK|'],
    [dom0, 'READ', '/a|', 'x|y||\u00ff'],
    [dom0, 'WRITE', '/a|', 'OK|'],
    [dom0, 'READ', '/a|', ''],
  ]))

  test('mkdir leaves a node that exists as it is', () => play(({ dom0 }) => [
    [dom0, 'MKDIR', '/a/b|', 'OK|'],
    [dom0, 'WRITE', '/a/b|v', 'OK|'],
    [dom0, 'MKDIR', '/a/b|', 'OK|'],
    [dom0, 'READ', '/a/b|', 'v'],
  ]))

  test('removing takes everything below along; a missing node is fine if its parent exists', () => play(({ dom0 }) => [
    [dom0, 'WRITE', '/a/b/c|1', 'OK|'],
    [dom0, 'RM', '/a/b|', 'OK|'],
    [dom0, 'READ', '/a/b/c|', '!ENOENT'],
    [dom0, 'DIRECTORY', '/a|', ''],
    [dom0, 'RM', '/a/b|', 'OK|'],
    [dom0, 'RM', '/a/b/c|', '!ENOENT'],
    [dom0, 'RM', '/|', '!EINVAL'],
  ]))

  test('relative paths begin at the client\'s own directory', () => play(({ dom0, dom1 }) => [
    [dom1, 'WRITE', 'data/x|1', 'OK|'],
    [dom0, 'READ', '/local/domain/1/data/x|', '1'],
    [dom0, 'WRITE', 'y|2', 'OK|'],
    [dom0, 'READ', '/local/domain/0/y|', '2'],
    [dom1, 'GET_DOMAIN_PATH', '7|', '/local/domain/7|'],
  ]))
})

describe('permissions', () => {
  test('without access to the node above nobody is told whether a node exists', () => play(({ dom0, dom1, dom2 }) => [
    [dom0, 'WRITE', '/secret/here|1', 'OK|'],
    [dom1, 'READ', '/secret/here|', '!EACCES'],
    [dom1, 'READ', '/secret/none|', '!EACCES'],
    [dom1, 'WRITE', '/secret/none|1', '!EACCES'],
    [dom1, 'MKDIR', '/new|', '!EACCES'],
    [dom1, 'RM', '/secret/here|', '!EACCES'],
    [dom2, 'READ', '/local/domain/1|', '!EACCES'],
    [dom1, 'READ', '/local/domain/1/none|', '!ENOENT'],
  ]))

  test.each([
    { list: 'n0|', read: '!EACCES', write: '!EACCES' },
    { list: 'r0|', read: 'v', write: '!EACCES' },
    { list: 'w0|', read: '!EACCES', write: 'OK|' },
    { list: 'b0|', read: 'v', write: 'OK|' },
    { list: 'b0|n1|', read: '!EACCES', write: '!EACCES' },
    { list: 'n0|r1|', read: 'v', write: '!EACCES' },
    { list: 'n0|w1|', read: '!EACCES', write: 'OK|' },
    { list: 'n0|b1|', read: 'v', write: 'OK|' },
    { list: 'n0|n1|b1|', read: '!EACCES', write: '!EACCES' },
    { list: 'n0|r32757|', read: 'v', write: '!EACCES' },
    { list: 'n1|', read: 'v', write: 'OK|' },
  ])('with permissions $list domain 1 reads: $read, writes: $write', (row) => play(({ dom0, dom1 }) => [
    [dom0, 'WRITE', '/n|v', 'OK|'],
    [dom0, 'SET_PERMS', `/n|${row.list}`, 'OK|'],
    [dom1, 'READ', '/n|', row.read],
    [dom1, 'WRITE', '/n|v', row.write],
    [dom0, 'GET_PERMS', '/n|', row.list],
  ]))

  test('new nodes inherit, and belong to the unprivileged domain that made them', () => play(({ dom0, dom1 }) => [
    [dom0, 'WRITE', '/p|', 'OK|'],
    [dom0, 'SET_PERMS', '/p|n2|b1|r5|', 'OK|'],
    [dom1, 'WRITE', '/p/q/r|1', 'OK|'],
    [dom0, 'GET_PERMS', '/p/q|', 'n1|b1|r5|'],
    [dom0, 'GET_PERMS', '/p/q/r|', 'n1|b1|r5|'],
    [dom0, 'WRITE', '/p/s|', 'OK|'],
    [dom0, 'GET_PERMS', '/p/s|', 'n2|b1|r5|'],
  ]))

  test('only owners change permissions, and only the privileged domain owners', () => play(({ dom0, dom1, dom2 }) => [
    [dom1, 'WRITE', 'x|1', 'OK|'],
    [dom1, 'SET_PERMS', 'x|r1|b2|', 'OK|'],
    [dom2, 'SET_PERMS', '/local/domain/1/x|b1|', '!EACCES'],
    [dom1, 'SET_PERMS', 'x|n2|', '!EPERM'],
    [dom0, 'SET_PERMS', '/local/domain/1/x|n2|', 'OK|'],
    [dom1, 'READ', 'x|', '!EACCES'],
  ]))

  test('a domain with a target has its rights', () => {
    const harness = new StoreHarness()
    const dom0 = harness.client(0)
    dom0.ask('WRITE', '/n|v')
    dom0.ask('SET_PERMS', '/n|n2|')
    for (const id of [1, 2]) harness.introduce(id)
    const dom1 = harness.client(1)
    expect(transcriptDifferences([
      [dom1, 'READ', '/n|', '!EACCES'],
      [dom1, 'SET_TARGET', '1|2|', '!EACCES'],
      [dom0, 'SET_TARGET', '1|9|', '!ENOENT'],
      [dom0, 'SET_TARGET', '1|2|', 'OK|'],
      [dom1, 'READ', '/n|', 'v'],
      [dom1, 'SET_PERMS', '/n|r2|', 'OK|'],
    ])).toEqual([])
  })
})

describe('malformed requests', () => {
  const long = (length: number): string => `/${'x'.repeat(length - 1)}`
  test.each<[StoreOp, string, string]>([
    ['READ', '', '!EINVAL'],
    ['READ', '/a', '!EINVAL'],
    ['READ', '/a|b|', '!EINVAL'],
    ['READ', '|', '!EINVAL'],
    ['READ', '//a|', '!EINVAL'],
    ['READ', '/a/|', '!EINVAL'],
    ['READ', '/a b|', '!EINVAL'],
    ['READ', '/a\u00e9|', '!EINVAL'],
    ['READ', '@releaseDomain|', '!EINVAL'],
    ['WRITE', '@releaseDomain|1', '!EINVAL'],
    ['WRITE', '/a', '!EINVAL'],
    ['READ', `${long(2049)}|`, '!EINVAL'],
    ['READ', `${long(2048)}|`, '!ENOENT'],
    ['READ', `/local/domain/1${long(2048)}|`, '!ENOENT'],
    ['READ', `/local/domain/1/${long(2048)}|`, '!EINVAL'],
    ['SET_PERMS', '/|', '!EINVAL'],
    ['SET_PERMS', '/|x0|', '!EINVAL'],
    ['SET_PERMS', '/|n|', '!EINVAL'],
    ['SET_PERMS', '/|n65536|', '!EINVAL'],
    ['WATCH', '/a|', '!EINVAL'],
    ['WATCH', '/a|t|-1|', '!EINVAL'],
    ['UNWATCH', '/a|', '!EINVAL'],
    ['UNWATCH', '/a|t|x|', '!EINVAL'],
    ['UNWATCH', '/a|t|', '!ENOENT'],
    ['TRANSACTION_END', 'X|', '!EINVAL'],
    ['TRANSACTION_END', 'T|', '!ENOENT'],
    ['GET_DOMAIN_PATH', 'x|', '!EINVAL'],
    ['GET_DOMAIN_PATH', '65536|', '!EINVAL'],
    ['INTRODUCE', '1|2|', '!EINVAL'],
    ['INTRODUCE', '1|2|0|', '!EINVAL'],
    ['RELEASE', '0|', '!EINVAL'],
    ['RELEASE', '7|', '!ENOENT'],
    ['RESUME', '7|', '!ENOENT'],
    ['DIRECTORY_PART', '/|', '!EINVAL'],
    ['SET_FEATURE', '7|64|', '!EINVAL'],
    ['GET_QUOTA', 'no-such|', '!EINVAL'],
    ['CONTROL', 'no-such|', '!EINVAL'],
    ['WATCH_EVENT', '/a|t|', '!ENOSYS'],
    ['ERROR', 'EINVAL|', '!ENOSYS'],
    ['INVALID', '', '!ENOSYS'],
  ])('%s %s is answered with %s', (op, body, answer) => play(({ dom0 }) => [[dom0, op, body, answer]]))

  test.each([20, 27, 0xfffffffe])('operation %i does not exist', (number) => {
    expect(new StoreHarness().client().ask(number, '/|')).toBe('!ENOSYS')
  })

  test.each<[StoreOp, string]>([
    ['CONTROL', 'help|'], ['INTRODUCE', '1|2|3|'], ['RELEASE', '1|'], ['RESUME', '1|'], ['SET_TARGET', '1|2|'],
    ['IS_DOMAIN_INTRODUCED', '1|'], ['SET_FEATURE', '1|0|'], ['GET_QUOTA', 'nodes|'], ['SET_QUOTA', 'nodes|1|'],
    ['GET_FEATURE', '2|'],
  ])('%s is for the privileged domain alone', (op, body) => play(({ dom1 }) => [[dom1, op, body, '!EACCES']]))
})

describe('large directories', () => {
  test('a list beyond one message is refused, and told in parts of whole names', () => {
    const client = new StoreHarness().client()
    const names = Array.from({ length: 700 }, (_, i) => `child-number-${i}`)
    for (const name of names) client.ask('WRITE', `/big/${name}|`)
    expect(client.ask('DIRECTORY', '/big|')).toBe('!E2BIG')
    const got: string[] = []
    let offset = 0
    let generation: string | undefined
    for (;;) {
      const answer = client.ask('DIRECTORY_PART', `/big|${offset}|`)!
      expect(answer.length).toBeLessThanOrEqual(4096)
      const [number, ...part] = answer.split('|').slice(0, -1)
      generation ??= number
      expect(number).toBe(generation)
      const last = part[part.length - 1] === ''
      if (last) part.pop()
      got.push(...part)
      offset += part.reduce((sum, name) => sum + name.length + 1, 0)
      if (last) break
    }
    expect(got).toEqual(names)
    expect(client.ask('DIRECTORY_PART', '/big|999999|')).toBe(`${generation}||`)
    client.ask('RM', '/big/child-number-3|')
    expect(client.ask('DIRECTORY_PART', '/big|999999|')).not.toBe(`${generation}||`)
  })

  test('a short list fits into one part', () => play(({ dom0 }) => [
    [dom0, 'DIRECTORY_PART', '/tool|0|', '3|xenstored||'],
  ]))
})

describe('the toolstack\'s requests', () => {
  const quotas = [
    'nodes', 'watches', 'outstanding', 'memory', 'soft-memory', 'transactions', 'transaction-nodes',
    'node-permissions', 'path-max', 'node-size',
  ]

  test('features and quotas can be asked for and set', () => play(({ dom0, dom1 }) => [
    [dom1, 'GET_FEATURE', '', '15|'],
    [dom0, 'GET_FEATURE', '9|', '15|'],
    [dom0, 'SET_FEATURE', '9|2|', 'OK|'],
    [dom0, 'GET_FEATURE', '9|', '2|'],
    [dom0, 'GET_QUOTA', '', `${quotas.join(' ')}|`],
    [dom0, 'GET_QUOTA', 'nodes|', '1000|'],
    [dom0, 'SET_QUOTA', '1|nodes|5|', 'OK|'],
    [dom0, 'GET_QUOTA', '1|nodes|', '5|'],
    [dom0, 'GET_QUOTA', '2|nodes|', '1000|'],
    [dom0, 'SET_QUOTA', 'nodes|7|', 'OK|'],
    [dom0, 'GET_QUOTA', '9|nodes|', '1000|'],
    [dom0, 'GET_QUOTA', '10|nodes|', '7|'],
  ]))

  test('the server answers about itself', () => play(({ dom0 }) => [
    [dom0, 'CONTROL', 'check|', 'OK|'],
    [dom0, 'CONTROL', 'print|hello|', 'OK|'],
    [dom0, 'IS_DOMAIN_INTRODUCED', '1|', 'F|'],
    [dom0, 'IS_DOMAIN_INTRODUCED', '32752|', 'T|'],
  ]))
})
