import { expect, test } from 'vitest'
import { fuzzScreens } from './screens.ts'

/** Sequences: with those of rings and folders CI runs 200,000. FUZZ_SEQUENCES asks for more or fewer. */
const COUNT = Number(process.env['FUZZ_SEQUENCES'] ?? (process.env['FUZZ'] === 'long' ? 80_000 : 1500))

test('the back-ends of screens survive every sequence, throw nothing and leave nothing mapped', async () => {
  const reached = await fuzzScreens(COUNT)
  for (const count of [reached.connected, reached.keys]) expect(count).toBeGreaterThan(COUNT / 2)
  for (const count of [reached.refused, reached.drawn]) expect(count).toBeGreaterThan(COUNT / 5)
  for (const count of [reached.resized, reached.broken]) expect(count).toBeGreaterThan(COUNT / 20)
}, 600_000)
