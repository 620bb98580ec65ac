import { expect, test } from 'vitest'
import { advance, ahead, mustNotify, roundDownToPowerOfTwo } from '../../../src/rings/ring-index.ts'

test.each([
  { to: 5, from: 3, distance: 2 },
  { to: 3, from: 0xffffffff, distance: 4 },
  { to: 0, from: 0, distance: 0 },
  { to: 0, from: 1, distance: 0xffffffff },
])('from $from to $to is $distance ahead', ({ to, from, distance }) => {
  expect(ahead(to, from)).toBe(distance)
})

test('advancing wraps at 2^32', () => {
  expect(advance(0xffffffff, 1)).toBe(0)
  expect(advance(0xfffffff0, 0x20)).toBe(0x10)
})

test.each([
  { event: 1, old: 0, now: 1, notify: true },
  { event: 1, old: 1, now: 2, notify: false },
  { event: 3, old: 0, now: 2, notify: false },
  { event: 3, old: 0, now: 3, notify: true },
  { event: 1, old: 0xffffffff, now: 2, notify: true },
  { event: 0xffffffff, old: 0xfffffffe, now: 3, notify: true },
  { event: 5, old: 0xfffffffe, now: 3, notify: false },
  { event: 1, old: 4, now: 4, notify: false },
])('going from $old to $now with the event index at $event notifies: $notify', ({ event, old, now, notify }) => {
  expect(mustNotify(event, old, now)).toBe(notify)
})

test.each([[0, 0], [1, 1], [2, 2], [3, 2], [35, 32], [64, 64], [336, 256]])('%i rounds down to %i', (value, power) => {
  expect(roundDownToPowerOfTwo(value)).toBe(power)
})
