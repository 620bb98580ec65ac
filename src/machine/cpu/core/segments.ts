/**
 * What segments mean outside of 64-bit mode for a whole processor: whether they are all flat, so that code can run
 * without checks, how wide the stack pointer is, and what an access through one may do. The check itself is generated
 * code (runtime/segments.ts).
 * Reference: Intel SDM volume 3, sections 3.4.5, 5.2 and 5.3.
 */
import { ATTRIBUTE, SEGMENT } from '../../../x86/index.ts'
import { SEGMENT_USE, segmentAccess } from '../layout/segment-access.ts'
import type { SegmentUse } from '../layout/segment-access.ts'
import { ACCESS, MODE, SEGMENT_SLOT, State } from '../layout/state.ts'
import type { GeneratedCode } from './generated-code.ts'
import type { RegisterFile } from './register-file.ts'

/** A data segment that is there, expands up and may be written. */
const FLAT_DATA = ATTRIBUTE.PRESENT | ATTRIBUTE.SEGMENT | ATTRIBUTE.WRITABLE
const TYPE_BITS = FLAT_DATA | ATTRIBUTE.CODE | ATTRIBUTE.EXPAND_DOWN

/** Segments of one processor. */
export class Segments {
  private readonly registers: RegisterFile
  private readonly code: GeneratedCode

  constructor(registers: RegisterFile, code: GeneratedCode) {
    this.registers = registers
    this.code = code
  }

  /** Sets how wide the stack pointer is; gives the bits of the mode that segments make. */
  mode(): number {
    const { registers } = this
    const wide = (registers.attributes(SEGMENT.ss) & ATTRIBUTE.BIG) !== 0
    State.stackMask.set(registers.view, registers.base, wide ? 0xffff_ffff : 0xffff)
    if ((registers.attributes(SEGMENT.cs) & ATTRIBUTE.BIG) === 0) return MODE.CODE16 | MODE.SEGMENTED
    return this.isFlat() ? MODE.CODE32 : MODE.CODE32 | MODE.SEGMENTED
  }

  /** True when code reaches all memory at the addresses it names: it then runs without a look at segments. */
  private isFlat(): boolean {
    const { registers } = this
    if (!this.spansAll(SEGMENT.cs) || (registers.attributes(SEGMENT.ss) & ATTRIBUTE.BIG) === 0) return false
    return [SEGMENT.es, SEGMENT.ss, SEGMENT.ds].every((index) =>
      this.spansAll(index) && (registers.attributes(index) & TYPE_BITS) === FLAT_DATA)
  }

  /** True when a segment spans all 4 GiB from address 0. */
  private spansAll(index: number): boolean {
    return this.registers.segmentBase(index) === 0 && this.registers.limit(index) === 0xffff_ffff
  }

  /** Looks at an access to the stack segment; false after leaving the fault in the state. */
  stackAllows(offset: number, bytes: number, access: number): boolean {
    const { registers } = this
    if ((State.mode.get(registers.view, registers.base) & MODE.SEGMENTED) === 0) return true
    const use = access === ACCESS.WRITE ? SEGMENT_USE.WRITE : SEGMENT_USE.READ
    return this.check(offset, segmentAccess(SEGMENT.ss, use, bytes))
  }

  /** Looks at a further access through a segment to a linear address; false after leaving the fault in the state. */
  allows(segment: number, access: { linear: number; use: SegmentUse; bytes: number }): boolean {
    const { registers } = this
    const start = segment < SEGMENT.fs ? registers.segmentBase(segment) : registers.low(SEGMENT_SLOT[segment]!)
    return this.check((access.linear - start) >>> 0, segmentAccess(segment, access.use, access.bytes))
  }

  /** True when an offset lies in the code segment at hand; false after leaving #GP(0) in the state. */
  codeAllows(offset: number): boolean {
    return this.registers.long || this.check(offset, segmentAccess(SEGMENT.cs, SEGMENT_USE.FETCH, 1))
  }

  private check(offset: number, access: number): boolean {
    return this.code.active.checkSegment(this.registers.base, offset, access) !== 0
  }
}
