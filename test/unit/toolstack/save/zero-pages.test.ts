import { expect, test } from 'vitest'
import { ZeroPages } from '../../../../src/toolstack/save/zero-pages.ts'

test.each([0, 1, 2, 4])('a page is zero when each of its bytes is, %i bytes from where words begin', (shift) => {
  const bytes = new Uint8Array(new ArrayBuffer(3 * 4096 + shift), shift)
  bytes.fill(1, 0, 4096)
  bytes.fill(1, 8192)
  const pages = new ZeroPages(bytes)
  expect([pages.has(0), pages.has(4096), pages.has(8192)]).toEqual([false, true, false])
  for (let at = 0; at < 4096; at += 1) {
    bytes[4096 + at] = 0x80
    if (pages.has(4096)) expect(`byte ${at}`).toBe('seen')
    bytes[4096 + at] = 0
  }
  expect(pages.has(4096)).toBe(true)
})
