/**
 * Writes the libxc image of a PVH domain: static data, pages by guest frame number as they are, and at last the time, the
 * state of its vCPUs as Xen lays it out, and the parameters that say where its rings are.
 * Reference: xen/docs/specs/libxc-migration-stream.pandoc; tools/libs/guest/xg_sr_save_x86_hvm.c (the rules, not the code).
 */
import { HVM_PARAM } from '../../abi/index.ts'
import { type ControlInterface, XEN_VERSION } from '../../hypervisor/index.ts'
import type { DomId, Mfn } from '../../util/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import { type HvmParam, MAX_BATCH_PAGES, PAGE_TYPE, hasContents, type SaveStreamWriter } from '../stream/index.ts'
import type { ImageOptions, ImageWriter, WritePagesOptions } from './image-writer.ts'
import { tscRecord } from './tsc-record.ts'
import { isZeroPage } from './zero-pages.ts'

/** What is used of the control interface. */
export type HvmSaveControl = Pick<ControlInterface,
  | 'domainFrames' | 'machineToPhys' | 'onDemandGfns' | 'frameBytes' | 'readFrames' | 'getTscInfo' | 'getCpuPolicy' | 'getHvmContext' | 'getHvmParam'>

/** One past the highest guest frame number: a guest's memory and its special pages lie in the first 4 GiB. */
export const MOST_GFNS = 2 ** 20

/** The parameters that go along, in libxc's order. Event channels are the receiver's to say. */
export const SAVED_PARAMS: readonly number[] = /* @__PURE__ */ (() => [
  HVM_PARAM.STORE_PFN, HVM_PARAM.IOREQ_PFN, HVM_PARAM.BUFIOREQ_PFN, HVM_PARAM.PAGING_RING_PFN, HVM_PARAM.MONITOR_RING_PFN,
  HVM_PARAM.SHARING_RING_PFN, HVM_PARAM.VM86_TSS_SIZED, HVM_PARAM.CONSOLE_PFN, HVM_PARAM.ACPI_IOPORTS_LOCATION, HVM_PARAM.VIRIDIAN,
  HVM_PARAM.IDENT_PT, HVM_PARAM.VM_GENERATION_ID_ADDR, HVM_PARAM.IOREQ_SERVER_PFN, HVM_PARAM.NR_IOREQ_SERVER_PAGES,
  HVM_PARAM.X87_FIP_WIDTH, HVM_PARAM.MCA_CAP,
])()

/** What stands for a guest frame that has none of the host's. */
const NONE = -1
/** What stands for one whose frame is still to come on demand: to its guest it is there, and all zero. */
const ZEROS = -2

/** Writes one domain's image. */
export class HvmImageWriter implements ImageWriter {
  private readonly control: HvmSaveControl
  private readonly domid: DomId
  private readonly writer: SaveStreamWriter
  /** The frame of each guest frame number. */
  private readonly frames = new Int32Array(MOST_GFNS)
  /** Which guest frames the receiver has. */
  private readonly sent = new Uint8Array(MOST_GFNS)
  private readonly omitsZeros: boolean

  constructor(control: HvmSaveControl, domid: DomId, writer: SaveStreamWriter, { zeros = 'sent' }: ImageOptions = {}) {
    this.omitsZeros = zeros === 'omitted'
    this.control = control
    this.domid = domid
    this.writer = writer
    this.refresh()
  }

  get end(): number {
    return MOST_GFNS
  }

  pages(): number[] {
    const list: number[] = []
    for (let gfn = 0; gfn < MOST_GFNS; gfn += 1) if (this.frames[gfn] !== NONE) list.push(gfn)
    return list
  }

  refresh(): void {
    const { control, frames } = this
    frames.fill(NONE)
    for (const frame of control.domainFrames(this.domid)) {
      const gfn = control.machineToPhys(frame)
      if (gfn !== undefined && gfn < MOST_GFNS) frames[gfn] = frame
    }
    for (const gfn of control.onDemandGfns(this.domid)) if (gfn < MOST_GFNS) frames[gfn] = ZEROS
  }

