/**
 * Kernels that have been unpacked, kept for the next domain that starts with the same file, whatever it is called: a file
 * is known by the SHA-256 of its bytes. Unpacking Debian's kernel is most of what making its domain takes. Those asked
 * for least recently go when all together would be too much; one that is too much alone is not kept.
 *
 * What is kept is handed out again and again: the builder copies out of it, and nobody writes to it. Where the platform has
 * no SHA-256 (pages that did not come by HTTPS) nothing is kept. Not here: unpacking itself (unpack.ts), ramdisks.
 */
import { byteArray, callable, checkArgument, whole, type OwnBytes } from '../../util/index.ts'
import { type Decompressor, isPacked, unpackKernel } from './unpack.ts'

/** MiB that are kept unless told otherwise: two of Debian's kernels. */
const USUAL_MEBIBYTES = 128

/** A kernel on its way or there, and by whom: a host without a decompressor refuses what only another's can unpack. */
interface Kept {
  readonly decompress: Decompressor | undefined
  readonly unpacked: Promise<Uint8Array>
  /** Bytes of memory that it holds; 0 while it is on its way. */
  size: number
}

/**
 * Unpacked kernels, for one host or for several.
 *
 * @example
 * const kernels = new UnpackedKernels(256)
 * const hosts = [await Host.boot({ decompress, kernels }), await Host.boot({ decompress, kernels })]
 */
export class UnpackedKernels {
  private readonly most: number
  /** By the digest of the packed file; the least recently used first. */
  private readonly kept = new Map<string, Kept>()

  /** `mebibytes`: the most that is kept, a whole number of MiB; 0 for nothing. Throws INVALID_ARGUMENT. */
  constructor(mebibytes: number = USUAL_MEBIBYTES) {
    checkArgument('mebibytes of unpacked kernels', mebibytes, whole(0, 2 ** 20))
    this.most = mebibytes * 2 ** 20
  }

  /** Bytes that are kept. */
  get bytes(): number {
    return [...this.kept.values()].reduce((sum, { size }) => sum + size, 0)
  }

  /**
   * The ELF file inside a kernel file, not to be written to. Throws as `unpackKernel` does, also when several wait for the
   * same file.
   */
  async unpack(file: Uint8Array, decompress: Decompressor | undefined): Promise<Uint8Array> {
    checkArgument('a kernel to be unpacked', file, byteArray)
    if (decompress !== undefined) checkArgument('decompress', decompress, callable)
    if (this.most === 0 || !isPacked(file)) return unpackKernel(file, decompress)
    // What is hashed is what is unpacked, whatever the caller does with his bytes meanwhile.
    const own = file.slice()
    const digest = await digestOf(own)
    if (digest === undefined) return unpackKernel(own, decompress)
    const known = this.kept.get(digest)
    if (known !== undefined && known.decompress === decompress) {
      this.kept.delete(digest)
      this.kept.set(digest, known)
      return known.unpacked
    }
    const kept: Kept = { decompress, unpacked: unpackKernel(own, decompress), size: 0 }
    this.kept.set(digest, kept)
    try {
      const unpacked = await kept.unpacked
      kept.size = unpacked.buffer.byteLength
      if (kept.size > this.most) this.forget(digest, kept)
      else this.makeRoom()
      return unpacked
    } catch (error) {
      this.forget(digest, kept)
      throw error
    }
  }

  private forget(digest: string, kept: Kept): void {
    if (this.kept.get(digest) === kept) this.kept.delete(digest)
  }

  /** Lets go of those that were asked for least recently until the rest is not too much. */
  private makeRoom(): void {
    let { bytes } = this
    for (const [digest, { size }] of this.kept) {
      if (bytes <= this.most) return
      if (size === 0) continue
      this.kept.delete(digest)
      bytes -= size
    }
  }
}

/** SHA-256 in hexadecimal digits; undefined where the platform has none. */
async function digestOf(bytes: OwnBytes): Promise<string | undefined> {
  const { subtle } = globalThis.crypto ?? {}
  if (subtle === undefined) return undefined
  const digest = new Uint8Array(await subtle.digest('SHA-256', bytes))
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
