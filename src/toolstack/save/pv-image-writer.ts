/**
 * Writes the libxc image of a PV domain: static data, pages (in as many rounds as the caller wants), and at last the
 * state that may not change any more. A live copy calls `writePages` while the domain runs; everything else wants it
 * suspended.
 * Reference: xen/docs/specs/libxc-migration-stream.pandoc; tools/libs/guest/xg_sr_save_x86_pv.c (the rules, not the
 * code).
 */
import { type GuestAbi, PAGE_SIZE, StartInfo, VcpuGuestContext, guestAbiOf } from '../../abi/index.ts'
import {
  type ControlInterface,
  type VcpuContext,
  XEN_VERSION,
  decodeVcpuContext,
  vcpuContextCodec,
} from '../../hypervisor/index.ts'
import { type DomId, type Mfn, XenError } from '../../util/index.ts'
import {
  PAGE_TYPE,
  PAGE_TYPE_PINNED,
  type PageSource,
  type SaveStreamWriter,
  countFull,
  hasContents,
} from '../stream/index.ts'
import { encodeEntries } from './entries-record.ts'
import type { ImageOptions, ImageWriter, WritePagesOptions } from './image-writer.ts'
import { NO_FRAME, P2mReading } from './p2m.ts'
import { type TablePlace, toPseudoPhysical } from './page-tables.ts'
import { tscRecord } from './tsc-record.ts'
import { inBatches, nameZeros } from './zero-frames.ts'
import { isZeroPage } from './zero-pages.ts'

/** What is used of the control interface. */
export type SaveControl = Pick<ControlInterface,
  | 'domainInfo' | 'blankFrames' | 'frameBytes' | 'frameKinds' | 'readFrames' | 'machineToPhys' | 'framePfns' | 'getVcpuContext' | 'vcpuInfo'
  | 'getTscInfo' | 'getCpuPolicy' | 'getVcpuMsrs' | 'getVcpuExtendedState' | 'getVcpuEntries'>

/** Page of start_info in guests written in TypeScript; the builder puts it there. */
const TYPESCRIPT_START_INFO = 0
/** Descriptors in a page of the GDT. */
const GDT_ENTRIES_PER_PAGE = 512

/** Stands for the type of a table that cannot be copied while the guest runs. */
const POSTPONED = 0xff

/** Pages, their frames and types. */
interface Batch {
  readonly pfns: Uint32Array
  readonly frames: Uint32Array
  readonly types: Uint8Array
}

/** Pages as they were found. */
interface TakenPages extends Batch {
  /** Contents of page tables, by frame. */
  readonly tables: ReadonlyMap<number, Uint8Array>
}

/**
 * What stands for the registers of a guest that has none: all zero, with the page of start_info where PV guests have
 * it.
 */
function withoutProcessor(): VcpuContext {
  const blank = unused ??= decodeVcpuContext(new DataView(new ArrayBuffer(VcpuGuestContext.size)), 0)
  return { ...blank, user: { ...blank.user, rdx: BigInt(TYPESCRIPT_START_INFO) } }
}
/** All zero, once somebody has asked for it: checkpoints ask all the time. */
let unused: VcpuContext | undefined

/** The entries of pages. hot path: no object of a host's, as in p2m.ts. */
function pickEntries(entries: Uint32Array, pfns: Uint32Array): Uint32Array {
  const picked = new Uint32Array(pfns.length)
  for (let i = 0; i < pfns.length; i += 1) picked[i] = entries[pfns[i]!]!
  return picked
}

/** Takes numbers away of which the list of entries does not say that they have these frames. hot path. */
function dropUnlisted(pfns: Uint32Array, frames: Uint32Array, entries: Uint32Array): Uint32Array {
  for (let i = 0; i < frames.length; i += 1) {
    const pfn = pfns[i]!
    if (pfn >= entries.length || entries[pfn] !== frames[i]) pfns[i] = NO_FRAME
  }
  return pfns
}

/** Pages that were sent with another type than they have. hot path. */
function otherTypes(sent: Uint8Array, types: Uint8Array): number[] {
  const others: number[] = []
  for (let pfn = 0; pfn < types.length; pfn += 1) if (sent[pfn] !== 0 && sent[pfn] !== types[pfn]! + 1) others.push(pfn)
  return others
}

/** Which of these types are those of tables with contents. hot path. */
function tablesAmong(types: Uint8Array): number[] {
  const found: number[] = []
  for (let i = 0; i < types.length; i += 1) if ((types[i]! & ~PAGE_TYPE_PINNED) !== 0 && hasContents(types[i]!)) found.push(i)
  return found
}

