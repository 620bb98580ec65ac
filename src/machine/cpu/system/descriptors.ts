/**
 * Descriptors as the processor reads them when a segment is loaded, and the checks of those for code and stacks. A bare
 * processor has tables of its own, a hosted one asks its host.
 * Reference: Intel SDM volume 3, sections 3.4.5, 5.6 and 5.8.
 */
import { ATTRIBUTE, DPL_SHIFT, VECTOR, dplOf } from '../../../x86/index.ts'
import type { SegmentState } from '../../interface/registers.ts'
import type { Core } from '../core/core.ts'
import { fail } from '../core/faults.ts'
import { markAccessed, nullSegment, readOwnDescriptor, unpack } from './tables.ts'

/** Reads the descriptor that a selector names; undefined when it lies outside its table. */
export function readDescriptor(core: Core, selector: number): SegmentState | undefined {
  if (core.bare) {
    const words = readOwnDescriptor(core, selector)
    return words === undefined ? undefined : unpack(selector, words[0]!, words[1]!)
  }
  const { descriptor, descriptors } = core.outside
  if (descriptors === undefined || !descriptors.read(selector, descriptor)) return undefined
  return unpack(selector, descriptor[0]!, descriptor[1]!)
}

/**
 * The stack segment of a ring, checked; a bad one raises `vector`, an absent one #SS. `ext` marks an external event's.
 */
export function stackSegment(
  core: Core, selector: number, how: { readonly ring: number; readonly vector: number; readonly ext?: number },
): SegmentState {
  const { faults } = core
  const { ring, vector, ext = 0 } = how
  const code = (selector & 0xfffc) | ext
  const segment = (selector & 0xfffc) === 0 ? undefined : readDescriptor(core, selector)
  const writable = ATTRIBUTE.SEGMENT | ATTRIBUTE.WRITABLE
  const wanted = ATTRIBUTE.SEGMENT | ATTRIBUTE.CODE | ATTRIBUTE.WRITABLE
  if (segment === undefined || (segment.attributes & wanted) !== writable) fail(faults, vector, code)
  if ((selector & 3) !== ring || dplOf(segment.attributes) !== ring) fail(faults, vector, code)
  if ((segment.attributes & ATTRIBUTE.PRESENT) === 0) fail(faults, VECTOR.SS, code)
  return markAccessed(core, segment)
}

/** The stack segment that a return to `ring` finds on the stack: null only for 64-bit code of an inner ring. */
export function returnStack(core: Core, selector: number, to: { ring: number; isLong: boolean }): SegmentState {
  const { ring } = to
  if ((selector & 0xfffc) !== 0) return stackSegment(core, selector, { ring, vector: VECTOR.GP })
  if (!to.isLong || ring === 3 || (selector & 3) !== ring) fail(core.faults, VECTOR.GP)
  return { ...nullSegment(selector), attributes: ring << DPL_SHIFT }
}

/** What a code selector leads to for a transfer to privilege level `target`, or the fault. */
export function checkCode(core: Core, selector: number, target: number): SegmentState | number {
  const { faults } = core
  const code = selector & 0xfffc
  if (code === 0) return faults.protection()
  const segment = readDescriptor(core, selector)
  if (segment === undefined) return faults.protection(code)
  const { attributes } = segment
  const wanted = ATTRIBUTE.SEGMENT | ATTRIBUTE.CODE
  if ((attributes & wanted) !== wanted) return faults.protection(code)
  const conforming = (attributes & ATTRIBUTE.CONFORMING) !== 0
  if (conforming ? dplOf(segment.attributes) > target : dplOf(segment.attributes) !== target) return faults.protection(code)
  // L and D together are reserved in long mode.
  if ((attributes & 0x6000) === 0x6000) return faults.protection(code)
  if ((attributes & ATTRIBUTE.PRESENT) === 0) return faults.raise(VECTOR.NP, code)
  const accessed = markAccessed(core, segment)
  return selector === (code | target) ? accessed : { ...accessed, selector: code | target }
}
