/**
 * Pages of a domain that are all zero: the host knows most of them without looking, as nobody has written there since it gave their frames; they are named in few records. Where the
 * domain runs, what it writes meanwhile has to be noted, and sent again: so they are asked for in each round, behind the reading of the dirty log.
 * hot path: nearly all frames of a domain are asked for once.
 */
import type { ControlInterface } from '../../hypervisor/index.ts'
import type { DomId } from '../../util/index.ts'
import { MAX_BATCH_PAGES, type SaveStreamWriter } from '../stream/index.ts'
import type { WritePagesOptions } from './image-writer.ts'

/** Pages in one record, where they are only named. */
const MOST_NAMED = 1 << 16

/** Numbers in batches of so many at most. */
export const inBatches = (pages: Uint32Array, most: number = MAX_BATCH_PAGES): Uint32Array[] =>
  Array.from({ length: Math.ceil(pages.length / most) }, (_, i) => pages.subarray(i * most, (i + 1) * most))

/** Pages of which some are to be named. */
export interface NamablePages {
  readonly control: Pick<ControlInterface, 'blankFrames'>
  readonly domid: DomId
  readonly writer: SaveStreamWriter
  readonly pages: Uint32Array
  /** The frame of each; any number for one that has none. */
  readonly frames: Uint32Array
  /** Not 0 for a page, by its number, that was sent before; those that are named become `named`. */
  readonly sent: Uint8Array
  readonly named: number
}

/** Names those that were never sent and are known to be zero; how many these are, and the others. */
export async function nameZeros({ control, domid, writer, pages, frames, sent, named }: NamablePages, onBatch: WritePagesOptions['onBatch']): Promise<{ readonly count: number; readonly others: Uint32Array }> {
  const { zeros, others } = partZeros(pages, control.blankFrames(domid, frames), { sent, named })
  for (const batch of inBatches(zeros, MOST_NAMED)) {
    await writer.writeNamedPages(batch)
    await onBatch?.(batch.length, 0)
  }
  return { count: zeros.length, others }
}

/** Parts pages that are zero and were never sent, which now are, from the others. hot path: no object of a host's, as in p2m.ts. */
function partZeros(pages: Uint32Array, blank: Uint8Array, { sent, named }: Pick<NamablePages, 'sent' | 'named'>): { readonly zeros: Uint32Array; readonly others: Uint32Array } {
  const [zeros, others] = [new Uint32Array(pages.length), new Uint32Array(pages.length)]
  let [count, rest] = [0, 0]
  for (let i = 0; i < pages.length; i += 1) {
    const page = pages[i]!
    if (blank[i] === 1 && sent[page] === 0) {
      sent[page] = named
      zeros[count++] = page
    } else others[rest++] = page
  }
  return { zeros: zeros.subarray(0, count), others: others.subarray(0, rest) }
}
