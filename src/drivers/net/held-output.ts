/**
 * What an interface sends, kept back until whoever keeps it says so: frames are sealed in batches, and let go batch by batch in
 * their order. Remus shows nobody what a guest has sent before the state behind it is safe elsewhere.
 * Reference: the qdisc sch_plug of Linux, which libxl's Remus uses for this.
 */
import type { BridgeLink } from './bridge.ts'
import { withOwnBytes, type NetFrame } from './frame.ts'

/** Where frames go. */
export type FrameTarget = Pick<BridgeLink, 'send' | 'flush'>

/** What is kept back of an interface's output. */
export interface OutputHold {
  /** Frames that wait. */
  readonly frames: number
  /** Bytes of them. */
  readonly bytes: number
  /** What has come since the last seal is one batch from now on. */
  seal(): void
  /** Lets the oldest sealed batch go. */
  release(): void
  /** Keeps nothing back from now on; what waits goes out, or is lost as in any network. */
  end(waiting: 'send' | 'drop'): void
}

/** Bytes that are kept at most: frames beyond them are lost, as behind a link that is too slow. */
const MOST_BYTES = 64 * 2 ** 20

/** The output of one interface, kept back. */
export class HeldOutput implements FrameTarget {
  private readonly sealed: NetFrame[][] = []
  private open: NetFrame[] = []
  private readonly target: () => FrameTarget | undefined
  private readonly onDropped: () => void
  frames = 0
  bytes = 0

  /** `target` is where frames go when they are let go; where there is none they are lost. */
  constructor(target: () => FrameTarget | undefined, onDropped: () => void) {
    this.target = target
    this.onDropped = onDropped
  }

  /** Keeps a copy. */
  send(frame: NetFrame): void {
    const { bytes } = frame
    if (this.bytes + bytes.length > MOST_BYTES) return this.onDropped()
    this.open.push(withOwnBytes(frame))
    this.frames += 1
    this.bytes += bytes.length
  }

  flush(): void {}

  seal(): void {
    this.sealed.push(this.open)
    this.open = []
  }

  release(): void {
    this.pass(this.sealed.shift() ?? [])
  }

  /** Empties it: what waits goes out, or is lost. */
  empty(waiting: 'send' | 'drop'): void {
    this.seal()
    while (this.sealed.length > 0) {
      if (waiting === 'send') this.release()
      else this.sealed.shift()
    }
    this.frames = 0
    this.bytes = 0
  }

  private pass(batch: readonly NetFrame[]): void {
    const target = this.target()
    for (const frame of batch) {
      this.frames -= 1
      this.bytes -= frame.bytes.length
      if (target === undefined) this.onDropped()
      else target.send(frame)
    }
    if (batch.length > 0) target?.flush()
  }
}
