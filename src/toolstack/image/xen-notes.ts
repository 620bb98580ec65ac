/**
 * What a kernel says about itself to whoever starts it as a Xen guest: ELF notes of owner "Xen", or the older
 * `__xen_guest` section, a text of KEY=VALUE pairs.
 * Reference: xen/include/public/elfnote.h.
 */
import { ELFNOTE, PAGE_SIZE } from '../../abi/index.ts'
import { XenError, bigFromParts, isCanonical, signedFromParts } from '../../util/index.ts'
import { imageError, type ElfFile } from './elf.ts'

/** A kernel's demands, as it states them; what it leaves out is undefined. Addresses are signed numbers. */
export interface XenNotes {
  /** Where they stood. */
  readonly source: 'segment' | 'section' | '__xen_guest'
  readonly guestOs?: string
  readonly guestVersion?: string
  readonly xenVersion?: string
  readonly loader?: string
  readonly features?: string
  /** Bits of features that the kernel can live with. */
  readonly supportedFeatures?: number
  readonly entry?: number
  readonly hypercallPage?: number
  readonly virtualBase?: number
  readonly physicalOffset?: number
  readonly hypervisorStart?: number
  readonly initialP2m?: number
  /** The ramdisk need not be mapped: start_info gives its frame number. */
  readonly moduleByFrame?: boolean
  readonly suspendCancel?: boolean
  readonly pae?: string
  /** Where a PVH guest begins: a physical address of 32 bits. */
  readonly physicalEntry?: number
}

type Draft = { -readonly [K in keyof XenNotes]?: XenNotes[K] }

/** A note's value as the two readings that notes have. */
interface NoteValue {
  readonly text: () => string
  readonly number: () => bigint
  readonly address: () => number
  /** A number of 32 bits. */
  readonly word: () => number
}

/** Notes that are looked at: a kernel has some twenty, and a hostile file must not make us walk millions of empty ones. */
const MAX_NOTES = 1024

/** What each type of note sets. Types that are not here do not concern a loader. */
const READERS: Readonly<Record<number, (draft: Draft, value: NoteValue) => void>> = {
  [ELFNOTE.ENTRY]: (d, v) => { d.entry = v.address() },
  [ELFNOTE.HYPERCALL_PAGE]: (d, v) => { d.hypercallPage = v.address() },
  [ELFNOTE.VIRT_BASE]: (d, v) => { d.virtualBase = v.address() },
  [ELFNOTE.PADDR_OFFSET]: (d, v) => { d.physicalOffset = v.address() },
  [ELFNOTE.XEN_VERSION]: (d, v) => { d.xenVersion = v.text() },
  [ELFNOTE.GUEST_OS]: (d, v) => { d.guestOs = v.text() },
  [ELFNOTE.GUEST_VERSION]: (d, v) => { d.guestVersion = v.text() },
  [ELFNOTE.LOADER]: (d, v) => { d.loader = v.text() },
  [ELFNOTE.PAE_MODE]: (d, v) => { d.pae = v.text() },
  [ELFNOTE.FEATURES]: (d, v) => { d.features = v.text() },
  [ELFNOTE.HV_START_LOW]: (d, v) => { d.hypervisorStart = v.address() },
  [ELFNOTE.SUSPEND_CANCEL]: (d, v) => { d.suspendCancel = v.number() !== 0n },
  [ELFNOTE.INIT_P2M]: (d, v) => { d.initialP2m = v.address() },
  [ELFNOTE.MOD_START_PFN]: (d, v) => { d.moduleByFrame = v.number() !== 0n },
  [ELFNOTE.PHYS32_ENTRY]: (d, v) => { d.physicalEntry = v.word() },
  [ELFNOTE.SUPPORTED_FEATURES]: (d, v) => { d.supportedFeatures = Number(v.number() & 0xffff_ffffn) },
}

// MAX is a second name of the highest one.
const NAMES = new Map<number, string>(Object.entries(ELFNOTE).filter(([name]) => name !== 'MAX').map(([name, type]) => [type, name]))

/** Bytes as text up to the first zero. */
function textOf(bytes: Uint8Array): string {
  const end = bytes.indexOf(0)
  return String.fromCharCode(...bytes.subarray(0, Math.min(end < 0 ? bytes.length : end, 1024)))
}

function noteValue(type: number, bytes: Uint8Array): NoteValue {
  const name = `note ${NAMES.get(type) ?? type}`
  const parts = (): readonly [number, number] => {
    if (bytes.length !== 4 && bytes.length !== 8) throw imageError(name, bytes.length, 'bytes long is not a number')
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    return [view.getUint32(0, true), bytes.length === 8 ? view.getUint32(4, true) : 0]
  }
  return {
    text: () => textOf(bytes),
    number: () => bigFromParts(...parts()),
    address: () => {
      const address = signedFromParts(...parts())
      if (!isCanonical(address)) throw imageError(name, bigFromParts(...parts()), 'is not a canonical address')
      return address
    },
    word: () => {
      const [low, high] = parts()
      if (high !== 0) throw imageError(name, bigFromParts(low, high), 'is no number of 32 bits')
      return low
    },
  }
}

