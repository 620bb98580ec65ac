/**
 * Rebuilds a PV domain from a libxc image: an empty domain is filled, and only when the whole image has been read and
 * checked are page tables pinned and vCPUs given their registers. The stream is hostile: order, numbers and contents
 * are checked here, and page tables once more by the hypervisor's own validation.
 * Reference: xen/docs/specs/libxc-migration-stream.pandoc; tools/libs/guest/xg_sr_restore_x86_pv.c (the rules, not the
 * code).
 */
import { GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE, type GuestAbi, PAGE_SIZE, SharedInfo, StartInfo, guestAbiOf } from '../../abi/index.ts'
import { type ControlInterface, type VcpuContext, type VcpuContextCodec, vcpuContextCodec } from '../../hypervisor/index.ts'
import { type DomId, type EventPort, type GrantRef, type Mfn, XenError } from '../../util/index.ts'
import { type BulkRecord, type PageBatch, type SaveStreamReader } from '../stream/index.ts'
import { ImagePages } from './image-pages.ts'
import { type ImageReader, type OnRecord, type RestoredRings, assembled, badImage as bad, readRecords } from './image-reader.ts'
import { PageFiller, type PageWatcher } from './page-filler.ts'
import { MAX_PFN, NO_FRAME } from './p2m.ts'
import { type CpuPolicyChoice, type ProcessorControl, ProcessorDemands } from './processor-demands.ts'
import { TableConverter } from './table-converter.ts'
import { type TscRecord, tscOf } from './tsc-record.ts'

/** What is used of the control interface. */
export type RestoreControl = Pick<
  ControlInterface,
  | 'populatePhysmap'
  | 'releaseFrames'
  | 'frameBytes'
  | 'writeFrames'
  | 'markWritten'
  | 'framePfns'
  | 'domainInfo'
  | 'pinTable'
  | 'unpinTable'
  | 'setVcpuContext'
  | 'setTscInfo'
  | 'seedGrant'
> & ProcessorControl

/** Where in the new domain things are to be found. */
export interface RestoredImage extends RestoredRings {
  readonly xenstoreFrame: Mfn
  readonly consoleFrame: Mfn
  readonly startInfoFrame: Mfn
  /** The new frame of each pfn; undefined where the domain has none. */
  frames(): readonly (Mfn | undefined)[]
}

/** What the toolstack has prepared for the new domain. */
export interface RestoreTarget {
  readonly domid: DomId
  /** Guests in TypeScript have neither page tables nor registers. */
  readonly hasRegisters: boolean
  /** Frames that the domain may own. */
  readonly maxPages: number
  readonly xenstorePort: EventPort
  readonly consolePort: EventPort
  /** What becomes of features that this host lacks. Default: `refuse`. */
  readonly cpuPolicy?: CpuPolicyChoice | undefined
}

const DOM0 = 0 as DomId
const viewOf = (data: Uint8Array): DataView => new DataView(data.buffer, data.byteOffset, data.byteLength)

/** Writes entries of 64 bits, of which none has an upper half but those that name no frame. hot path: no object of a host's, as in p2m.ts. */
function widen(frames: Int32Array, words: Uint32Array): void {
  for (let i = 0; i < frames.length; i += 1) {
    const frame = frames[i]!
    words[2 * i] = frame
    words[2 * i + 1] = frame >> 31
  }
}

/** What was made of pages while more were still to come: it is not true any more of those that come again. A class, as V8 compiles a function anew that is made for each image. */
class MadeEarly implements PageWatcher {
  private readonly writtenP2m: Set<number>
  private readonly tables: TableConverter

  constructor(writtenP2m: Set<number>, tables: TableConverter) {
    this.writtenP2m = writtenP2m
    this.tables = tables
  }

  take(pfn: number, type: number): void {
    this.writtenP2m.delete(pfn)
    this.tables.take(pfn, type)
  }

  dropped(): void {
    this.writtenP2m.clear()
    this.tables.takeBack()
  }
}

