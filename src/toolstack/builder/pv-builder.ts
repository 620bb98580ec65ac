/**
 * Builds a PV domain, of 64 bits or of 32: gives it memory, writes kernel, ramdisk, frame list, page tables and start_info into it,
 * and lets the hypervisor validate the tables as if the guest had asked for it. Undoing a failure is the caller's
 * (destroying the domain gives everything back).
 */
import type { ControlInterface } from '../../hypervisor/index.ts'
import type { DomId, EventPort, GrantRef, Mfn } from '../../util/index.ts'
import { guestAbiOf } from '../../abi/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import type { KernelImage } from '../image/kernel-image.ts'
import { DomainWriter } from './domain-writer.ts'
import { initialContext } from './initial-context.ts'
import { planLayout, type DomainLayout } from './layout.ts'
import { writePageTables } from './page-tables.ts'
import { RESERVED_GRANT } from './reserved-grants.ts'
import { writeStartInfo } from './start-info.ts'

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

/** The list of frames by page number, a word of the guest's each; frames of a host fit into 32 bits. */
function writeFrameList(writer: DomainWriter, layout: DomainLayout, wordBytes: number): void {
  const perPage = PAGE_SIZE / wordBytes
  for (let first = 0; first < layout.totalPages; first += perPage) {
    const view = writer.view(layout.p2m.pfn + first / perPage)
    for (let i = 0; i < perPage && first + i < layout.totalPages; i += 1)
      view.setUint32(i * wordBytes, writer.frameOf(first + i), true)
  }
}

function writeContents(writer: DomainWriter, layout: DomainLayout, build: PvBuild): void {
  const { image, ramdisk } = build
  for (const segment of image.segments) {
    writer.write(segment.physical + image.virtualOffset - image.virtualBase, segment.bytes)
  }
  if (ramdisk !== undefined && layout.ramdisk !== undefined) writer.write(layout.ramdisk.pfn * PAGE_SIZE, ramdisk)
  writeFrameList(writer, layout, image.bits / 8)
  writePageTables(layout.mappings, {
    frameOf: (pfn) => writer.frameOf(pfn),
    writeEntry: (pfn, index, low) => writer.view(pfn).setUint32(index * 8, low, true),
  })
}

/** Builds the domain, which must be empty and paused. Throws OUT_OF_MEMORY or INVALID_STATE. */
export function buildPvDomain(control: ControlInterface, build: PvBuild): BuiltDomain {
  const { domid, image } = build
  const layout = planLayout({ image, totalPages: build.pages, ramdiskSize: build.ramdisk?.length })
  const frames = control.populatePhysmap(domid, build.pages, 0)
  const writer = new DomainWriter(control, domid, (pfn) => frames[pfn])
  writeContents(writer, layout, build)
  if (image.hypercallPage !== undefined) {
    control.writeHypercallPage(domid, writer.frameOf((image.hypercallPage - image.virtualBase) / PAGE_SIZE))
  }
  const storeFrame = writer.frameOf(layout.store.pfn)
  const consoleFrame = writer.frameOf(layout.console.pfn)
  const startInfo = writer.view(layout.startInfo.pfn)
  writeStartInfo(startInfo, 0, layout, {
    abi: guestAbiOf(image.bits),
    commandLine: build.commandLine, moduleByFrame: image.moduleByFrame,
    sharedInfoFrame: control.domainInfo(domid).sharedInfoFrame,
    storeFrame, storePort: build.storePort, consoleFrame, consolePort: build.consolePort,
  })
  const topTable = writer.frameOf(layout.pageTables.pfn)
  control.pinTable(domid, topTable, image.bits === 32 ? 3 : 4)
  control.seedGrant(domid, RESERVED_GRANT.console as GrantRef, { remote: build.servedBy, frame: consoleFrame })
  control.seedGrant(domid, RESERVED_GRANT.store as GrantRef, { remote: build.servedBy, frame: storeFrame })
  control.setVcpuContext(domid, 0, initialContext(layout, image, topTable))
  return { storeFrame, consoleFrame, layout }
}
