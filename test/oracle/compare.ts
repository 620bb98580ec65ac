/**
 * Compares two outcomes of one case. Left out: the trap and resume flags (the native side single-steps), flags that
 * the instruction leaves undefined, the x87 unit's instruction and data pointers (processors keep them differently).
 */
import { isBig } from './segments.ts'
import type { Outcome } from './wire.ts'

const TRAP_AND_RESUME = 0x1_0100
/** Every flag that a process can see change. */
const FLAGS_SEEN = 0x3f_7fd7
const GENERAL_NAMES = [
  'rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15',
]

/** What not to compare. */
export interface Leniency {
  /** Bits of RFLAGS that the instructions leave undefined. */
  readonly undefinedFlags: number
  /** General registers whose value is undefined, as a bit mask. */
  readonly undefinedRegisters?: number
  /** Bits of memory that differ for a reason: MXCSR bits that are not offered. */
  readonly hiddenMemory?: number
  /** x87 condition bits that the instruction leaves undefined, at their places in the status word. */
  readonly undefinedConditions?: number
  /** A faulting address depends on how a processor cuts a long access into pieces. */
  readonly anyAddress?: boolean
  /** The instruction has two operands in memory of which neither is needed for the other: either may fault first. */
  readonly anyFault?: boolean
  /** Results may differ in the last bits: x87 functions that the manual gives an error bound for. */
  readonly approximate?: boolean
  /** Single-precision results are estimates of 12 bits: RCP and RSQRT. */
  readonly estimate?: boolean
}

/** The part of it that tells of faults. */
export type FaultLeniency = Pick<Leniency, 'anyAddress' | 'anyFault'>

const RSP = 4
const LONG_CODE = 0x33

const hex = (value: number): string => (value >>> 0).toString(16)
const wide = (parts: readonly number[]): string => `${hex(parts[1]!)}_${hex(parts[0]!).padStart(8, '0')}`

/** #SS, #GP, #PF and #AC: what an access to memory can fault with. */
const ACCESS_FAULTS = new Set([12, 13, 14, 17])
const ALIGNMENT_CHECK = 17

/**
 * Whether two outcomes are faults of which both manuals leave the order to the processor. They put all faults of executing
 * an instruction into one class, without an order within: where one access gives reason for a fault of alignment and
 * for another one, or where two operands are in memory, either may be told.
 * Reference: Intel SDM volume 3, table 6-2; AMD64 APM volume 2, 8.5, simultaneous interrupts.
 */
function isOtherOrder(ours: Outcome, theirs: Outcome, twoOperands: boolean): boolean {
  if (!ACCESS_FAULTS.has(ours.end) || !ACCESS_FAULTS.has(theirs.end)) return false
  if (twoOperands) return true
  return ours.end !== theirs.end && (ours.end === ALIGNMENT_CHECK || theirs.end === ALIGNMENT_CHECK)
}

function compareException(ours: Outcome, theirs: Outcome, leniency: FaultLeniency, found: string[]): void {
  if (wide(ours.rip) !== wide(theirs.rip)) found.push(`rip ${wide(ours.rip)}, processor ${wide(theirs.rip)}`)
  if (ours.faults !== theirs.faults) found.push(`exceptions gone on behind ${hex(ours.faults)}, processor ${hex(theirs.faults)}`)
  if (isOtherOrder(ours, theirs, leniency.anyFault === true)) return
  if (ours.end !== theirs.end) found.push(`end ${hex(ours.end)}, processor ${hex(theirs.end)}`)
  // For addresses of the kernel Linux always reports "present", whatever the tables say.
  const hidden = theirs.end === 14 && theirs.cr2[1] >= 0x8000_0000 ? 1 : 0
  if ((ours.error | hidden) !== (theirs.error | hidden)) {
    found.push(`error ${hex(ours.error)}, processor ${hex(theirs.error)}`)
  }
  const sameAddress = leniency.anyAddress === true || (ours.cr2[1] === theirs.cr2[1] && ours.cr2[0] === theirs.cr2[0])
  if (!sameAddress) found.push(`address ${wide(ours.cr2)}, processor ${wide(theirs.cr2)}`)
}

function compareChanges(ours: Outcome, theirs: Outcome, hiddenBits: number, found: string[]): void {
  const expected = new Map(theirs.changes.map((change) => [change.address, change]))
  for (const change of ours.changes) {
    const other = expected.get(change.address)
    expected.delete(change.address)
    const differs = other === undefined || ((change.low ^ other.low) & ~hiddenBits) !== 0 ||
      ((change.high ^ other.high) & ~hiddenBits) !== 0
    if (differs) found.push(`[${hex(change.address)}] ${wide([change.low, change.high])}, processor ` +
      (other === undefined ? 'unchanged' : wide([other.low, other.high])))
  }
  for (const other of expected.values()) {
    found.push(`[${hex(other.address)}] unchanged, processor ${wide([other.low, other.high])}`)
  }
}

function bytesText(bytes: Uint8Array, at: number, count: number): string {
  return Array.from(bytes.subarray(at, at + count), (byte) => byte.toString(16).padStart(2, '0')).reverse().join('')
}

function sameBytes(a: Uint8Array, b: Uint8Array, at: number, count: number): boolean {
  for (let i = at; i < at + count; i += 1) if (a[i] !== b[i]) return false
  return true
}

