/**
 * A kernel that can be started as a PV guest, of 64 bits or of 32 with PAE: its ELF file and its notes put together and
 * checked against each other.
 */
import { COMPAT_HYPERVISOR_VIRT_START, PAGE_SIZE, XENFEAT } from '../../abi/index.ts'
import { imageError, parseElf, type ElfFile, type ElfSegment } from './elf.ts'
import { parseFeatures, type ImageFeatures } from './features.ts'
import { extent } from './segments.ts'
import { requireXenNotes, type XenNotes } from './xen-notes.ts'

/** The one interface version that PV guests have ever named. */
const XEN_VERSION = 'xen-3.0'

/** Features that no PV guest can have here: a kernel that demands one is for another kind of guest. */
const NOT_FOR_PV = ['auto_translated_physmap', 'supervisor_mode_kernel', 'hvm_callback_vector'] as const

/** The addresses that Xen keeps for itself: 0xffff800000000000 up to 0xffff880000000000. */
const XEN_START = -(2 ** 47)
const XEN_END = XEN_START + 2 ** 43

/** What the domain builder needs to know of a kernel. Addresses are signed numbers; a 32-bit kernel's are unsigned. */
export interface KernelImage {
  readonly bits: 32 | 64
  /** A 32-bit kernel knows that CR3 may name frames above 4 GiB. */
  readonly hasExtendedCr3: boolean
  readonly segments: readonly ElfSegment[]
  /** Virtual address of pseudo-physical page 0. */
  readonly virtualBase: number
  /** Virtual address of the first loaded byte. */
  readonly start: number
  /** One past the last loaded byte. */
  readonly end: number
  readonly entry: number
  /** To be added to a segment's physical address. */
  readonly virtualOffset: number
  readonly hypercallPage: number | undefined
  /** Where the frame list is to be mapped; within the kernel's own mapping when undefined. */
  readonly initialP2m: number | undefined
  readonly moduleByFrame: boolean
  readonly features: ImageFeatures
  readonly notes: XenNotes
}

function checkNotes(notes: XenNotes): void {
  if (notes.xenVersion !== undefined && notes.xenVersion !== XEN_VERSION) {
    throw imageError('note XEN_VERSION', notes.xenVersion, `is not ${XEN_VERSION}`)
  }
  if (notes.loader !== undefined && notes.loader !== 'generic')
    throw imageError('note LOADER', notes.loader, 'is not generic')
}

/** The features that it names. Throws for one that only other kinds of guests have. */
function checkedFeatures({ features, supportedFeatures }: XenNotes): ImageFeatures {
  const found = parseFeatures(features ?? '', supportedFeatures)
  for (const name of NOT_FOR_PV) {
    if ((found.required & (1 << XENFEAT[name])) !== 0)
      throw imageError('note FEATURES', name, 'is required, and a PV guest cannot have it')
  }
  return found
}

/** True for a kernel that says nothing but where a PVH guest begins. */
const isOnlyPvh = ({ source: _, physicalEntry, ...others }: XenNotes): boolean =>
  physicalEntry !== undefined && Object.keys(others).length === 0

/**
 * Whether a 32-bit kernel knows CR3 in its extended form. Throws for one without PAE, which Xen does not run.
 * Reference: xen/common/libelf/libelf-dominfo.c; tools/libs/guest/xg_dom_elfloader.c, xc_dom_guest_type.
 */
function extendedCr3({ pae, source }: XenNotes): boolean {
  const mode = pae ?? ''
  if (source === '__xen_guest') {
    if (mode.startsWith('yes')) return mode === 'yes[extended-cr3]'
  } else if (mode === 'yes' || mode.includes('bimodal')) return true
  throw imageError(source === '__xen_guest' ? '__xen_guest PAE' : 'note PAE_MODE', mode, 'is not "yes": 32-bit kernels run with PAE alone')
}

/** Nothing of a kernel may lie where Xen does. */
function checkHole(bits: 32 | 64, { virtualBase, start, end }: { readonly virtualBase: number; readonly start: number; readonly end: number }): void {
  const isInHole = bits === 32 ? end > COMPAT_HYPERVISOR_VIRT_START : end > XEN_START && start < XEN_END
  if (isInHole) throw imageError('note VIRT_BASE', BigInt.asUintN(64, BigInt(virtualBase)), 'puts the kernel where Xen itself lies')
}

function addresses(elf: ElfFile, notes: XenNotes) {
  const virtualBase = notes.virtualBase ?? 0
  // The older section counted physical addresses from the virtual base unless it said otherwise.
  const physicalOffset = notes.physicalOffset ?? (notes.source === '__xen_guest' ? virtualBase : 0)
  const virtualOffset = virtualBase - physicalOffset
  const [low, high] = extent(elf.segments)
  const start = low + virtualOffset
  const end = high + virtualOffset
  const entry = notes.entry ?? elf.entry
  if (!Number.isSafeInteger(start) || start < virtualBase)
    throw imageError('p_paddr', low, `lies below VIRT_BASE ${virtualBase.toString(16)}`)
  checkHole(elf.bits, { virtualBase, start, end })
  // Everything is mapped from the base upwards; a kernel that spans more than a host can have is not one.
  if (end - virtualBase > 2 ** 32) throw imageError('p_paddr', low, 'lies more than 4 GiB above VIRT_BASE')
  if (entry < start || entry >= end)
    throw imageError('entry point', BigInt.asUintN(64, BigInt(entry)), 'lies outside the loaded segments')
  return { virtualBase, virtualOffset, start, end, entry }
}

/** A p2m list of its own must start at a page below the base (unsigned); otherwise it is not honoured. */
function p2mBase(
  wanted: number | undefined,
  image: { virtualBase: number; start: number; end: number },
): number | undefined {
  if (wanted === undefined || wanted % PAGE_SIZE !== 0) return undefined
  if (wanted >= image.start && wanted < image.end)
    throw imageError('note INIT_P2M', BigInt.asUintN(64, BigInt(wanted)), 'lies in the kernel')
  const unsigned = (address: number): number => (address < 0 ? address + 2 ** 64 : address)
  return unsigned(wanted) < unsigned(image.virtualBase) ? wanted : undefined
}

/** Reads an uncompressed ELF kernel. Throws INVALID_IMAGE naming the field at fault. */
export function parseKernelImage(file: Uint8Array): KernelImage {
  const elf = parseElf(file)
  const notes = requireXenNotes(elf)
  if (isOnlyPvh(notes)) {
    throw imageError('notes', 'PHYS32_ENTRY', 'is the only one: the kernel can be started as a PVH guest alone, with type="pvh"')
  }
  checkNotes(notes)
  const hasExtendedCr3 = elf.bits === 32 && extendedCr3(notes)
  const places = addresses(elf, notes)
  const { hypercallPage } = notes
  if (
    hypercallPage !== undefined &&
    (hypercallPage % PAGE_SIZE !== 0 || hypercallPage < places.start || hypercallPage + PAGE_SIZE > roundUp(places.end))
  ) {
    throw imageError('note HYPERCALL_PAGE', BigInt.asUintN(64, BigInt(hypercallPage)), 'is not a page of the kernel')
  }
  return {
    ...places, bits: elf.bits, segments: elf.segments, hypercallPage, notes,
    hasExtendedCr3,
    initialP2m: elf.bits === 32 ? undefined : p2mBase(notes.initialP2m, places),
    moduleByFrame: notes.moduleByFrame ?? false,
    features: checkedFeatures(notes),
  }
}

const roundUp = (address: number): number => Math.ceil(address / PAGE_SIZE) * PAGE_SIZE
