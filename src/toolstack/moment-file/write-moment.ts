/** Writes the file of a moment, as a stream: each page once, however often and wherever it stands. */
import type { PageIndex, PagePool } from '../../machine/index.ts'
import { openOutput, type ByteOutput } from '../stream/index.ts'
import { compressionNumber, type Compression } from './compression.ts'
import { partsOf, type FileContent } from './content.ts'
import { encodePlain } from './plain-data.ts'
import { FILE_VERSION, HEADER_BYTES, MAGIC, recordBytes } from './records.ts'

const PAGE_SIZE = 4096
/** Pages of one record. */
const BATCH = 64

/** Pages of a file: each number of the pool, and the number that it has in the file. Equal ones are one. */
class FilePages {
  readonly order: number[] = []
  private readonly numbers = new Map<number, number>()
  private readonly known = new Map<string, number[]>()
  private readonly pool: PagePool

  constructor(pool: PagePool) {
    this.pool = pool
  }

  add(id: number): number {
    const before = this.numbers.get(id)
    if (before !== undefined) return before
    const { first, second } = this.pool.hash(id)
    const key = `${first}:${second}`
    const alike = this.known.get(key) ?? []
    const same = alike.find((other) => this.pool.equals(other, this.pool.wordsOf(id), 0))
    const number = same === undefined ? this.order.push(id) : this.numbers.get(same)!
    if (same === undefined) this.known.set(key, [...alike, id])
    this.numbers.set(id, number)
    return number
  }
}

/** What stands where, by numbers of the file; pages of a file begin at 1. */
function indexOf(index: PageIndex, space: number, pages: FilePages): Uint8Array {
  const words: number[] = [space]
  index.visit((number, id) => words.push(number, pages.add(id)))
  return new Uint8Array(Uint32Array.from(words).buffer)
}

/** The body's bytes, piece by piece. */
function* bodyOf(content: FileContent, pool: PagePool): Generator<Uint8Array> {
  const pages = new FilePages(pool)
  const indexes = [indexOf(content.memory, 0, pages), indexOf(content.rows, 1, pages)]
  yield* recordBytes('head', encodePlain(content.head))
  yield* recordBytes('facts', encodePlain(content.facts))
  for (let from = 0; from < pages.order.length; from += BATCH) {
    const batch = pages.order.slice(from, from + BATCH)
    const bytes = new Uint8Array(batch.length * PAGE_SIZE)
    batch.forEach((id, i) => {
      const words = pool.wordsOf(id)
      bytes.set(new Uint8Array(words.buffer, words.byteOffset, PAGE_SIZE), i * PAGE_SIZE)
    })
    yield* recordBytes('pages', bytes)
  }
  for (const index of indexes) yield* recordBytes('index', index)
  for (const part of partsOf(content.tree)) yield* recordBytes('part', encodePlain(part))
  yield* recordBytes('end', new Uint8Array(0))
}

/** A stream of pieces that are made when they are asked for. */
function streamOf(pieces: Iterator<Uint8Array>): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>({
    pull: (controller) => {
      const { done, value } = pieces.next()
      if (done === true) controller.close()
      else controller.enqueue(value)
    },
  })
}

/** Writes a file; resolves when the target has it. `pool` has the pages, and they stay meanwhile. Rejects with IO. */
export async function writeMomentFile(
  target: ByteOutput, content: FileContent, { pool, compression }: { readonly pool: PagePool; readonly compression: Compression },
): Promise<void> {
  const output = openOutput(target)
  try {
    const header = new DataView(new ArrayBuffer(HEADER_BYTES))
    new Uint8Array(header.buffer).set(MAGIC)
    header.setUint32(8, FILE_VERSION, true)
    header.setUint32(12, compressionNumber(compression), true)
    await output.write(new Uint8Array(header.buffer))
    const reader = compression.compress(streamOf(bodyOf(content, pool))).getReader()
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      await output.write(value)
    }
    await output.close()
  } catch (error) {
    await output.abort(error)
    throw error
  }
}
