import { describe, expect, test } from 'vitest'
import type { QuotaLimits } from '../../../src/xenstore/index.ts'
import { StoreHarness } from '../../../src/testing/index.ts'

/** A guest at home in /local/domain/1, with limits of its own. */
function guestWith(limits: Partial<QuotaLimits>) {
  const harness = new StoreHarness({ limits })
  const tools = harness.client()
  tools.ask('MKDIR', '/local/domain/1|')
  tools.ask('SET_PERMS', '/local/domain/1|n1|')
  const hits: string[] = []
  harness.store.events.on('quota-hit', ({ domid, quota }) => hits.push(`${domid} ${quota}`))
  const guest = harness.client(1)
  const used = () => harness.store.domain(1)!.usage
  return { harness, tools, guest, hits, used }
}

test('a domain owns as many nodes as it may, and gets room back by removing', () => {
  const { guest, hits, tools, used } = guestWith({ nodes: 4 })
  expect(guest.ask('WRITE', 'a/b|')).toBe('OK|')
  expect(guest.ask('WRITE', 'c|')).toBe('OK|')
  expect(used().nodes).toBe(4)
  expect(guest.ask('WRITE', 'd|')).toBe('!ENOSPC')
  expect(guest.ask('WRITE', 'a|value')).toBe('OK|')
  expect(tools.ask('WRITE', '/local/domain/1/by-tools|')).toBe('OK|')
  expect(used().nodes).toBe(5)
  expect(guest.ask('RM', 'a|')).toBe('OK|')
  expect(used().nodes).toBe(3)
  expect(guest.ask('WRITE', 'd|')).toBe('OK|')
  expect(hits).toEqual(['1 nodes'])
})

test('a chain of nodes that does not fit as a whole leaves nothing', () => {
  const { guest, tools } = guestWith({ nodes: 3 })
  expect(guest.ask('WRITE', 'a/b/c|')).toBe('!ENOSPC')
  expect(tools.ask('DIRECTORY', '/local/domain/1|')).toBe('')
})

test('new owners count: what the toolstack gives away is the other\'s', () => {
  const { tools, used } = guestWith({})
  tools.ask('WRITE', '/x|12345')
  const before = { ...used() }
  tools.ask('SET_PERMS', '/x|n1|')
  expect(used().nodes).toBe(before.nodes + 1)
  expect(used().memory).toBeGreaterThan(before.memory)
  tools.ask('SET_PERMS', '/x|n0|')
  expect(used()).toEqual(before)
})

test.each<[string, Partial<QuotaLimits>, string[], string]>([
  ['watches', { watches: 2 }, ['WATCH a|1|', 'WATCH a|2|', 'WATCH a|3|'], '!ENOSPC'],
  ['transactions', { transactions: 1 }, ['TRANSACTION_START |', 'TRANSACTION_START |'], '!ENOSPC'],
  ['the size of a node', { nodeSize: 40 }, ['WRITE a|0123456789', 'WRITE b|01234567890123456789'], '!ENOSPC'],
  ['the names of a node\'s children', { nodeSize: 40 }, ['WRITE 012|', 'WRITE 0123456789012|'], '!ENOSPC'],
  ['permissions', { nodePermissions: 2 }, ['WRITE a|', 'SET_PERMS a|n1|r2|', 'SET_PERMS a|n1|r2|r3|'], '!ENOSPC'],
  ['the length of a path', { pathMax: 30 }, ['WRITE a|', `WRITE ${'x'.repeat(31)}|`], '!EINVAL'],
  ['memory of nodes', { memory: 300 }, ['WRITE a|', `WRITE b|${'x'.repeat(200)}`], '!ENOMEM'],
])('a limit on %s', (_, limits, requests, answer) => {
  const { guest } = guestWith(limits)
  const answers = requests.map((request) => {
    const [op, ...rest] = request.split(' ')
    return guest.ask(op as 'WRITE', rest.join(' '))
  })
  expect(answers.pop()).toBe(answer)
  for (const each of answers) expect(each).not.toMatch(/^!/)
})

test('limits are for unprivileged domains, and 0 stands for none', () => {
  const { tools } = guestWith({ nodes: 1, watches: 1, transactions: 1, nodeSize: 20 })
  expect(tools.ask('WRITE', `/a/b/c|${'x'.repeat(3000)}`)).toBe('OK|')
  for (const token of ['1', '2', '3']) expect(tools.ask('WATCH', `/a|${token}|`)).toBe('OK|')
  const { guest } = guestWith({ nodes: 0 })
  for (let i = 0; i < 50; i += 1) expect(guest.ask('WRITE', `n${i}|`)).toBe('OK|')
})

describe('in a transaction', () => {
  test('new nodes count from the start, and again at the end', () => {
    const { guest, tools } = guestWith({ nodes: 3 })
    guest.ask('TRANSACTION_START', '|')
    expect(guest.ask('WRITE', 'a|', 1)).toBe('OK|')
    expect(guest.ask('WRITE', 'b|', 1)).toBe('OK|')
    expect(guest.ask('WRITE', 'c|', 1)).toBe('!ENOSPC')
    tools.ask('WRITE', '/given|')
    tools.ask('SET_PERMS', '/given|n1|')
    expect(guest.ask('TRANSACTION_END', 'T|', 1)).toBe('!ENOSPC')
    expect(tools.ask('DIRECTORY', '/local/domain/1|')).toBe('')
  })

  test('touching too many nodes fails and spoils the transaction', () => {
    const { guest } = guestWith({ transactionNodes: 3 })
    guest.ask('TRANSACTION_START', '|')
    expect(guest.ask('READ', 'a|', 1)).toBe('!ENOENT')
    expect(guest.ask('READ', 'b|', 1)).toBe('!ENOENT')
    expect(guest.ask('READ', 'c|', 1)).toBe('!ENOSPC')
    expect(guest.ask('READ', 'a|', 1)).toBe('!ENOENT')
    expect(guest.ask('TRANSACTION_END', 'T|', 1)).toBe('!ENOMEM')
  })
})

