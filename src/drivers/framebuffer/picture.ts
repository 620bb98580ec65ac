/**
 * What is in a framebuffer: where its pixels lie in scattered pages, whether that can be, and rectangles of it as red, green, blue and alpha.
 *
 * Reference: public/io/fbif.h; QEMU, hw/display/xenfb.c, xenfb_configure_fb, xenfb_guest_copy.
 */
import { PAGE_SIZE } from '../../abi/index.ts'
import { shape, type StateOf } from '../../util/index.ts'
import { DEPTHS, MAX_SIDE, MAX_VIDEO_MEMORY } from './protocol.ts'

/** How pixels lie: bytes of a row, bits of a pixel, the byte at which the first one is. */
export const geometryState = /* @__PURE__ */ shape.record({
  width: /* @__PURE__ */ shape.whole(1, MAX_SIDE), height: /* @__PURE__ */ shape.whole(1, MAX_SIDE), stride: /* @__PURE__ */ shape.whole(1, MAX_VIDEO_MEMORY),
  depth: /* @__PURE__ */ shape.whole(8, 32), offset: /* @__PURE__ */ shape.whole(0, MAX_VIDEO_MEMORY),
})
/** The same. */
export type Geometry = StateOf<typeof geometryState>

/** A rectangle in pixels from the upper left. */
export interface ScreenArea {
  readonly x: number
  readonly y: number
  readonly width: number
  readonly height: number
}

/** Pixels: 4 bytes each, red, green, blue and 255, row by row; as `ImageData` has them. */
export interface Picture {
  readonly width: number
  readonly height: number
  readonly pixels: Uint8ClampedArray
}

/** Why pixels cannot lie so in `bytes` of memory; undefined when they can. */
export function geometryFault({ width, height, stride, depth, offset }: Geometry, bytes: number): string | undefined {
  const wrong = [[width, 1, MAX_SIDE], [height, 1, MAX_SIDE], [stride, 1, bytes], [offset, 0, bytes]].some(([value, least, most]) => value! < least! || value! > most!)
  if (wrong || !(DEPTHS as readonly number[]).includes(depth)) return `${width} x ${height} pixels of ${depth} bits, rows of ${stride} bytes from ${offset} on, are none`
  if (stride < width * (depth / 8)) return `rows of ${stride} bytes have no room for ${width} pixels of ${depth} bits`
  if (offset + stride * (height - 1) + width * (depth / 8) > bytes) return `${height} rows of ${stride} bytes from ${offset} on are more than ${bytes} bytes`
  return undefined
}

/** What of a rectangle lies within another; undefined where nothing does. */
export function overlap({ x, y, width, height }: ScreenArea, within: ScreenArea): ScreenArea | undefined {
  const [left, top] = [Math.max(within.x, x), Math.max(within.y, y)]
  const [right, bottom] = [Math.min(within.x + within.width, x + width), Math.min(within.y + within.height, y + height)]
  return right > left && bottom > top ? { x: left, y: top, width: right - left, height: bottom - top } : undefined
}

/** What of a rectangle lies within a picture; undefined where nothing does. */
export const clipped = (area: ScreenArea, { width, height }: Pick<ScreenArea, 'width' | 'height'>): ScreenArea | undefined => overlap(area, { x: 0, y: 0, width, height })

/** The least rectangle that holds both. */
export function joined(one: ScreenArea | undefined, other: ScreenArea): ScreenArea {
  if (one === undefined) return other
  const [x, y] = [Math.min(one.x, other.x), Math.min(one.y, other.y)]
  return { x, y, width: Math.max(one.x + one.width, other.x + other.width) - x, height: Math.max(one.y + one.height, other.y + other.height) - y }
}

/** Copies bytes out of scattered pages. */
export function copyOut(memory: Uint8Array, pages: ArrayLike<number>, { from, target }: { readonly from: number; readonly target: Uint8Array }): void {
  for (let done = 0; done < target.length;) {
    const at = from + done
    const within = at % PAGE_SIZE
    const count = Math.min(PAGE_SIZE - within, target.length - done)
    const start = pages[Math.floor(at / PAGE_SIZE)]! * PAGE_SIZE + within
    target.set(memory.subarray(start, start + count), done)
    done += count
  }
}

type Convert = (row: Uint8Array, at: number, pixels: Uint8ClampedArray, to: number) => void

/** hot path: one call for each pixel; the lowest byte is blue, as of Linux's front-end. */
const CONVERT: Readonly<Record<number, Convert>> = {
  8: (row, at, pixels, to) => {
    const value = row[at]!
    pixels[to] = (value >>> 5) * 255 / 7
    pixels[to + 1] = ((value >>> 2) & 7) * 255 / 7
    pixels[to + 2] = (value & 3) * 85
  },
  16: (row, at, pixels, to) => {
    const value = row[at]! | (row[at + 1]! << 8)
    pixels[to] = (value >>> 11) * 255 / 31
    pixels[to + 1] = ((value >>> 5) & 63) * 255 / 63
    pixels[to + 2] = (value & 31) * 255 / 31
  },
  24: (row, at, pixels, to) => {
    pixels[to] = row[at + 2]!
    pixels[to + 1] = row[at + 1]!
    pixels[to + 2] = row[at]!
  },
}

/** A rectangle of a framebuffer whose pixels lie in `pages` of `memory`; it lies within. */
export function readArea(
  memory: Uint8Array, { pages, geometry, area }: { readonly pages: ArrayLike<number>; readonly geometry: Geometry; readonly area: ScreenArea },
): Picture {
  const { x, y, width, height } = area
  const size = geometry.depth / 8
  const convert = CONVERT[geometry.depth === 32 ? 24 : geometry.depth]!
  const pixels = new Uint8ClampedArray(width * height * 4).fill(255)
  const row = new Uint8Array(width * size)
  for (let line = 0; line < height; line += 1) {
    copyOut(memory, pages, { from: geometry.offset + (y + line) * geometry.stride + x * size, target: row })
    for (let column = 0; column < width; column += 1) convert(row, column * size, pixels, (line * width + column) * 4)
  }
  return { width, height, pixels }
}
