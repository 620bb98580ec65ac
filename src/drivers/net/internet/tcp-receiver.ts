/**
 * The half of a TCP connection that receives: what is expected next, and how much may come. What came in order is handed on at once and counts
 * against the window until somebody has taken it, so that a slow outside makes the guest wait.
 * Reference: RFC 9293, 3.10.7.4 and 3.8.6.
 */
import { shape, type StateOf } from '../../../util/index.ts'
import type { TcpPacket } from './packet.ts'
import { MOST_PIECES, Reassembly } from './reassembly.ts'
import { advance, distance } from './tcp-sequence.ts'

const receiverNumbers = /* @__PURE__ */ shape.record({
  next: shape.word, edge: shape.word, untaken: shape.time, scale: shape.word, end: /* @__PURE__ */ shape.optional(shape.word), isEnded: shape.flag,
})

/** A receiver, saved. */
export const receiverState = /* @__PURE__ */ shape.record({
  numbers: receiverNumbers,
  pieces: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({ sequence: shape.word, bytes: /* @__PURE__ */ shape.array(Uint8Array, 0, 1 << 24) }), MOST_PIECES),
})

type Numbers = { -readonly [Name in keyof StateOf<typeof receiverNumbers>]: StateOf<typeof receiverNumbers>[Name] }

/** Windows of TCP have so many bits, before they are shifted. */
const WINDOW_FIELD = 0xffff

/** Receives a stream. */
export class TcpReceiver {
  private readonly is: Numbers
  private readonly pieces = new Reassembly()
  private readonly limit: number

  /** `limit` bytes may wait to be taken. */
  constructor(limit: number) {
    this.limit = limit
    this.is = { next: 0, edge: 0, untaken: 0, scale: 0, end: undefined, isEnded: false }
  }

  /** The number that is expected next. */
  get next(): number {
    return this.is.next
  }

  /** True once everything has come, and the word that there is no more. */
  get isEnded(): boolean {
    return this.is.isEnded
  }

  /** Bytes that were handed on and not taken. */
  get untaken(): number {
    return this.is.untaken
  }

  /** The other end's SYN has come; windows are shifted by `scale` bits from now on. */
  begin(sequence: number, scale: number): void {
    const { is } = this
    is.next = is.edge = advance(sequence, 1)
    is.scale = scale
  }

  /** Windows are not shifted: the other end does not speak of it. */
  unscale(): void {
    this.is.scale = 0
  }

  /** How much may come, as it is told from now on. What comes makes the room as much smaller, so that no promise is taken back. */
  advertise(): number {
    const { is } = this
    const field = Math.min(WINDOW_FIELD, Math.floor(Math.max(0, this.limit - is.untaken) / 2 ** is.scale))
    const edge = advance(is.next, field * 2 ** is.scale)
    if (distance(edge, is.edge) > 0) is.edge = edge
    return field
  }

  /** The same for a SYN, whose window is not shifted. */
  advertiseUnscaled(): number {
    const window = Math.min(WINDOW_FIELD, this.limit)
    if (distance(advance(this.is.next, window), this.is.edge) > 0) this.is.edge = advance(this.is.next, window)
    return window
  }

  /** True where so much more may come than the other end knows of that it is worth a word. */
  isWorthTelling(segment: number): boolean {
    const { is } = this
    const gained = this.limit - is.untaken - Math.max(0, distance(is.edge, is.next))
    return !is.isEnded && gained >= Math.min(2 * segment, this.limit / 2)
  }

  /** Whether any of a segment lies where something is expected. */
  accepts({ sequence, data, flags }: TcpPacket): boolean {
    const { is } = this
    const length = data.length + ((flags & 1) === 0 ? 0 : 1)
    const window = Math.max(0, distance(is.edge, is.next))
    const from = distance(sequence, is.next)
    // What probes a closed window says what it has received, too.
    if (window === 0) return from === 0
    return from < window && (length === 0 ? from >= 0 : from + length > 0)
  }

  /** Takes what a segment brings; gives what goes on from there. */
  take({ sequence, data, flags }: TcpPacket): readonly Uint8Array[] {
    const { is, pieces } = this
    if (is.isEnded) return []
    const room = Math.max(0, distance(is.edge, sequence))
    const isWhole = data.length <= room
    if ((flags & 1) !== 0 && isWhole) is.end ??= advance(sequence, data.length)
    const from = distance(is.next, sequence)
    const bytes = data.subarray(Math.max(0, Math.min(from, data.length)), Math.min(room, data.length))
    const found: Uint8Array[] = []
    if (from < 0) pieces.add({ sequence, bytes })
    else this.follow(bytes, found)
    if (is.end !== undefined && is.next === is.end) {
      is.isEnded = true
      is.next = advance(is.next, 1)
    }
    return found
  }

  private follow(first: Uint8Array, found: Uint8Array[]): void {
    const { is, pieces } = this
    for (let next: Uint8Array | undefined = first; next !== undefined; next = pieces.take(is.next)) {
      // Nothing comes behind the end, whatever somebody has sent there.
      const bytes = is.end === undefined ? next : next.subarray(0, Math.max(0, distance(is.end, is.next)))
      if (bytes.length === 0) continue
      found.push(bytes)
      is.next = advance(is.next, bytes.length)
      is.untaken += bytes.length
    }
  }

  /** Somebody has taken so many of the bytes that were handed on. */
  taken(count: number): void {
    this.is.untaken = Math.max(0, this.is.untaken - count)
  }

  save(): StateOf<typeof receiverState> {
    return { numbers: { ...this.is }, pieces: this.pieces.waiting.map(({ sequence, bytes }) => ({ sequence, bytes: bytes.slice() })) }
  }
}
