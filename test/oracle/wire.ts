/**
 * Cases and outcomes of the oracle, and their bytes as test/oracle/native/executor.c reads and writes them.
 * A case is a whole initial state and a number of instructions to run; an outcome the whole state afterwards.
 * 64-bit values are two words, low half first.
 */
import { LOCAL_DESCRIPTORS } from './segments.ts'

/** Test regions: what is mapped, at the same addresses natively and here. All else is unmapped. */
export const REGIONS = [
  { name: 'code', address: 0x1000_0000, pages: 2, writable: false, executable: true },
  { name: 'writable code', address: 0x1800_0000, pages: 2, writable: true, executable: true },
  { name: 'data', address: 0x2000_0000, pages: 3, writable: true, executable: false },
  { name: 'constants', address: 0x2000_3000, pages: 1, writable: false, executable: false },
] as const

/** Bytes that replace the pattern of a region before a case runs. */
export interface Patch {
  readonly address: number
  readonly bytes: Uint8Array
}

/** Initial state. */
export interface OracleCase {
  /** 16 registers in x86's order, two words each. */
  readonly general: Uint32Array
  readonly rip: number
  readonly flags: number
  readonly fsBase: number
  readonly gsBase: number
  readonly steps: number
  /** FXSAVE image; 416 bytes count. */
  readonly fx: Uint8Array
  readonly patches: readonly Patch[]
  /** Selectors of ES, CS, SS, DS, FS, GS. */
  readonly selectors: readonly number[]
  /** Where the case goes on behind an exception; without it, or with 0, the case ends with the exception. */
  readonly handler?: number
  /** Upper halves of the sixteen vector registers. */
  readonly upper: Uint8Array
}

/** Why an outcome is what it is; below 32 it is the vector of an exception. */
export const END = { STEPS: 0x100, SYSCALL: 0x101, LEFT: 0x102, TRAPS: 0x103, KILLED: 0x104 } as const

/** A changed, aligned 64-bit word of memory. */
export interface Change {
  readonly address: number
  readonly low: number
  readonly high: number
}

/** Final state. */
export interface Outcome {
  readonly end: number
  readonly error: number
  readonly cr2: readonly [number, number]
  readonly general: Uint32Array
  readonly rip: readonly [number, number]
  readonly flags: number
  readonly fsBase: readonly [number, number]
  readonly gsBase: readonly [number, number]
  /** ES, CS, SS, DS, FS, GS. */
  readonly selectors: readonly number[]
  readonly steps: number
  readonly fx: Uint8Array
  /** Upper halves of the sixteen vector registers; zero where the processor underneath has none. */
  readonly upper: Uint8Array
  readonly changes: readonly Change[]
  /** Which exceptions the case went on behind, and where, summed up by `addFault`; 0 for none. */
  readonly faults: number
}

/** The sum of exceptions with one more. */
export const addFault = (sum: number, rip: number, vector: number): number =>
  Math.imul(sum ^ (rip | 0) ^ (vector << 24), 16777619) >>> 0

const CASE_BYTES = 3640
const SELECTORS_AT = 3368
const HANDLER_AT = 3380
const UPPER_AT = 3384
const HEADER_BYTES = 136
const RESULT_BYTES = 968
const CHANGE_BYTES = 16
/** Most patches of a case. */
export const MAX_PATCHES = 48
/** Most bytes of a patch. */
export const PATCH_BYTES = 48
const PATCHES_AT = 680
/** Bytes of an FXSAVE image that hold state: header, x87 registers, 16 XMM registers. */
export const FX_BYTES = 416
/** Bytes of the upper halves. */
export const UPPER_BYTES = 256

