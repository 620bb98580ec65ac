/** Ways of packing moments that Node has beside the web's: brotli, and zstd from Node 22.15 on. Both run beside JavaScript. */
import { promisify } from 'node:util'
import * as zlib from 'node:zlib'
import type { Compression } from '../toolstack/index.ts'
import { checkOptions, whole, XenError } from '../util/index.ts'

/** How well is packed. */
export interface CompressionLevel {
  /** Brotli: 0 to 11, 5 unless given, which takes twice as long as deflate and is a seventh smaller. zstd: 1 to 22, 9 unless given. */
  readonly level?: number | undefined
}

/** Bytes within which repetitions are found, as a power of two: all of a block. */
const WINDOW_BITS = 23

/** One of Node's functions that pack or unpack at once. */
type AtOnce = (bytes: Uint8Array, options: object, done: (error: Error | null, result: Buffer) => void) => void

/** A way of packing by what Node has. */
function compressionBy(name: Compression['name'], pack: AtOnce, { unpack, packing, unpacking }: { readonly unpack: AtOnce; readonly packing: object; readonly unpacking?: object }): Compression {
  const [packs, unpacks] = [promisify(pack), promisify(unpack)]
  return {
    name,
    pack: (block) => packs(block, packing),
    unpack: async (packed, length) => {
      // Node makes its result of pieces of this size.
      const bytes = await unpacks(packed, { ...unpacking, chunkSize: Math.max(length, 64), maxOutputLength: length })
      if (bytes.length !== length) throw new RangeError(`there are ${bytes.length} bytes, not ${length}`)
      return bytes
    },
  }
}

/** Packs by brotli. Throws INVALID_ARGUMENT. */
export function brotliCompression(options: CompressionLevel = {}): Compression {
  checkOptions('brotliCompression', options, { level: whole(0, 11) })
  const { constants } = zlib
  const params = { [constants.BROTLI_PARAM_QUALITY]: options.level ?? 5, [constants.BROTLI_PARAM_LGWIN]: WINDOW_BITS }
  return compressionBy('brotli', zlib.brotliCompress as AtOnce, { unpack: zlib.brotliDecompress as AtOnce, packing: { params } })
}

/** What newer versions of Node have. */
interface ZstdModule {
  readonly zstdCompress?: AtOnce
  readonly zstdDecompress?: AtOnce
  readonly constants: { readonly ZSTD_c_compressionLevel?: number; readonly ZSTD_c_windowLog?: number; readonly ZSTD_d_windowLogMax?: number }
}

/** Packs by zstd. Throws INVALID_ARGUMENT, and NOT_SUPPORTED where Node does not have it. */
export function zstdCompression(options: CompressionLevel = {}): Compression {
  checkOptions('zstdCompression', options, { level: whole(1, 22) })
  const { zstdCompress, zstdDecompress, constants } = zlib as unknown as ZstdModule
  if (zstdCompress === undefined || zstdDecompress === undefined) {
    throw new XenError('NOT_SUPPORTED', `Node ${process.versions.node} has no zstd: 22.15 and later have it`)
  }
  const params = { [constants.ZSTD_c_compressionLevel!]: options.level ?? 9, [constants.ZSTD_c_windowLog!]: WINDOW_BITS }
  const unpacking = { params: { [constants.ZSTD_d_windowLogMax!]: WINDOW_BITS } }
  return compressionBy('zstd', zstdCompress, { unpack: zstdDecompress, packing: { params }, unpacking })
}

/** Packs by deflate, as every platform can; at once where its streams do so in small pieces. */
export const deflateCompression = (): Compression =>
  compressionBy('deflate-raw', zlib.deflateRaw as AtOnce, { unpack: zlib.inflateRaw as AtOnce, packing: { level: 6 } })

/** All that this Node has: for files that may be packed in any way. */
export const nodeCompressions = (): readonly Compression[] =>
  [deflateCompression(), 'createZstdCompress' in zlib ? [zstdCompression()] : [], brotliCompression()].flat()
