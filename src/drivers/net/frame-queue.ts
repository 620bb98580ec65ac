/**
 * Frames that wait for their reader, bounded in number and in bytes: a reader that is too slow loses the oldest ones
 * and can count them, nobody loses memory.
 */

/** Frames that wait for a reader unless it is told otherwise. */
export const FRAME_QUEUE_LIMIT = 1024
/** Bytes of these frames: the largest frames reach it before the count does. */
export const FRAME_QUEUE_BYTES = 4 << 20

/** A queue of frames whose bytes are its own. */
export class FrameQueue {
  /** Frames that were dropped because the reader was too slow. */
  lost = 0
  private readonly limit: number
  private frames: Uint8Array[] = []
  private bytes = 0

  /** At most `limit` frames wait. */
  constructor(limit = FRAME_QUEUE_LIMIT) {
    this.limit = limit
  }

  /** Frames that wait. */
  get length(): number {
    return this.frames.length
  }

  /** Takes a frame; the oldest ones make room. */
  push(frame: Uint8Array): void {
    while (this.frames.length > 0 && !this.hasRoom(frame.length)) {
      this.shift()
      this.lost += 1
    }
    if (!this.hasRoom(frame.length)) {
      this.lost += 1
      return
    }
    this.frames.push(frame)
    this.bytes += frame.length
  }

  /** Gives the oldest frame away; undefined when none waits. */
  shift(): Uint8Array | undefined {
    const frame = this.frames.shift()
    if (frame !== undefined) this.bytes -= frame.length
    return frame
  }

  /** Gives all frames away. */
  drain(): readonly Uint8Array[] {
    const { frames } = this
    this.frames = []
    this.bytes = 0
    return frames
  }

  private hasRoom(length: number): boolean {
    return this.frames.length < this.limit && this.bytes + length <= FRAME_QUEUE_BYTES
  }
}
