/**
 * Finds the messages in a stream of bytes, however it is cut into pieces. It knows no transport: it is fed a piece,
 * and answers "here is a message", "more bytes are needed" or "this is no message". A message that lies in one piece
 * is not copied; one that is cut is put together in a buffer of the largest legal size.
 *
 *     byte 0     4        8       12       16
 *     | type   | req_id | tx_id | length | body ...
 *
 * hot path: runs for every message.
 */
import { XENSTORE } from '../../abi/index.ts'

/** Bytes of a message's header. */
export const HEADER_SIZE = 16

/** What the parser found. */
export type ParserState = 'message' | 'more' | 'invalid'

const EMPTY = /* @__PURE__ */ new Uint8Array(0)

const word = (bytes: Uint8Array, at: number): number =>
  (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0

/** The parser and the message it found last. */
export class PacketParser {
  type = 0
  requestId = 0
  transaction = 0
  /** Where the body lies: `body[start]` to `body[end - 1]`. Valid until the next call. */
  body: Uint8Array = EMPTY
  start = 0
  end = 0
  private chunk: Uint8Array = EMPTY
  private at = 0
  private partial: Uint8Array | undefined
  private held = 0

  /** Bytes that are kept back: a cut message and what was fed and not looked at. */
  get pending(): number {
    return this.held + this.chunk.length - this.at
  }

  /** How many bytes are missing to the next message, as far as is known; 0 when one may be complete. */
  get needed(): number {
    if (this.held === 0) return Math.max(0, HEADER_SIZE - (this.chunk.length - this.at))
    if (this.held < HEADER_SIZE) return HEADER_SIZE - this.held
    return HEADER_SIZE + word(this.partial!, 12) - this.held
  }

  /** Gives the next piece. The one before must have been used up: `next` has answered 'more'. */
  feed(chunk: Uint8Array): void {
    this.chunk = chunk
    this.at = 0
  }

  /** Looks for the next message. */
  next(): ParserState {
    if (this.held > 0) return this.complete()
    const { chunk, at } = this
    const available = chunk.length - at
    if (available >= HEADER_SIZE) {
      const length = word(chunk, at + 12)
      if (length > XENSTORE.PAYLOAD_MAX) return 'invalid'
      if (available >= HEADER_SIZE + length) {
        this.at = at + HEADER_SIZE + length
        return this.found(chunk, at, length)
      }
    }
    if (available > 0) this.keep(available)
    return 'more'
  }

  private found(bytes: Uint8Array, at: number, length: number): ParserState {
    this.type = word(bytes, at)
    this.requestId = word(bytes, at + 4)
    this.transaction = word(bytes, at + 8)
    this.body = bytes
    this.start = at + HEADER_SIZE
    this.end = this.start + length
    return 'message'
  }

  private keep(count: number): void {
    this.partial ??= new Uint8Array(HEADER_SIZE + XENSTORE.PAYLOAD_MAX)
    this.partial.set(this.chunk.subarray(this.at, this.at + count), this.held)
    this.held += count
    this.at += count
  }

  private complete(): ParserState {
    const partial = this.partial!
    if (this.held < HEADER_SIZE) {
      this.keep(Math.min(HEADER_SIZE - this.held, this.chunk.length - this.at))
      if (this.held < HEADER_SIZE) return 'more'
    }
    const length = word(partial, 12)
    if (length > XENSTORE.PAYLOAD_MAX) return 'invalid'
    this.keep(Math.min(HEADER_SIZE + length - this.held, this.chunk.length - this.at))
    if (this.held < HEADER_SIZE + length) return 'more'
    this.held = 0
    return this.found(partial, 0, length)
  }

  /** Forgets everything. */
  reset(): void {
    this.chunk = EMPTY
    this.at = 0
    this.held = 0
  }

  /** A copy of the bytes that are kept back, for a live update. */
  save(): Uint8Array {
    const bytes = new Uint8Array(this.pending)
    if (this.held > 0) bytes.set(this.partial!.subarray(0, this.held))
    bytes.set(this.chunk.subarray(this.at), this.held)
    return bytes
  }
}
