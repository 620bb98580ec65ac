/** Segment registers of PV guests' processors, filled in from descriptors or changed in part. */
import type { Registers, SegmentState } from '../../../machine/index.ts'

/** An empty data segment register. */
export const NULL_SEGMENT: SegmentState = { selector: 0, baseLow: 0, baseHigh: 0, limit: 0, attributes: 0 }

/** Changes only the base of a segment register. */
export function setSegmentBase(
  registers: Registers,
  index: number,
  base: { readonly low: number; readonly high: number },
): void {
  const { selector, limit, attributes } = registers.segment(index)
  registers.setSegment(index, { selector, limit, attributes, baseLow: base.low >>> 0, baseHigh: base.high >>> 0 })
}

/** Attributes of a descriptor as {@link SegmentState} carries them. */
const attributesOf = (high: number): number => (high >>> 8) & 0xf0ff

/** Hidden part of a code or data segment from its descriptor. */
export function segmentFromDescriptor(selector: number, low: number, high: number): SegmentState {
  const raw = (low & 0xffff) | (high & 0x000f_0000)
  const limit = (high & (1 << 23)) !== 0 ? ((raw << 12) | 0xfff) >>> 0 : raw
  const base = ((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000)) >>> 0
  return { selector, baseLow: base, baseHigh: 0, limit, attributes: attributesOf(high) }
}
