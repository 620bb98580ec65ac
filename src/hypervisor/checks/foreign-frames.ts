/** Notes what the toolstack, and domains by their ports, have mapped of others' frames. */
import { FRAME_TYPE } from '../frames/frame-table.ts'
import type { Rule } from './parts.ts'

/** Goes through all such mappings. */
export const countForeign: Rule = ({ foreignFrames, domains, typedHypercallsOf }, recount) => {
  for (const mfn of foreignFrames.frames()) recount.use(mfn, FRAME_TYPE.WRITABLE, 'the toolstack')
  for (const domain of domains.all()) {
    for (const mfn of typedHypercallsOf(domain).foreignFrames()) recount.use(mfn, FRAME_TYPE.WRITABLE, 'a foreign mapping')
  }
}
