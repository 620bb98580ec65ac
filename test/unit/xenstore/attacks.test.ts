import { describe, expect, test } from 'vitest'
import { STORE_OPS, StoreHarness, storePacket, type RawStoreClient } from '../../../src/testing/index.ts'

/** A server with a large node that everybody may read, an innocent client, and a domain with bad intentions. */
function setup() {
  const harness = new StoreHarness()
  const innocent = harness.client()
  innocent.ask('WRITE', `/big|${'x'.repeat(4000)}`)
  innocent.ask('SET_PERMS', '/big|r0|')
  innocent.ask('MKDIR', '/local/domain/1|')
  innocent.ask('SET_PERMS', '/local/domain/1|n1|')
  return { harness, innocent, hostile: harness.client(1) }
}

/** Sends without ever taking a reply. */
function flood(client: RawStoreClient, bytes: Uint8Array, count: number, pump: () => void): number {
  let taken = 0
  for (let i = 0; i < count; i += 1) {
    taken += client.transport.send(bytes)
    pump()
  }
  return taken
}

describe('a domain that', () => {
  test('never takes its replies is served 20 requests and then no more', () => {
    const { harness, innocent, hostile } = setup()
    flood(hostile, storePacket(STORE_OPS.READ, '/big\0'), 5000, () => harness.server.process())
    const { usage } = harness.store.domain(1)!
    expect(usage.outstanding).toBe(20)
    expect(usage.memory).toBeLessThan(200_000)
    expect(innocent.ask('READ', '/tool|')).toBe('')
  })

  test('opens transactions for ever gets ten', () => {
    const { harness, innocent, hostile } = setup()
    const answers = Array.from({ length: 50 }, () => hostile.ask('TRANSACTION_START', '|'))
    expect(answers.filter((answer) => !answer!.startsWith('!'))).toHaveLength(10)
    expect(new Set(answers.slice(10))).toEqual(new Set(['!ENOSPC']))
    expect(harness.store.transactionCount).toBe(10)
    expect(innocent.ask('TRANSACTION_START', '|')).toBe('1|')
  })

  test('sets watches for ever gets 128', () => {
    const { harness, hostile } = setup()
    for (let i = 0; i < 300; i += 1) hostile.ask('WATCH', `n|${i}|`)
    expect(harness.store.watchCount).toBe(128)
  })

  test('creates nodes for ever gets a thousand', () => {
    const { harness, hostile } = setup()
    for (let i = 0; i < 1500; i += 1) hostile.ask('WRITE', `d${i % 40}/n${i}|`)
    expect(harness.store.domain(1)!.usage.nodes).toBe(1000)
  })

  test('watches what changes and takes no events is not sent more than its memory allows', () => {
    const { harness, innocent, hostile } = setup()
    hostile.send(storePacket(STORE_OPS.WATCH, `/local\0${'t'.repeat(4000)}\0`))
    innocent.ask('SET_PERMS', '/local|r0|')
    for (let i = 0; i < 3000; i += 1) innocent.ask('WRITE', `/local/n${i}|`)
    expect(harness.store.domain(1)!.usage.memory).toBeLessThanOrEqual(2.5 * 1024 * 1024)
    expect(innocent.ask('READ', '/local/n2999|')).toBe('')
  })

  test('sends a length of 4 GiB is dropped, and its watches with it', () => {
    const { harness, innocent, hostile } = setup()
    hostile.ask('WATCH', 'n|t|')
    const bad = storePacket(STORE_OPS.READ, '/big\0')
    new DataView(bad.buffer).setUint32(12, 0xffffffff, true)
    hostile.send(bad)
    expect(hostile.transport.state).toBe('ended')
    expect(harness.store.watchCount).toBe(0)
    expect(innocent.ask('READ', '/tool|')).toBe('')
  })

  test('sends half a message waits for itself alone', () => {
    const { harness, innocent, hostile } = setup()
    hostile.send(storePacket(STORE_OPS.READ, '/big\0').subarray(0, 19))
    expect(innocent.ask('READ', '/tool|')).toBe('')
    expect(harness.server.hasWork).toBe(false)
    hostile.send(storePacket(STORE_OPS.READ, '/big\0').subarray(19))
    expect(hostile.collect()[0]?.text.length).toBe(4000)
  })
})

test('a tool that never takes its replies is held at 256 KiB of them', () => {
  const { harness, innocent } = setup()
  const tool = harness.client()
  const sent = flood(tool, storePacket(STORE_OPS.READ, '/big\0'), 20_000, () => harness.server.process())
  expect(sent).toBeLessThan(20_000 * 21)
  // Nobody was dropped: the innocent one, the hostile one of setup, the tool.
  expect(harness.store.connectionCount).toBe(3)
  expect(innocent.ask('READ', '/tool|')).toBe('')
})

test('a tool that takes no events is dropped before they fill the memory', () => {
  const { harness, innocent } = setup()
  const tool = harness.client()
  tool.send(storePacket(STORE_OPS.WATCH, `/w\0${'t'.repeat(4000)}\0`))
  for (let i = 0; i < 5000; i += 1) innocent.ask('WRITE', `/w/${i}|`)
  expect(tool.transport.state === 'ended' || harness.server.clients === 2).toBe(true)
  expect(harness.store.watchCount).toBe(0)
})

test('others keep their speed beside a domain that floods', () => {
  const { harness, innocent, hostile } = setup()
  const noise = storePacket(STORE_OPS.READ, '/nowhere\0')
  let answered = 0
  for (let i = 0; i < 500; i += 1) {
    for (let n = 0; n < 100; n += 1) hostile.transport.send(noise)
    // One turn of the server is enough for the other's single request.
    if (innocent.ask('READ', '/tool|') === '') answered += 1
    hostile.collect()
    hostile.received.length = 0
  }
  expect(answered).toBe(500)
  expect(harness.store.domain(1)!.usage.outstanding).toBeLessThanOrEqual(20)
})
