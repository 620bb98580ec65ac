/**
 * Writes the libxc image of a PVH domain: static data, pages by guest frame number as they are, and at last the time, the
 * state of its vCPUs as Xen lays it out, and the parameters that say where its rings are.
 * Reference: xen/docs/specs/libxc-migration-stream.pandoc; tools/libs/guest/xg_sr_save_x86_hvm.c (the rules, not the code).
 */
import { HVM_PARAM } from '../../abi/index.ts'
import { type ControlInterface, MEMORY_AT, XEN_VERSION } from '../../hypervisor/index.ts'
import type { DomId, Mfn } from '../../util/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import { type HvmParam, PAGE_TYPE, hasContents, type SaveStreamWriter } from '../stream/index.ts'
import type { ImageOptions, ImageWriter, WritePagesOptions } from './image-writer.ts'
import { tscRecord } from './tsc-record.ts'
import { inBatches, nameZeros } from './zero-frames.ts'
import { isZeroPage } from './zero-pages.ts'

/** What is used of the control interface. */
export type HvmSaveControl = Pick<ControlInterface,
  'memoryGfns' | 'memoryAt' | 'blankFrames' | 'frameBytes' | 'readFrames' | 'getTscInfo' | 'getCpuPolicy' | 'getHvmContext' | 'getHvmParam'>

/** One past the highest guest frame number: a guest's memory and its special pages lie in the first 4 GiB. */
export const MOST_GFNS = 2 ** 20

/** The parameters that go along, in libxc's order. Event channels are the receiver's to say. */
export const SAVED_PARAMS: readonly number[] = /* @__PURE__ */ (() => [
  HVM_PARAM.STORE_PFN, HVM_PARAM.IOREQ_PFN, HVM_PARAM.BUFIOREQ_PFN, HVM_PARAM.PAGING_RING_PFN, HVM_PARAM.MONITOR_RING_PFN,
  HVM_PARAM.SHARING_RING_PFN, HVM_PARAM.VM86_TSS_SIZED, HVM_PARAM.CONSOLE_PFN, HVM_PARAM.ACPI_IOPORTS_LOCATION, HVM_PARAM.VIRIDIAN,
  HVM_PARAM.IDENT_PT, HVM_PARAM.VM_GENERATION_ID_ADDR, HVM_PARAM.IOREQ_SERVER_PFN, HVM_PARAM.NR_IOREQ_SERVER_PAGES,
  HVM_PARAM.X87_FIP_WIDTH, HVM_PARAM.MCA_CAP,
])()

/** Writes one domain's image. */
export class HvmImageWriter implements ImageWriter {
  private readonly control: HvmSaveControl
  private readonly domid: DomId
  private readonly writer: SaveStreamWriter
  /** Which guest frames the receiver has, and how many. */
  private readonly sent = new Uint8Array(MOST_GFNS)
  private sentCount = 0
  private readonly omitsZeros: boolean

  constructor(control: HvmSaveControl, domid: DomId, writer: SaveStreamWriter, { zeros = 'sent' }: ImageOptions = {}) {
    this.omitsZeros = zeros === 'omitted'
    this.control = control
    this.domid = domid
    this.writer = writer
  }

  get end(): number {
    return MOST_GFNS
  }

  pages(): Uint32Array {
    const gfns = this.control.memoryGfns(this.domid)
    let count = gfns.length
    while (count > 0 && gfns[count - 1]! >= MOST_GFNS) count -= 1
    return gfns.subarray(0, count)
  }

  /** Where its frames lie is looked up when pages are written. */
  refresh(): void {}

  retyped(): number[] {
    const { sent } = this
    const changed: number[] = []
    const now = this.pages()
    let known = 0
    for (const gfn of now) {
      if (sent[gfn] === 1) known += 1
      else changed.push(gfn)
    }
    if (known === this.sentCount) return changed
    const there = new Set(now)
    for (let gfn = 0; gfn < MOST_GFNS; gfn += 1) if (sent[gfn] === 1 && !there.has(gfn)) changed.push(gfn)
    return changed.sort((one, other) => one - other)
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
  async writePages(pages: ArrayLike<number>, { onBatch }: WritePagesOptions = {}): Promise<number[]> {
    const all = new Uint32Array(pages)
    for (const pfns of inBatches(this.omitsZeros ? await this.nameKnown(all, onBatch) : all)) {
      // The guest may have given pages back since. No await between here and the copying inside the writer's writePages.
      const frames = this.control.memoryAt(this.domid, pfns)
      const types = this.typesOf(pfns, frames)
      const full = frames.filter((_, i) => hasContents(types[i]!))
      await this.writer.writePages({ pfns, types, copy: (into) => this.copyPages(full, into) })
      await onBatch?.(pfns.length, full.length)
    }
    return []
  }

  /** Names those that are known to be zero; the others. One that is to come on demand has no frame, and is looked at there. */
  private async nameKnown(pages: Uint32Array, onBatch: WritePagesOptions['onBatch']): Promise<Uint32Array> {
    const { control, domid, writer, sent } = this
    const frames = new Uint32Array(control.memoryAt(domid, pages))
    const { count, others } = await nameZeros({ control, domid, writer, pages, frames, sent, named: 1 }, onBatch)
    this.sentCount += count
    return others
  }

  /** The types of pages, and that the receiver will know of those that are there. */
  private typesOf(pfns: Uint32Array, frames: Int32Array): Uint8Array {
    const { sent } = this
    const isZero = (frame: number): boolean => isZeroPage(this.control.frameBytes(this.domid, frame as Mfn))
    const types = new Uint8Array(pfns.length)
    for (let i = 0; i < pfns.length; i += 1) {
      const [gfn, frame] = [pfns[i]!, frames[i]!]
      const isThere = frame !== MEMORY_AT.NONE
      const isFirst = sent[gfn] === 0
      this.sentCount += Number(isThere) - sent[gfn]!
      sent[gfn] = isThere ? 1 : 0
      if (!isThere) types[i] = PAGE_TYPE.INVALID
      else types[i] = this.omitsZeros && isFirst && (frame === MEMORY_AT.ON_DEMAND || isZero(frame)) ? PAGE_TYPE.ALLOCATE_ONLY : PAGE_TYPE.NORMAL
    }
    return types
  }

  private copyPages(frames: Int32Array, into: Uint8Array): void {
    for (let start = 0; start < frames.length;) {
      const isAwaited = frames[start] === MEMORY_AT.ON_DEMAND
      let end = start + 1
      while (end < frames.length && (frames[end] === MEMORY_AT.ON_DEMAND) === isAwaited) end += 1
      const target = into.subarray(start * PAGE_SIZE, end * PAGE_SIZE)
      if (isAwaited) target.fill(0)
      else this.control.readFrames(this.domid, Uint32Array.from(frames.subarray(start, end)), target)
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
