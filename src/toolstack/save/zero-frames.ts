/**
 * Which frames of a domain are all zero: the host knows most of them without looking, as nobody has written there since it gave them; the others are
 * looked at. Where the domain runs, what it writes meanwhile has to be noted, and sent again: so one of these serves one round, behind the reading of the dirty log.
 * hot path: nearly all frames of a domain are asked for once.
 */
import type { ControlInterface } from '../../hypervisor/index.ts'
import type { Bitmap, DomId, Mfn } from '../../util/index.ts'
import { isZeroPage } from './zero-pages.ts'

/** What is used of the control interface. */
export type ZeroControl = Pick<ControlInterface, 'blankFrames' | 'frameBytes'>

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
    const blank = this.blank ??= this.control.blankFrames(this.domid)
    return blank.has(frame) || isZeroPage(this.control.frameBytes(this.domid, frame as Mfn))
  }
}
