/**
 * Rebuilds a PVH domain from a libxc image: pages go to their guest frame numbers as they come; when the whole image has
 * been read and checked the hypervisor is told where the rings are, and the vCPUs get their state. The stream is hostile:
 * order, numbers and contents are checked here, and the state of vCPUs by the hypervisor, before any of it counts.
 * Reference: xen/docs/specs/libxc-migration-stream.pandoc; tools/libs/guest/xg_sr_restore_x86_hvm.c (the rules, not the code).
 */
import { GNTTAB_RESERVED_CONSOLE, GNTTAB_RESERVED_XENSTORE, HVM_PARAM, HVM_SAVE_CODE } from '../../abi/index.ts'
import type { ControlInterface } from '../../hypervisor/index.ts'
import type { DomId, EventPort, GrantRef, Mfn } from '../../util/index.ts'
import { splitHvmContext } from '../builder/hvm-context.ts'
import { type BulkRecord, type HvmParam, PAGE_TYPE, type SaveStreamReader } from '../stream/index.ts'
import { MOST_GFNS, SAVED_PARAMS } from './hvm-image-writer.ts'
import { ImagePages } from './image-pages.ts'
import { type ImageReader, type OnRecord, type RestoredRings, assembled, badImage as bad, readRecords } from './image-reader.ts'
import { type FillControl, PageFiller } from './page-filler.ts'
import { type CpuPolicyChoice, type ProcessorControl, ProcessorDemands } from './processor-demands.ts'
import { type TscRecord, tscOf } from './tsc-record.ts'

/** What is used of the control interface. */
export type HvmRestoreControl = FillControl & ProcessorControl & Pick<ControlInterface,
  'frameBytes' | 'markWritten' | 'setTscInfo' | 'setHvmParam' | 'setHvmContext' | 'seedGrant'>

/** What the toolstack has prepared for the new domain. */
export interface HvmRestoreTarget {
  readonly domid: DomId
  /** Frames that the domain may own. */
  readonly maxPages: number
  readonly xenstorePort: EventPort
  readonly consolePort: EventPort
  /** What becomes of features that this host lacks. Default: `refuse`. */
  readonly cpuPolicy?: CpuPolicyChoice | undefined
}

const DOM0 = 0 as DomId
/** Bytes of the state of all vCPUs: each takes some 5 KiB. */
const MOST_CONTEXT = 1 << 20
/** Parameters that name a page, which the restored domain finds empty: whoever is at its other end begins anew. */
const CLEARED: readonly number[] = /* @__PURE__ */ (() => [
  HVM_PARAM.STORE_PFN, HVM_PARAM.IOREQ_PFN, HVM_PARAM.BUFIOREQ_PFN, HVM_PARAM.CONSOLE_PFN,
])()
/** Bytes in front of what CPU_XSAVE has in common with a PV guest's record. */
const XSAVE_MASK = 8

/** Reads one image into one domain. */
export class HvmImageReader implements ImageReader {
  private readonly control: HvmRestoreControl
  private readonly target: HvmRestoreTarget
  private readonly pages = new ImagePages(MOST_GFNS)
  private readonly filler: PageFiller
  private readonly demands: ProcessorDemands
  private context: Uint8Array | undefined
  private params: readonly HvmParam[] | undefined
  private tsc: TscRecord | undefined
  private isSettled = false
  private endOffset = 0

