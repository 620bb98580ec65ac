/**
 * Which frames of a domain are all zero: the host knows most of them without looking, as nobody has written there since it gave them; the others are
 * looked at. Where the domain runs, what it writes meanwhile has to be noted, and sent again: so one of these serves one round, behind the reading of the dirty log.
 * hot path: nearly all frames of a domain are asked for once.
 */
import type { ControlInterface } from '../../hypervisor/index.ts'
import type { Bitmap, DomId, Mfn } from '../../util/index.ts'
import { MAX_BATCH_PAGES, type SaveStreamWriter } from '../stream/index.ts'
import type { WritePagesOptions } from './image-writer.ts'
import { isZeroPage } from './zero-pages.ts'

/** What is used of the control interface. */
export type ZeroControl = Pick<ControlInterface, 'blankFrames' | 'frameBytes'>

/** Pages in one record, where they are only named. */
const MOST_NAMED = 1 << 16

/** Numbers in batches of so many at most. */
export const inBatches = (pages: Uint32Array, most: number = MAX_BATCH_PAGES): Uint32Array[] =>
  Array.from({ length: Math.ceil(pages.length / most) }, (_, i) => pages.subarray(i * most, (i + 1) * most))

/** Names pages of zeros, many in a record. */
export async function nameZeros(writer: SaveStreamWriter, pages: Uint32Array, onBatch: WritePagesOptions['onBatch']): Promise<void> {
  for (const batch of inBatches(pages, MOST_NAMED)) {
    await writer.writeNamedPages(batch)
    await onBatch?.(batch.length, 0)
  }
}

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

}