/** Which of these pages are ordinary ones that were never sent. hot path. */
function unsentAmong(pfns: Uint32Array, types: Uint8Array, sent: Uint8Array): number[] {
  const found: number[] = []
  for (let i = 0; i < pfns.length; i += 1) if (types[i] === PAGE_TYPE.NORMAL && sent[pfns[i]!] === 0) found.push(i)
  return found
}

/** Remembers the types of pages. hot path. */
function noteTypes(pfns: Uint32Array, types: Uint8Array, sent: Uint8Array): void {
  for (let i = 0; i < pfns.length; i += 1) sent[pfns[i]!] = types[i]! + 1
}

/** The same pages without those that are left for later. hot path: a batch of a running domain often has a table that is. */
function withoutPostponed({ pfns, frames, types }: Batch): Batch {
  const left: Batch = { pfns: pfns.slice(), frames: frames.slice(), types: types.slice() }
  let count = 0
  for (let i = 0; i < types.length; i += 1) {
    if (types[i] === POSTPONED) continue
    left.pfns[count] = pfns[i]!
    left.frames[count] = frames[i]!
    left.types[count++] = types[i]!
  }
  return { pfns: left.pfns.subarray(0, count), frames: left.frames.subarray(0, count), types: left.types.subarray(0, count) }
}

/** Writes one domain's image. */
export class PvImageWriter implements ImageWriter {
  private readonly control: SaveControl
  private readonly domid: DomId
  private readonly writer: SaveStreamWriter
  private readonly hasProcessor: boolean
  /** What the domain's guest speaks, and the levels of its page tables. */
  private readonly abi: GuestAbi
  private readonly levels: 3 | 4
  private readonly omitsZeros: boolean
  private readonly p2m: P2mReading
  /** Memory for the tables of a batch, which are copied before the next is taken. */
  private readonly tableMemory: Uint8Array[] = []
  /** How each page was sent last: its PAGE_TYPE + 1, or 0. */
  private readonly sent: Uint8Array

  /** Throws INVALID_STATE when the guest has no usable p2m. */
  constructor(control: SaveControl, domid: DomId, writer: SaveStreamWriter, { zeros = 'sent' }: ImageOptions = {}) {
    this.control = control
    this.domid = domid
    this.writer = writer
    this.omitsZeros = zeros === 'omitted'
    const { hasRegisters, addressSize } = control.domainInfo(domid)
    this.hasProcessor = hasRegisters
    this.abi = guestAbiOf(addressSize)
    this.levels = addressSize === 64 ? 4 : 3
    this.p2m = new P2mReading(control, domid)
    this.sent = new Uint8Array(this.p2m.maxPfn)
  }

  /** Pages that the guest's p2m spans. */
  get end(): number {
    return this.p2m.maxPfn
  }

  pages(): Uint32Array {
    const all = new Uint32Array(this.end)
    for (let pfn = 0; pfn < all.length; pfn += 1) all[pfn] = pfn
    return all
  }

  /** Reads the guest's p2m anew: its balloon may have changed entries. Throws INVALID_STATE when the list itself has moved. */
  refresh(written?: (pfn: number) => boolean): void {
    this.p2m.refresh(written)
  }

  /**
   * Pages that are of another type now than when they were sent: a page that becomes a page table is not written for
   * that, nor is one that the balloon took.
   */
  retyped(): number[] {
    return otherTypes(this.sent, this.typesOf(this.p2m.entries))
  }

  /**
   * Pages of the rings of console and XenStore of a suspended domain. Their other sides write them by mappings of their
   * own, so nobody notes it.
   */
  ringPages(): number[] {
    const frame = this.control.getVcpuContext(this.domid, 0).user.rdx
    const bytes = this.control.frameBytes(this.domid, Number(BigInt.asUintN(52, frame)) as Mfn)
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    // A suspended guest has put pseudo-physical numbers there.
    const { storeMfn, consoleMfn } = this.abi.of(StartInfo)
    const rings = [storeMfn.number(view, 0), consoleMfn.number(view, 0)]
    return rings.filter((pfn) => pfn < this.p2m.maxPfn)
  }

  /** Headers and what is known before any page. */
  async writeStart(): Promise<void> {
    const policy = this.control.getCpuPolicy(this.domid)
    await this.writer.writeImageHeader(XEN_VERSION, 'pv')
    await this.writer.writeImageRecord({ type: 'pv-info', guestWidth: this.abi.word.size, pageTableLevels: this.levels })
    if (policy.cpuid.length > 0) await this.writer.writeImageRecord({ type: 'cpuid-policy', leaves: policy.cpuid })
    if (policy.msrs.length > 0) await this.writer.writeImageRecord({ type: 'msr-policy', msrs: policy.msrs })
    await this.writer.writeImageRecord({ type: 'static-data-end' })
    await this.writeLayout()
  }

