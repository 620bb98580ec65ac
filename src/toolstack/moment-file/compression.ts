/**
 * How the blocks of a file are packed: not at all, by what every platform has, or by what its user brings. Each block is packed
 * by itself, so that several are under way at once.
 */
import { joinBytes, XenError } from '../../util/index.ts'

/** A way of packing. `paravirt/node` has brotli, and zstd where Node has it. */
export interface Compression {
  /** Stands in the file; the same way has to be given when it is read. */
  readonly name: 'none' | 'deflate-raw' | 'zstd' | 'brotli'
  /** Packs a block of at most 8 MiB. Several may be asked for at once. */
  pack(block: Uint8Array): Promise<Uint8Array>
  /** Unpacks one again, into memory that nobody else has. Rejects for what does not have `length` bytes, and never makes more. */
  unpack(packed: Uint8Array, length: number): Promise<Uint8Array>
}

/** Numbers in files. */
const NUMBERS = { 'none': 0, 'deflate-raw': 1, 'zstd': 2, 'brotli': 3 } as const

/** Nothing is packed. */
export const NO_COMPRESSION: Compression = {
  name: 'none',
  pack: async (block) => block,
  unpack: async (packed, length) => {
    if (packed.length !== length) throw new RangeError(`${packed.length} bytes are not ${length}`)
    return packed
  },
}

/** What a stream makes of a block: at most `most` bytes, otherwise it throws. */
async function through(block: Uint8Array, way: CompressionStream | DecompressionStream, most: number): Promise<Uint8Array[]> {
  const writer = way.writable.getWriter()
  // The DOM's types want a narrower kind of bytes. What fails there fails where it is read.
  for (const step of [writer.write(block as Uint8Array<ArrayBuffer>), writer.close()]) step.catch(() => undefined)
  const reader = (way.readable as ReadableStream<Uint8Array>).getReader()
  const pieces: Uint8Array[] = []
  let length = 0
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return pieces
    pieces.push(value)
    length += value.length
    if (length <= most) continue
    await reader.cancel().catch(() => undefined)
    throw new RangeError(`there are more than ${most} bytes`)
  }
}

/** What the web's streams have. */
export const DEFLATE: Compression = {
  name: 'deflate-raw',
  pack: async (block) => joinBytes(await through(block, new CompressionStream('deflate-raw'), Infinity)),
  unpack: async (packed, length) => {
    const bytes = joinBytes(await through(packed, new DecompressionStream('deflate-raw'), length))
    if (bytes.length !== length) throw new RangeError(`there are ${bytes.length} bytes, not ${length}`)
    return bytes
  },
}

/** The number of a way in a file. */
export const compressionNumber = ({ name }: Compression): number => NUMBERS[name]

/** The way of a number, out of those that are there. Throws INVALID_STREAM for no way, NOT_SUPPORTED for one that is not there. */
export function compressionOf(number: number, given: readonly Compression[]): Compression {
  const found = [...given, NO_COMPRESSION, DEFLATE].find((each) => compressionNumber(each) === number)
  if (found !== undefined) return found
  const name = Object.entries(NUMBERS).find(([, value]) => value === number)?.[0]
  if (name === undefined) throw new XenError('INVALID_STREAM', `the file is packed in a way that is none: ${number}`)
  throw new XenError('NOT_SUPPORTED', `the file is packed by ${name}: give it as compression`, { details: { name } })
}
