/**
 * Code outside of 64-bit mode whose segments are not flat: checks of accesses and fetches, and the micro-operations of
 * stack and control flow once more, with offsets in place of linear addresses.
 */
import type { Binder } from '../emit/binder.ts'
import { SLOT } from '../layout/state.ts'
import { change, codeAddress, from, fromSlot, immediate, inSegments, raises } from './facts.ts'
import type { End } from './facts.ts'
import type { Micro, MicroList } from './micro.ts'

/** True for what works on the stack, on code addresses or on strings, in the sizes that such code has. */
function hasTwin({ outline: { usesStack, ends, width } }: Micro): boolean {
  return (usesStack || OFFSET_ENDS.has(ends)) && width !== 64
}

const OFFSET_ENDS: ReadonlySet<End> = /* @__PURE__ */ new Set<End>(['branch', 'conditional', 'jump', 'repeat'])

/** Sends the record's access through a segment: the immediate says which and how. */
const CHECK = [/* @__PURE__ */ change('destination', 32), /* @__PURE__ */ from('base', 32), immediate, raises]

/** Adds the family; to be called when stack, jumps and strings are there, and no pairs yet. */
export function defineSegmentFamily(list: MicroList): void {
  for (const micro of list.all.filter(hasTwin)) list.addTwin(micro, inSegments)
  list.add(['segment-check'], CHECK, (b) => throughSegment(b))
  // Alignment comes before the limit.
  list.add(['segment-check-aligned'], CHECK, (b) => alignedThroughSegment(b, 16))
  list.add(['segment-check-aligned32'], CHECK, (b) => alignedThroughSegment(b, 32))
  // The immediate is the access: all bytes of the instruction.
  list.add(['segment-fetch'], [codeAddress, fromSlot(SLOT.cs), immediate, raises], (b) => {
    const offset = b.code.local('i32')
    b.thisIp()
    b.code.op('i32.wrap_i64')
    b.code.set(offset)
    b.checkSegment(offset, 'immediate')
    b.code.release('i32', offset)
  })
}

/** The same for an access whose linear address has to be a multiple of so many bytes. */
function alignedThroughSegment(b: Binder, alignment: 16 | 32): void {
  const address = b.code.local('i64')
  b.get('destination', 32)
  b.get('base', 32)
  b.code.op('i32.add', 'i64.extend_i32_u')
  b.code.set(address)
  b.requireAligned(address, alignment)
  b.code.release('i64', address)
  throughSegment(b)
}

/** The destination's offset becomes a linear address; the base is the segment's, the immediate the access. */
function throughSegment(b: Binder): void {
  const offset = b.code.local('i32')
  b.get('destination', 32)
  b.code.set(offset)
  b.checkSegment(offset, 'immediate')
  b.place('destination', 32).set(() => {
    b.code.get(offset)
    b.get('base', 32)
    b.code.op('i32.add')
  })
  b.code.release('i32', offset)
}
