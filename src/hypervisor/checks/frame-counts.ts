/** The counts of frames and domains are those of the uses that were found. */
import { FRAME_FLAG, type FrameTable, OWNER_FREE, OWNER_XEN } from '../frames/frame-table.ts'
import type { Rule } from './parts.ts'
import type { Recount } from './recount.ts'

/** Compares; all uses have been noted. */
export const compareCounts: Rule = ({ frames, domains }, recount) => {
  const pages = new Map<number, { total: number; shared: number }>()
  for (let mfn = frames.first; mfn < frames.end; mfn += 1) {
    const owner = frames.owner[mfn]!
    const domain = domains.get(owner)
    // Tools map what the hypervisor shares with them.
    if (owner === OWNER_XEN && frames.hasFlag(mfn, FRAME_FLAG.SHARED)) compareFrame(frames, recount, mfn)
    if (owner === OWNER_FREE || domain === undefined) continue
    const count = pages.get(owner) ?? { total: 0, shared: 0 }
    if (frames.hasFlag(mfn, FRAME_FLAG.SHARED)) count.shared += 1
    else count.total += 1
    pages.set(owner, count)
    compareFrame(frames, recount, mfn)
  }
  for (const { id, totalPages, sharedPages } of domains.all()) {
    const count = pages.get(id) ?? { total: 0, shared: 0 }
    if (count.total !== totalPages) recount.report(-1, `domain ${id} counts ${totalPages} pages and owns ${count.total}`)
    if (count.shared === sharedPages) continue
    recount.report(-1, `domain ${id} counts ${sharedPages} shared pages and has ${count.shared}`)
  }
}

function compareFrame(frames: FrameTable, recount: Recount, mfn: number): void {
  const found = recount.references[mfn]!
  const types = recount.types[mfn]!
  const { [mfn]: references } = frames.references
  const { [mfn]: typeCount } = frames.typeCount
  if (found !== references) recount.report(mfn, `counts ${references} references, has ${found}`)
  if (types !== typeCount) recount.report(mfn, `counts ${typeCount} uses of type ${frames.type[mfn]}, has ${types}`)
}
