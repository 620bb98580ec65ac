import { expect, test } from 'vitest'
import { fuzzVchans } from './vchans.ts'

/** Sequences. FUZZ_SEQUENCES asks for more or fewer. */
const COUNT = Number(process.env['FUZZ_SEQUENCES'] ?? (process.env['FUZZ'] === 'long' ? 20_000 : 600))

test('both ends of vchans survive every sequence, throw nothing untyped, lose no byte between honest ends and leave nothing', async () => {
  const reached = await fuzzVchans(COUNT)
  for (const count of [reached.connected]) expect(count).toBeGreaterThan(COUNT / 2)
  for (const count of [reached.refused, reached.packets, reached.broken, reached.waited]) expect(count).toBeGreaterThan(COUNT / 20)
  expect(reached.bytes).toBeGreaterThan(COUNT * 20)
}, 600_000)
