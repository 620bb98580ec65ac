/** Every frame is either free or somebody's. Notes the owners' own references. */
import { FRAME_FLAG, OWNER_FREE } from '../frames/frame-table.ts'
import type { Rule } from './parts.ts'

/** Goes through all frames. */
export const countOwners: Rule = ({ frames, allocator }, recount) => {
  for (let mfn = frames.first; mfn < frames.end; mfn += 1) {
    const isOwned = frames.owner[mfn] !== OWNER_FREE
    if (isOwned === allocator.isFree(mfn)) recount.report(mfn, isOwned ? 'owned and free' : 'neither owned nor free')
    if (!isOwned) continue
    if (frames.hasFlag(mfn, FRAME_FLAG.ALLOCATED)) recount.references[mfn]! += 1
    // What the hypervisor shares stays writable by a type reference of its own.
    if (frames.hasFlag(mfn, FRAME_FLAG.SHARED)) recount.types[mfn]! += 1
  }
}
