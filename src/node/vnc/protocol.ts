/**
 * The protocol of remote framebuffers in numbers.
 *
 * Reference: RFC 6143; the RFB protocol as its community keeps it (rfbproto).
 */

/** Version that is offered; older ones are answered in their own way. */
export const VERSION = 'RFB 003.008\n'
/** Bytes of a version. */
export const VERSION_LENGTH = 12

/** Ways to be let in. */
export const SECURITY = { INVALID: 0, NONE: 1, VNC: 2 } as const
/** Bytes of a challenge, and of the answer to it. */
export const CHALLENGE_LENGTH = 16
/** Whether a viewer was let in. */
export const SECURITY_RESULT = { OK: 0, FAILED: 1 } as const

/** Messages of a viewer. */
export const VIEWER = { SET_PIXEL_FORMAT: 0, SET_ENCODINGS: 2, UPDATE_REQUEST: 3, KEY: 4, POINTER: 5, CUT_TEXT: 6 } as const
/** Messages to it. */
export const SERVER = { UPDATE: 0 } as const
/** What a rectangle is: its pixels, which every viewer knows, or that the picture has another size. */
export const ENCODING = { RAW: 0, DESKTOP_SIZE: -223 } as const

/** Bytes of each message of a viewer, its type included; texts and lists are longer by what they say. */
export const LENGTHS: Readonly<Record<number, number>> = {
  [VIEWER.SET_PIXEL_FORMAT]: 20, [VIEWER.SET_ENCODINGS]: 4, [VIEWER.UPDATE_REQUEST]: 10, [VIEWER.KEY]: 8, [VIEWER.POINTER]: 6, [VIEWER.CUT_TEXT]: 8,
}

/** How a viewer wants pixels. */
export interface PixelFormat {
  /** 8, 16 or 32. */
  readonly bits: number
  readonly depth: number
  readonly isBigEndian: boolean
  /** Highest value and place of each colour. */
  readonly red: ColourFormat
  readonly green: ColourFormat
  readonly blue: ColourFormat
}

/** Highest value of a colour, and by how much it is shifted to the left. */
export interface ColourFormat {
  readonly most: number
  readonly shift: number
}

/** What is offered: as Linux's framebuffer has them. */
export const OFFERED: PixelFormat = { bits: 32, depth: 24, isBigEndian: false, red: { most: 255, shift: 16 }, green: { most: 255, shift: 8 }, blue: { most: 255, shift: 0 } }

/** The 16 bytes of a format. */
export function writePixelFormat({ bits, depth, isBigEndian, red, green, blue }: PixelFormat): Uint8Array {
  const bytes = new Uint8Array(16)
  const view = new DataView(bytes.buffer)
  bytes.set([bits, depth, isBigEndian ? 1 : 0, 1])
  for (const [at, { most }] of [red, green, blue].entries()) view.setUint16(4 + at * 2, most)
  bytes.set([red.shift, green.shift, blue.shift], 10)
  return bytes
}

/** A format as 16 bytes have it; undefined for what cannot be, and for colours by a table, which nothing here has. */
export function readPixelFormat(bytes: Uint8Array): PixelFormat | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, 16)
  const [bits, depth, big, isTrue] = bytes as unknown as readonly [number, number, number, number]
  const colour = (at: number): ColourFormat => ({ most: view.getUint16(4 + at * 2), shift: bytes[10 + at]! })
  const [red, green, blue] = [colour(0), colour(1), colour(2)]
  const fits = ({ most, shift }: ColourFormat): boolean => most > 0 && (most & (most + 1)) === 0 && shift < bits && most * 2 ** shift < 2 ** bits
  if (![8, 16, 32].includes(bits) || isTrue === 0 || ![red, green, blue].every(fits)) return undefined
  return { bits, depth, isBigEndian: big !== 0, red, green, blue }
}

/** Pixels of red, green, blue and 255 in a viewer's format. */
export function writePixels(pixels: Uint8ClampedArray, { bits, isBigEndian, red, green, blue }: PixelFormat): Uint8Array {
  const size = bits / 8
  const bytes = new Uint8Array(pixels.length / 4 * size)
  // hot path: one turn for each pixel.
  for (let from = 0, to = 0; from < pixels.length; from += 4, to += size) {
    const value = (Math.round(pixels[from]! * red.most / 255) << red.shift) | (Math.round(pixels[from + 1]! * green.most / 255) << green.shift)
      | (Math.round(pixels[from + 2]! * blue.most / 255) << blue.shift)
    for (let byte = 0; byte < size; byte += 1) bytes[to + (isBigEndian ? size - 1 - byte : byte)] = value >>> (8 * byte)
  }
  return bytes
}
