/** Plain data as bytes: texts of any length and alphabet come back as they were, and bytes that spell none are refused. */
import { expect, test } from 'vitest'
import { decodePlain, encodePlain } from '../../../../src/toolstack/moment-file/plain-data.ts'

test.each([
  '', 'a', '\0', '\x7f', '\x80', 'é', '\ufeffmarked', 'x\ufeff', '😀', 'plain '.repeat(10), 'a'.repeat(64), 'a'.repeat(65), `${'a'.repeat(63)}é`, 'é'.repeat(5000),
])('the text %j comes back, as a value and as the name of a field', (text) => {
  expect(decodePlain(encodePlain([text, { [text]: 1 }]))).toEqual([text, { [text]: 1 }])
})

test.each([1, 63, 64, 65, 300])('a text of %i bytes one of which begins no character is refused', (length) => {
  const bytes = encodePlain('a'.repeat(length))
  bytes[bytes.length - 1] = 0xff
  expect(() => decodePlain(bytes)).toThrow(expect.objectContaining({ code: 'INVALID_STREAM' }) as Error)
})
