/**
 * Frames of the service: a length, a kind, and either a message as JSON or bytes of a stream. Nothing of a frame is looked at before
 * all of it is there, and no frame is longer than its reader allows.
 *
 *     u32 length of what follows | u8 0 | JSON in UTF-8
 *     u32 length of what follows | u8 1 | u32 stream | bytes
 *
 * Numbers are little-endian.
 */
import { XenError } from '../../util/index.ts'

/** One frame. */
export type Frame =
  | { readonly kind: 'message'; readonly message: unknown }
  | { readonly kind: 'bytes'; readonly stream: number; readonly bytes: Uint8Array }

const MESSAGE = 0
const BYTES = 1
const HEAD = 4
const encoder = /* @__PURE__ */ new TextEncoder()
const decoder = /* @__PURE__ */ new TextDecoder('utf-8', { fatal: true })

const broken = (why: string): XenError => new XenError('INVALID_STREAM', `the service's other end sends what is no frame: ${why}`, { details: { why } })

/** A message as a frame. */
export function messageFrame(message: unknown): Uint8Array {
  const text = encoder.encode(JSON.stringify(message))
  const frame = new Uint8Array(HEAD + 1 + text.length)
  new DataView(frame.buffer).setUint32(0, text.length + 1, true)
  frame[HEAD] = MESSAGE
  frame.set(text, HEAD + 1)
  return frame
}

/** Bytes of a stream as a frame. */
export function bytesFrame(stream: number, bytes: Uint8Array): Uint8Array {
  const frame = new Uint8Array(HEAD + 5 + bytes.length)
  const view = new DataView(frame.buffer)
  view.setUint32(0, bytes.length + 5, true)
  frame[HEAD] = BYTES
  view.setUint32(HEAD + 1, stream, true)
  frame.set(bytes, HEAD + 5)
  return frame
}

/** Finds frames in bytes that come in pieces. */
export class FrameReader {
  private readonly limit: number
  private pending: Uint8Array = new Uint8Array(0)

  /** Frames longer than `limit` bytes are refused. */
  constructor(limit: number) {
    this.limit = limit
  }

  /** The frames that are complete with this piece. Throws INVALID_STREAM; then nothing more is read. */
  * push(piece: Uint8Array): Generator<Frame, void> {
    let all = piece
    if (this.pending.length > 0) {
      all = new Uint8Array(this.pending.length + piece.length)
      all.set(this.pending)
      all.set(piece, this.pending.length)
    }
    const view = new DataView(all.buffer, all.byteOffset, all.byteLength)
    let at = 0
    while (all.length - at >= HEAD) {
      const length = view.getUint32(at, true)
      if (length === 0 || length > this.limit) throw broken(`a length of ${length}, with ${this.limit} at most`)
      if (all.length - at - HEAD < length) break
      const body = all.subarray(at + HEAD, at + HEAD + length)
      at += HEAD + length
      yield frameOf(body)
    }
    this.pending = all.slice(at)
  }
}

function frameOf(body: Uint8Array): Frame {
  if (body[0] === MESSAGE) {
    try {
      return { kind: 'message', message: JSON.parse(decoder.decode(body.subarray(1))) as unknown }
    } catch {
      throw broken('its message is no JSON')
    }
  }
  if (body[0] !== BYTES || body.length < 5) throw broken(`kind ${body[0]}`)
  const stream = new DataView(body.buffer, body.byteOffset, body.byteLength).getUint32(1, true)
  return { kind: 'bytes', stream, bytes: body.slice(5) }
}