  constructor(control: HvmRestoreControl, target: HvmRestoreTarget) {
    this.control = control
    this.target = target
    this.demands = new ProcessorDemands(control, target.domid, target.cpuPolicy ?? 'refuse')
    const watcher = { take: checkPage, dropped: () => undefined }
    this.filler = new PageFiller(control, target, { pages: this.pages, watcher })
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
      case 'page-data':
        this.settle()
        this.filler.take(record.batch)
        return
      case 'hvm-context':
        if (record.context.length > MOST_CONTEXT) throw bad(`an HVM context of ${record.context.length} bytes; ${MOST_CONTEXT} are allowed`)
        this.context = record.context.slice()
        return
      case 'hvm-params':
        this.params = checkedParams(record.params)
        return
      case 'cpuid-policy':
      case 'msr-policy': return this.demands.take(record)
      case 'static-data-end': return this.settle()
      case 'tsc-info':
        this.tsc = record
        return
      case 'verify': case 'checkpoint': case 'end': case 'unknown': return
      default: throw bad('it is not for a PVH domain')
    }
  }

  /** The policy is whole: nothing of the domain has been read yet. Older streams have no record that says so. */
  private settle(): void {
    if (this.isSettled) return
    this.isSettled = true
    this.demands.settle()
  }

  finish(): RestoredRings {
    return assembled(this.endOffset, () => this.assemble())
  }

  private assemble(): RestoredRings {
    const { context, params } = this
    if (context === undefined) throw bad('the image has no HVM_CONTEXT')
    if (params === undefined) throw bad('the image has no HVM_PARAMS')
    this.checkContext(context)
    const { domid, xenstorePort, consolePort } = this.target
    const rings = { xenstoreFrame: ringOf(params, HVM_PARAM.STORE_PFN), consoleFrame: ringOf(params, HVM_PARAM.CONSOLE_PFN) }
    for (const { index, value } of params) {
      if (CLEARED.includes(index)) this.clear(index, value)
      this.control.setHvmParam(domid, index, value)
    }
    this.control.setHvmParam(domid, HVM_PARAM.STORE_EVTCHN, BigInt(xenstorePort))
    this.control.setHvmParam(domid, HVM_PARAM.CONSOLE_EVTCHN, BigInt(consolePort))
    if (this.tsc !== undefined) this.control.setTscInfo(domid, tscOf(this.tsc))
    this.control.setHvmContext(domid, context)
    // What grant entries of such a guest name are its own frame numbers. The cast: they are given for a machine's.
    this.control.seedGrant(domid, GNTTAB_RESERVED_CONSOLE as GrantRef, { remote: DOM0, frame: rings.consoleFrame as Mfn })
    this.control.seedGrant(domid, GNTTAB_RESERVED_XENSTORE as GrantRef, { remote: DOM0, frame: rings.xenstoreFrame as Mfn })
    return rings
  }

  /** What this host does not offer is refused by name, as for a PV guest. */
  private checkContext(context: Uint8Array): void {
    const records = splitHvmContext(context)
    if (!records.some(({ type, instance }) => type === HVM_SAVE_CODE.CPU && instance === 0)) throw bad('the HVM_CONTEXT has no vCPU 0')
    for (const { type, instance, body } of records) {
      if (type === HVM_SAVE_CODE.CPU_XSAVE) this.demands.checkState(instance, body.subarray(XSAVE_MASK))
    }
  }

  private clear(index: number, value: bigint): void {
    const frame = this.pages.frame(Number(value))
    if (frame === undefined) throw bad(`parameter ${index} names page ${value}, which the image does not hold`, { index })
    this.control.frameBytes(this.target.domid, frame).fill(0)
    this.control.markWritten(frame)
  }
}

/** No page of such a domain is a page table to anybody but itself. */
function checkPage(pfn: number, type: number): void {
  if (type !== PAGE_TYPE.NORMAL && type !== PAGE_TYPE.ALLOCATE_ONLY) throw bad(`page ${pfn} of a PVH domain is a page table (type ${type})`, { pfn, type })
}

/** Parameters, none of which is another than a sender may have. */
function checkedParams(params: readonly HvmParam[]): readonly HvmParam[] {
  const wrong = params.find(({ index }) => !SAVED_PARAMS.includes(index))
  if (wrong !== undefined) throw bad(`parameter ${wrong.index} is none that a domain is saved with`, { index: wrong.index })
  if (new Set(params.map(({ index }) => index)).size !== params.length) throw bad('a parameter is there twice')
  return params
}

function ringOf(params: readonly HvmParam[], index: number): number {
  const param = params.find((one) => one.index === index)
  if (param === undefined) throw bad(`the HVM_PARAMS lack ${index}, the page of a ring`, { index })
  return Number(param.value)
}