/** Reads one image into one domain. */
export class PvImageReader implements ImageReader {
  private readonly control: RestoreControl
  private readonly target: RestoreTarget
  /** What the domain's guest speaks. */
  private readonly abi: GuestAbi
  private readonly levels: 3 | 4
  private readonly codec: VcpuContextCodec
  /** Entries in a page of the p2m. */
  private readonly perPage: number
  private pages = new ImagePages(0)
  private tables: TableConverter
  private filler: PageFiller | undefined
  private readonly demands: ProcessorDemands
  private readonly contexts = new Map<number, VcpuContext>()
  private p2mFrames: readonly number[] | undefined
  /** Pages of the list that hold this host's frames already. */
  private readonly writtenP2m = new Set<number>()
  private maxPfn = 0
  private seenInfo = false
  private endOffset = 0
  private sharedInfo: Uint8Array | undefined
  private tsc: TscRecord | undefined

  constructor(control: RestoreControl, target: RestoreTarget) {
    this.control = control
    this.target = target
    this.demands = new ProcessorDemands(control, target.domid, target.cpuPolicy ?? 'refuse')
    const { addressSize } = control.domainInfo(target.domid)
    this.abi = guestAbiOf(addressSize)
    this.levels = addressSize === 64 ? 4 : 3
    this.codec = vcpuContextCodec(this.abi)
    this.perPage = PAGE_SIZE / this.abi.word.size
    this.tables = this.converter()
  }

  private converter(): TableConverter {
    return new TableConverter(this.control, this.target.domid, { pages: this.pages, levels: this.levels })
  }

  get pageCount(): number {
    return this.pages.count
  }

  async read(reader: SaveStreamReader, onRecord?: OnRecord): Promise<'end' | 'checkpoint'> {
    const { last, offset } = await readRecords(reader, (record) => this.take(record), onRecord)
    this.endOffset = offset
    return last
  }

  private take(record: BulkRecord): void {
    switch (record.type) {
      case 'pv-info': return this.takeInfo(record)
      case 'p2m-frames': return this.takeP2m(record)
      case 'page-data': return this.takePages(record.batch)
      case 'shared-info':
        this.sharedInfo = record.page.slice()
        return
      case 'vcpu-basic': return this.takeVcpu(record)
      case 'tsc-info':
        this.tsc = record
        return
      case 'hvm-context':
      case 'hvm-params': throw bad('it is not for a PV domain')
      default:
        // A guest in TypeScript has no processor.
        if (this.target.hasRegisters) this.demands.take(record)
    }
  }

  private takeInfo(record: Extract<BulkRecord, { type: 'pv-info' }>): void {
    if (record.guestWidth !== this.abi.word.size || record.pageTableLevels !== this.levels) {
      throw new XenError(
        'NOT_SUPPORTED',
        `a ${record.guestWidth * 8}-bit guest with ${record.pageTableLevels}-level page tables in a ${this.abi.width}-bit domain`,
      )
    }
    this.seenInfo = true
  }

  private takeP2m(record: Extract<BulkRecord, { type: 'p2m-frames' }>): void {
    if (!this.seenInfo) throw bad('P2M_FRAMES comes before PV_INFO')
    if (this.p2mFrames !== undefined) throw bad('P2M_FRAMES comes twice')
    if (record.endPfn >= MAX_PFN) throw bad(`a p2m that ends at ${record.endPfn}; ${MAX_PFN} pages are allowed`)
    if (record.startPfn !== 0) throw bad(`the p2m starts at ${record.startPfn}, not at 0`)
    const wanted = Math.floor(record.endPfn / this.perPage) + 1
    if (record.frames.length !== wanted) throw bad(`a p2m of ${wanted} pages has ${record.frames.length}`)
    if (this.target.hasRegisters) this.demands.settle()
    this.p2mFrames = record.frames
    this.maxPfn = record.endPfn
    this.pages = new ImagePages(record.endPfn + 1)
    this.tables = this.converter()
    this.filler = new PageFiller(this.control, this.target, { pages: this.pages, watcher: new MadeEarly(this.writtenP2m, this.tables) })
  }

