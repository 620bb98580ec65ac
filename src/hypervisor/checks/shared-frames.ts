/** What the hypervisor writes to for as long as a domain lives is still shared with that domain. */
import { FRAME_FLAG } from '../frames/frame-table.ts'
import type { Rule } from './parts.ts'

/** Looks at shared_info and grant tables. */
export const checkShared: Rule = ({ domains, frames, grants }, recount) => {
  for (const { id, dying, sharedInfoFrame } of domains.all()) {
    if (dying) continue
    const table = grants.of(id)
    for (const mfn of [sharedInfoFrame, ...table?.frames ?? [], ...table?.statusFrames ?? []]) {
      const isShared = frames.owner[mfn] === id && frames.hasFlag(mfn, FRAME_FLAG.SHARED)
      if (!isShared) recount.report(mfn, `is written to on behalf of domain ${id}, which it is not shared with`)
    }
  }
}
