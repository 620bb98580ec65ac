/**
 * Builds a PVH domain: gives it memory at guest-physical addresses, writes kernel, start info, ramdisk and ACPI tables into
 * it, tells the hypervisor where the special pages are, and gives vCPU 0 its first registers. Undoing a failure is the
 * caller's (destroying the domain gives everything back).
 * Reference: xen/tools/libs/guest/xg_dom_x86.c; libxl_dom.c, libxl__build_hvm.
 */
import { GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE, HVM_PARAM } from '../../abi/index.ts'
import type { ControlInterface } from '../../hypervisor/index.ts'
import type { DomId, EventPort, GrantRef, Mfn } from '../../util/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import { makeAcpiTables, type AcpiArea, type AcpiAreas, RSDP_AREA } from '../acpi/tables.ts'
import type { PvhImage } from '../image/pvh-image.ts'
import { DomainWriter } from './domain-writer.ts'
import { initialHvmContext } from './hvm-context.ts'
import { encodeHvmStartInfo, encodePvhCommandLine } from './hvm-start-info.ts'
import { planPvhLayout, SPECIAL_PAGE, SPECIAL_PAGES, type PvhLayout } from './pvh-layout.ts'

/** What is used of the control interface. */
export type PvhControl = Pick<ControlInterface,
  | 'populatePhysmap' | 'populateOnDemand' | 'setOnDemandTarget' | 'frameOfGfn' | 'frameBytes' | 'markWritten' | 'setMemoryMap' | 'setHvmParam'
  | 'getHvmContext' | 'setHvmContext' | 'seedGrant' | 'prepareVcpu'>

/** What to build. */
export interface PvhBuild {
  readonly domid: DomId
  readonly image: PvhImage
  readonly ramdisk?: Uint8Array | undefined
  /** Pages of memory at start, and those that the domain can ever have. */
  readonly pages: number
  readonly maxPages: number
  readonly vcpus: number
  readonly maxVcpus: number
  readonly commandLine: string
  readonly storePort: EventPort
  readonly consolePort: EventPort
  /** Domain that serves console and XenStore. */
  readonly servedBy: DomId
}

/** What was built: guest frame numbers of the rings, and the plan. */
export interface BuiltPvhDomain {
  readonly storeFrame: number
  readonly consoleFrame: number
  readonly layout: PvhLayout
}

/** Entries of the table that maps the first 4 GiB onto themselves in pages of 4 MiB: present, writable, user, used, large. */
const IDENTITY_ENTRY = 0xe7
const IDENTITY_ENTRIES = 1024
/** XENFEAT_linux_rsdp_unrestricted: such a Linux finds the RSDP wherever start info says. */
const RSDP_ANYWHERE = 1 << 15
/** Where older ones look for it: in the last 64 bytes of what was the BIOS. */
const BIOS_END = 0x10_0000
/** HVM_PARAM_TIMER_MODE: no delay for missed ticks. */
const TIMER_MODE = 1n

/** The tables, with the RSDP where this kernel finds it. */
function placeAcpi({ image: { notes }, maxVcpus, vcpus }: PvhBuild): AcpiAreas {
  const areas = makeAcpiTables({ maxVcpus, vcpus })
  if (notes.guestOs !== 'linux' || ((notes.supportedFeatures ?? 0) & RSDP_ANYWHERE) !== 0) return areas
  return { ...areas, rsdp: { ...areas.rsdp, address: BIOS_END - RSDP_AREA } }
}

/** Gives the domain memory: all of it at once, or as it is touched where the domain may have more than it starts with. */
function giveMemory(control: PvhControl, { domid, pages, maxPages }: PvhBuild): void {
  if (pages === maxPages) {
    control.populatePhysmap(domid, pages, 0)
    return
  }
  control.setOnDemandTarget(domid, pages)
  control.populateOnDemand(domid, maxPages, 0)
}

/** Gives the domain pages outside of its memory for an area. */
function giveArea(control: PvhControl, { domid, maxPages }: PvhBuild, { address, bytes }: AcpiArea): void {
  const first = Math.floor(address / PAGE_SIZE)
  if (first >= maxPages) control.populatePhysmap(domid, Math.ceil((address + bytes.length) / PAGE_SIZE) - first, first)
}

