/** Lengths of time in every spelling, and what is none. */
import { expect, test } from 'vitest'
import { parseDuration, XenError, type Duration } from '../../../src/util/index.ts'

test.each<[Duration, number]>([
  [0, 0], [5e9, 5e9], [1.4, 1], [5_000_000_000n, 5e9],
  ['5s', 5e9], ['5 s', 5e9], ['0.5s', 5e8], ['0.3s', 3e8], ['5 seconds', 5e9], ['1 second', 1e9], ['100ms', 1e8],
  ['20us', 2e4], ['20\u00b5s', 2e4], ['20\u03bcs', 2e4], ['7ns', 7], ['2m', 120e9], ['2min', 120e9], ['1h', 3600e9], ['1d', 86400e9],
  ['1h30m', 5400e9], ['1 hour 30 minutes', 5400e9], [' 1m 1s ', 61e9], ['0s', 0],
  [{ seconds: 5 }, 5e9], [{ minutes: 1, milliseconds: 500 }, 60.5e9], [{ days: 1, hours: undefined }, 86400e9],
  [{ nanoseconds: 3, microseconds: 2 }, 2003],
])('%o is a length of time', (duration, nanoseconds) => {
  expect(parseDuration(duration, 'timeout')).toBe(nanoseconds)
})

test.each<[unknown, string]>([
  [NaN, 'must be a length of time'], [-1, 'must not be negative'], [-1n, 'must not be negative'],
  [Infinity, 'must be at most'], ['106 days', 'must be at most'], [2n ** 70n, 'must be at most'],
  ['1 parsec', 'must be a length of time'], ['5', 'must be a length of time'], ['', 'must be a length of time'],
  ['s', 'must be a length of time'], ['-5s', 'must be a length of time'], ['5s!', 'must be a length of time'],
  ['!5s', 'must be a length of time'], ['1..5s', 'must be a length of time'], ['5S', 'must be a length of time'],
  ['constructor', 'must be a length of time'], ['1constructor', 'must be a length of time'], ['1s'.repeat(60), 'must be a length of time'],
  [{}, 'must be a length of time'], [{ second: 5 }, 'must be a length of time'], [{ seconds: -5 }, 'must be a length of time'],
  [{ seconds: NaN }, 'must be a length of time'], [{ seconds: '5' }, 'must be a length of time'], [{ toString: 1 }, 'must be a length of time'],
  [null, 'must be a length of time'], [undefined, 'must be a length of time'], [true, 'must be a length of time'],
  [[5], 'must be a length of time'], [new Date(5), 'must be a length of time'], [Symbol('5s'), 'must be a length of time'],
])('%o is refused by name', (duration, why) => {
  let thrown: unknown
  try {
    parseDuration(duration as Duration, 'timeout')
  } catch (error) {
    thrown = error
  }
  expect(XenError.is(thrown, 'INVALID_ARGUMENT')).toBe(true)
  expect((thrown as Error).message).toContain(`timeout ${why}`)
})

test('bounds may let Infinity pass, or ask for more than nothing', () => {
  expect(parseDuration(Infinity, 'timeout', { most: Infinity })).toBe(Infinity)
  expect(() => parseDuration(1e300, 'timeout', { most: Infinity })).toThrow('timeout must be at most 9007199254740991 ns')
  expect(() => parseDuration('1ms', 'period', { least: 1e9 })).toThrow('period must be at least 1000000000 ns, got "1ms"')
})

test('a hostile value is shown without being run, and never at length', () => {
  const cycle: Record<string, unknown> = { text: 'x'.repeat(1000) }
  cycle['self'] = cycle
  for (const value of [cycle, { toJSON() { throw new Error('never seen') } }, 'x'.repeat(1e6), () => 5]) {
    expect(() => parseDuration(value as unknown as Duration, 'timeout')).toThrow(/^timeout must be .{1,200}$/)
  }
})