  private takePages(batch: PageBatch): void {
    if (this.filler === undefined) throw bad('PAGE_DATA comes before P2M_FRAMES')
    const pages = this.filler.take(batch)
    if (pages === 'new') return this.forgetP2m(batch.pfns)
    // The sender has begun another round, so most of what tables map is here.
    this.writeP2mEarly()
    if (this.target.hasRegisters) this.tables.convertEarly()
  }

  private takeVcpu(record: Extract<BulkRecord, { readonly blob: Uint8Array }>): void {
    if (this.p2mFrames === undefined) throw bad('a vCPU comes before the pages')
    if (record.blob.length !== this.codec.size) {
      throw bad(`the context of vCPU ${record.vcpu} has ${record.blob.length} bytes, not ${this.codec.size}`)
    }
    const { maxVcpu } = this.control.domainInfo(this.target.domid)
    if (record.vcpu > maxVcpu)
      throw bad(`vCPU ${record.vcpu} of a domain whose last is ${maxVcpu}`, { vcpu: record.vcpu })
    const context = this.codec.decode(viewOf(record.blob), 0)
    if (this.target.hasRegisters) this.demands.checkContext(record.vcpu, context)
    this.contexts.set(record.vcpu, context)
  }

  finish(): RestoredImage {
    return assembled(this.endOffset, () => this.assemble())
  }

  private assemble(): RestoredImage {
    if (this.sharedInfo === undefined) throw bad('the image has no SHARED_INFO')
    if (!this.contexts.has(0)) throw bad('the image has no vCPU 0')
    const { domid, hasRegisters } = this.target
    this.writeP2m()
    const rings = this.patchStartInfo()
    this.writeSharedInfo(this.sharedInfo)
    if (this.tsc !== undefined) this.control.setTscInfo(domid, tscOf(this.tsc))
    if (hasRegisters) {
      this.tables.finish()
      this.tables.pin()
      for (const [vcpu, context] of this.contexts) this.control.setVcpuContext(domid, vcpu, this.local(context, vcpu))
      this.demands.apply()
    }
    this.control.seedGrant(domid, GNTTAB_RESERVED_CONSOLE as GrantRef, { remote: DOM0, frame: rings.consoleFrame })
    this.control.seedGrant(domid, GNTTAB_RESERVED_XENSTORE as GrantRef, { remote: DOM0, frame: rings.xenstoreFrame })
    return rings
  }

  private bytes(pfn: number, what: string): Uint8Array {
    return this.control.frameBytes(this.target.domid, this.frame(pfn, what))
  }

  private frame(pfn: number, what: string): Mfn {
    const frame = this.pages.frame(pfn)
    if (frame === undefined) throw bad(`${what} is page ${pfn}, which the image does not hold`, { what, pfn })
    return frame
  }

  /** The guest's own list gets the new frames. */
  private writeP2m(): void {
    for (const [index, pfn] of (this.p2mFrames ?? []).entries()) {
      if (!this.writtenP2m.has(pfn)) this.writeP2mPage(index, pfn)
    }
  }

  /** The same for pages of the list that are there already, while the sender's domain still runs. Those that come again are written anew. */
  private writeP2mEarly(): void {
    const list = this.p2mFrames ?? []
    // Of a page that is there twice the last place counts.
    if (new Set(list).size < list.length) return
    for (const [index, pfn] of list.entries()) {
      if (this.writtenP2m.has(pfn) || this.pages.frame(pfn) === undefined) continue
      this.writeP2mPage(index, pfn)
      this.writtenP2m.add(pfn)
    }
  }

  /** These pages have frames only now, so what the list says of them is another. */
  private forgetP2m(pfns: ArrayLike<number>): void {
    const { writtenP2m, p2mFrames = [], perPage } = this
    for (let i = 0; i < pfns.length && writtenP2m.size > 0; i += 1) writtenP2m.delete(p2mFrames[Math.floor(pfns[i]! / perPage)]!)
  }