function writeContents(writer: DomainWriter, build: PvhBuild, { layout, acpi }: { readonly layout: PvhLayout; readonly acpi: AcpiAreas }): void {
  const { image, ramdisk } = build
  for (const { physical, bytes } of image.segments) writer.write(physical, bytes)
  const commandLine = encodePvhCommandLine(build.commandLine)
  writer.write(layout.startInfo.address, encodeHvmStartInfo(layout, { commandLine, rsdp: acpi.rsdp.address }))
  if (ramdisk !== undefined && layout.ramdisk !== undefined) writer.write(layout.ramdisk.address, ramdisk)
  for (const area of [acpi.info, acpi.tables, acpi.rsdp]) writer.write(area.address, area.bytes)
  const identity = Uint32Array.from({ length: IDENTITY_ENTRIES }, (_, i) => (i << 22) | IDENTITY_ENTRY)
  writer.write(SPECIAL_PAGE.identityTable * PAGE_SIZE, new Uint8Array(identity.buffer))
}

/** Tells the hypervisor and the guest where the special pages are. */
function setParameters(control: PvhControl, { domid, storePort, consolePort }: PvhBuild): void {
  const parameters: readonly (readonly [index: number, value: number | bigint])[] = [
    [HVM_PARAM.TIMER_MODE, TIMER_MODE], [HVM_PARAM.STORE_PFN, SPECIAL_PAGE.store], [HVM_PARAM.BUFIOREQ_PFN, SPECIAL_PAGE.bufferedRequests],
    [HVM_PARAM.IOREQ_PFN, SPECIAL_PAGE.requests], [HVM_PARAM.CONSOLE_PFN, SPECIAL_PAGE.console],
    [HVM_PARAM.PAGING_RING_PFN, SPECIAL_PAGE.paging], [HVM_PARAM.MONITOR_RING_PFN, SPECIAL_PAGE.monitor],
    [HVM_PARAM.SHARING_RING_PFN, SPECIAL_PAGE.sharing], [HVM_PARAM.IDENT_PT, SPECIAL_PAGE.identityTable * PAGE_SIZE],
    [HVM_PARAM.CONSOLE_EVTCHN, consolePort], [HVM_PARAM.STORE_EVTCHN, storePort],
  ]
  for (const [index, value] of parameters) control.setHvmParam(domid, index, BigInt(value))
}

/** Builds the domain, which must be empty and paused. Throws OUT_OF_MEMORY or INVALID_CONFIG. */
export function buildPvhDomain(control: PvhControl, build: PvhBuild): BuiltPvhDomain {
  const { domid, image, maxPages, servedBy } = build
  const acpi = placeAcpi(build)
  const layout = planPvhLayout({
    image, maxPages, ramdiskSize: build.ramdisk?.length, commandLineSize: encodePvhCommandLine(build.commandLine).length, acpi,
  })
  control.prepareVcpu(domid, 0)
  giveMemory(control, build)
  control.setMemoryMap(domid, layout.memoryMap)
  for (const area of [acpi.rsdp, acpi.info, acpi.tables]) giveArea(control, build, area)
  control.populatePhysmap(domid, SPECIAL_PAGES.count, SPECIAL_PAGES.first)
  const writer = new DomainWriter(control, domid, (gfn): Mfn | undefined => control.frameOfGfn(domid, gfn))
  writeContents(writer, build, { layout, acpi })
  setParameters(control, build)
  control.setHvmContext(domid, initialHvmContext(control.getHvmContext(domid), { entry: image.entry, startInfo: layout.startInfo.address }))
  // What grant entries of such a guest name are its own frame numbers. The cast: they are given for a machine's.
  for (const [ref, frame] of [[GNTTAB_RESERVED_CONSOLE, SPECIAL_PAGE.console], [GNTTAB_RESERVED_XENSTORE, SPECIAL_PAGE.store]] as const) {
    control.seedGrant(domid, ref as GrantRef, { remote: servedBy, frame: frame as number as Mfn })
  }
  return { storeFrame: SPECIAL_PAGE.store, consoleFrame: SPECIAL_PAGE.console, layout }
}
