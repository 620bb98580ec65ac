/** Whole random programs on our processor and on the one underneath; `npm run fuzz:programs` runs as many as wished. */
import { describe, expect, test } from 'vitest'
import { nativeExecutor, whyNoShortCode } from '../oracle/native.ts'
import { compareNatively } from './native.ts'

/** Programs of each kind of code; FUZZ_PROGRAMS asks for more or fewer. */
const COUNT = Number(process.env['FUZZ_PROGRAMS'] ?? (process.env['FUZZ'] === 'long' ? 300 : 25))
const program = nativeExecutor()

describe.each([64, 32] as const)('random programs of %s-bit code', (code) => {
  const reason = program.path === undefined ? program.reason : code === 64 ? undefined : whyNoShortCode(program.path)
  test.skipIf(reason !== undefined)(`do the same as on the processor underneath${reason === undefined ? '' : ` (SKIPPED: ${reason})`}`, () => {
    const report = compareNatively(program.path!, { code, seed: 1, count: COUNT })
    expect(report.mismatches).toEqual([])
    // They would miss their aim otherwise: most run long, some come to their end, some fault.
    expect(report.steps / COUNT).toBeGreaterThan(700)
    expect(report.ended).toBeGreaterThan(COUNT / 8)
    expect(report.withFaults).toBeGreaterThan(COUNT / 4)
  }, 600_000)
})
