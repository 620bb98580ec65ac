/**
 * A walk through page tables that only looks: no accessed bits, no rights asked for. Written apart from the walks that
 * guests' accesses take (the machine's, and memory/virtual-access.ts), so that a check does not share their faults.
 * Reference: Intel SDM volume 3, 4.5.
 */
import { PAGE_SHIFT, PTE } from '../../../x86/index.ts'
import type { Leaf } from '../../domains/guest-vcpu.ts'

/** NX in the high half of an entry. */
const NO_EXECUTE = 0x8000_0000

/** The leaf of an address below the top-level table in frame `root`; undefined where an entry is not present. */
export function look(words: Uint32Array, root: number, address: number): Leaf | undefined {
  let frame = root
  let [all, any] = [-1, 0]
  let low = 0
  for (let level = 4; level >= 1; level -= 1) {
    const slot = Math.floor(address / 2 ** (12 + 9 * (level - 1))) & 511
    const at = frame * 1024 + slot * 2
    low = words[at]!
    const high = words[at + 1]!
    if ((low & PTE.PRESENT) === 0 || (high & 0x000f_ffff) !== 0) return undefined
    all &= low
    any |= high
    frame = low >>> PAGE_SHIFT
  }
  return {
    frame, writable: (all & PTE.WRITABLE) !== 0, user: (all & PTE.USER) !== 0, executable: (any & NO_EXECUTE) === 0,
    accessed: (all & PTE.ACCESSED) !== 0, dirty: (low & PTE.DIRTY) !== 0,
  }
}