  /** Where the guest's list of frames lies. */
  async writeLayout(): Promise<void> {
    const frames = this.p2m.frames.map((frame) => this.pfnOf(frame, 'a page of the p2m'))
    await this.writer.writeImageRecord({ type: 'p2m-frames', startPfn: 0, endPfn: this.p2m.maxPfn - 1, frames })
  }

  /**
   * Writes the pages of the given pfns, in batches, each of which is taken at one instant. `live`: a table that just
   * changes is left for the next round and returned.
   */
  async writePages(pfns: ArrayLike<number>, options: WritePagesOptions = {}): Promise<number[]> {
    const all = new Uint32Array(pfns)
    const postponed: number[] = []
    for (const pages of inBatches(this.omitsZeros ? await this.nameKnown(all, options) : all)) {
      // No await between here and the copying inside the writer's writePages.
      const batch = this.takeBatch(pages, options)
      postponed.push(...batch.postponed)
      const { length } = batch.pages.pfns
      if (length === 0) continue
      await this.writer.writePages(batch.pages)
      await options.onBatch?.(length, countFull(batch.pages.types))
    }
    return postponed
  }

  /** Names those that are known to be zero; the others. */
  private async nameKnown(pages: Uint32Array, { onBatch }: WritePagesOptions): Promise<Uint32Array> {
    const { control, domid, writer, sent } = this
    const { others } = await nameZeros({ control, domid, writer, pages, frames: this.framesOf(pages), sent, named: PAGE_TYPE.NORMAL + 1 }, onBatch)
    return others
  }

  private framesOf(pfns: Uint32Array): Uint32Array {
    return pickEntries(this.p2m.entries, pfns)
  }

  /** These pages as they are now, and those that cannot be read consistently while the guest runs. */
  private takeBatch(pfns: Uint32Array, { live }: Pick<WritePagesOptions, 'live'>): { readonly pages: PageSource; readonly postponed: number[] } {
    const frames = this.framesOf(pfns)
    const types = this.typesOf(frames)
    const tables = new Map<number, Uint8Array>()
    const postponed: number[] = []
    for (const i of tablesAmong(types)) {
      const into = this.tableMemory[tables.size] ??= new Uint8Array(PAGE_SIZE)
      const table = this.readTable({ level: types[i]! & ~PAGE_TYPE_PINNED, pfn: pfns[i]!, levels: this.levels }, { frame: frames[i]!, into, live: live === true })
      if (table !== undefined) tables.set(frames[i]!, table)
      else {
        types[i] = POSTPONED
        postponed.push(pfns[i]!)
      }
    }
    const taken = postponed.length === 0 ? { pfns, frames, types } : withoutPostponed({ pfns, frames, types })
    this.noteSent(taken)
    const copy = (into: Uint8Array): void => this.copyPages({ ...taken, tables }, into)
    return { pages: { ...taken, copy }, postponed }
  }

  /** Remembers how pages are sent; those that turn out to be zero, and were never sent, are only named. */
  private noteSent({ pfns, frames, types }: Batch): void {
    const { control, domid, sent, omitsZeros } = this
    const unsent = omitsZeros ? unsentAmong(pfns, types, sent) : []
    noteTypes(pfns, types, sent)
    for (const i of unsent) if (isZeroPage(control.frameBytes(domid, frames[i]! as Mfn))) types[i] = PAGE_TYPE.ALLOCATE_ONLY
  }

  private copyPages({ frames, types, tables }: TakenPages, into: Uint8Array): void {
    let at = 0
    for (let start = 0, end; start < frames.length; start = end) {
      end = start + 1
      if (!hasContents(types[start]!)) continue
      const table = tables.get(frames[start]!)
      if (table === undefined) {
        while (types[end] === PAGE_TYPE.NORMAL) end += 1
        this.control.readFrames(this.domid, frames.subarray(start, end), into.subarray(at))
      } else {
        into.set(table, at)
      }
      at += (end - start) * PAGE_SIZE
    }
  }

