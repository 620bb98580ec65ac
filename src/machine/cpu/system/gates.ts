/**
 * Gates: how one is read and checked, the code segment behind it, and the last step into it. What lies between, stacks
 * and frames, differs by mode and is in delivery.ts and legacy-delivery.ts.
 * Reference: Intel SDM volume 3, sections 5.8.3 and 6.12.
 */
import { ATTRIBUTE, RFLAGS, SEGMENT, VECTOR, dplOf } from '../../../x86/index.ts'
import { signedFromParts } from '../../../util/index.ts'
import type { SegmentState } from '../../interface/registers.ts'
import type { Core, Views } from '../core/core.ts'
import { fail } from '../core/faults.ts'
import { ENTRY_FLAGS, inTable, markAccessed, readOwnDescriptor, readWords, tableBase, unpack } from './tables.ts'

/** What is to be delivered. */
export interface Delivery {
  readonly vector: number
  /** Software: INT n, INT3, INTO, whose gates must be open to the ring. The others come from the processor itself. */
  readonly kind: 'exception' | 'external' | 'software'
  /** Undefined when none is pushed. */
  readonly errorCode?: number | undefined
  /** Where the handler returns to, and the flags that it finds. */
  readonly rip: number
  readonly flags: number
}

/** A gate of the IDT, taken apart. */
export interface Gate {
  readonly type: number
  readonly selector: number
  readonly offset: number
  readonly table: number
}

/** The code segment behind a gate, and the ring that it runs in. */
export interface CodeTarget {
  readonly code: SegmentState
  readonly ring: number
}

/** Looks at the code segment that a gate names; `ext` marks error codes of external events. */
export function codeBehindGate(core: Core, selector: number, ext = 0): CodeTarget {
  const { registers, faults } = core
  const code = (selector & 0xfffc) | ext
  if ((selector & 0xfffc) === 0) fail(faults, VECTOR.GP, ext)
  const words = readOwnDescriptor(core, selector)
  if (words === undefined) fail(faults, VECTOR.GP, code)
  const segment = unpack(selector, words[0]!, words[1]!)
  const { attributes } = segment
  const wanted = ATTRIBUTE.SEGMENT | ATTRIBUTE.CODE
  const { cpl } = registers
  if ((attributes & wanted) !== wanted || dplOf(segment.attributes) > cpl) fail(faults, VECTOR.GP, code)
  if (registers.isLongMode && (attributes & (ATTRIBUTE.LONG | ATTRIBUTE.BIG)) !== ATTRIBUTE.LONG) fail(faults, VECTOR.GP, code)
  if ((attributes & ATTRIBUTE.PRESENT) === 0) fail(faults, VECTOR.NP, code)
  const ring = (attributes & ATTRIBUTE.CONFORMING) !== 0 ? cpl : dplOf(segment.attributes)
  return { code: { ...markAccessed(core, segment), selector: (selector & 0xfffc) | ring }, ring }
}

/** Reads and checks the gate of a vector: `words` 32-bit words each, `types` that may stand there. */
export function readGate(core: Core, delivery: Delivery, words: 2 | 4, types: readonly number[]): Gate {
  const { registers, faults } = core
  const { idt } = core.system
  const { vector, kind } = delivery
  const code = vector * 8 + 2 + (kind === 'software' ? 0 : 1)
  const offset = vector * words * 4
  if (offset + words * 4 - 1 > idt.limit) fail(faults, VECTOR.GP, code)
  const gate = readWords(core, inTable(registers, tableBase(idt), offset), words)
  const type = (gate[1]! >>> 8) & 31
  if (!types.includes(type)) fail(faults, VECTOR.GP, code)
  if (kind === 'software' && ((gate[1]! >>> 13) & 3) < registers.cpl) fail(faults, VECTOR.GP, code)
  if ((gate[1]! & 0x8000) === 0) fail(faults, VECTOR.NP, code)
  const low = ((gate[0]! & 0xffff) | (gate[1]! & 0xffff_0000)) >>> 0
  return {
    type, selector: gate[0]! >>> 16, table: gate[1]! & 7,
    offset: words === 4 ? signedFromParts(low, gate[2]!) : type < 8 ? low & 0xffff : low,
  }
}

/** The last step: code segment, flags, rip. */
export function enterCode(
  { registers, mode }: Views<'registers' | 'mode'>, to: { code: SegmentState; offset: number; masks: boolean },
): void {
  mode.setSegment(SEGMENT.cs, to.code)
  registers.setFlags(registers.flags() & ~(ENTRY_FLAGS | (to.masks ? RFLAGS.IF : 0)))
  registers.setRip(to.offset)
}
