/**
 * What the two hosts of a protected domain say to each other: Xen's stream in pieces, disk writes between them, the ends of epochs and
 * their acknowledgements, and signs of life.
 *
 *   u32 type | u32 bytes of the body | body
 *
 * Xen's own stream has no way back and no disks (libxl leaves those to DRBD), so it is carried here, and its bytes put together again
 * are what libxl writes. Both directions begin with HELLO. Numbers are little-endian.
 */
import { ByteReader, ByteWriter, XenError } from '../../util/index.ts'

/** The version of these frames; ends of different ones do not talk. */
export const PROTECTION_VERSION = 1

/** Types of frames. */
export const FRAME = {
  /** u32 version. */
  HELLO: 1,
  /** Bytes of Xen's stream. */
  STREAM: 2,
  /** Disks that are mirrored: JSON, their names and sizes. Once, before the first write. */
  DISKS: 3,
  /** u32 disk | u64 offset | bytes. */
  WRITE: 4,
  /** u32 disk | u64 offset | u64 length. */
  DISCARD: 5,
  /** u32 number: all of the epoch has been sent. */
  EPOCH: 6,
  /** u32 number: the standby can go on from this epoch, whatever happens. */
  ACKNOWLEDGE: 7,
  /** Nothing but a sign of life. */
  BEAT: 8,
  /** The sender ends the protection: text, why. The domain stays where it is. */
  END: 9,
} as const

/** One frame. */
export type ProtectionFrame =
  | { readonly type: 'hello'; readonly version: number }
  | { readonly type: 'stream'; readonly bytes: Uint8Array }
  | { readonly type: 'disks'; readonly disks: readonly MirroredDisk[] }
  | { readonly type: 'write'; readonly disk: number; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly type: 'discard'; readonly disk: number; readonly offset: number; readonly length: number }
  | { readonly type: 'epoch' | 'acknowledge'; readonly epoch: number }
  | { readonly type: 'beat' }
  | { readonly type: 'end'; readonly why: string }

/** A disk that is mirrored. */
export interface MirroredDisk {
  /** Its name in the domain: `xvda`. */
  readonly name: string
  /** In bytes. */
  readonly size: number
  /** The storage in which the other host opens it, too: nothing of it is sent. */
  readonly storage?: string | undefined
}

/** Bytes of a frame's header. */
export const FRAME_HEADER = 8
/** Bytes of a body at most: more would only keep the other end busy. */
export const MOST_BODY = 2 ** 27
/** Disks at most. */
const MOST_DISKS = 1024

const text = (value: string): Uint8Array => new TextEncoder().encode(value)
const bad = (what: string): XenError => new XenError('INVALID_STREAM', `the other host says what cannot be: ${what}`)

function bodyOf(frame: ProtectionFrame): { readonly type: number; readonly body: readonly Uint8Array[] } {
  switch (frame.type) {
    case 'hello': return { type: FRAME.HELLO, body: [new ByteWriter(4).u32(frame.version).finish()] }
    case 'stream': return { type: FRAME.STREAM, body: [frame.bytes] }
    case 'disks': return { type: FRAME.DISKS, body: [text(JSON.stringify(frame.disks))] }
    case 'write': return { type: FRAME.WRITE, body: [new ByteWriter(12).u32(frame.disk).u64(BigInt(frame.offset)).finish(), frame.bytes] }
    case 'discard': return { type: FRAME.DISCARD, body: [new ByteWriter(20).u32(frame.disk).u64(BigInt(frame.offset)).u64(BigInt(frame.length)).finish()] }
    case 'epoch': return { type: FRAME.EPOCH, body: [new ByteWriter(4).u32(frame.epoch).finish()] }
    case 'acknowledge': return { type: FRAME.ACKNOWLEDGE, body: [new ByteWriter(4).u32(frame.epoch).finish()] }
    case 'beat': return { type: FRAME.BEAT, body: [] }
    case 'end': return { type: FRAME.END, body: [text(frame.why)] }
  }
}

/** The pieces of a frame; large bodies are not copied. */
export function encodeFrame(frame: ProtectionFrame): readonly Uint8Array[] {
  const { type, body } = bodyOf(frame)
  const size = body.reduce((sum, piece) => sum + piece.length, 0)
  const head = new ByteWriter(FRAME_HEADER).u32(type).u32(size).finish()
  if (size > 1 << 12) return [head, ...body]
  const whole = new Uint8Array(FRAME_HEADER + size)
  whole.set(head)
  let at = FRAME_HEADER
  for (const piece of body) {
    whole.set(piece, at)
    at += piece.length
  }
  return [whole]
}

/** What a header says. Throws INVALID_STREAM. */
export function decodeHeader(head: Uint8Array): { readonly type: number; readonly size: number } {
  const reader = new ByteReader(head, 'a frame')
  const [type, size] = [reader.u32(), reader.u32()]
  if (size > MOST_BODY) throw bad(`a frame of ${size} bytes`)
  return { type, size }
}

const isDisk = (value: unknown): value is MirroredDisk => {
  const { name, size, storage } = (value ?? {}) as Partial<MirroredDisk>
  return typeof name === 'string' && (storage === undefined || typeof storage === 'string') && Number.isSafeInteger(size) && size! >= 0 && size! % 512 === 0
}

function decodeDisks(body: Uint8Array): ProtectionFrame {
  let disks: unknown
  try {
    disks = JSON.parse(new TextDecoder().decode(body))
  } catch {
    throw bad('disks that are no JSON')
  }
  if (!Array.isArray(disks) || disks.length > MOST_DISKS || !disks.every(isDisk)) throw bad('disks that are none')
  return { type: 'disks', disks: disks.map(({ name, size, storage }: MirroredDisk) => ({ name, size, storage })) }
}

/** A 64-bit number of bytes. */
function bytesOf(reader: ByteReader): number {
  const value = reader.u64()
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw bad(`${value} bytes`)
  return Number(value)
}

/** A frame from its header and body, whose memory it shares. Throws INVALID_STREAM. */
export function decodeFrame(type: number, body: Uint8Array): ProtectionFrame {
  const reader = new ByteReader(body, 'a frame')
  switch (type) {
    case FRAME.HELLO: return { type: 'hello', version: reader.u32() }
    case FRAME.STREAM: return { type: 'stream', bytes: body }
    case FRAME.DISKS: return decodeDisks(body)
    case FRAME.WRITE: return { type: 'write', disk: reader.u32(), offset: bytesOf(reader), bytes: body.subarray(12) }
    case FRAME.DISCARD: return { type: 'discard', disk: reader.u32(), offset: bytesOf(reader), length: bytesOf(reader) }
    case FRAME.EPOCH: return { type: 'epoch', epoch: reader.u32() }
    case FRAME.ACKNOWLEDGE: return { type: 'acknowledge', epoch: reader.u32() }
    case FRAME.BEAT: return { type: 'beat' }
    case FRAME.END: return { type: 'end', why: new TextDecoder().decode(body.subarray(0, 1024)) }
    default: throw bad(`a frame of type ${type}`)
  }
}
