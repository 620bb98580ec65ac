/**
 * Page tables of an image that is being read: they arrive with pseudo-physical numbers and need this host's frames.
 * Most of them are converted while the sender's domain still runs, as soon as the pages that they map are there; the
 * rest when the image is complete. A page that is taken away later takes all of that back first, so that no table ever
 * names a frame that has become another page.
 */
import type { ControlInterface } from '../../hypervisor/index.ts'
import { type DomId, type Mfn, XenError } from '../../util/index.ts'
import { PAGE_TYPE } from '../stream/index.ts'
import type { ImagePages } from './image-pages.ts'
import { type FrameMap, toMachine, toPseudoPhysical } from './page-tables.ts'

/** What is used of the control interface. */
export type TableControl = Pick<ControlInterface, 'frameBytes' | 'machineToPhys'>

/** Level of a table by its page type, which holds it in the low three bits; 0 for other pages. */
export const levelOf = (type: number): number =>
  (type === PAGE_TYPE.NORMAL || type >= PAGE_TYPE.BROKEN ? 0 : type & 7)

/** Converts the tables of one image. */
export class TableConverter {
  private readonly control: TableControl
  private readonly domid: DomId
  private readonly pages: ImagePages
  private readonly levels: 3 | 4
  /** Tables that came since the last look, by pfn. */
  private readonly arrived = new Set<number>()
  private readonly converted = new Set<number>()
  /** No table is converted early any more: pages come and go. */
  private late = false

  /** `levels`: of the guest's tables. */
  constructor(control: TableControl, domid: DomId, { pages, levels }: { readonly pages: ImagePages; readonly levels: 3 | 4 }) {
    this.control = control
    this.domid = domid
    this.pages = pages
    this.levels = levels
  }

  /** A page has arrived, with contents as the stream has them. */
  take(pfn: number, type: number): void {
    this.converted.delete(pfn)
    if (levelOf(type) > 0) this.arrived.add(pfn)
  }

  /** Converts what can be converted already. */
  convertEarly(): void {
    if (this.late) return
    for (const pfn of this.arrived) {
      const frame = this.pages.frame(pfn)
      const level = levelOf(this.pages.type(pfn))
      if (frame === undefined || level === 0 || this.converted.has(pfn)) continue
      try {
        this.convert(pfn, frame, level)
        this.converted.add(pfn)
      } catch (error) {
        // It maps a page that may still come; if it does not, the end says so.
        if (!XenError.is(error, 'INVALID_STREAM')) throw error
      }
    }
    this.arrived.clear()
  }

  /** To be called before a page is taken away. */
  takeBack(): void {
    this.late = true
    const toPage: FrameMap = (frame) => this.control.machineToPhys(frame as Mfn)
    for (const pfn of this.converted) {
      const frame = this.pages.frame(pfn)
      const level = levelOf(this.pages.type(pfn))
      if (frame === undefined || level === 0) continue
      const bytes = this.control.frameBytes(this.domid, frame)
      bytes.set(toPseudoPhysical(bytes, { level, pfn, levels: this.levels }, toPage))
    }
    this.converted.clear()
  }

  /** Converts all that is left. Throws INVALID_STREAM for a table that maps a page which is not there. */
  finish(): void {
    this.pages.forEachTyped((pfn, frame, type) => {
      const level = levelOf(type)
      if (level > 0 && !this.converted.has(pfn)) this.convert(pfn, frame, level)
    })
  }

  private convert(pfn: number, frame: Mfn, level: number): void {
    const bytes = this.control.frameBytes(this.domid, frame)
    bytes.set(toMachine(bytes, { level, pfn, levels: this.levels }, (page) => this.pages.frame(page)))
  }
}
