/** The processor against what a real one has answered, and which forms are compared at all; test/oracle asks the one underneath. */
import { describe, expect, it } from 'vitest'
import { allForms, whyNotCompared } from '../../oracle/forms.ts'
import { replayVectors } from '../../oracle/replay.ts'

describe('the processor against recorded vectors', () => {
  it('agrees with each of them, one for nearly every form', () => {
    const { vectors, mismatches } = replayVectors()
    expect(mismatches).toEqual([])
    expect(vectors).toBeGreaterThan(4300)
  }, 60_000)
})

describe('the forms of the decode table', () => {
  it.each([64, 32] as const)('of %s-bit code are all compared but those that a process cannot judge', (code) => {
    const left = allForms(code).filter((form) => whyNotCompared(form, code) !== undefined)
    expect(new Set(left.map(({ row }) => row.alias ?? row.name)).size).toBeLessThan(28)
  })
})