  /** A table as the stream holds it; undefined when it cannot be read consistently while the guest runs. */
  private readTable(place: TablePlace, { frame, into, live }: { readonly frame: number; readonly into: Uint8Array; readonly live: boolean }): Uint8Array | undefined {
    const bytes = this.control.frameBytes(this.domid, frame as Mfn)
    try {
      return toPseudoPhysical(bytes, place, { map: (mfns) => this.ownPfns(mfns), into })
    } catch (error) {
      if (live && XenError.is(error, 'INVALID_STATE')) return undefined
      throw error
    }
  }

  /** PAGE_TYPE of frames as they are now; a guest may write any number into its list. The control's numbers are ours. */
  private typesOf(frames: Uint32Array): Uint8Array {
    return this.control.frameKinds(this.domid, frames)
  }

  /** The pfn of an own frame, when machine-to-physical and p2m agree on it. */
  private ownPfn(frame: Mfn): number | undefined {
    if (!this.hasProcessor) return this.knownPfn(frame)
    const pfn = this.control.machineToPhys(frame)
    return pfn !== undefined && this.p2m.entries[pfn] === frame ? pfn : undefined
  }

  /** The same of many frames of a guest with registers, in order: NO_FRAME where they do not agree. hot path: all that its page tables map. */
  private ownPfns(frames: Uint32Array): Uint32Array {
    return dropUnlisted(this.control.framePfns(frames), frames, this.p2m.entries)
  }

  /** A guest in TypeScript does not keep the machine's table. */
  private knownPfn(frame: Mfn): number | undefined {
    const pfn = this.p2m.entries.indexOf(frame)
    return pfn < 0 ? undefined : pfn
  }

  private pfnOf(frame: number, what: string): number {
    const pfn = this.ownPfn(frame as Mfn)
    if (pfn === undefined) {
      throw new XenError('INVALID_STATE', `${what}, frame ${frame}, is not in the guest's p2m`, {
        details: { what, frame },
      })
    }
    return pfn
  }

  /** What may only be read of a suspended domain: time, shared_info, vCPUs. */
  async writeEnd(): Promise<void> {
    await this.writer.writeImageRecord(tscRecord(this.control.getTscInfo(this.domid)))
    const info = this.control.domainInfo(this.domid)
    const page = this.control.frameBytes(this.domid, info.sharedInfoFrame).slice()
    await this.writer.writeImageRecord({ type: 'shared-info', page })
    for (let vcpu = 0; vcpu <= info.maxVcpu; vcpu += 1) {
      if (this.control.vcpuInfo(this.domid, vcpu).online) await this.writeVcpu(vcpu)
    }
  }

  /** Ends the image; a checkpoint keeps the stream open instead. */
  async writeFinish(): Promise<void> {
    await this.writer.writeImageRecord({ type: 'end' })
  }

  private async writeVcpu(vcpu: number): Promise<void> {
    const context = this.hasProcessor
      ? this.portable(this.control.getVcpuContext(this.domid, vcpu), vcpu)
      : withoutProcessor()
    const codec = vcpuContextCodec(this.abi)
    const blob = new Uint8Array(codec.size)
    codec.encode(context, new DataView(blob.buffer), 0)
    await this.writer.writeImageRecord({ type: 'vcpu-basic', vcpu, blob })
    const extended = encodeEntries(vcpu, this.control.getVcpuEntries(this.domid, vcpu))
    await this.writer.writeImageRecord({ type: 'vcpu-extended', vcpu, blob: extended })
    const state = this.control.getVcpuExtendedState(this.domid, vcpu)
    if (state.length > 0) await this.writer.writeImageRecord({ type: 'vcpu-xsave', vcpu, blob: state })
    const msrs = this.hasProcessor ? this.control.getVcpuMsrs(this.domid, vcpu) : []
    if (msrs.length > 0) await this.writer.writeImageRecord({ type: 'vcpu-msrs', vcpu, msrs })
  }

  /** The context with pfns where it names frames; vCPU 0 carries start_info's frame in edx while suspended. */
  private portable(context: VcpuContext, vcpu: number): VcpuContext {
    const user = vcpu === 0
      ? { ...context.user, rdx: BigInt(this.pfnOf(Number(BigInt.asUintN(52, context.user.rdx)), 'start_info')) }
      : context.user
    return {
      ...context,
      user,
      gdtFrames: context.gdtFrames
        .slice(0, Math.ceil(context.gdtEntries / GDT_ENTRIES_PER_PAGE))
        .map((frame) => this.pfnOf(frame, 'a page of the GDT')),
      kernelTable: this.pfnOf(context.kernelTable, "the kernel's page table"),
      userTable: context.userTable === 0 ? 0 : this.pfnOf(context.userTable, "the user's page table"),
    }
  }
}
