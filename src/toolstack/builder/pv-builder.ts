/**
 * Builds a 64-bit PV domain: gives it memory, writes kernel, ramdisk, frame list, page tables and start_info into it,
 * and lets the hypervisor validate the tables as if the guest had asked for it. Undoing a failure is the caller's
 * (destroying the domain gives everything back).
 */
import type { ControlInterface } from '../../hypervisor/index.ts'
import type { DomId, EventPort, GrantRef, Mfn } from '../../util/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import type { KernelImage } from '../image/kernel-image.ts'
import { initialContext } from './initial-context.ts'
import { planLayout, type DomainLayout } from './layout.ts'
import { writePageTables } from './page-tables.ts'
import { writeStartInfo } from './start-info.ts'

/** Grants of console and XenStore in every domain. Reference: public/grant_table.h, GNTTAB_RESERVED_*. */
export const RESERVED_GRANT = { console: 0, store: 1 } as const

/** What to build. */
export interface PvBuild {
  readonly domid: DomId
  readonly image: KernelImage
  readonly ramdisk?: Uint8Array | undefined
  readonly pages: number
  readonly commandLine: string
  readonly storePort: EventPort
  readonly consolePort: EventPort
  /** Domain that serves console and XenStore. */
  readonly servedBy: DomId
}

/** What was built: the shared frames, and the plan. */
export interface BuiltDomain {
  readonly storeFrame: Mfn
  readonly consoleFrame: Mfn
  readonly layout: DomainLayout
}

/** Writes into the pages of one domain. */
class DomainWriter {
  private readonly control: ControlInterface
  private readonly domid: DomId
  private readonly frames: readonly Mfn[]
  private viewed: { readonly pfn: number; readonly view: DataView } | undefined

  constructor(control: ControlInterface, domid: DomId, frames: readonly Mfn[]) {
    this.control = control
    this.domid = domid
    this.frames = frames
  }

  frameOf(pfn: number): Mfn {
    const frame = this.frames[pfn]
    if (frame === undefined) throw new Error(`page ${pfn} is beyond the domain's ${this.frames.length}`)
    return frame
  }

  page(pfn: number): Uint8Array {
    return this.control.frameBytes(this.domid, this.frameOf(pfn))
  }

  /** A page's contents; the same object again while the same page is asked for, as page tables are. */
  view(pfn: number): DataView {
    if (this.viewed?.pfn !== pfn) {
      const page = this.page(pfn)
      this.viewed = { pfn, view: new DataView(page.buffer, page.byteOffset, page.byteLength) }
    }
    return this.viewed.view
  }

  /** Copies bytes to a pseudo-physical address, across pages. */
  write(address: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) {
      const offset = (address + done) % PAGE_SIZE
      const length = Math.min(PAGE_SIZE - offset, bytes.length - done)
      const pfn = Math.floor((address + done) / PAGE_SIZE)
      this.page(pfn).set(bytes.subarray(done, done + length), offset)
      this.control.markWritten(this.frameOf(pfn))
      done += length
    }
  }
}

/** The list of frames by page number, 8 bytes each. */
function writeFrameList(writer: DomainWriter, layout: DomainLayout): void {
  for (let first = 0; first < layout.totalPages; first += PAGE_SIZE / 8) {
    const view = writer.view(layout.p2m.pfn + first / (PAGE_SIZE / 8))
    for (let i = 0; i < PAGE_SIZE / 8 && first + i < layout.totalPages; i += 1)
      view.setUint32(i * 8, writer.frameOf(first + i), true)
  }
}

function writeContents(writer: DomainWriter, layout: DomainLayout, build: PvBuild): void {
  const { image, ramdisk } = build
  for (const segment of image.segments) {
    writer.write(segment.physical + image.virtualOffset - image.virtualBase, segment.bytes)
  }
  if (ramdisk !== undefined && layout.ramdisk !== undefined) writer.write(layout.ramdisk.pfn * PAGE_SIZE, ramdisk)
  writeFrameList(writer, layout)
  writePageTables(layout.mappings, {
    frameOf: (pfn) => writer.frameOf(pfn),
    writeEntry: (pfn, index, low) => writer.view(pfn).setUint32(index * 8, low, true),
  })
}

/** Builds the domain, which must be empty and paused. Throws OUT_OF_MEMORY or INVALID_STATE. */
export function buildPvDomain(control: ControlInterface, build: PvBuild): BuiltDomain {
  const { domid, image } = build
  const layout = planLayout({ image, totalPages: build.pages, ramdiskSize: build.ramdisk?.length })
  const writer = new DomainWriter(control, domid, control.populatePhysmap(domid, build.pages, 0))
  writeContents(writer, layout, build)
  if (image.hypercallPage !== undefined) {
    control.writeHypercallPage(domid, writer.frameOf((image.hypercallPage - image.virtualBase) / PAGE_SIZE))
  }
  const storeFrame = writer.frameOf(layout.store.pfn)
  const consoleFrame = writer.frameOf(layout.console.pfn)
  const startInfo = writer.view(layout.startInfo.pfn)
  writeStartInfo(startInfo, 0, layout, {
    commandLine: build.commandLine, moduleByFrame: image.moduleByFrame,
    sharedInfoFrame: control.domainInfo(domid).sharedInfoFrame,
    storeFrame, storePort: build.storePort, consoleFrame, consolePort: build.consolePort,
  })
  const topTable = writer.frameOf(layout.pageTables.pfn)
  control.pinTable(domid, topTable, 4)
  control.seedGrant(domid, RESERVED_GRANT.console as GrantRef, { remote: build.servedBy, frame: consoleFrame })
  control.seedGrant(domid, RESERVED_GRANT.store as GrantRef, { remote: build.servedBy, frame: storeFrame })
  control.setVcpuContext(domid, 0, initialContext(layout, image.entry, topTable))
  return { storeFrame, consoleFrame, layout }
}
