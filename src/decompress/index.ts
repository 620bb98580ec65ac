/**
 * Decompressors for kernels that are not packed with gzip: Linux's bzImage holds its kernel as xz, zstd, bzip2, lzma or lz4.
 * A room of its own because it needs optional packages, loaded when first used: `7z-wasm` (all but lz4) and `lz4js`.
 *
 * @example
 * import { Host } from 'paravirt'
 * import { optionalDecompressor } from 'paravirt/decompress'
 *
 * const host = await Host.boot({ memory: 320, decompress: optionalDecompressor })
 *
 * @module
 */
export { decompressorWith, optionalDecompressor } from './optional-decompressor.ts'
export type { DecompressorPackages, Lz4, SevenZipFactory } from './optional-decompressor.ts'