/** Reads all notes of owner "Xen" in one note area into `draft`; true when there was one. */
function readNotes(area: Uint8Array, draft: Draft): boolean {
  const view = new DataView(area.buffer, area.byteOffset, area.byteLength)
  const aligned = (size: number): number => (size + 3) & ~3
  let found = false
  let count = 0
  for (let at = 0; at + 12 <= area.length;) {
    count += 1
    if (count > MAX_NOTES) throw imageError('notes', count, `are more than ${MAX_NOTES} in one segment or section`)
    const nameSize = view.getUint32(at, true)
    const valueSize = view.getUint32(at + 4, true)
    const type = view.getUint32(at + 8, true)
    // Sizes up to 2^32 minus alignment: checked against the area before any rounding can overflow 32 bits.
    if (nameSize > area.length) throw imageError('note n_namesz', nameSize, 'reaches beyond its segment')
    if (valueSize > area.length) throw imageError('note n_descsz', valueSize, 'reaches beyond its segment')
    const valueAt = at + 12 + aligned(nameSize)
    const value = area.subarray(valueAt, valueAt + valueSize)
    // GRUB's image for 32-bit Xen gives its last note, "yes", 12 bytes: a text that ends where there are some is whole.
    if (value.length < valueSize && !value.includes(0)) throw imageError('note n_descsz', valueSize, 'reaches beyond its segment')
    if (nameSize === 4 && textOf(area.subarray(at + 12, at + 16)) === 'Xen') {
      READERS[type]?.(draft, noteValue(type, value))
      found = true
    }
    at = valueAt + aligned(valueSize)
  }
  return found
}

/** A number of the older section, in C's notation. */
function sectionNumber(key: string, text: string): bigint {
  if (!/^(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,19})$/.test(text))
    throw imageError(`__xen_guest ${key}`, text, 'is not a number')
  return BigInt(text)
}

function sectionAddress(key: string, text: string): number {
  const address = Number(BigInt.asIntN(64, sectionNumber(key, text)))
  if (!isCanonical(address)) throw imageError(`__xen_guest ${key}`, text, 'is not a canonical address')
  return address
}

/** Keys of the older section. The hypercall page is a page number there, relative to the virtual base. */
const SECTION_READERS: Readonly<Record<string, (draft: Draft, value: string, key: string) => void>> = {
  LOADER: (d, v) => { d.loader = v },
  GUEST_OS: (d, v) => { d.guestOs = v },
  GUEST_VER: (d, v) => { d.guestVersion = v },
  XEN_VER: (d, v) => { d.xenVersion = v },
  PAE: (d, v) => { d.pae = v },
  FEATURES: (d, v) => { d.features = v },
  VIRT_BASE: (d, v, k) => { d.virtualBase = sectionAddress(k, v) },
  VIRT_ENTRY: (d, v, k) => { d.entry = sectionAddress(k, v) },
  ELF_PADDR_OFFSET: (d, v, k) => { d.physicalOffset = sectionAddress(k, v) },
  HYPERCALL_PAGE: (d, v, k) => { d.hypercallPage = Number(sectionNumber(k, v) & 0xffff_ffffn) * PAGE_SIZE },
}

/** Reads the `__xen_guest` text. */
function readGuestSection(bytes: Uint8Array): XenNotes {
  const draft: Draft = {}
  for (const pair of textOf(bytes).split(',')) {
    const equals = pair.indexOf('=')
    const key = equals < 0 ? pair : pair.slice(0, equals)
    if (Object.hasOwn(SECTION_READERS, key)) SECTION_READERS[key]!(draft, equals < 0 ? '' : pair.slice(equals + 1), key)
  }
  if (draft.hypercallPage !== undefined) draft.hypercallPage += draft.virtualBase ?? 0
  return { ...draft, source: '__xen_guest' }
}

/** Finds a kernel's demands in any of the three places; undefined when it makes none. */
function readXenNotes(elf: ElfFile): XenNotes | undefined {
  const draft: Draft = {}
  const inSegments = elf.notes.map((area) => readNotes(area, draft))
  if (inSegments.includes(true)) return { ...draft, source: 'segment' }
  const inSections = elf.sections.filter((section) => section.isNote).map((section) => readNotes(section.bytes, draft))
  if (inSections.includes(true)) return { ...draft, source: 'section' }
  const old = elf.sections.find((section) => section.name === '__xen_guest')
  return old === undefined ? undefined : readGuestSection(old.bytes)
}

/** The same for a file that has to make some. Throws INVALID_IMAGE. */
export function requireXenNotes(elf: ElfFile): XenNotes {
  const notes = readXenNotes(elf)
  if (notes !== undefined) return notes
  throw new XenError(
    'INVALID_IMAGE',
    'kernel image: it has neither Xen ELF notes nor a __xen_guest section, so it is not a Xen guest',
    { details: { field: 'notes', value: undefined } },
  )
}
