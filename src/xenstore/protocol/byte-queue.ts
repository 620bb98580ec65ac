/**
 * Bytes waiting to be sent: appended at one end, taken from the other, in one buffer that is handed to a transport
 * without copying. It grows by doubling, and a large one goes back to its first size once it has run empty.
 *
 * hot path: every message of every connection passes through one of these.
 */

const FIRST_SIZE = 128
/** A buffer above this size goes when it has run empty. */
const LARGE = 64 * 1024

/** The queue. */
export class ByteQueue {
  private buffer = new Uint8Array(FIRST_SIZE)
  private start = 0
  private end = 0
  private takenBefore = 0

  /** Bytes waiting. */
  get length(): number {
    return this.end - this.start
  }

  /** All bytes ever appended: a message that ends here is sent once `taken` has reached it. */
  get appended(): number {
    return this.takenBefore + this.end
  }

  /** All bytes ever taken. */
  get taken(): number {
    return this.takenBefore + this.start
  }

  /** Room for `size` more bytes: writes go to `data` at the returned offset, before anything else is called. */
  reserve(size: number): number {
    if (this.end + size > this.buffer.length) this.makeRoom(size)
    const at = this.end
    this.end += size
    return at
  }

  private makeRoom(size: number): void {
    const waiting = this.length
    let capacity = this.buffer.length
    // At least half stays free, so that bytes are moved at most once for every byte appended.
    while ((waiting + size) * 2 > capacity) capacity *= 2
    const target = capacity === this.buffer.length ? this.buffer : new Uint8Array(capacity)
    target.set(this.buffer.subarray(this.start, this.end))
    this.takenBefore += this.start
    this.buffer = target
    this.start = 0
    this.end = waiting
  }

  /** The buffer that `reserve` gave an offset in. */
  get data(): Uint8Array {
    return this.buffer
  }

  /** The bytes waiting, shared with the queue. */
  peek(): Uint8Array {
    return this.buffer.subarray(this.start, this.end)
  }

  /** Drops `count` bytes that were sent. */
  take(count: number): void {
    this.start += count
    if (this.start < this.end) return
    this.takenBefore += this.start
    this.start = 0
    this.end = 0
    if (this.buffer.length > LARGE) this.buffer = new Uint8Array(FIRST_SIZE)
  }

  /** Drops everything. */
  clear(): void {
    this.take(this.length)
  }
}
