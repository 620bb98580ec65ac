/**
 * Real mode, CR0.PE clear: segments whose base is the selector times 16, interrupts through a table of far pointers.
 *
 *   stack of the handler:   sp -> ip | cs | flags        entry of the table:   ip | cs
 *
 * What else a descriptor says stays as it was loaded, so that limits beyond 64 KiB outlast the way back from protected
 * mode. Virtual-8086 mode is not there.
 * Reference: Intel SDM volume 3, sections 20.1 and 9.9.
 */
import { ATTRIBUTE, CR0, GPR, RFLAGS, SEGMENT, VECTOR } from '../../../x86/index.ts'
import type { SegmentState } from '../../interface/registers.ts'
import type { Core, Views } from '../core/core.ts'
import { fail } from '../core/faults.ts'
import type { Handler } from '../core/handler.ts'
import type { RegisterFile } from '../core/register-file.ts'
import type { Delivery } from './gates.ts'
import { legacyStack, pushLegacy } from './legacy-delivery.ts'
import { readWords, tableBase } from './tables.ts'

/** Data that may be written, in ring 0: what every segment is, code too. */
const ANY = ATTRIBUTE.PRESENT | ATTRIBUTE.SEGMENT | ATTRIBUTE.WRITABLE | ATTRIBUTE.ACCESSED
const KEPT = ATTRIBUTE.BIG | ATTRIBUTE.GRANULAR
const ENTRY_BYTES = 4
/** Flags that entering a handler clears. */
const CLEARED = RFLAGS.IF | RFLAGS.TF | RFLAGS.AC | RFLAGS.RF

/** True in real mode. */
export const isReal = (registers: RegisterFile): boolean => (registers.controlLow(0) & CR0.PE) === 0

/** What a segment register becomes when it is loaded in real mode. */
export function realSegment(registers: RegisterFile, index: number, selector: number): SegmentState {
  return {
    selector, baseLow: selector << 4, baseHigh: 0, limit: registers.limit(index),
    attributes: (registers.attributes(index) & KEPT) | ANY,
  }
}

/** Goes on at an offset in a code segment; #GP where that lies behind its limit. */
export function enterReal(
  { registers, mode, faults }: Views<'registers' | 'mode' | 'faults'>, selector: number, offset: number,
): void {
  if (offset > registers.limit(SEGMENT.cs)) fail(faults, VECTOR.GP)
  mode.setSegment(SEGMENT.cs, realSegment(registers, SEGMENT.cs, selector))
  registers.setRip(offset)
}

/** Enters the handler of a delivery; no exception has an error code here. */
export function enterInterrupt(core: Core, { vector, flags, rip }: Delivery): void {
  const { registers, faults, system: { idt } } = core
  const at = vector * ENTRY_BYTES
  if (at + ENTRY_BYTES - 1 > idt.limit) fail(faults, VECTOR.GP)
  const pointer = readWords(core, (tableBase(idt) + at) % 0x1_0000_0000, 1)[0]!
  const offset = pointer & 0xffff
  if (offset > registers.limit(SEGMENT.cs)) fail(faults, VECTOR.GP)
  const frame = [flags, registers.selector(SEGMENT.cs), rip]
  registers.setSlot(GPR.rsp * 8, pushLegacy(core, legacyStack(registers), frame, { size: 2, ring: 0, ext: 0 }), 0)
  registers.setFlags(registers.flags() & ~CLEARED)
  enterReal(core, pointer >>> 16, offset)
}

/** An instruction about descriptors, which real mode does not know. */
export const inProtectedMode = (handler: Handler): Handler => (core, record) =>
  isReal(core.registers) ? core.faults.undefinedOpcode() : handler(core, record)
