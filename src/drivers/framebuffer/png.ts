/**
 * A picture as PNG: eight bits of red, green and blue, packed by what every platform has. Written in a few lines of its own, as it is only ever written.
 *
 * Reference: W3C, Portable Network Graphics (PNG) Specification, 3rd edition.
 */
import { joinBytes } from '../../util/index.ts'
import type { Picture } from './picture.ts'

const SIGNATURE = /* @__PURE__ */ Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)
/** Polynomial of the CRC, its lowest bit first. */
const POLYNOMIAL = 0xedb88320

const TABLE: Uint32Array = /* @__PURE__ */ Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte
  for (let bit = 0; bit < 8; bit += 1) value = (value & 1) === 0 ? value >>> 1 : (value >>> 1) ^ POLYNOMIAL
  return value
})

function crcOf(bytes: Uint8Array): number {
  let crc = 0xffff_ffff
  for (const byte of bytes) crc = (crc >>> 8) ^ TABLE[(crc ^ byte) & 0xff]!
  return ~crc >>> 0
}

/** Length, type, data, and the CRC of both. */
function chunk(type: string, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(data.length + 12)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, data.length)
  bytes.set(new TextEncoder().encode(type), 4)
  bytes.set(data, 8)
  view.setUint32(data.length + 8, crcOf(bytes.subarray(4, data.length + 8)))
  return bytes
}

/** Packs as zlib does. */
async function packed(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream('deflate'))
  return new Uint8Array(await new Response(stream).arrayBuffer())
}

/** The bytes of a PNG file. */
export async function encodePng({ width, height, pixels }: Picture): Promise<Uint8Array> {
  const head = new Uint8Array(13)
  const view = new DataView(head.buffer)
  view.setUint32(0, width)
  view.setUint32(4, height)
  // Bits of a sample, and red, green and blue.
  head.set([8, 2, 0, 0, 0], 8)
  const rows = new Uint8Array(height * (1 + width * 3))
  for (let y = 0, at = 0; y < height; y += 1) {
    // Each row begins with its filter: none.
    at += 1
    for (let from = y * width * 4; from < (y + 1) * width * 4; from += 4, at += 3) rows.set(pixels.subarray(from, from + 3), at)
  }
  return joinBytes([SIGNATURE, chunk('IHDR', head), chunk('IDAT', await packed(rows)), chunk('IEND', new Uint8Array())])
}
