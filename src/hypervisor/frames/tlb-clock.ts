/**
 * When each processor last dropped all of its translations, on a clock that ticks with every full flush. A frame keeps
 * the time at which its last use of a kind ended; who has flushed since then cannot hold a stale translation of it. Loading tables is a flush, too: what a
 * processor keeps over it is not stale (guests/direct-paging/table-changes.ts).
 * Reference: xen/arch/x86/flushtlb.c, tlbflush_filter.
 */
import { type StateOf, type Stateful, shape } from '../../util/index.ts'

/** A processor that holds translations. */
export interface TranslationHolder {
  /** TLB time of its last full flush, or load of tables; the clock keeps it. */
  flushedAt: number
  /** Drops all of them. */
  flushTlb(): void
}

/** What a saved clock of flushes looks like; each processor's own time is saved with it. */
export const tlbClockShape = /* @__PURE__ */ shape.record({ time: shape.time, oldest: /* @__PURE__ */ shape.real(0, Infinity) })

/** A clock of flushes as plain data. */
export type TlbClockState = StateOf<typeof tlbClockShape>

/** Flushes translations, and only where they can be stale. */
export class TlbClock implements Stateful<TlbClockState> {
  private time = 1
  /** No processor has flushed before this time. */
  private oldest = Infinity
  private readonly holders = new Set<TranslationHolder>()

  /** Present time, for stamps of frames. */
  now(): number {
    return this.time
  }

  /** A processor comes into use. */
  add(holder: TranslationHolder): void {
    this.holders.add(holder)
    this.flush(holder)
    this.oldest = Math.min(this.oldest, holder.flushedAt)
  }

  /** A processor goes out of use. */
  remove(holder: TranslationHolder): void {
    this.holders.delete(holder)
  }

  /** A processor has loaded its tables: it has nothing that they would not give, and whatever it keeps of others they would give. */
  loaded(holder: TranslationHolder): void {
    this.time += 1
    holder.flushedAt = this.time
  }

  /** Drops all translations of one processor. */
  flush(holder: TranslationHolder): void {
    holder.flushTlb()
    this.loaded(holder)
  }

  /**
   * True when `flushSince(stamp)` drops this processor's translations: what may be stale of a frame with that stamp is
   * then gone before the frame has another use.
   */
  isDue(holder: TranslationHolder, stamp: number): boolean {
    return this.holders.has(holder) && stamp >= this.oldest && holder.flushedAt <= stamp
  }

  save(): TlbClockState {
    return { time: this.time, oldest: this.oldest }
  }

  isAsSaved({ time, oldest }: TlbClockState): boolean {
    return this.time === time && this.oldest === oldest
  }

  load({ time, oldest }: TlbClockState): void {
    this.time = time
    this.oldest = oldest
  }

  /**
   * Drops the translations of every processor that has not flushed since `stamp`, in one tick: nothing can be stamped
   * between them, and no time depends on their order.
   */
  flushSince(stamp: number): void {
    if (stamp < this.oldest) return
    let oldest = Infinity
    const time = this.time + 1
    for (const holder of this.holders) {
      if (holder.flushedAt <= stamp) {
        holder.flushTlb()
        holder.flushedAt = time
        this.time = time
      }
      oldest = Math.min(oldest, holder.flushedAt)
    }
    this.oldest = oldest
  }
}
