/**
 * The body of a file as blocks that are packed each by itself: several are packed or unpacked at once, and what is not packed is
 * taken as it lies. Where records begin and end is nothing to a block. See docs/moment-format.md.
 */
import { joinBytes } from '../../util/index.ts'
import type { ByteSource } from '../stream/index.ts'
import type { Compression } from './compression.ts'
import { badFile } from './records.ts'

/** Bytes before what is packed: its length, and that of the block. */
export const FRAME_BYTES = 8
/** Blocks begin at multiples of this, so that what is not packed can be taken as words. */
const ALIGNMENT = 8
/** Largest block: two thousand pages, with what belongs to a record. */
export const MOST_BLOCK_BYTES = (8 << 20) + 4096
/** A block that is none smaller when it is packed. */
const MOST_PACKED_BYTES = MOST_BLOCK_BYTES + (MOST_BLOCK_BYTES >> 6) + 4096
/** Blocks that are under way at once. */
const AT_ONCE = 4
/** Pieces are gathered to blocks of this size, where they are smaller. */
const GATHERED_BYTES = 1 << 20

/** A block as it lies in the file; undefined at the file's end. Throws INVALID_STREAM. */
async function readBlock(source: ByteSource, where: string): Promise<{ readonly packed: Uint8Array; readonly length: number } | undefined> {
  if (await source.isAtEnd(where)) return undefined
  const frame = await source.read(FRAME_BYTES, where)
  const view = new DataView(frame.buffer, frame.byteOffset, FRAME_BYTES)
  const [size, length] = [view.getUint32(0, true), view.getUint32(4, true)]
  if (size > MOST_PACKED_BYTES || length === 0 || length > MOST_BLOCK_BYTES) throw badFile(where, `it says that it has ${size} bytes, of ${length}`)
  const packed = await source.read(size, where)
  const rest = await source.read(paddingOf(size), where)
  if (rest.some((byte) => byte !== 0)) throw badFile(where, 'what fills it up is not zero')
  return { packed, length }
}

/** What is behind the header of a file, in pieces. Throws INVALID_STREAM. */
export async function* readBlocks(source: ByteSource, compression: Compression): AsyncGenerator<Uint8Array> {
  const under: Promise<Uint8Array>[] = []
  for (let place = 1, isAll = false; ;) {
    while (!isAll && under.length < AT_ONCE) {
      const where = `block ${place}`
      const block = await readBlock(source, where)
      if (block === undefined) {
        isAll = true
        continue
      }
      under.push(heard(compression.unpack(block.packed, block.length), () => badFile(where, `${compression.name} cannot unpack it`)))
      place += 1
    }
    const first = under.shift()
    if (first === undefined) return
    yield await first
  }
}

/** A result that somebody waits for later, if at all; what it fails with is named. */
function heard<T>(result: Promise<T>, failure: (cause: unknown) => Error): Promise<T> {
  const named = result.catch((error: unknown) => {
    throw failure(error)
  })
  named.catch(() => undefined)
  return named
}

/** Records gathered to blocks: a large one has its own. */
function* blocksOf(records: Iterable<readonly Uint8Array[]>): Generator<Uint8Array> {
  let pieces: Uint8Array[] = []
  let length = 0
  for (const record of records) {
    const size = record.reduce((sum, piece) => sum + piece.length, 0)
    if (length > 0 && length + size > GATHERED_BYTES) {
      yield* cut(joinBytes(pieces))
      pieces = []
      length = 0
    }
    pieces.push(...record)
    length += size
  }
  if (length > 0) yield* cut(joinBytes(pieces))
}

function* cut(bytes: Uint8Array): Generator<Uint8Array> {
  for (let from = 0; from < bytes.length; from += MOST_BLOCK_BYTES) yield bytes.subarray(from, from + MOST_BLOCK_BYTES)
}

/** Bytes that fill a block of so many up. */
export const paddingOf = (size: number): number => -size & (ALIGNMENT - 1)

/** A block as it lies in a file. */
async function packedBlock(block: Uint8Array, compression: Compression): Promise<readonly Uint8Array[]> {
  const packed = await compression.pack(block)
  const frame = new DataView(new ArrayBuffer(FRAME_BYTES))
  frame.setUint32(0, packed.length, true)
  frame.setUint32(4, block.length, true)
  return [new Uint8Array(frame.buffer), packed, new Uint8Array(paddingOf(packed.length))]
}

/** Writes records, each in its pieces. Rejects with what packing and writing reject with. */
export async function writeBlocks(records: Iterable<readonly Uint8Array[]>, compression: Compression, write: (bytes: Uint8Array) => Promise<void>): Promise<void> {
  const under: Promise<readonly Uint8Array[]>[] = []
  const writeFirst = async (): Promise<void> => {
    for (const piece of await under.shift()!) if (piece.length > 0) await write(piece)
  }
  for (const block of blocksOf(records)) {
    if (under.length >= AT_ONCE) await writeFirst()
    const packed = packedBlock(block, compression)
    packed.catch(() => undefined)
    under.push(packed)
  }
  while (under.length > 0) await writeFirst()
}
