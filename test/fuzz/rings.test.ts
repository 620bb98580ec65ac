import { describe, expect, test } from 'vitest'
import type { Target } from './rings.ts'
import { fuzz } from './rings.ts'

/** Sequences for each half; the four together are what CI runs. FUZZ_SEQUENCES asks for more or fewer. */
const COUNT = Number(process.env['FUZZ_SEQUENCES'] ?? (process.env['FUZZ'] === 'long' ? 12_500 : 600))

describe('hostile rings', () => {
  test.each<Target>(['block back-end', 'block front-end', 'net transmit', 'net receive', 'net front-end'])(
    '%s survives every sequence, throws nothing and leaves nothing behind',
    async (target) => {
      const reached = await fuzz(target, COUNT)
      expect(reached.served).toBeGreaterThan(COUNT)
      expect(reached.broken).toBeGreaterThan(COUNT / 10)
    },
    600_000,
  )
})