/** Whether two 80-bit values are neighbours: significands at most two units apart. */
function nearlyEqual(ours: Uint8Array, theirs: Uint8Array, at: number): boolean {
  // Without the integer bit, so that neighbours across a power of two differ by one.
  const value = (bytes: Uint8Array): bigint => {
    const all = BigInt(`0x${bytesText(bytes, at, 10)}`)
    return ((all >> 64n) << 63n) | (all & 0x7fff_ffff_ffff_ffffn)
  }
  const difference = value(ours) - value(theirs)
  return difference >= -2n && difference <= 2n
}

/** Relative difference of two estimates, each of which may be off by 1.5 * 2^-12; and a little for their rounding. */
const ESTIMATES_APART = 3.2 * 2 ** -12

/** Whether the four numbers of a vector register are the same or estimates of the same. */
function sameEstimates(ours: Uint8Array, theirs: Uint8Array, at: number): boolean {
  const number = (bytes: Uint8Array, lane: number): number =>
    new DataView(bytes.buffer, bytes.byteOffset).getFloat32(at + lane * 4, true)
  return [0, 1, 2, 3].every((lane) => {
    if (sameBytes(ours, theirs, at + lane * 4, 4)) return true
    const [mine, other] = [number(ours, lane), number(theirs, lane)]
    return Math.abs(mine - other) <= Math.abs(other) * ESTIMATES_APART
  })
}

function compareFloats({ fx: ours, upper }: Outcome, { fx: theirs, upper: otherUpper }: Outcome, leniency: Leniency, found: string[]): void {
  const check = (name: string, at: number, count: number): void => {
    if (sameBytes(ours, theirs, at, count)) return
    const mine = bytesText(ours, at, count)
    const other = bytesText(theirs, at, count)
    if (leniency.estimate === true && count === 16 && sameEstimates(ours, theirs, at)) return
    if (leniency.approximate === true && count === 10 && nearlyEqual(ours, theirs, at)) return
    found.push(`${name} ${mine}, processor ${other}`)
  }
  check('fcw', 0, 2)
  // Which way a result was rounded shows in C1.
  const hidden = (leniency.undefinedConditions ?? 0) | (leniency.approximate === true ? 0x200 : 0)
  const status = (bytes: Uint8Array): number => (bytes[2]! | (bytes[3]! << 8)) & ~hidden
  if (status(ours) !== status(theirs)) found.push(`fsw ${hex(status(ours))}, processor ${hex(status(theirs))}`)
  check('ftw', 4, 1)
  check('mxcsr', 24, 4)
  for (let i = 0; i < 8; i += 1) check(`st${i}`, 32 + i * 16, 10)
  for (let i = 0; i < 16; i += 1) check(`xmm${i}`, 160 + i * 16, 16)
  for (let i = 0; i < 16; i += 1) {
    if (sameBytes(upper, otherUpper, i * 16, 16)) continue
    if (leniency.estimate === true && sameEstimates(upper, otherUpper, i * 16)) continue
    found.push(`upper half of ymm${i} ${bytesText(upper, i * 16, 16)}, processor ${bytesText(otherUpper, i * 16, 16)}`)
  }
}

/** Differences between our outcome and the processor's, in words; none when they agree. */
export function differences(ours: Outcome, theirs: Outcome, leniency: Leniency): string[] {
  const found: string[] = []
  compareException(ours, theirs, leniency, found)
  for (let i = 0; i < 16; i += 1) {
    if (((leniency.undefinedRegisters ?? 0) & (1 << i)) !== 0) continue
    // Outside of 64-bit code the stack pointer has no upper half, and Linux leaves one there for a 16-bit stack.
    const hidden = i === RSP && (ours.selectors[1] !== LONG_CODE || !isBig(ours.selectors[2]!))
    const text = ({ general }: Outcome): string => wide([general[i * 2]!, hidden ? 0 : general[i * 2 + 1]!])
    const [mine, other] = [text(ours), text(theirs)]
    if (mine !== other) found.push(`${GENERAL_NAMES[i]!} ${mine}, processor ${other}`)
  }
  const flags = FLAGS_SEEN & ~TRAP_AND_RESUME & ~leniency.undefinedFlags
  if (((ours.flags ^ theirs.flags) & flags) !== 0) {
    found.push(`flags ${hex(ours.flags & flags)}, processor ${hex(theirs.flags & flags)}`)
  }
  const check = (name: string, mine: string, other: string): void => {
    if (mine !== other) found.push(`${name} ${mine}, processor ${other}`)
  }
  // A switch to another task and back turns every null selector into 0.
  const selectors = ({ selectors }: Outcome): string => selectors.map((one) => hex(one < 4 ? 0 : one)).join()
  check('selectors', selectors(ours), selectors(theirs))
  check('fs base', wide(ours.fsBase), wide(theirs.fsBase))
  check('gs base', wide(ours.gsBase), wide(theirs.gsBase))
  compareChanges(ours, theirs, leniency.hiddenMemory ?? 0, found)
  compareFloats(ours, theirs, leniency, found)
  return found
}

/** Only whether the same exception came, at the same place: for code that is random bytes. */
export function exceptionDiffers(ours: Outcome, theirs: Outcome, leniency: FaultLeniency): string[] {
  const found: string[] = []
  compareException(ours, theirs, leniency, found)
  return found
}
