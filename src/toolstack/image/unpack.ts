/**
 * Finds the kernel inside what is called a kernel file: a plain ELF file, a gzip file of one, or Linux's bzImage with
 * a compressed ELF file inside. Ramdisks pass through the same gzip door.
 * Reference: Linux Documentation/arch/x86/boot.rst ("HdrS", payload_offset).
 */
import { XenError } from '../../util/index.ts'
import { imageError } from './elf.ts'

/**
 * Unpacks what the platform cannot: `compression` is the format's name. Stops and throws INVALID_IMAGE as soon as there are
 * more than `limit` bytes, and for damaged data; NOT_SUPPORTED for a format that it does not know.
 */
export type Decompressor = (compression: string, data: Uint8Array, limit: number) => Promise<Uint8Array>

/** Unpacked images beyond this are refused: a small file must not fill the host's memory. */
export const MAX_UNPACKED = 512 * 2 ** 20

/** Compressions by the bytes that their files begin with. */
const SIGNATURES: readonly (readonly [string, readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['bzip2', [0x42, 0x5a, 0x68]],
  ['lz4', [0x02, 0x21, 0x4c, 0x18]],
  ['lzop', [0x89, 0x4c, 0x5a, 0x4f]],
  ['lzma', [0x5d, 0x00, 0x00]],
]

const startsWith = (file: Uint8Array, bytes: readonly number[]): boolean => bytes.every((byte, i) => file[i] === byte)

/** Name of the compression that a file begins with. */
export const kernelCompressionOf = (file: Uint8Array): string | undefined =>
  SIGNATURES.find(([, bytes]) => startsWith(file, bytes))?.[0]

/** Offsets in bzImage's setup header. */
const SETUP = {
  sectors: 0x1f1,
  magic: 0x202,
  version: 0x206,
  payloadOffset: 0x248,
  payloadLength: 0x24c,
  end: 0x250,
} as const
const HDRS = 0x53726448

/** The compressed payload of a bzImage; undefined for other files. */
function bzImagePayload(file: Uint8Array): Uint8Array | undefined {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  if (file.length < SETUP.end || view.getUint32(SETUP.magic, true) !== HDRS) return undefined
  const version = view.getUint16(SETUP.version, true)
  if (version < 0x208) throw imageError('setup header version', version, 'is older than 2.08 and names no payload')
  // 0 means 4 setup sectors; the protected-mode part follows them and the boot sector.
  const kernelAt = ((view.getUint8(SETUP.sectors) || 4) + 1) * 512
  const offset = view.getUint32(SETUP.payloadOffset, true)
  const length = view.getUint32(SETUP.payloadLength, true)
  if (kernelAt + offset + length > file.length)
    throw imageError('setup header payload_length', length, 'reaches beyond the file')
  return file.subarray(kernelAt + offset, kernelAt + offset + length)
}

/** The error of data that unpacks to more than it may. */
const tooLarge = (size: number, limit: number): XenError => imageError('unpacked size', size, `is more than ${limit} bytes`)

/** Collects a stream, at most `limit` bytes. */
async function collect(stream: ReadableStream<Uint8Array>, limit: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  let size = 0
  const reader = stream.getReader()
  for (;;) {
    const { done, value } = await reader.read()
    if (done) break
    size += value.length
    if (size > limit) {
      await reader.cancel()
      throw tooLarge(size, limit)
    }
    parts.push(value)
  }
  const all = new Uint8Array(size)
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

/** Unpacks a gzip file. Throws INVALID_IMAGE when it is damaged or unpacks to more than `limit` bytes. */
export async function gunzip(file: Uint8Array, limit = MAX_UNPACKED): Promise<Uint8Array> {
  const input = new ReadableStream<BufferSource>({
    start(controller) {
      controller.enqueue(file.slice())
      controller.close()
    },
  })
  try {
    return await collect(input.pipeThrough(new DecompressionStream('gzip')), limit)
  } catch (error) {
    if (XenError.is(error)) throw error
    throw new XenError('INVALID_IMAGE', 'kernel image: its gzip data is damaged', {
      details: { field: 'gzip' },
      cause: error,
    })
  }
}

/** Refuses every compression: what holds when the user has given no decompressor. */
const unsupported: Decompressor = async (compression) => {
  throw new XenError(
    'NOT_SUPPORTED',
    `kernel image: compression ${compression} needs a decompressor (see paravirt/decompress)`,
    {
      details: { compression },
    },
  )
}

/** Bytes behind a bzImage's payload that hold its unpacked size, for all formats but gzip. */
const SIZE_TRAILER = 4

/** What a user's decompressor answered, looked at before it is used. */
function checkUnpacked(unpacked: unknown, limit: number): Uint8Array {
  if (!(unpacked instanceof Uint8Array)) {
    throw new XenError('INVALID_ARGUMENT', 'the host\'s decompressor answers what is no Uint8Array', { details: { option: 'decompress' } })
  }
  if (unpacked.length > limit) throw tooLarge(unpacked.length, limit)
  return unpacked
}

/** True for a kernel file in which there is something to be unpacked. Throws INVALID_IMAGE. */
export const isPacked = (file: Uint8Array): boolean => kernelCompressionOf(bzImagePayload(file) ?? file) !== undefined

/** The ELF file inside a kernel file. Throws INVALID_IMAGE, or NOT_SUPPORTED for a compression that is not. */
export async function unpackKernel(
  file: Uint8Array, decompress: Decompressor = unsupported, limit = MAX_UNPACKED,
): Promise<Uint8Array> {
  const payload = bzImagePayload(file)
  const packed = payload ?? file
  const compression = kernelCompressionOf(packed)
  if (compression === undefined) return packed
  if (compression === 'gzip') return gunzip(packed, limit)
  if (payload === undefined) return checkUnpacked(await decompress(compression, packed, limit), limit)
  // A kernel says behind its payload how large it is: memory for more is never needed.
  const behind = packed.length - SIZE_TRAILER
  if (behind < 0) throw imageError('setup header payload_length', packed.length, 'has no room for the unpacked size')
  const most = Math.min(limit, new DataView(packed.buffer, packed.byteOffset + behind).getUint32(0, true))
  return checkUnpacked(await decompress(compression, packed.subarray(0, behind), most), most)
}

/** A ramdisk as the guest gets it: unpacked when it is a gzip file, as by Xen's builder, otherwise as it is. */
export async function unpackRamdisk(file: Uint8Array): Promise<Uint8Array> {
  return kernelCompressionOf(file) === 'gzip' ? gunzip(file) : file
}
