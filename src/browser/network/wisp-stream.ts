/**
 * A guest's stream, and its datagrams, over a Wisp relay. A relay is never asked to wait, as Wisp has no word for that: what comes while a guest takes
 * nothing is kept here, within a bound that all streams share. Wisp ends both directions at once: of a guest that has said its last the stream goes on until the relay ends
 * it, or nothing has come for a while.
 */
import type { OutsideFailure, OutsideSocket, OutsideSocketHears, OutsideStream, OutsideStreamHears } from '../../drivers/index.ts'
import { REASON, type RelayTarget } from './wisp-packets.ts'
import type { LineEnd, WispLine } from './wisp-line.ts'

/** Bytes of one packet at most, and of one piece for a guest. */
const MOST_DATA = 32 << 10
const MOST_PIECE = 256 << 10
/** Bytes of a datagram at most, and datagrams that wait for their relay. */
const MOST_DATAGRAM = 65_507
const EARLY = 16
/** Bytes that are kept for all guests that take nothing. */
export const MOST_KEPT = 256 << 20
/** Milliseconds without a byte, behind which a stream is over whose guest has said its last. */
const LINGER = 10_000

const FAILURES: Readonly<Record<number, OutsideFailure>> = {
  [REASON.invalid]: 'unreachable', [REASON.unreachable]: 'unreachable', [REASON.noAnswer]: 'timed-out', [REASON.refused]: 'refused', [REASON.tooSlow]: 'timed-out',
  [REASON.blocked]: 'forbidden', [REASON.throttled]: 'forbidden',
}

/** What is kept for guests that take nothing. */
export interface Kept {
  bytes: number
}

/** One TCP connection of a guest. */
export class WispStream implements LineEnd, OutsideStream {
  private readonly hears: OutsideStreamHears
  private readonly keep: Kept
  private line: WispLine | undefined
  private number = 0
  private packets = 0
  private isOver = false
  private isPaused = false
  /** The guest has said its last; the relay has, and why. */
  private isEnded = false
  private reason: number | undefined
  private unsent: Uint8Array[] = []
  private kept: Uint8Array[] = []
  private timer: ReturnType<typeof setTimeout> | undefined

  constructor(hears: OutsideStreamHears, keep: Kept) {
    this.hears = hears
    this.keep = keep
  }

  /** Asks a relay for it. */
  ask(line: WispLine, target: RelayTarget): void {
    this.line = line
    this.number = line.open(target, this)
  }

  /** It is not to be, or not to go on. */
  fail(why: OutsideFailure): void {
    if (this.isOver) return
    this.settle()
    this.hears.failed(why)
  }

  /** Nothing is heard of it any more. */
  private settle(): void {
    this.isOver = true
    clearTimeout(this.timer)
    for (const { length } of this.kept.splice(0)) this.keep.bytes -= length
    this.unsent = []
  }

  // The relay's side

  opened(packets: number): void {
    this.packets = packets
    this.hears.opened()
    this.pump()
  }

  heard(bytes: Uint8Array): void {
    if (this.isOver || bytes.length === 0) return
    this.linger()
    for (let at = 0; at < bytes.length; at += MOST_PIECE) this.take(bytes.subarray(at, at + MOST_PIECE))
  }

  private take(piece: Uint8Array): void {
    if (this.isOver) return
    if (!this.isPaused) return this.hears.data(piece)
    this.kept.push(piece)
    this.keep.bytes += piece.length
    if (this.keep.bytes <= MOST_KEPT) return
    this.line?.close(this.number, REASON.client)
    this.fail('reset')
  }

  allowed(packets: number): void {
    this.packets = packets
    this.pump()
  }

  drained(): void {
    this.pump()
  }

  closed(reason: number): void {
    if (this.isOver) return
    this.reason = reason
    clearTimeout(this.timer)
    if (this.kept.length === 0) this.finish()
  }

  /** All that has come is with the guest, and no more comes. */
  private finish(): void {
    const isInOrder = this.reason === REASON.voluntary && this.unsent.length === 0
    if (!isInOrder) return this.fail(FAILURES[this.reason!] ?? 'reset')
    if (this.isEnded) this.settle()
    this.hears.ended()
  }

  // The guest's side

  write(bytes: Uint8Array): void {
    if (this.isOver) return
    // Nobody is there to take it.
    if (this.reason !== undefined && this.kept.length === 0) return this.fail('reset')
    this.unsent.push(bytes)
    this.pump()
  }

  private pump(): void {
    const { line } = this
    if (line === undefined || this.isOver || this.reason !== undefined) return
    while (this.unsent.length > 0 && this.packets > 0) {
      if (!line.hasRoom) return line.wait(this)
      const [first] = this.unsent as [Uint8Array]
      const part = first.subarray(0, MOST_DATA)
      if (part.length === first.length) this.unsent.shift()
      else this.unsent[0] = first.subarray(MOST_DATA)
      this.packets -= 1
      line.data(this.number, part)
      this.hears.taken(part.length)
    }
    this.linger()
  }

  end(): void {
    if (this.isOver) return
    this.isEnded = true
    if (this.reason !== undefined && this.kept.length === 0) this.settle()
    else this.linger()
  }

  /** The relay cannot be told that a guest has said its last: it is taken to have, when nothing more has come. */
  private linger(): void {
    if (!this.isEnded || this.unsent.length > 0 || this.reason !== undefined) return
    clearTimeout(this.timer)
    this.timer = setTimeout(() => {
      this.line?.close(this.number, REASON.voluntary)
      this.closed(REASON.voluntary)
    }, LINGER)
  }

  reset(): void {
    if (this.isOver) return
    this.settle()
    this.line?.close(this.number, REASON.voluntary)
  }

  pause(): void {
    this.isPaused = true
  }

  resume(): void {
    this.isPaused = false
    if (this.kept.length === 0) return
    while (!this.isPaused && this.kept.length > 0) {
      const piece = this.kept.shift()!
      this.keep.bytes -= piece.length
      this.hears.data(piece)
    }
    if (!this.isOver && this.reason !== undefined && this.kept.length === 0) this.finish()
  }
}

/** Datagrams of a guest to one place: what the relay does not take is lost, as datagrams are. */
export class WispDatagrams implements LineEnd, OutsideSocket {
  private readonly hears: OutsideSocketHears
  private readonly line: WispLine
  private readonly number: number
  private isOver = false
  private early: Uint8Array[] | undefined = []

  constructor(hears: OutsideSocketHears, line: WispLine, target: RelayTarget) {
    this.hears = hears
    this.line = line
    this.number = line.open(target, this)
  }

  opened(): void {
    const early = this.early ?? []
    this.early = undefined
    for (const bytes of early) this.send(bytes)
  }

  heard(bytes: Uint8Array): void {
    if (!this.isOver && bytes.length <= MOST_DATAGRAM) this.hears.data(bytes)
  }

  allowed(): void {
    // Datagrams are not counted.
  }

  drained(): void {
    // They do not wait either.
  }

  closed(reason: number): void {
    if (this.isOver) return
    this.isOver = true
    this.hears.failed(FAILURES[reason] ?? 'unreachable')
  }

  send(bytes: Uint8Array): void {
    if (this.isOver) return
    if (this.early !== undefined) {
      if (this.early.length < EARLY) this.early.push(bytes)
    } else if (this.line.hasRoom) this.line.data(this.number, bytes)
  }

  close(): void {
    if (this.isOver) return
    this.isOver = true
    this.line.close(this.number, REASON.voluntary)
  }
}