function writeCase(to: DataView, bytes: Uint8Array, at: number, one: OracleCase): void {
  one.general.forEach((word, index) => to.setUint32(at + index * 4, word, true))
  const fields = [one.rip, one.flags, one.fsBase, one.gsBase]
  fields.forEach((value, index) => to.setBigUint64(at + 128 + index * 8, BigInt(value), true))
  to.setUint32(at + 160, one.steps, true)
  to.setUint32(at + 164, one.patches.length, true)
  bytes.set(one.fx.subarray(0, FX_BYTES), at + 168)
  if (one.patches.length > MAX_PATCHES) throw new Error('too many patches')
  one.patches.forEach((patch, index) => {
    const place = at + PATCHES_AT + index * (8 + PATCH_BYTES)
    if (patch.bytes.length > PATCH_BYTES) throw new Error('patch too long')
    to.setUint32(place, patch.address, true)
    to.setUint32(place + 4, patch.bytes.length, true)
    bytes.set(patch.bytes, place + 8)
  })
  one.selectors.forEach((selector, index) => to.setUint16(at + SELECTORS_AT + index * 2, selector, true))
  to.setUint32(at + HANDLER_AT, one.handler ?? 0, true)
  bytes.set(one.upper, at + UPPER_AT)
}

/** A batch for the executor's standard input. */
export function encodeBatch(cases: readonly OracleCase[], dataSeed: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + cases.length * CASE_BYTES)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, cases.length, true)
  view.setUint32(4, dataSeed, true)
  // A table is loaded only where a case names one of its segments.
  if (cases.some(({ selectors }) => selectors.some((selector) => (selector & 4) !== 0))) {
    LOCAL_DESCRIPTORS.forEach(([low, high], index) => {
      view.setUint32(8 + index * 8, low, true)
      view.setUint32(12 + index * 8, high, true)
    })
  }
  cases.forEach((one, index) => writeCase(view, bytes, HEADER_BYTES + index * CASE_BYTES, one))
  return bytes
}

function words(view: DataView, at: number, count: number): Uint32Array {
  return Uint32Array.from({ length: count }, (_, index) => view.getUint32(at + index * 4, true))
}

function wide(view: DataView, at: number): readonly [number, number] {
  return [view.getUint32(at, true), view.getUint32(at + 4, true)]
}

function readChanges(view: DataView, at: number, count: number): Change[] {
  return Array.from({ length: count }, (_, index) => {
    const place = at + index * CHANGE_BYTES
    return {
      address: view.getUint32(place, true),
      low: view.getUint32(place + 8, true),
      high: view.getUint32(place + 12, true),
    }
  })
}

/** The executor's standard output, taken apart. */
export function decodeOutcomes(bytes: Uint8Array): Outcome[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const outcomes: Outcome[] = []
  let at = 0
  while (at < bytes.length) {
    const count = view.getUint32(at + 960, true)
    outcomes.push({
      end: view.getUint32(at, true),
      error: view.getUint32(at + 4, true),
      cr2: wide(view, at + 8),
      general: words(view, at + 16, 32),
      rip: wide(view, at + 144),
      flags: view.getUint32(at + 152, true),
      fsBase: wide(view, at + 160),
      gsBase: wide(view, at + 168),
      selectors: Array.from({ length: 6 }, (_, index) => view.getUint16(at + 176 + index * 2, true)),
      steps: view.getUint16(at + 188, true),
      fx: bytes.slice(at + 192, at + 192 + FX_BYTES),
      upper: bytes.slice(at + 704, at + 704 + UPPER_BYTES),
      changes: readChanges(view, at + RESULT_BYTES, count),
      faults: view.getUint32(at + 964, true),
    })
    at += RESULT_BYTES + count * CHANGE_BYTES
  }
  return outcomes
}

/** The pattern that a region holds before any patch: no-operations in code, numbers that look random in data. */
export function patternOf(address: number, pages: number, executable: boolean, dataSeed: number): Uint8Array {
  const bytes = new Uint8Array(pages * 4096)
  if (executable) return bytes.fill(0x90)
  const view = new DataView(bytes.buffer)
  let state = (dataSeed ^ address) >>> 0
  for (let at = 0; at < bytes.length; at += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    view.setUint32(at, (state ^ (state >>> 15)) >>> 0, true)
  }
  return bytes
}
