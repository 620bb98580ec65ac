/**
 * Segment descriptors that a PV guest may have in its GDT or LDT. Privilege levels are raised to that of the guest's kernel;
 * system descriptors other than call gates do not exist for a guest. A 32-bit guest's segments have no limits to keep it out
 * of anything: what it can name lies below 4 GiB, where nothing of the hypervisor's is but a table that it may read.
 * Reference: xen/arch/x86/pv/descriptor-tables.c, check_descriptor; Intel SDM volume 3, 3.4.5.
 */
import { FIRST_RESERVED_GDT_ENTRY, FLAT } from '../../../abi/index.ts'
import { PAGE_SIZE } from '../../../x86/index.ts'

/** FLAT_RING1_CS, and where the hypervisor's hole in a 32-bit guest begins. Reference: arch-x86/xen-x86_32.h. */
const [COMPAT_KERNEL_CS, COMPAT_VIRT_START] = [0xe019, 0xf580_0000] as const

/** What descriptors of one kind of guest follow. */
export interface DescriptorRules {
  /** Ring of the guest's kernel. */
  readonly ring: 1 | 3
  /** Code segment of the hypervisor's that a call gate may lead to. */
  readonly kernelCode: number
  /** Bits of a call gate's high half that are to be 0. */
  readonly gateReserved: number
  /** The hypervisor's flat segments by index behind the guest's part of the GDT: low and high half. */
  readonly flat: ReadonlyMap<number, readonly [number, number]>
}

/** A 64-bit guest's, and a 32-bit guest's. */
export const RING_3: DescriptorRules = {
  ring: 3, kernelCode: FLAT.KERNEL_CS, gateReserved: 0xff,
  flat: /* @__PURE__ */ new Map([[4, [0x0000_ffff, 0x00cf_fb00]], [5, [0x0000_ffff, 0x00cf_f300]], [6, [0x0000_ffff, 0x00af_fb00]]] as const),
}
/** See {@link RING_3}. */
export const RING_1: DescriptorRules = {
  ring: 1, kernelCode: COMPAT_KERNEL_CS, gateReserved: 0xe0,
  flat: /* @__PURE__ */ new Map([
    [3, [0x0000_ffff, 0x00cf_bb00]], [4, [0x0000_ffff, 0x00cf_b300]], [5, [0x0000_ffff, 0x00cf_fb00]], [6, [0x0000_ffff, 0x00cf_f300]],
  ] as const),
}

const PRESENT = 1 << 15
const DPL_SHIFT = 13
const DPL = 3 << DPL_SHIFT
const LONG = 1 << 21
const PAGES = 1 << 23
const NOT_SYSTEM = 1 << 12
const TYPE = 0xf << 8
const CALL_GATE = 0xc << 8

/** True for a selector that a gate may lead to. */
const isGateSelector = (selector: number, kernelCode: number): boolean =>
  selector >>> 3 < FIRST_RESERVED_GDT_ENTRY || selector === kernelCode || (selector & 4) !== 0

/**
 * Fits a segment of a 32-bit guest's; false for one of 64 bits. Old kernels end their segments where a 32-bit hypervisor began:
 * such ones are widened, so that they show the machine-to-physical table.
 */
function fixCompatSegment(words: Uint32Array, at: number): boolean {
  const low = words[at]!
  const high = words[at + 1]!
  if ((high & LONG) !== 0) return false
  const isBased = (high & 0xff00_00ff) !== 0 || low >>> 16 !== 0
  const pages = (high & 0xf_0000) | (low & 0xffff)
  if (isBased || (high & PAGES) === 0 || (pages + 1) * PAGE_SIZE <= COMPAT_VIRT_START) return true
  words[at] = low | 0xffff
  words[at + 1] = high | 0xf_0000
  return true
}

/**
 * Checks the descriptor in `words[at]` (low) and `words[at + 1]` (high) and makes it safe in place.
 * False when no guest may have it.
 */
export function fixDescriptor(words: Uint32Array, at: number, rules: DescriptorRules): boolean {
  const low = words[at]!
  const high = words[at + 1]!
  if ((high & PRESENT) === 0) return true
  const level = Math.max((high & DPL) >>> DPL_SHIFT, rules.ring)
  const raised = (high & ~DPL) | (level << DPL_SHIFT)
  if ((raised & NOT_SYSTEM) !== 0) {
    words[at + 1] = raised
    return rules.ring === 3 || fixCompatSegment(words, at)
  }
  // Type 0 is the second half of a call gate.
  if ((raised & TYPE) === 0) return true
  if ((raised & (TYPE | NOT_SYSTEM)) !== CALL_GATE) return false
  const selector = low >>> 16
  if (!isGateSelector(selector, rules.kernelCode) || (raised & rules.gateReserved) !== 0) return false
  // A gate that ring 3 calls has to fault; its real privilege level waits in the selector.
  words[at] = (low & 0xffff) | (((selector & ~3) | level) << 16)
  words[at + 1] = raised & ~DPL
  return true
}

/** True for a descriptor as it may stand in a page in use: one that the check leaves as it is, or a call gate as it keeps them. */
export function isSafeDescriptor(words: Uint32Array, at: number, rules: DescriptorRules): boolean {
  const high = words[at + 1]!
  if ((high & (PRESENT | DPL | NOT_SYSTEM | TYPE)) === (PRESENT | CALL_GATE)) return (high & rules.gateReserved) === 0
  const pair = Uint32Array.of(words[at]!, high)
  return fixDescriptor(pair, 0, rules) && pair[0] === words[at] && pair[1] === high
}

/** Checks all 512 descriptors of a frame, and makes them safe in place. */
export function isValidDescriptorPage(words: Uint32Array, mfn: number, rules: DescriptorRules): boolean {
  const base = mfn << 10
  for (let at = base; at < base + 1024; at += 2) if (!fixDescriptor(words, at, rules)) return false
  return true
}
