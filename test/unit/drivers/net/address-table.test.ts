import { expect, test } from 'vitest'
import { ADDRESS_AGE, ADDRESS_LIMIT, parseMac } from '../../../../src/drivers/index.ts'
import { AddressTable } from '../../../../src/drivers/net/address-table.ts'
import { SeededRandom, below } from '../../../../src/util/index.ts'

/** Two addresses that share a place among those used lately. */
const SAME_PLACE = ['00:16:3e:00:00:01', '00:17:3e:00:00:01'].map((text) => parseMac(text)!)

test('addresses that share a place among those used lately are told apart', () => {
  const table = new AddressTable<string>()
  expect(SAME_PLACE.map((address, index) => table.learn(address, 0, `port ${index}`))).toEqual([true, true])
  for (let round = 0; round < 3; round += 1) {
    expect(SAME_PLACE.map((address) => table.find(address, 0))).toEqual(['port 0', 'port 1'])
  }
})

test('an address that was forgotten is not found among those used lately', () => {
  const table = new AddressTable<string>()
  const [address, other] = SAME_PLACE as [Uint8Array, Uint8Array]
  table.learn(address, 0, 'a')
  expect(table.find(address, 0)).toBe('a')
  table.forgetPort('a')
  expect([table.find(address, 0), table.size]).toEqual([undefined, 0])
  expect(table.learn(address, 0, 'b')).toBe(true)
  table.learn(other, 0, 'c')
  table.now = ADDRESS_AGE + 1
  expect([table.find(address, 0), table.find(other, 0), table.size]).toEqual([undefined, undefined, 0])
})

test('learning is news for a new address and a new port only, and renews the age', () => {
  const table = new AddressTable<string>()
  const address = SAME_PLACE[0]!
  expect([table.learn(address, 0, 'a'), table.learn(address, 0, 'a'), table.learn(address, 0, 'b')]).toEqual([true, false, true])
  table.now = ADDRESS_AGE
  expect(table.learn(address, 0, 'b')).toBe(false)
  table.now = 2 * ADDRESS_AGE
  expect(table.find(address, 0)).toBe('b')
})

test('answers as a plain map does, whatever is learned, forgotten and looked up', () => {
  const random = new SeededRandom(7)
  const table = new AddressTable<number>()
  const plain = new Map<string, number>()
  const frame = new Uint8Array(20)
  for (let step = 0; step < 20_000; step += 1) {
    // Few enough values in each byte for addresses to come again and places to be shared.
    for (let index = 6; index < 12; index += 1) frame[index] = below(random, 3) * 0x55
    const key = frame.subarray(6, 12).join()
    const port = below(random, 5)
    if (below(random, 500) === 0) {
      table.forgetPort(port)
      for (const [address, seen] of plain) if (seen === port) plain.delete(address)
    } else if (below(random, 2) === 0) {
      expect(table.learn(frame, 6, port)).toBe(plain.get(key) !== port)
      plain.set(key, port)
    } else {
      expect(table.find(frame, 6)).toBe(plain.get(key))
    }
  }
  expect(table.size).toBe(plain.size)
  expect(table.size).toBeLessThan(ADDRESS_LIMIT)
})
