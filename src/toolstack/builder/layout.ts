/**
 * Where everything of a new PV domain lies in its pseudo-physical memory, in the order of Xen's own builder, so
 * that a guest finds what it would find there. Only numbers: nothing is written here.
 *
 *   VIRT_BASE                                                          virtualEnd
 *   | ... | kernel | ramdisk¹ | p2m² | start_info | store | console | tables | stack | unused | ramdisk³ | p2m⁴ |
 *   ¹ unless MOD_START_PFN   ² unless INIT_P2M   ³ with MOD_START_PFN   ⁴ with INIT_P2M, its tables behind it
 *
 * Reference: xen/include/public/xen.h, "Start-of-day memory layout".
 */
import { XenError } from '../../util/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import type { KernelImage } from '../image/kernel-image.ts'
import { LONG_TABLES, PAE_TABLES, moveTables, planMapping, unsigned48, type Mapping, type TableShape } from './page-table-plan.ts'

/** Free space that a kernel may count on behind its boot stack. */
const PADDING = 512 * 1024
/** The initial mapping ends at a multiple of this. */
const ALIGNMENT = 4 * 2 ** 20

/** Consecutive pages with a purpose. */
export interface Segment {
  readonly pfn: number
  readonly pages: number
  /** Virtual address at start; for a segment outside the initial mapping where it would be. */
  readonly address: number
  /** Bytes in use, up to `pages` pages. */
  readonly size: number
}

/** The plan of a domain's memory at start. */
export interface DomainLayout {
  readonly totalPages: number
  readonly kernel: Segment
  readonly ramdisk: Segment | undefined
  /** The frame list; with its page tables behind it when it has a mapping of its own. */
  readonly p2m: Segment & { readonly ownMapping: boolean }
  readonly startInfo: Segment
  readonly store: Segment
  readonly console: Segment
  readonly pageTables: Segment
  readonly bootStack: Segment
  /** One past the last address in use, and one past the last address mapped. */
  readonly allocEnd: number
  readonly virtualEnd: number
  /** The initial mapping first. */
  readonly mappings: readonly Mapping[]
}

/** What the plan depends on. */
export interface LayoutInput {
  readonly image: Pick<KernelImage, 'bits' | 'virtualBase' | 'start' | 'end' | 'initialP2m' | 'moduleByFrame'>
  readonly totalPages: number
  /** Bytes of the ramdisk, when there is one. */
  readonly ramdiskSize?: number | undefined
  /** `none`: nobody serves XenStore and a console to it by pages that are shared; their segments are empty. */
  readonly rings?: 'shared' | 'none' | undefined
}

const pagesFor = (bytes: number): number => Math.ceil(bytes / PAGE_SIZE)

/** Hands out pages from the virtual base upwards. */
class Allocator {
  private readonly base: number
  private readonly totalPages: number
  /** Next free page. */
  pfn = 0

  constructor(base: number, totalPages: number) {
    this.base = base
    this.totalPages = totalPages
  }

  /** Virtual address of the next free page. */
  get end(): number {
    return this.base + this.pfn * PAGE_SIZE
  }

  private check(name: string, pages: number): void {
    const free = Math.max(0, this.totalPages - this.pfn)
    if (pages <= this.totalPages - this.pfn) return
    const what = `${name} needs ${pages} pages, ${free} of ${this.totalPages} are left`
    throw new XenError('OUT_OF_MEMORY', `the domain's memory is too small: ${what}`, {
      details: { segment: name, neededPages: pages, freePages: free, totalPages: this.totalPages },
    })
  }

  segment(name: string, size: number): Segment {
    const pages = pagesFor(size)
    this.check(name, pages)
    const segment = { pfn: this.pfn, pages, address: this.end, size }
    this.pfn += pages
    return segment
  }

  /** Leaves out everything up to an address. */
  skipTo(name: string, address: number): void {
    const pages = pagesFor(address - this.end)
    this.check(name, pages)
    this.pfn += pages
  }
}

/** Plans the initial mapping: as large as what it maps, which includes its own tables. */
function planInitialMapping(allocator: Allocator, base: number, shape: TableShape): Mapping {
  const extra = PADDING / PAGE_SIZE + 1
  const roundUp = (address: number): number => Math.floor(address / ALIGNMENT) * ALIGNMENT + ALIGNMENT - 1
  for (let pages = extra; ;) {
    const last = roundUp(allocator.end + pages * PAGE_SIZE)
    const mapping = planMapping({ from: unsigned48(base), to: unsigned48(last), pfn: 0 }, allocator.pfn, { shape })
    pages = mapping.tables + extra
    if (allocator.end + pages * PAGE_SIZE <= last + 1) return mapping
  }
}

/** Plans the frame list at an address of its own; its tables follow the list. */
function planOwnP2m(
  allocator: Allocator,
  address: number,
  size: number,
  initial: Mapping,
): { p2m: Segment; mapping: Mapping } {
  const listPages = pagesFor(size)
  const from = unsigned48(address)
  const area = { from, to: from + listPages * PAGE_SIZE - 1, pfn: allocator.pfn }
  const mapping = moveTables(planMapping(area, allocator.pfn, { earlier: [initial] }), listPages)
  const segment = allocator.segment('phys2mach', (listPages + mapping.tables) * PAGE_SIZE)
  return { p2m: { ...segment, address, size }, mapping }
}

/** Plans a domain's memory. Throws OUT_OF_MEMORY naming the part that does not fit. */
export function planLayout({ image, totalPages, ramdiskSize, rings = 'shared' }: LayoutInput): DomainLayout {
  const allocator = new Allocator(image.virtualBase, totalPages)
  const p2mSize = totalPages * (image.bits / 8)
  allocator.skipTo('kernel', Math.floor(image.start / PAGE_SIZE) * PAGE_SIZE)
  const kernel = allocator.segment('kernel', image.end - allocator.end)
  const mapped =
    ramdiskSize !== undefined && !image.moduleByFrame ? allocator.segment('ramdisk', ramdiskSize) : undefined
  const inner = image.initialP2m === undefined ? allocator.segment('phys2mach', p2mSize) : undefined
  const startInfo = allocator.segment('start info', PAGE_SIZE)
  const ringSize = rings === 'shared' ? PAGE_SIZE : 0
  const store = allocator.segment('xenstore', ringSize)
  const console = allocator.segment('console', ringSize)
  const initial = planInitialMapping(allocator, image.virtualBase, image.bits === 32 ? PAE_TABLES : LONG_TABLES)
  const pageTables = allocator.segment('page tables', initial.tables * PAGE_SIZE)
  const bootStack = allocator.segment('boot stack', PAGE_SIZE)
  const allocEnd = allocator.end
  const virtualEnd = image.virtualBase + (initial.to - initial.from) + 1
  allocator.skipTo('initial mapping', virtualEnd)
  const unmapped =
    ramdiskSize !== undefined && image.moduleByFrame ? allocator.segment('ramdisk', ramdiskSize) : undefined
  const own = image.initialP2m === undefined ? undefined : planOwnP2m(allocator, image.initialP2m, p2mSize, initial)
  return {
    totalPages, kernel, startInfo, store, console, pageTables, bootStack, allocEnd, virtualEnd,
    ramdisk: mapped ?? unmapped,
    p2m: { ...(own?.p2m ?? inner!), ownMapping: own !== undefined },
    mappings: own === undefined ? [initial] : [initial, own.mapping],
  }
}
