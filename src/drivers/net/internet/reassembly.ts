/**
 * What came out of order over TCP, until what is missing before it has come. Pieces neither overlap nor touch the end of the window, so that no
 * more bytes wait than the window has; pieces are counted too, because each costs more than its bytes.
 */
import { advance, distance } from './tcp-sequence.ts'

/** Pieces that wait at most; what comes beyond is sent again by whoever sent it. */
export const MOST_PIECES = 128

/** A piece of a stream. */
export interface Piece {
  readonly sequence: number
  readonly bytes: Uint8Array
}

/** The pieces of one stream, in order. */
export class Reassembly {
  private readonly pieces: Piece[] = []

  /** Pieces that wait. */
  get length(): number {
    return this.pieces.length
  }

  /** The pieces, as they are. */
  get waiting(): readonly Piece[] {
    return this.pieces
  }

  /** Keeps those bytes of a piece that nobody has yet. */
  add({ sequence, bytes }: Piece): void {
    let [start, rest] = [sequence, bytes]
    for (let at = 0; at < this.pieces.length && rest.length > 0; at += 1) {
      const { sequence: known, bytes: { length } } = this.pieces[at]!
      const before = distance(known, start)
      if (before > 0) {
        // What lies before this piece, and then what lies behind it.
        at += this.insert(at, { sequence: start, bytes: rest.slice(0, before) })
        if (before >= rest.length) return
      }
      const covered = distance(advance(known, length), start)
      if (covered <= 0) continue
      if (covered >= rest.length) return
      start = advance(start, covered)
      rest = rest.subarray(covered)
    }
    if (rest.length > 0) this.insert(this.pieces.length, { sequence: start, bytes: rest.slice() })
  }

  /** How many were put in: one, or none where there are too many. */
  private insert(at: number, piece: Piece): number {
    if (this.pieces.length >= MOST_PIECES) return 0
    this.pieces.splice(at, 0, piece)
    return 1
  }

  /** Gives what goes on at a number, and forgets it; undefined when that is missing. */
  take(next: number): Uint8Array | undefined {
    const first = this.pieces[0]
    if (first === undefined) return undefined
    const behind = distance(next, first.sequence)
    if (behind < 0) return undefined
    this.pieces.shift()
    return behind >= first.bytes.length ? this.take(next) : first.bytes.subarray(behind)
  }
}
