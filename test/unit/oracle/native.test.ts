import { describe, expect, test } from 'vitest'
import { below, SeededRandom } from '../../../src/util/index.ts'
import { randomCase } from '../../oracle/initial-state.ts'
import { nativeExecutor, runNatively } from '../../oracle/native.ts'
import { LONG_SELECTORS } from '../../oracle/segments.ts'
import { END, type OracleCase, type Outcome, UPPER_BYTES, patternOf } from '../../oracle/wire.ts'

const SEED = 7
const CODE = 0x1000_0000
const DATA = 0x2000_0000
const executor = nativeExecutor()

/** A plain state: rax to r15 point into the data pages, 16 bytes apart. */
function plain(code: readonly number[], change: Partial<OracleCase> = {}): OracleCase {
  const general = new Uint32Array(32)
  for (let i = 0; i < 16; i += 1) general[i * 2] = DATA + 0x800 + i * 16
  const fx = new Uint8Array(512)
  new DataView(fx.buffer).setUint16(0, 0x37f, true)
  new DataView(fx.buffer).setUint32(24, 0x1f80, true)
  const patches = [{ address: CODE, bytes: Uint8Array.from(code) }]
  return {
    general, rip: CODE, flags: 0x202, fsBase: DATA, gsBase: DATA + 0x1000, steps: 1, fx, patches,
    selectors: LONG_SELECTORS, upper: new Uint8Array(UPPER_BYTES), ...change,
  }
}

const stored = new DataView(patternOf(DATA, 3, false, SEED).buffer)

/** Code, instructions to run, and what must come out. */
const table: [string, number[], number, Partial<Outcome>][] = [
  ['add rax, rbx moves on by its length', [0x48, 0x01, 0xd8], 1, { end: END.STEPS, rip: [CODE + 3, 0] }],
  ['ud2 raises #UD at itself', [0x0f, 0x0b], 1, { end: 6, rip: [CODE, 0] }],
  ['int3 raises #BP behind itself', [0xcc], 1, { end: 3, rip: [CODE + 1, 0] }],
  ['int 5 raises #GP with the gate as error code', [0xcd, 5], 1, { end: 13, error: 42 }],
  ['hlt raises #GP', [0xf4], 1, { end: 13, error: 0 }],
  ['a system call is stopped, not made', [0x0f, 0x05], 1, { end: END.SYSCALL, rip: [CODE + 2, 0] }],
  ['a 32-bit system call is stopped, not made', [0xcd, 0x80], 1, { end: END.SYSCALL }],
  ['a write to constants raises #PF 7', [0x89, 0x04, 0x25, 0, 0x30, 0, 0x20], 1, {
    end: 14, error: 7, cr2: [DATA + 0x3000, 0],
  }],
  ['a jump into data raises #PF 21', [0xff, 0xe0], 2, { end: 14, error: 21, cr2: [DATA + 0x800, 0], steps: 1 }],
  ['a division by zero raises #DE', [0x31, 0xc9, 0xf7, 0xf1], 2, { end: 0, rip: [CODE + 2, 0], steps: 1 }],
  ['an endless loop ends with its steps', [0xeb, 0xfe], 9, { end: END.STEPS, rip: [CODE, 0], steps: 9 }],
  ['a write is reported as changed memory', [0x48, 0x89, 0x18], 1, {
    changes: [{ address: DATA + 0x800, low: DATA + 0x830, high: 0 }],
  }],
  ['a write to data outside the case is gone for the next', [0x8b, 0x00], 1, { end: END.STEPS, changes: [] }],
  ['fs addresses what the case says', [0x64, 0x8b, 0x04, 0x25, 0x10, 0, 0, 0], 1, { end: END.STEPS }],
]

describe.skipIf(executor.path === undefined)(`the native executor (${executor.reason === undefined ? 'native' : `SKIPPED: ${executor.reason}`})`, () => {
  test('reports what the processor does, case by case', () => {
    const outcomes = runNatively(executor.path!, table.map(([, code, steps]) => plain(code, { steps })), SEED)
    table.forEach(([name, , , expected], index) => expect(outcomes[index], name).toMatchObject(expected))
    expect(outcomes[0]!.general[0], 'rax').toBe(2 * DATA + 0x1030)
    expect(outcomes[12]!.general[0], 'the pattern is back').toBe(stored.getUint32(0x800, true))
    expect(outcomes[13]!.general[0], 'read through fs').toBe(stored.getUint32(0x10, true))
  })

  test('runs a repeated string instruction as one step', () => {
    const one = plain([0xf3, 0xaa])
    one.general.set([0x55, 0, 100, 0], 0)
    const [outcome] = runNatively(executor.path!, [one], SEED)
    expect(outcome).toMatchObject({ end: END.STEPS, steps: 1, rip: [CODE + 2, 0] })
    expect(outcome!.general[2], 'rcx').toBe(0)
    expect(outcome!.changes).toHaveLength(13)
  })

  test('keeps x87, XMM and MXCSR state', () => {
    const random = new SeededRandom(3)
    const one = { ...randomCase(random, CODE, Uint8Array.of(0x90)) }
    const [outcome] = runNatively(executor.path!, [one], SEED)
    expect([...outcome!.fx.subarray(160)]).toEqual([...one.fx.subarray(160)])
    expect([...outcome!.fx.subarray(24, 28)]).toEqual([...one.fx.subarray(24, 28)])
  })

  test('survives random bytes as code', () => {
    const random = new SeededRandom(11)
    const cases = Array.from({ length: 5000 }, () => {
      const code = Uint8Array.from({ length: 15 }, () => below(random, 256))
      return { ...randomCase(random, CODE, code), steps: 4 }
    })
    const outcomes = runNatively(executor.path!, cases, SEED)
    expect(outcomes.filter((outcome) => outcome.end === END.KILLED)).toEqual([])
  })
})