describe('clean-up', () => {
  test('a released domain leaves no node, no watch, no name in permissions and no use', () => {
    const { harness, tools, guest } = guestWith({})
    harness.introduce(1)
    guest.ask('WRITE', 'a/b/c|1')
    guest.ask('WATCH', 'a|t|')
    guest.ask('TRANSACTION_START', '|')
    tools.ask('WRITE', '/local/domain/1/tools/note|kept by nobody')
    tools.ask('WRITE', '/else/mine|1')
    tools.ask('SET_PERMS', '/else/mine|n1|')
    tools.ask('WRITE', '/else/named|1')
    tools.ask('SET_PERMS', '/else/named|n0|r1|r2|')
    tools.ask('WATCH', '/else|t|')
    tools.events()
    expect(tools.ask('RELEASE', '1|')).toBe('OK|')
    expect(tools.events()).toEqual(['/else/mine t'])
    expect(tools.ask('READ', '/local/domain/1|')).toBe('!ENOENT')
    expect(tools.ask('DIRECTORY', '/else|')).toBe('named|')
    expect(tools.ask('GET_PERMS', '/else/named|')).toBe('n0|r2|')
    expect(harness.store.domain(1)).toBeUndefined()
    expect(harness.store.transactionCount).toBe(0)
    expect(harness.store.watchCount).toBe(1)
    expect(harness.server.clients).toBe(1)
  })

  test('a new domain with the number of a dead one has none of its rights', () => {
    const { harness, tools } = guestWith({})
    tools.ask('WRITE', '/n|1')
    tools.ask('SET_PERMS', '/n|n0|r1|')
    harness.store.releaseDomain(1)
    harness.store.introduceDomain(1)
    expect(harness.client(1).ask('READ', '/n|')).toBe('!EACCES')
  })

  test('a transaction that would name a dead domain must be tried again', () => {
    const { harness, tools } = guestWith({})
    tools.ask('TRANSACTION_START', '|')
    tools.ask('WRITE', '/late|1', 1)
    tools.ask('SET_PERMS', '/late|n0|r1|', 1)
    harness.store.releaseDomain(1)
    expect(tools.ask('TRANSACTION_END', 'T|', 1)).toBe('!EAGAIN')
  })

  test('permissions for domains that the host does not have are kept and mean nothing', () => {
    const harness = new StoreHarness({ domainExists: (id) => id === 0 || id === 1 })
    const tools = harness.client()
    tools.ask('WRITE', '/n|1')
    expect(tools.ask('SET_PERMS', '/n|n9|')).toBe('!ENOENT')
    expect(tools.ask('SET_PERMS', '/n|n0|r1|r9|')).toBe('OK|')
    expect(tools.ask('GET_PERMS', '/n|')).toBe('n0|r1|r9|')
    expect(harness.client(9).ask('READ', '/n|')).toBe('!EACCES')
  })

  test('opening and closing 200 connections with watches and transactions leaves nothing', () => {
    const { harness, used } = guestWith({})
    const before = { ...used() }
    for (let i = 0; i < 200; i += 1) {
      const client = harness.client(1)
      client.ask('WATCH', 'x|t|')
      client.ask('TRANSACTION_START', '|')
      client.transport.close()
      harness.server.process()
    }
    expect(used()).toEqual(before)
    expect(harness.store.watchCount).toBe(0)
  })
})

describe('the limit on the rate of writes', () => {
  test('costs nothing while no transaction is open', () => {
    const { harness, guest } = guestWith({})
    harness.introduce(1)
    for (let i = 0; i < 500; i += 1) expect(guest.ask('WRITE', `n${i % 10}|1`)).toBe('OK|')
  })

  test('stops a domain\'s writes while a transaction is open, until time has passed', () => {
    const { harness, tools, hits } = guestWith({})
    harness.introduce(1)
    const guest = harness.client(1)
    tools.ask('TRANSACTION_START', '|')
    let done = 0
    while (guest.ask('WRITE', 'n|1') === 'OK|') done += 1
    // Credit of the start, what the reserve lends, and one write that makes it negative.
    expect(done).toBeGreaterThanOrEqual(10)
    expect(done).toBeLessThan(100)
    expect(hits).toContain('1 writeRate')
    expect(tools.ask('WRITE', '/others|1')).toBe('OK|')
    const before = guest.received.length
    expect(before).toBe(0)
    const wait = harness.server.nextDeadline()
    expect(wait).toBeGreaterThan(0)
    harness.clock.advance(wait * 1e6)
    harness.server.process()
    expect(guest.collect().length).toBe(1)
  })

  test('lets 200 writes a second through in the long run', () => {
    const { harness, tools } = guestWith({})
    harness.introduce(1)
    const guest = harness.client(1)
    tools.ask('TRANSACTION_START', '|')
    let served = 0
    let waiting = false
    for (let ms = 0; ms < 10_000; ms += 1) {
      if (!waiting) {
        waiting = guest.ask('WRITE', 'n|1') === undefined
        if (!waiting) served += 1
      } else if (guest.collect().length > 0) {
        guest.received.length = 0
        waiting = false
        served += 1
      }
      harness.clock.advance(1e6)
      harness.server.process()
    }
    expect(served).toBeGreaterThan(1950)
    expect(served).toBeLessThan(2050)
  })
})
