/**
 * The last bytes of a stream, numbered from its beginning: readers at different places share one bounded log, and one
 * that is too slow learns how much it has missed.
 *
 * The bytes lie in one ring, however small the pieces are that they come in: a guest that writes single bytes takes no
 * more memory than one that writes pages. The ring grows with what is kept, at most to the limit. What is saved is a view of
 * it, so that a hundred moments along a run keep one log and not a hundred: what has been lent is not written any more, and what
 * would have to be written there goes into another ring.
 */

import { badState, shape, type StateOf, sameState } from '../../util/index.ts'

/** What is kept, and the number of the byte that comes next. */
export const byteLogState = /* @__PURE__ */ shape.record({
  end: shape.time, limit: /* @__PURE__ */ shape.whole(0, 2 ** 30), bytes: /* @__PURE__ */ shape.array(Uint8Array, 0, 2 ** 30),
})

/** A saved log. */
export type ByteLogState = StateOf<typeof byteLogState>

/** Bytes of the ring at first. */
const SMALLEST = 1 << 7

/** A bounded log of bytes. */
export class ByteLog {
  private ring = new Uint8Array(0)
  private first = 0
  private last = 0
  private limit: number
  /** What was saved or loaded last, while it is that. */
  private saved: ByteLogState | undefined
  /** Numbers of bytes in this ring that are seen by what was saved. */
  private lent: { readonly from: number; readonly to: number } | undefined

  /** Keeps the last `limit` bytes. */
  constructor(limit: number) {
    this.limit = limit
  }

  /** Number of the oldest byte that is kept. */
  get start(): number {
    return this.first
  }

  /** Number of the byte that comes next. */
  get end(): number {
    return this.last
  }

  /** Bytes of memory that the log takes. */
  get held(): number {
    return this.ring.length
  }

  save(): ByteLogState {
    this.saved ??= { end: this.last, limit: this.limit, bytes: this.lend() }
    return this.saved
  }

  /** Told at once of what was saved or loaded last; otherwise compared. */
  isAsSaved(state: ByteLogState): boolean {
    if (state === this.saved) return true
    if (state.end !== this.last || !sameState(this.save(), state)) return false
    this.saved = state
    return true
  }

  load(state: ByteLogState): void {
    const { end, limit, bytes } = state
    if (bytes.length > Math.min(end, limit)) throw badState('a log keeps more than it has seen')
    this.limit = limit
    this.first = this.last = end - bytes.length
    // What was lent by this ring lies there still.
    if (bytes.buffer === this.ring.buffer && bytes.byteOffset === this.first % this.ring.length) this.last = end
    else this.append(bytes)
    this.saved = state
  }

  /** Changes how much is kept. */
  resize(limit: number): void {
    this.limit = limit
    this.saved = undefined
    this.first = Math.max(this.first, this.last - limit)
    if (this.ring.length > limit) this.move(limit)
  }

  /** Adds bytes, which are copied. */
  append(bytes: Uint8Array): void {
    const kept = bytes.subarray(Math.max(0, bytes.length - this.limit))
    const end = this.last + bytes.length
    this.saved = undefined
    const needed = Math.min(this.limit, end - this.first)
    if (needed > this.ring.length) this.move(Math.min(this.limit, Math.max(SMALLEST, needed, 2 * this.ring.length)))
    else if (!this.isOwn(end - kept.length, end)) this.move(this.ring.length)
    this.last = end
    this.first = Math.max(this.first, end - this.limit)
    this.put(end - kept.length, kept)
  }

  /** The bytes from number `from` on that are still there, in one piece. */
  since(from: number): Uint8Array {
    const begin = Math.max(from, this.first)
    const result = new Uint8Array(Math.max(0, this.last - begin))
    for (let done = 0; done < result.length;) {
      const at = (begin + done) % this.ring.length
      const part = Math.min(result.length - done, this.ring.length - at)
      result.set(this.ring.subarray(at, at + part), done)
      done += part
    }
    return result
  }

  /** What is kept, as it lies in the ring, where that is one piece. */
  private lend(): Uint8Array {
    const { ring, first, last, lent } = this
    const length = last - first
    const at = first % ring.length
    if (length === 0 || at + length > ring.length) return this.since(first)
    this.lent = { from: Math.min(first, lent?.from ?? first), to: Math.max(last, lent?.to ?? last) }
    return ring.subarray(at, at + length)
  }

  /** True where nobody sees what lies in the places of some bytes to come: those behind all that was lent, up to a ring's length from where that begins. */
  private isOwn(from: number, to: number): boolean {
    const { lent } = this
    return lent === undefined || (from >= lent.to && to <= lent.from + this.ring.length)
  }

  /** Puts bytes at their place in the ring; byte number N lies at N modulo the ring's length. */
  private put(number: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) {
      const at = (number + done) % this.ring.length
      const part = bytes.subarray(done, done + this.ring.length - at)
      this.ring.set(part, at)
      done += part.length
    }
  }

  /** Takes what is kept into a ring of another size. */
  private move(size: number): void {
    const kept = this.since(this.first)
    this.ring = new Uint8Array(size)
    this.lent = undefined
    this.put(this.last - kept.length, kept)
  }
}
