/**
 * Where everything of a new PVH domain lies in its guest-physical memory, as libxl's builder has it. Only numbers: nothing
 * is written here.
 *
 *   0 ... RAM: | ... | kernel at its own addresses | start info | ramdisk | ... |   fc000000 ACPI   feff8000 special pages
 *
 * Reference: xen/tools/libs/guest/xg_dom_x86.c; libxl_x86.c, domain_construct_memmap.
 */
import { HVM_MEMMAP_TYPE, HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo } from '../../abi/index.ts'
import type { MemoryRange } from '../../hypervisor/index.ts'
import { XenError } from '../../util/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import type { AcpiArea, AcpiAreas } from '../acpi/tables.ts'
import type { PvhImage } from '../image/pvh-image.ts'

/** Where memory ends below the addresses of devices. */
const RAM_END = 0xf000_0000
/** The first page that is no memory: from here on a domain has its special pages and its ACPI tables. */
export const FIRST_DEVICE_PAGE = RAM_END / PAGE_SIZE
/** Modules that start info has room for, and bytes of a command line for each. */
const MOST_MODULES = 2
const MODULE_LINE = 1024

/** The special pages: what the guest and the daemons share, and what a vCPU without page tables needs on older processors. */
export const SPECIAL_PAGE = /* @__PURE__ */ (() => ({
  paging: 0xfeff8, monitor: 0xfeff9, sharing: 0xfeffa, bufferedRequests: 0xfeffb, store: 0xfeffc, requests: 0xfeffd, identityTable: 0xfeffe,
  console: 0xfefff,
} as const))()
/** First of the special pages, and how many there are. */
export const SPECIAL_PAGES = { first: 0xfeff8, count: 8 } as const

/** A run of bytes with whole pages of its own. */
export interface Extent {
  readonly address: number
  readonly size: number
}

/** Where the parts of start info lie, by their addresses. */
export interface StartInfoPlaces extends Extent {
  readonly commandLine: number
  readonly modules: number
  readonly memoryMap: number
}

/** The plan of a domain's memory at start. */
export interface PvhLayout {
  readonly startInfo: StartInfoPlaces
  readonly ramdisk: Extent | undefined
  readonly memoryMap: readonly MemoryRange[]
}

/** What the plan depends on. */
export interface PvhLayoutInput {
  readonly image: Pick<PvhImage, 'segments' | 'end'>
  /** Pages of memory that the domain can have. */
  readonly maxPages: number
  /** Bytes of the ramdisk, when there is one, and of the command line with its final zero. */
  readonly ramdiskSize?: number | undefined
  readonly commandLineSize: number
  readonly acpi: AcpiAreas
}

const roundUp = (value: number, to: number): number => Math.ceil(value / to) * to

/** Ranges of the map in libxl's order: memory, special pages, the three parts of ACPI. */
function mapMemory({ maxPages, acpi }: PvhLayoutInput): MemoryRange[] {
  const acpiRange = ({ address, bytes }: AcpiArea): MemoryRange => {
    const before = address % PAGE_SIZE
    return { address: address - before, size: bytes.length + before, type: HVM_MEMMAP_TYPE.ACPI }
  }
  return [
    { address: 0, size: maxPages * PAGE_SIZE, type: HVM_MEMMAP_TYPE.RAM },
    { address: SPECIAL_PAGES.first * PAGE_SIZE, size: SPECIAL_PAGES.count * PAGE_SIZE, type: HVM_MEMMAP_TYPE.RESERVED },
    ...[acpi.rsdp, acpi.info, acpi.tables].map(acpiRange),
  ]
}

/** Start info holds itself, the command line, modules with a line each, the memory map. */
function placeStartInfo(address: number, ranges: number, { commandLineSize }: PvhLayoutInput): StartInfoPlaces {
  const commandLine = address + HvmStartInfo.size
  const modules = commandLine + roundUp(commandLineSize, 8)
  const memoryMap = modules + MOST_MODULES * (HvmModlistEntry.size + MODULE_LINE)
  return { address, size: memoryMap + ranges * HvmMemmapTableEntry.size - address, commandLine, modules, memoryMap }
}

/** Throws when a part does not lie within memory. */
function checkFits(part: string, { address, size }: Extent, maxPages: number): void {
  const end = maxPages * PAGE_SIZE
  if (address + size <= end) return
  const what = `${part} needs 0x${size.toString(16)} bytes at 0x${address.toString(16)}, memory ends at 0x${end.toString(16)}`
  throw new XenError('OUT_OF_MEMORY', `the domain's memory is too small: ${what}`, {
    details: { segment: part, address, neededBytes: size, totalPages: maxPages },
  })
}

/** Plans a domain's memory. Throws OUT_OF_MEMORY naming the part that does not fit, INVALID_CONFIG for too much memory. */
export function planPvhLayout(input: PvhLayoutInput): PvhLayout {
  const { image, maxPages, ramdiskSize } = input
  if (maxPages * PAGE_SIZE > RAM_END) {
    throw new XenError('INVALID_CONFIG', `a PVH guest has at most ${RAM_END / 2 ** 20} MiB of memory, got ${maxPages * PAGE_SIZE / 2 ** 20}`, {
      details: { key: 'maxMemory', limit: RAM_END / 2 ** 20 },
    })
  }
  for (const { physical, size } of image.segments) checkFits('kernel', { address: physical, size }, maxPages)
  const memoryMap = mapMemory(input)
  const startInfo = placeStartInfo(roundUp(image.end, PAGE_SIZE), memoryMap.length, input)
  checkFits('start info', startInfo, maxPages)
  if (ramdiskSize === undefined) return { startInfo, ramdisk: undefined, memoryMap }
  const ramdisk = { address: roundUp(startInfo.address + startInfo.size, PAGE_SIZE), size: ramdiskSize }
  checkFits('ramdisk', ramdisk, maxPages)
  return { startInfo, ramdisk, memoryMap }
}
