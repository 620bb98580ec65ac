/** Bytes that TCP has to send and that were not acknowledged: taken from the front as they are, read anywhere before. */
import { shape, type StateOf } from '../../../util/index.ts'

/** What waits to be sent. */
export const sendQueueState = /* @__PURE__ */ shape.array(Uint8Array, 0, 1 << 24)

/** A queue of bytes. */
export class SendQueue {
  private chunks: Uint8Array[] = []
  /** Bytes of the first chunk that are gone. */
  private gone = 0
  private bytes = 0

  /** Bytes that wait. */
  get length(): number {
    return this.bytes
  }

  /** Takes bytes, which are the queue's from now on. */
  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return
    this.chunks.push(chunk)
    this.bytes += chunk.length
  }

  /** Lets the first `count` bytes go. */
  drop(count: number): void {
    this.bytes -= count
    this.gone += count
    let whole = 0
    while (whole < this.chunks.length && this.gone >= this.chunks[whole]!.length) this.gone -= this.chunks[whole++]!.length
    if (whole > 0) this.chunks.splice(0, whole)
  }

  /** A copy of `length` bytes from a place on; fewer where there are no more. */
  read(from: number, length: number): Uint8Array {
    const found = new Uint8Array(Math.max(0, Math.min(length, this.bytes - from)))
    let [skip, filled] = [from + this.gone, 0]
    for (const chunk of this.chunks) {
      if (filled === found.length) break
      if (skip < chunk.length) {
        const piece = chunk.subarray(skip, skip + found.length - filled)
        found.set(piece, filled)
        filled += piece.length
      }
      skip = Math.max(0, skip - chunk.length)
    }
    return found
  }

  save(): StateOf<typeof sendQueueState> {
    return this.read(0, this.bytes)
  }
}
