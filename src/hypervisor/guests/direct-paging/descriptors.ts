/**
 * Segment descriptors that a PV guest may have in its GDT or LDT. Everything runs in ring 3, so privilege levels are
 * raised to 3; system descriptors other than call gates do not exist for a guest.
 * Reference: xen/arch/x86/pv/descriptor-tables.c, check_descriptor; Intel SDM volume 3, 3.4.5.
 */
import { FIRST_RESERVED_GDT_ENTRY, FLAT } from '../../../abi/index.ts'

const PRESENT = 1 << 15
const DPL = 3 << 13
const NOT_SYSTEM = 1 << 12
const TYPE = 0xf << 8
const CALL_GATE = 0xc << 8

/** True for a selector that a gate may lead to. */
const isGateSelector = (selector: number): boolean =>
  selector >>> 3 < FIRST_RESERVED_GDT_ENTRY || selector === FLAT.KERNEL_CS || (selector & 4) !== 0

/**
 * Checks the descriptor in `words[at]` (low) and `words[at + 1]` (high) and makes it safe in place.
 * False when no guest may have it.
 */
export function fixDescriptor(words: Uint32Array, at: number): boolean {
  const low = words[at]!
  const high = words[at + 1]!
  if ((high & PRESENT) === 0) return true
  const raised = high | DPL
  if ((raised & NOT_SYSTEM) !== 0) {
    words[at + 1] = raised
    return true
  }
  // Type 0 is the second half of a call gate.
  if ((raised & TYPE) === 0) return true
  if ((raised & (TYPE | NOT_SYSTEM)) !== CALL_GATE) return false
  const selector = low >>> 16
  if (!isGateSelector(selector) || (raised & 0xff) !== 0) return false
  // A gate that ring 3 calls has to fault; its real privilege level waits in the selector.
  words[at] = (low & 0xffff) | ((selector | 3) << 16)
  words[at + 1] = raised & ~DPL
  return true
}

/** Checks all 512 descriptors of a frame, and makes them safe in place. */
export function isValidDescriptorPage(words: Uint32Array, mfn: number): boolean {
  const base = mfn << 10
  for (let at = base; at < base + 1024; at += 2) if (!fixDescriptor(words, at)) return false
  return true
}
