/** The hash of what domains and hypervisor have in memory, over the bytes where they lie. hot path: nothing is copied. */
import { StateHasher } from '../../util/index.ts'
import { type FrameTable, OWNER_FREE } from '../frames/frame-table.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'

/** Words of a frame. */
const WORDS = 1024

/** Over all frames that somebody has. What is left in free ones nobody sees: they are zeroed before they are handed out. */
export function hashMemory({ memory, frames }: { readonly memory: GuestMemory; readonly frames: FrameTable }): string {
  const hasher = new StateHasher()
  for (let mfn = frames.first; mfn < frames.end; mfn += 1) {
    if (frames.owner[mfn] === OWNER_FREE) continue
    hasher.word(mfn)
    hasher.words(memory.words, mfn * WORDS, WORDS)
  }
  return hasher.digits()
}
