/**
 * The two interfaces that guests speak, as whoever serves them picks one: a hypercall's handler that of the calling vCPU's
 * mode, shared_info that of its domain. Xen calls the one of its own width native and the other one compat.
 *
 * Reference: xen/include/xen/compat.h; public/arch-x86/xen-x86_32.h, xen_pfn_to_cr3; xen/arch/x86/include/asm/shared.h.
 */
import type { Fields, Overlay, WideField } from '../util/index.ts'
import { PAGE_SHIFT, PAGE_SIZE } from '../x86/index.ts'
import { COMPAT_HYPERVISOR_VIRT_START, COMPAT_MACH2PHYS_VIRT_START } from './arch-x86-32.ts'
import { HYPERVISOR_VIRT_START, MACH2PHYS_NR_ENTRIES, MACH2PHYS_VIRT_END, MACH2PHYS_VIRT_START } from './arch-x86-64.ts'
import { type Structure, type Width, layoutOf, ulong } from './structure.ts'
import { SharedInfo, VcpuInfo } from './xen.ts'

/** Offsets within shared_info and vcpu_info, and what follows from the width of the bitmaps there. */
export interface SharedPlaces {
  /** Ports of two-level event channels: as many words of them as a word has bits. */
  readonly portCount: number
  readonly evtchnPending: number
  readonly evtchnMask: number
  /** Of vcpu_info. */
  readonly evtchnPendingSel: number
}

/** How guests of one width hand things to the hypervisor, and get them. */
export interface GuestAbi {
  readonly name: 'native' | 'compat'
  /** Bits of an `unsigned long`, a pointer, a frame number. */
  readonly width: Width
  /** One word of a list of them, at the place given. */
  readonly word: WideField
  /** Arguments of a hypercall that a 64-bit value takes: one, or two with its low half first. */
  readonly wideArguments: 1 | 2
  readonly shared: SharedPlaces
  /** First address that belongs to the hypervisor in the address space of a PV guest. */
  readonly hypervisorStart: number
  /** Where a PV guest reads the machine-to-physical table, and how many entries there is room for. */
  readonly machineToPhys: { readonly start: number; readonly end: number; readonly entries: number }
  /** CR3 for a top-level table in that frame: in 32 bits the frame's upper bits stand in the lower ones. */
  cr3Of(frame: number): number
  /** Frame of the top-level table that a CR3 names. */
  frameOfCr3(cr3: number): number
  /** True for what fits into a pointer, which stands in 64 bits where a structure is the same for both. */
  isAddress(address: number): boolean
  /** The layout of a structure. */
  of<T extends Fields>(structure: Overlay<T> | Structure<T>): Overlay<T>
}

/** Where the table of 32-bit guests ends: its last 2 MiB are the hypervisor's own. */
const COMPAT_TABLE_END = 0xffe0_0000

/** 32 bits rotated to the left. */
const rotated = (value: number, by: number): number => ((value << by) | (value >>> (32 - by))) >>> 0

function guestAbi(
  name: GuestAbi['name'], width: Width, addresses: Pick<GuestAbi, 'hypervisorStart' | 'machineToPhys'>,
): GuestAbi {
  const { evtchnPending, evtchnMask } = layoutOf(SharedInfo, width)
  return {
    ...addresses, name, width, word: ulong.field(width, 0), wideArguments: width === 64 ? 1 : 2,
    shared: {
      portCount: width * width, evtchnPending: evtchnPending.offset, evtchnMask: evtchnMask.offset,
      evtchnPendingSel: layoutOf(VcpuInfo, width).evtchnPendingSel.offset,
    },
    cr3Of: width === 64 ? (frame) => frame * PAGE_SIZE : (frame) => rotated(frame, PAGE_SHIFT),
    frameOfCr3: width === 64 ? (cr3) => Math.floor(cr3 / PAGE_SIZE) : (cr3) => rotated(cr3, 32 - PAGE_SHIFT),
    isAddress: width === 64 ? () => true : (address) => address >= 0 && address < 2 ** 32,
    of: (structure) => layoutOf(structure, width),
  }
}

/** That of 64-bit guests. */
export const NATIVE: GuestAbi = /* @__PURE__ */ guestAbi('native', 64, {
  hypervisorStart: HYPERVISOR_VIRT_START,
  machineToPhys: { start: MACH2PHYS_VIRT_START, end: MACH2PHYS_VIRT_END, entries: MACH2PHYS_NR_ENTRIES },
})

/** That of 32-bit guests, and of 64-bit ones that can be in 32-bit mode while they are. */
export const COMPAT: GuestAbi = /* @__PURE__ */ guestAbi('compat', 32, {
  hypervisorStart: COMPAT_HYPERVISOR_VIRT_START,
  machineToPhys: {
    start: COMPAT_MACH2PHYS_VIRT_START, end: COMPAT_TABLE_END, entries: (COMPAT_TABLE_END - COMPAT_MACH2PHYS_VIRT_START) / 4,
  },
})

/** That of guests with machine words of so many bits. */
export const guestAbiOf = (width: Width): GuestAbi => (width === 64 ? NATIVE : COMPAT)
