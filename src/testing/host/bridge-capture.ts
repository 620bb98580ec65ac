/** The frames that enter a host's bridges, kept while a test runs, so that a failed one has a capture to be looked at. */
import { captureBridge, CaptureWriter, type Bridge } from '../../drivers/index.ts'

/** Bytes that are kept: of a test with more traffic the beginning. */
const MOST_BYTES = 4 << 20

/** A capture in memory. */
export class BridgeCapture {
  private readonly blocks: Uint8Array[] = []
  private bytes = 0
  private readonly writer = new CaptureWriter((block) => this.take(block))
  private readonly ends: (() => void)[] = []
  private readonly watched = new Set<Bridge>()
  private readonly now: () => number

  /** `now`: host time, which the frames are stamped with. */
  constructor(now: () => number) {
    this.now = now
  }

  /** Captures a bridge from now on; once, however often it is asked for. */
  watch(bridge: Bridge): void {
    if (this.watched.has(bridge)) return
    this.watched.add(bridge)
    this.ends.push(captureBridge(bridge, this.writer, this.now))
  }

  /** The capture so far as pcapng; undefined where no frame was seen. */
  get pcapng(): Uint8Array | undefined {
    if (this.writer.count === 0) return undefined
    const all = new Uint8Array(this.bytes)
    let at = 0
    for (const block of this.blocks) {
      all.set(block, at)
      at += block.length
    }
    return all
  }

  /** Captures no more. */
  stop(): void {
    for (const end of this.ends.splice(0)) end()
  }

  private take(block: Uint8Array): void {
    if (this.bytes + block.length > MOST_BYTES) return
    this.blocks.push(block)
    this.bytes += block.length
  }
}
