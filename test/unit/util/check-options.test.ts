/** What calls say to options that they do not have or cannot take. */
import { expect, test } from 'vitest'
import {
  abortSignal, byteArray, callable, checkArgument, checkOptions, duration, flag, having, listOf, oneOf, real, text, timeLimit, whole,
  XenError, type Check, type Duration,
} from '../../../src/util/index.ts'

interface Options {
  readonly timeout?: Duration | undefined
  readonly paused?: boolean
}
const checks = { timeout: timeLimit, paused: flag }
const given = (options: unknown) => () => checkOptions<Options>('domain.wait', options as Options, checks)

test('what a call can take passes', () => {
  for (const options of [{}, { timeout: '5s' }, { timeout: undefined }, { timeout: Infinity, paused: true }]) {
    expect(given(options)).not.toThrow()
  }
})

test.each<[unknown, string]>([
  [{ timeuot: 5 }, 'domain.wait has no option timeuot; did you mean timeout?'],
  [{ colour: 5 }, 'domain.wait has no option colour; it has timeout, paused'],
  [{ constructor: 5 }, 'domain.wait has no option constructor; it has timeout, paused'],
  [JSON.parse('{"__proto__":1}'), 'domain.wait has no option __proto__; it has timeout, paused'],
  [{ timeout: '1 parsec' }, "domain.wait: timeout must be a length of time: nanoseconds, a text such as '5s', or { seconds: 5 }, got \"1 parsec\""],
  [{ timeout: NaN }, "domain.wait: timeout must be a length of time: nanoseconds, a text such as '5s', or { seconds: 5 }, got NaN"],
  [{ paused: 1 }, 'domain.wait: paused must be true or false, got 1'],
  [null, 'the options of domain.wait must be an object, got null'],
  [5, 'the options of domain.wait must be an object, got 5'],
  [[], 'the options of domain.wait must be an object, got []'],
])('%j is refused', (options, message) => {
  expect(given(options)).toThrow(message)
  try {
    given(options)()
  } catch (error) {
    expect(XenError.is(error, 'INVALID_ARGUMENT')).toBe(true)
  }
})

test.each<[string, Check, readonly unknown[], readonly unknown[]]>([
  ['a flag', flag, [true, false], [0, 'true', null]],
  ['a text', text, ['', 'x'], [1, null]],
  ['a function', callable, [() => 1], [{}, null]],
  ['bytes', byteArray, [new Uint8Array(1)], [[1], 'x', new ArrayBuffer(1)]],
  ['a whole number', whole(1, 3), [1, 3], [0, 4, 1.5, NaN, '2', 2n]],
  ['a number', real(0, 1), [0, 0.5, 1], [-0.1, 1.1, NaN, '0']],
  ['a word', oneOf('dry', 'wet'), ['dry', 'wet'], ['dri', 1, null]],
  ['an object with methods', having('read', 'write'), [{ read() {}, write() {} }], [{ read() {} }, null, 'x']],
  ['an AbortSignal', abortSignal, [AbortSignal.abort()], [{}, new EventTarget(), null]],
  ['a list', listOf(text), [[], ['a']], ['a', [1], null]],
  ['a duration', duration(), [5, '5s', { seconds: 1 }], [Infinity, -1, '5']],
])('%s', (_, check, right, wrong) => {
  for (const value of right) expect(check(value)).toBeUndefined()
  for (const value of wrong) expect(check(value)).toMatch(/^(must|has at)/)
})

test('a word that is nearly right is answered with the right one', () => {
  expect(oneOf('virtual', 'realtime')('virtaul')).toContain('did you mean "virtual"?')
})

test('a single argument is named', () => {
  expect(() => checkArgument('vcpus', 1.5, whole(1, 4))).toThrow('vcpus must be a whole number from 1 to 4, got 1.5')
})
