/**
 * What segments mean outside of 64-bit mode for a whole processor: whether they are all flat, so that code can run
 * without checks, and how wide the stack pointer is. Single accesses are checked by runtime/segments.ts.
 * Reference: Intel SDM volume 3, sections 3.4.5, 5.2 and 5.3.
 */
import { SEGMENT } from '../../../x86/index.ts'
import type { Core } from './core.ts'
import { SEGMENT_SLOT } from '../lift/lifter.ts'
import { ACCESS } from '../runtime/tlb.ts'
import { SEGMENT_USE, segmentAccess } from '../runtime/segments.ts'
import type { SegmentUse } from '../runtime/segments.ts'
import { MODE, SLOT, State } from '../layout/state.ts'

/** Descriptor bits: present, a data segment that expands up and may be written; D/B. */
const TYPE_BITS = 0x9e
const FLAT_DATA = 0x92
const BIG = 0x4000

/** True when a segment spans all 4 GiB from address 0. */
function spansAll(core: Core, index: number): boolean {
  return core.segmentBase(index) === 0 &&
    State.limits.element.get(core.view, State.limits.at(core.base, index)) === 0xffff_ffff
}

const attributesOf = (core: Core, index: number): number =>
  State.attributes.element.get(core.view, State.attributes.at(core.base, index))

/** True when code reaches all memory at the addresses it names: it then runs without a look at segments. */
function isFlat(core: Core): boolean {
  if (!spansAll(core, SEGMENT.cs) || (attributesOf(core, SEGMENT.ss) & BIG) === 0) return false
  return [SEGMENT.es, SEGMENT.ss, SEGMENT.ds].every((index) =>
    spansAll(core, index) && (attributesOf(core, index) & TYPE_BITS) === FLAT_DATA)
}

/** Sets how wide the stack pointer is; gives the bits of the mode that segments make. */
export function segmentMode(core: Core): number {
  const { view, base } = core
  const wide = (attributesOf(core, SEGMENT.ss) & BIG) !== 0
  State.stackMask.set(view, base, wide ? 0xffff_ffff : 0xffff)
  const code = attributesOf(core, SEGMENT.cs)
  if ((code & BIG) === 0) return MODE.CODE16 | MODE.SEGMENTED
  return isFlat(core) ? MODE.CODE32 : MODE.CODE32 | MODE.SEGMENTED
}

/** Looks at an access to the stack segment; false after leaving the fault in the state. */
export function stackAllows(core: Core, offset: number, access: { bytes: number; access: number }): boolean {
  if ((State.mode.get(core.view, core.base) & MODE.SEGMENTED) === 0) return true
  const use = access.access === ACCESS.WRITE ? SEGMENT_USE.WRITE : SEGMENT_USE.READ
  return core.wasm.checkSegment(core.base, offset, segmentAccess(SEGMENT.ss, use, access.bytes)) !== 0
}

/** Looks at a further access through a segment to a linear address; false after leaving the fault in the state. */
export function segmentAllows(
  core: Core, segment: number, access: { linear: number; use: SegmentUse; bytes: number },
): boolean {
  const start = segment < SEGMENT.fs ? core.segmentBase(segment) : core.low(SEGMENT_SLOT[segment]!)
  const packed = segmentAccess(segment, access.use, access.bytes)
  return core.wasm.checkSegment(core.base, (access.linear - start) >>> 0, packed) !== 0
}

/** Where the instruction behind the record's stands, as CALL pushes it: outside of 64-bit mode an offset in CS. */
export function nextInstruction(core: Core, record: number): number {
  const next = core.instructionAddress(record) + core.instructionLength(record)
  return core.long ? next : (next - core.low(SLOT.cs)) >>> 0
}

/** True when an offset lies in the code segment at hand; false after leaving #GP(0) in the state. */
export function codeAllows(core: Core, offset: number): boolean {
  if (core.long) return true
  return core.wasm.checkSegment(core.base, offset, segmentAccess(SEGMENT.cs, SEGMENT_USE.FETCH, 1)) !== 0
}
