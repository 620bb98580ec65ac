/**
 * Code outside of 64-bit mode whose segments are not flat: checks of accesses and fetches, and the micro-operations of
 * stack and control flow once more, with offsets in place of linear addresses.
 */
import type { Binder } from '../emit/binder.ts'
import { STRINGS } from '../runtime/strings.ts'
import type { MicroList } from './micro.ts'

/** What works on the stack or on code addresses, in the sizes that such code has. */
const WITH_OFFSETS =
  /^((push|pop|peek|leave|enter|pop-handler|pushf|call|jmp|ret|loop|loope|loopne|jcxz)\.(16|32)(\.|$)|j[a-z]+$)/

/** Begins the names of those where segments are not flat. */
export const SEGMENTED = 'segmented.'

/** Adds the family; to be called when stack and jumps are there, and no pairs yet. */
export function defineSegmentFamily(list: MicroList): void {
  for (const { name, emit } of [...list.all]) {
    if (WITH_OFFSETS.test(name)) list.add(SEGMENTED + name, emit)
  }
  for (const name of STRINGS) {
    list.add(`${SEGMENTED}string.${name}`, (b) => b.runtime(SEGMENTED + name))
  }
  list.add('segment-check', (b) => throughSegment(b))
  list.add('segment-check-aligned', (b) => {
    const address = b.code.local('i64')
    b.get('a', 32)
    b.get('b', 32)
    b.code.op('i32.add', 'i64.extend_i32_u')
    b.code.set(address)
    b.requireAligned(address, 16)
    b.code.release('i64', address)
    throughSegment(b)
  })
  // The immediate is the access: all bytes of the instruction.
  list.add('segment-fetch', (b) => {
    const offset = b.code.local('i32')
    b.thisIp()
    b.code.op('i32.wrap_i64')
    b.code.set(offset)
    b.checkSegment(offset, 'immediate')
    b.code.release('i32', offset)
  })
}

/** The offset in slot a becomes a linear address; b is the slot of the segment's base, the immediate the access. */
function throughSegment(b: Binder): void {
  const offset = b.code.local('i32')
  b.get('a', 32)
  b.code.set(offset)
  b.checkSegment(offset, 'immediate')
  b.place('a', 32).set(() => {
    b.code.get(offset)
    b.get('b', 32)
    b.code.op('i32.add')
  })
  b.code.release('i32', offset)
}
