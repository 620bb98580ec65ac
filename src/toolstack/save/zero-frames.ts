/**
 * Which frames of a domain are all zero: the host knows most of them without looking, as nobody has written there since it gave them; the others are
 * looked at. Where the domain runs, what it writes meanwhile has to be noted, and sent again: so one of these serves one round, behind the reading of the dirty log.
 * hot path: nearly all frames of a domain are asked for once.
 */
import type { ControlInterface } from '../../hypervisor/index.ts'
import type { Bitmap, DomId, Mfn } from '../../util/index.ts'
import { MAX_BATCH_PAGES } from '../stream/index.ts'
import { isZeroPage } from './zero-pages.ts'

/** What is used of the control interface. */
export type ZeroControl = Pick<ControlInterface, 'blankFrames' | 'frameBytes'>

/** Pages in one record, where they are only named. */
const MOST_NAMED = 1 << 16

/** Numbers in batches of so many at most. */
export const inBatches = (pages: Uint32Array, most: number = MAX_BATCH_PAGES): Uint32Array[] =>
  Array.from({ length: Math.ceil(pages.length / most) }, (_, i) => pages.subarray(i * most, (i + 1) * most))

/** The frames of one domain. */
export class ZeroFrames {
  private readonly control: ZeroControl
  private readonly domid: DomId
  private blank: Bitmap | undefined

  constructor(control: ZeroControl, domid: DomId) {
    this.control = control
    this.domid = domid
  }

  /** Whether a frame of the domain was all zero at some moment since this was first asked. */
  has(frame: number): boolean {
    return this.known().has(frame) || isZeroPage(this.control.frameBytes(this.domid, frame as Mfn))
  }

  /** Those that are known without a look. */
  known(): Bitmap {
    return (this.blank ??= this.control.blankFrames(this.domid))
  }

  /**
   * Pages in the batches in which they are written: those that are known to be zero first, as they are only named, many together; then the others. `frameOf` tells a page's frame; -1 for
   * one that is not to be among the first.
   */
  batches(pages: Uint32Array, frameOf: (page: number) => number): Uint32Array[] {
    const [named, others] = [new Uint32Array(pages.length), new Uint32Array(pages.length)]
    let [zeros, rest] = [0, 0]
    for (let i = 0; i < pages.length; i += 1) {
      const page = pages[i]!
      const frame = frameOf(page)
      if (frame >= 0 && this.known().has(frame)) named[zeros++] = page
      else others[rest++] = page
    }
    return [...inBatches(named.subarray(0, zeros), MOST_NAMED), ...inBatches(others.subarray(0, rest), MAX_BATCH_PAGES)]
  }
}
