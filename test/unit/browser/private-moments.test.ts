/** Moments in private files, as far as there is something to them without a browser: what is refused. test/examples/browser.test.ts has the rest. */
import { describe, expect, test } from 'vitest'
import { fetchMoment, privateCache } from '../../../src/browser/index.ts'

describe('moments in private files', () => {
  test.each([-1, 1.5, Number.NaN, '1'])('cannot have %s bytes', async (most) => {
    expect(() => privateCache({ most: most as number })).toThrow(/most/)
    await expect(fetchMoment('http://127.0.0.1:9/', { most: most as number })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  test('are not to be had where there is no browser', async () => {
    await expect(privateCache().read('any')).rejects.toMatchObject({ code: 'NOT_SUPPORTED' })
  })
})
