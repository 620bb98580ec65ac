import { describe, expect, test } from 'vitest'
import { fuzzFolders, type FolderTarget } from './folders.ts'

/** Shares of the sequences: what touches this machine's disk costs fifty times as much. FUZZ_SEQUENCES asks for more or fewer. */
const COUNT = Number(process.env['FUZZ_SEQUENCES'] ?? (process.env['FUZZ'] === 'long' ? 60_000 : 1200))
const SHARES: readonly (readonly [FolderTarget, number])[] = [['back-end over memory', 0.6], ['front-end', 0.38], ['back-end over this machine', 0.02]]

describe('hostile halves of folders', () => {
  test.each(SHARES)('%s survives every sequence, throws nothing and leaves nothing behind', async (target, share) => {
    const count = Math.ceil(COUNT * share)
    const reached = await fuzzFolders(target, count)
    expect(reached.served).toBeGreaterThan(count)
    expect(reached.refused).toBeGreaterThan(count)
    expect(reached.broken).toBeGreaterThan(count / 20)
  }, 600_000)
})
