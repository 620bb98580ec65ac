/**
 * Page tables of an image that is being read: they arrive with pseudo-physical numbers and need this host's frames.
 * Most of them are converted while the sender's domain still runs, as soon as the pages that they map are there, and those of the lowest level, which are
 * nearly all, are checked then, too, by a pin that lasts until the whole is pinned; the
 * rest when the image is complete. One that arrives again is unpinned first. A page that is taken away later takes all of that back first, so that no table ever
 * names a frame that has become another page.
 */
import type { ControlInterface } from '../../hypervisor/index.ts'
import { type DomId, type Mfn, XenError } from '../../util/index.ts'
import { PAGE_TYPE, PAGE_TYPE_PINNED } from '../stream/index.ts'
import type { ImagePages } from './image-pages.ts'
import { toMachine, toPseudoPhysical } from './page-tables.ts'

/** What is used of the control interface. */
export type TableControl = Pick<ControlInterface, 'frameBytes' | 'framePfns' | 'pinTable' | 'unpinTable'>

/** Level of a table by its page type, which holds it in the low three bits; 0 for other pages. */
export const levelOf = (type: number): number =>
  (type === PAGE_TYPE.NORMAL || type >= PAGE_TYPE.BROKEN ? 0 : type & 7)

const isPinned = (type: number): boolean => levelOf(type) > 0 && (type & PAGE_TYPE_PINNED) !== 0

/** Converts the tables of one image. */
export class TableConverter {
  private readonly control: TableControl
  private readonly domid: DomId
  private readonly pages: ImagePages
  private readonly levels: 3 | 4
  /** Pages that have come as tables, by pfn. What they are now is what they were sent as last. */
  private readonly tables = new Set<number>()
  /** Those that came since the last look. */
  private readonly arrived = new Set<number>()
  private readonly converted = new Set<number>()
  /** Tables that are pinned for the time being, and their frames. */
  private readonly pinned = new Map<number, Mfn>()
  private readonly numbers = (pfns: Uint32Array): Uint32Array => this.pages.numbers(pfns)
  /** No table is converted early any more: pages come and go. */
  private late = false

  /** `levels`: of the guest's tables. */
  constructor(control: TableControl, domid: DomId, { pages, levels }: { readonly pages: ImagePages; readonly levels: 3 | 4 }) {
    this.control = control
    this.domid = domid
    this.pages = pages
    this.levels = levels
  }

  /** A page is about to arrive, with contents as the stream has them. */
  take(pfn: number, type: number): void {
    this.release(pfn)
    this.converted.delete(pfn)
    if (levelOf(type) === 0) return
    this.tables.add(pfn)
    this.arrived.add(pfn)
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
        if (level === 1) this.pinEarly(pfn, frame)
      } catch (error) {
        // It maps a page that may still come, or is not yet what it will be; if that stays so, the end says so.
        if (!XenError.is(error, 'INVALID_STREAM') && !XenError.is(error, 'INVALID_STATE')) throw error
      }
    }
    this.arrived.clear()
  }

  private pinEarly(pfn: number, frame: Mfn): void {
    this.control.pinTable(this.domid, frame, 1)
    this.pinned.set(pfn, frame)
  }

  /** To be called before anything is written to a page: what is pinned has been checked, and must stay what it is. */
  release(pfn: number): void {
    const frame = this.pinned.get(pfn)
    if (frame === undefined) return
    this.pinned.delete(pfn)
    this.control.unpinTable(this.domid, frame)
  }

  /** To be called before a page is taken away. */
  takeBack(): void {
    this.late = true
    for (const pfn of [...this.pinned.keys()]) this.release(pfn)
    for (const pfn of this.converted) {
      const frame = this.pages.frame(pfn)
      const level = levelOf(this.pages.type(pfn))
      if (frame === undefined || level === 0) continue
      const bytes = this.control.frameBytes(this.domid, frame)
      toPseudoPhysical(bytes, { level, pfn, levels: this.levels }, { map: (frames) => this.control.framePfns(frames), into: bytes })
    }
    this.converted.clear()
  }

  /** Converts all that is left. Throws INVALID_STREAM for a table that maps a page which is not there. */
  finish(): void {
    this.visitTables((pfn, frame, type) => {
      if (!this.converted.has(pfn)) this.convert(pfn, frame, levelOf(type))
    })
  }

  /** Pins those that the image has pinned, and no others. Throws INVALID_STATE for what is no sound table. */
  pin(): void {
    this.visitTables((pfn, frame, type) => {
      // The cast: a level from 1 to 4, as of all tables.
      if (isPinned(type) && !this.pinned.has(pfn)) this.control.pinTable(this.domid, frame, levelOf(type) as 1 | 2 | 3 | 4)
    })
    for (const pfn of [...this.pinned.keys()]) if (!isPinned(this.pages.type(pfn))) this.release(pfn)
  }

  private visitTables(visit: (pfn: number, frame: Mfn, type: number) => void): void {
    for (const pfn of Uint32Array.from(this.tables).sort()) {
      const frame = this.pages.frame(pfn)
      const type = this.pages.type(pfn)
      if (frame !== undefined && levelOf(type) > 0) visit(pfn, frame, type)
    }
  }

  private convert(pfn: number, frame: Mfn, level: number): void {
    const bytes = this.control.frameBytes(this.domid, frame)
    toMachine(bytes, { level, pfn, levels: this.levels }, { map: this.numbers, into: bytes })
  }
}
