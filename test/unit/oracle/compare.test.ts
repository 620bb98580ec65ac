import { describe, expect, test } from 'vitest'
import { differences } from '../../oracle/compare.ts'
import { LONG_SELECTORS } from '../../oracle/segments.ts'
import { END, FX_BYTES, UPPER_BYTES, type Outcome } from '../../oracle/wire.ts'

const SS = 12
const GP = 13
const PF = 14
const AC = 17
const UD = 6

/** An instruction that did nothing but fault; cr2 is its address where there is one. */
const fault = (end: number, address = 0, rip = 0x1000): Outcome => ({
  end, error: 0, cr2: [address, 0], general: new Uint32Array(32), rip: [rip, 0], flags: 0x202, fsBase: [0, 0], gsBase: [0, 0],
  selectors: LONG_SELECTORS, steps: 0, fx: new Uint8Array(FX_BYTES), upper: new Uint8Array(UPPER_BYTES), changes: [], faults: 0,
})

describe('faults at once in one instruction', () => {
  test.each([[AC, PF], [PF, AC], [AC, GP], [SS, AC]])('of alignment and another one: either may be told (%d, %d)', (mine, other) => {
    expect(differences(fault(mine, 0x10), fault(other, 0x20), { undefinedFlags: 0 })).toEqual([])
  })

  test.each([[PF, GP], [GP, PF], [GP, SS]])('of one operand without alignment: the same is told (%d, %d)', (mine, other) => {
    expect(differences(fault(mine), fault(other), { undefinedFlags: 0 })).not.toEqual([])
  })

  test('of two operands in memory: either may be told, with its address', () => {
    expect(differences(fault(PF, 0x10), fault(PF, 0x20), { undefinedFlags: 0, anyFault: true })).toEqual([])
    expect(differences(fault(GP), fault(PF, 0x20), { undefinedFlags: 0, anyFault: true })).toEqual([])
    expect(differences(fault(PF, 0x10), fault(PF, 0x20), { undefinedFlags: 0 })).not.toEqual([])
  })

  test.each([[AC, END.STEPS], [END.STEPS, AC], [AC, UD], [PF, END.STEPS]])(
    'no fault is not another fault (%d, %d)', (mine, other) => {
      expect(differences(fault(mine), fault(other), { undefinedFlags: 0, anyFault: true })).not.toEqual([])
    })

  test('a fault at another instruction is another fault', () => {
    expect(differences(fault(AC, 0, 0x1000), fault(PF, 0, 0x1003), { undefinedFlags: 0, anyFault: true })).not.toEqual([])
  })
})
