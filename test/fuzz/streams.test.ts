import { describe, expect, test } from 'vitest'
import { type MiniKind, buildMini } from '../support/build-mini.ts'
import { fuzzStreams } from './streams.ts'

/** Damaged files of all kinds together; FUZZ_STREAMS asks for more or fewer. */
const COUNT = Number(process.env['FUZZ_STREAMS'] ?? (process.env['FUZZ'] === 'long' ? 50_000 : 1_500))

/** Kinds of guests, and their parts of all files. */
const KINDS: readonly (readonly [MiniKind, number])[] = [['pv64', 1 / 2], ['pv32', 1 / 4], ['pvh', 1 / 4]]

for (const [kind, part] of KINDS) {
  const { reason } = buildMini(kind)
  describe.skipIf(reason !== undefined)(`a damaged saved domain, ${kind}${reason ?? ''}`, () => {
    test('is refused with an error that says where, or restored, and leaves nothing behind', { timeout: 1_800_000 }, async () => {
      const count = Math.ceil(COUNT * part)
      const { refused, restored, started } = await fuzzStreams(kind, count)
      expect(refused['INVALID_STREAM']).toBeGreaterThan(count / 4)
      expect(restored).toBeGreaterThan(count / 10)
      expect(started).toBeGreaterThan(count / 200)
    })
  })
}