  retyped(): number[] {
    this.refresh()
    const { frames, sent } = this
    const changed: number[] = []
    for (let gfn = 0; gfn < MOST_GFNS; gfn += 1) if ((sent[gfn] === 1) !== (frames[gfn] !== NONE)) changed.push(gfn)
    return changed
  }

  ringPages(): number[] {
    return [HVM_PARAM.STORE_PFN, HVM_PARAM.CONSOLE_PFN].map((index) => Number(this.control.getHvmParam(this.domid, index)))
      .filter((gfn) => gfn < MOST_GFNS)
  }

  async writeStart(): Promise<void> {
    const { cpuid, msrs } = this.control.getCpuPolicy(this.domid)
    await this.writer.writeImageHeader(XEN_VERSION, 'hvm')
    if (cpuid.length > 0) await this.writer.writeImageRecord({ type: 'cpuid-policy', leaves: cpuid })
    if (msrs.length > 0) await this.writer.writeImageRecord({ type: 'msr-policy', msrs })
    await this.writer.writeImageRecord({ type: 'static-data-end' })
  }

  /** A translated guest says nothing of where its memory lies. */
  async writeLayout(): Promise<void> {}

  /** Every page can be read while the guest runs: nothing is ever left. */
  async writePages(pages: ArrayLike<number>, { live = false, onBatch }: WritePagesOptions = {}): Promise<number[]> {
    const all = Uint32Array.from(pages)
    for (let start = 0; start < all.length; start += MAX_BATCH_PAGES) {
      const pfns = all.subarray(start, start + MAX_BATCH_PAGES)
      // The guest may have given pages back since. No await between here and the copying inside the writer's writePages.
      if (live) this.refresh()
      const types = this.typesOf(pfns)
      await this.writer.writePages({ pfns, types, copy: (into) => this.copyPages(pfns.filter((_, i) => hasContents(types[i]!)), into) })
      await onBatch?.(pfns.length)
    }
    return []
  }

  /** The types of pages, and that the receiver will know of those that are there. */
  private typesOf(pfns: Uint32Array): Uint8Array {
    return Uint8Array.from(pfns, (gfn) => {
      const isThere = this.frames[gfn] !== NONE
      const isFirst = this.sent[gfn] === 0
      this.sent[gfn] = isThere ? 1 : 0
      if (!isThere) return PAGE_TYPE.INVALID
      return this.omitsZeros && isFirst && this.isZero(gfn) ? PAGE_TYPE.ALLOCATE_ONLY : PAGE_TYPE.NORMAL
    })
  }

  private isZero(gfn: number): boolean {
    const frame = this.frames[gfn]!
    return frame === ZEROS || isZeroPage(this.control.frameBytes(this.domid, frame as Mfn))
  }

  private copyPages(pfns: Uint32Array, into: Uint8Array): void {
    const frames = Array.from(pfns, (gfn) => this.frames[gfn]!)
    for (let start = 0; start < frames.length;) {
      const isZeros = frames[start] === ZEROS
      let end = start + 1
      while (end < frames.length && (frames[end] === ZEROS) === isZeros) end += 1
      const target = into.subarray(start * PAGE_SIZE, end * PAGE_SIZE)
      if (isZeros) target.fill(0)
      else this.control.readFrames(this.domid, Uint32Array.from(frames.slice(start, end)), target)
      start = end
    }
  }

  async writeEnd(): Promise<void> {
    const { control, domid, writer } = this
    await writer.writeImageRecord(tscRecord(control.getTscInfo(domid)))
    await writer.writeImageRecord({ type: 'hvm-context', context: control.getHvmContext(domid) })
    const params = SAVED_PARAMS.map((index): HvmParam => ({ index, value: control.getHvmParam(domid, index) }))
    await writer.writeImageRecord({ type: 'hvm-params', params: params.filter(({ value }) => value !== 0n) })
  }

  async writeFinish(): Promise<void> {
    await this.writer.writeImageRecord({ type: 'end' })
  }
}
