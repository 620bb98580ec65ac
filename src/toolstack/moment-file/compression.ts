/** How the body of a file is packed: not at all, by what every platform has, or by what its user brings. */
import { XenError } from '../../util/index.ts'

/** A way of packing. `paravirt/node` has zstd where Node has it. */
export interface Compression {
  /** Stands in the file; the same way has to be given when it is read. */
  readonly name: 'none' | 'deflate-raw' | 'zstd'
  /** Packs a stream. */
  compress(stream: ReadableStream<Uint8Array>): ReadableStream<Uint8Array>
  /** Unpacks it again. */
  decompress(stream: ReadableStream<Uint8Array>): ReadableStream<Uint8Array>
}

/** Numbers in files. */
const NUMBERS = { 'none': 0, 'deflate-raw': 1, 'zstd': 2 } as const

/** Nothing is packed. */
export const NO_COMPRESSION: Compression = { name: 'none', compress: (stream) => stream, decompress: (stream) => stream }

// The DOM's types want a narrower kind of bytes on one side.
const through = (stream: ReadableStream<Uint8Array>, way: CompressionStream | DecompressionStream): ReadableStream<Uint8Array> =>
  stream.pipeThrough(way as unknown as ReadableWritablePair<Uint8Array, Uint8Array>)

/** What the web's streams have. */
export const DEFLATE: Compression = {
  name: 'deflate-raw',
  compress: (stream) => through(stream, new CompressionStream('deflate-raw')),
  decompress: (stream) => through(stream, new DecompressionStream('deflate-raw')),
}

/** The number of a way in a file. */
export const compressionNumber = ({ name }: Compression): number => NUMBERS[name]

/** The way of a number, out of those that are there. Throws INVALID_STREAM for no way, NOT_SUPPORTED for one that is not there. */
export function compressionOf(number: number, given: Compression | undefined): Compression {
  const found = [NO_COMPRESSION, DEFLATE, ...(given === undefined ? [] : [given])].find((each) => compressionNumber(each) === number)
  if (found !== undefined) return found
  const name = Object.entries(NUMBERS).find(([, value]) => value === number)?.[0]
  if (name === undefined) throw new XenError('INVALID_STREAM', `the file is packed in a way that is none: ${number}`)
  throw new XenError('NOT_SUPPORTED', `the file is packed by ${name}: give it as compression`, { details: { name } })
}
