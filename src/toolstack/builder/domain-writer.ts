/** Writes into the pages of a domain that is being built, by their numbers in the domain. */
import type { ControlInterface } from '../../hypervisor/index.ts'
import type { DomId, Mfn } from '../../util/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'

/** What is used of the control interface. */
export type WriterControl = Pick<ControlInterface, 'frameBytes' | 'markWritten'>

/** Writes into the pages of one domain. `frames` says which frame a page has; undefined for pages beyond. */
export class DomainWriter {
  private readonly control: WriterControl
  private readonly domid: DomId
  private readonly frames: (pfn: number) => Mfn | undefined
  private viewed: { readonly pfn: number; readonly view: DataView } | undefined

  constructor(control: WriterControl, domid: DomId, frames: (pfn: number) => Mfn | undefined) {
    this.control = control
    this.domid = domid
    this.frames = frames
  }

  frameOf(pfn: number): Mfn {
    const frame = this.frames(pfn)
    if (frame === undefined) throw new Error(`the domain has no page ${pfn}`)
    return frame
  }

  /** A page's contents, to be written: it counts as written from now on. */
  page(pfn: number): Uint8Array {
    const frame = this.frameOf(pfn)
    this.control.markWritten(frame)
    return this.control.frameBytes(this.domid, frame)
  }

  /** A page's contents; the same object again while the same page is asked for, as page tables are. */
  view(pfn: number): DataView {
    if (this.viewed?.pfn !== pfn) {
      const page = this.page(pfn)
      this.viewed = { pfn, view: new DataView(page.buffer, page.byteOffset, page.byteLength) }
    }
    return this.viewed.view
  }

  /** Copies bytes to an address of the domain's own memory, across pages. */
  write(address: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) {
      const offset = (address + done) % PAGE_SIZE
      const length = Math.min(PAGE_SIZE - offset, bytes.length - done)
      const pfn = Math.floor((address + done) / PAGE_SIZE)
      this.page(pfn).set(bytes.subarray(done, done + length), offset)
      done += length
    }
  }
}
