/**
 * Builds a PV domain, of 64 bits or of 32: gives it memory, writes kernel, ramdisk, frame list, page tables and start_info into it,
 * and lets the hypervisor validate the tables as if the guest had asked for it. Undoing a failure is the caller's
 * (destroying the domain gives everything back).
 */
import type { ControlInterface } from '../../hypervisor/index.ts'
import { XenError, type DomId, type EventPort, type GrantRef, type Mfn } from '../../util/index.ts'
import { GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE, guestAbiOf } from '../../abi/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import type { KernelImage } from '../image/kernel-image.ts'
import { DomainWriter } from './domain-writer.ts'
import { initialContext } from './initial-context.ts'
import { planLayout, type DomainLayout } from './layout.ts'
import { writePageTables } from './page-tables.ts'
import { writeStartInfo, type StartInfoFacts } from './start-info.ts'

/** What a domain is built of. */
export interface PvContents {
  readonly domid: DomId
  readonly image: KernelImage
  readonly ramdisk?: Uint8Array | undefined
  readonly pages: number
  readonly commandLine: string
}

/** What to build. */
export interface PvBuild extends PvContents {
  /** It is to be told that it is the initial domain, whose console is the hypervisor's. */
  readonly initial?: boolean | undefined
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

function writeContents(writer: DomainWriter, layout: DomainLayout, build: PvContents): void {
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

/** What start_info says of the rings, and to whom. */
type RingFacts = Pick<StartInfoFacts, 'storeFrame' | 'storePort' | 'consoleFrame' | 'consolePort' | 'initial'>

/** A domain that has its memory. */
interface Filled {
  readonly layout: DomainLayout
  readonly writer: DomainWriter
}

/** Gives the domain its frames and contents. */
function fill(control: ControlInterface, build: PvContents, rings: 'shared' | 'none'): Filled {
  const { domid, image } = build
  const layout = planLayout({ image, totalPages: build.pages, ramdiskSize: build.ramdisk?.length, rings })
  const frames = control.populatePhysmap(domid, build.pages, 0)
  const writer = new DomainWriter(control, domid, (pfn) => frames[pfn])
  writeContents(writer, layout, build)
  if (image.hypercallPage !== undefined) {
    control.writeHypercallPage(domid, writer.frameOf((image.hypercallPage - image.virtualBase) / PAGE_SIZE))
  }
  return { layout, writer }
}

/** Tells the domain what it is, and pins its tables; its grants may be seeded before it gets its registers. */
function finish(control: ControlInterface, build: PvContents, { layout, writer, rings, seed }: Filled & { readonly rings: RingFacts; seed?(): void }): void {
  const { domid, image } = build
  writeStartInfo(writer.view(layout.startInfo.pfn), 0, layout, {
    ...rings, abi: guestAbiOf(image.bits),
    commandLine: build.commandLine, moduleByFrame: image.moduleByFrame,
    sharedInfoFrame: control.domainInfo(domid).sharedInfoFrame,
  })
  const topTable = writer.frameOf(layout.pageTables.pfn)
  control.pinTable(domid, topTable, image.bits === 32 ? 3 : 4)
  seed?.()
  control.setVcpuContext(domid, 0, initialContext(layout, image, topTable))
}

/** Builds the domain, which must be empty and paused. Throws OUT_OF_MEMORY or INVALID_STATE, and NOT_SUPPORTED for an initial domain of 32 bits. */
export function buildPvDomain(control: ControlInterface, build: PvBuild): BuiltDomain {
  const { domid, storePort, consolePort, servedBy, initial, image } = build
  if (initial === true && image.bits !== 64) throw new XenError('NOT_SUPPORTED', 'dom0 must be a 64-bit PV kernel', { details: { bits: image.bits } })
  const { layout, writer } = fill(control, build, 'shared')
  const storeFrame = writer.frameOf(layout.store.pfn)
  const consoleFrame = writer.frameOf(layout.console.pfn)
  finish(control, build, {
    layout, writer, rings: { storeFrame, storePort, initial, ...(initial === true ? { consoleFrame: 0, consolePort: 0 } : { consoleFrame, consolePort }) },
    seed: () => {
      control.seedGrant(domid, GNTTAB_RESERVED_CONSOLE as GrantRef, { remote: servedBy, frame: consoleFrame })
      control.seedGrant(domid, GNTTAB_RESERVED_XENSTORE as GrantRef, { remote: servedBy, frame: storeFrame })
    },
  })
  return { storeFrame, consoleFrame, layout }
}

/**
 * Builds the initial domain of a host: nobody serves it, its console is the hypervisor's, and XenStore runs in it.
 * Throws OUT_OF_MEMORY or INVALID_STATE.
 *
 * Reference: xen/arch/x86/pv/dom0_build.c, dom0_construct_pv.
 */
export function buildInitialDomain(control: ControlInterface, build: PvContents): DomainLayout {
  const { layout, writer } = fill(control, build, 'none')
  finish(control, build, { layout, writer, rings: { storeFrame: 0, storePort: 0, consoleFrame: 0, consolePort: 0, initial: true } })
  return layout
}
