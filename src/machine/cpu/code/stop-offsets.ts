/**
 * Where breakpoints may lie, by offsets in pages: whichever frame a breakpoint's address leads to, now or later, its instruction stands
 * at that offset. Decoded code has a record there that asks. An offset that nobody wants any more stays marked until it is swept, as
 * debuggers take breakpoints away and put them back all the time.
 */
import { PAGE_SIZE } from '../../../x86/index.ts'

/** Questions in vain before decoded code is made again without them. */
const PATIENCE = 10_000

/** Marked offsets. */
export class StopOffsets {
  private readonly marked = new Uint8Array(PAGE_SIZE)
  private readonly wanted = new Uint32Array(PAGE_SIZE)
  private vain = 0
  private count = 0

  /** Whether any offset is marked. */
  get isAny(): boolean {
    return this.count > 0
  }

  /** Whether an instruction at an offset asks. hot path: once for every newly met instruction. */
  has(offset: number): boolean {
    return this.marked[offset] === 1
  }

  /** Wants some offsets; those of them that were not marked before. */
  want(offsets: Iterable<number>): ReadonlySet<number> {
    const fresh = new Set<number>()
    for (const offset of offsets) {
      this.wanted[offset]! += 1
      if (this.marked[offset] === 0) {
        fresh.add(offset)
        this.count += 1
      }
      this.marked[offset] = 1
    }
    return fresh
  }

  /** Wants them no more. */
  leave(offsets: Iterable<number>): void {
    for (const offset of offsets) this.wanted[offset]! -= 1
  }

  /** It was asked in vain at an offset: the marks that nobody wants, which go, where that has been often; none otherwise. */
  askedInVain(offset: number): ReadonlySet<number> {
    const swept = new Set<number>()
    if (this.wanted[offset] !== 0) return swept
    this.vain += 1
    if (this.vain < PATIENCE) return swept
    this.vain = 0
    for (let each = 0; each < PAGE_SIZE; each += 1) {
      if (this.marked[each] === 0 || this.wanted[each] !== 0) continue
      this.marked[each] = 0
      this.count -= 1
      swept.add(each)
    }
    return swept
  }
}