  private writeP2mPage(index: number, pfn: number): void {
    const { perPage, pages, abi: { word } } = this
    const frame = this.frame(pfn, 'a page of the p2m')
    this.tables.release(pfn)
    const { buffer, byteOffset } = this.control.frameBytes(this.target.domid, frame)
    // A page lies at words. What is no page has all bits set.
    const words = new Uint32Array(buffer, byteOffset, PAGE_SIZE / 4).fill(NO_FRAME)
    const frames = pages.numbersFrom(index * perPage, perPage)
    if (word.size === 4) words.set(frames)
    else widen(frames, words)
    this.control.markWritten(frame)
  }

  /** start_info names frames and ports of the old host; vCPU 0 says in edx where it lies. */
  private patchStartInfo(): RestoredImage {
    const pfn = Number(BigInt.asUintN(52, this.contexts.get(0)!.user.rdx))
    this.tables.release(pfn)
    const view = viewOf(this.bytes(pfn, 'start_info'))
    const info = this.abi.of(StartInfo)
    const xenstoreFrame = this.frame(info.storeMfn.number(view, 0), 'the XenStore ring')
    const consoleFrame = this.frame(info.consoleMfn.number(view, 0), 'the console ring')
    const sharedInfoFrame = this.control.domainInfo(this.target.domid).sharedInfoFrame
    info.nrPages.setNumber(view, 0, this.maxPfn + 1)
    info.sharedInfo.setNumber(view, 0, sharedInfoFrame * PAGE_SIZE)
    info.flags.set(view, 0, 0)
    info.storeMfn.setNumber(view, 0, xenstoreFrame)
    info.storeEvtchn.set(view, 0, this.target.xenstorePort)
    info.consoleMfn.setNumber(view, 0, consoleFrame)
    info.consoleEvtchn.set(view, 0, this.target.consolePort)
    this.control.markWritten(this.frame(pfn, 'start_info'))
    const startInfoFrame = this.frame(pfn, 'start_info')
    return { xenstoreFrame, consoleFrame, startInfoFrame, frames: () => this.pages.list() }
  }

  /** Only vCPU records and the p2m's description survive; ports are all masked until the guest binds them anew. */
  private writeSharedInfo(saved: Uint8Array): void {
    const { sharedInfoFrame } = this.control.domainInfo(this.target.domid)
    const own = this.control.frameBytes(this.target.domid, sharedInfoFrame)
    const { vcpuInfo, arch, evtchnMask, evtchnPending, wcSecHi } = this.abi.of(SharedInfo)
    const view = viewOf(own)
    // In a 32-bit guest it stands within what is taken over.
    const clock = wcSecHi.get(view, 0)
    own.set(saved.subarray(vcpuInfo.offset, vcpuInfo.offset + vcpuInfo.size), vcpuInfo.offset)
    own.set(saved.subarray(arch.offset, arch.offset + arch.size), arch.offset)
    wcSecHi.set(view, 0, clock)
    arch.layout.pfnToMfnFrameListList.set(view, arch.at(0), 0n)
    own.fill(0, evtchnPending.offset, evtchnPending.offset + evtchnPending.size)
    own.fill(0xff, evtchnMask.offset, evtchnMask.offset + evtchnMask.size)
    for (let i = 0; i < vcpuInfo.count; i += 1) vcpuInfo.element.evtchnPendingSel.set(view, vcpuInfo.at(0, i), 0n)
  }

  /** A saved context with this host's frames. */
  private local(context: VcpuContext, vcpu: number): VcpuContext {
    const user = vcpu === 0
      ? { ...context.user, rdx: BigInt(this.frame(Number(BigInt.asUintN(52, context.user.rdx)), 'start_info')) }
      : context.user
    return {
      ...context,
      user,
      gdtFrames: context.gdtFrames.map((pfn) => this.frame(pfn, 'a page of the GDT')),
      kernelTable: this.frame(context.kernelTable, 'the kernel\'s page table'),
      userTable: context.userTable === 0 ? 0 : this.frame(context.userTable, 'the user\'s page table'),
    }
  }
}
