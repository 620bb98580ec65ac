/**
 * Frames that wait for their reader, bounded in number and in bytes: a reader that is too slow loses the oldest ones
 * and can count them, nobody loses memory.
 */

import { badState, shape } from '../../util/index.ts'

/** Frames that wait for a reader unless it is told otherwise. */
export const FRAME_QUEUE_LIMIT = 1024
/** Bytes of these frames: the largest frames reach it before the count does. */
export const FRAME_QUEUE_BYTES = 4 << 20

/** The frames that wait, how many may, and how many were lost. */
export const frameQueueState = /* @__PURE__ */ shape.record<FrameQueueState>({
  frames: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.array(Uint8Array, 0, FRAME_QUEUE_BYTES), 1e6),
  limit: /* @__PURE__ */ shape.whole(1, 1e6), lost: shape.time,
})

/** A saved queue. */
export interface FrameQueueState {
  readonly frames: readonly Uint8Array[]
  readonly limit: number
  readonly lost: number
}

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

  save(): FrameQueueState {
    return { frames: this.frames.map((frame) => frame.slice()), limit: this.limit, lost: this.lost }
  }

  /** Takes over what waited in a queue of the same limit. */
  load({ frames, lost }: FrameQueueState): void {
    for (const frame of frames) this.push(frame.slice())
    if (this.lost > 0) throw badState('more frames wait than may')
    this.lost = lost
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
