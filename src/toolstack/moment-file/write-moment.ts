/** Writes the file of a moment, as a stream: each page once, however often and wherever it stands. */
import type { PageIndex, PagePool } from '../../machine/index.ts'
import { openOutput, type ByteOutput } from '../stream/index.ts'
import { namesOfApart, type ApartNames } from './apart.ts'
import { writeBlocks } from './blocks.ts'
import { compressionNumber, type Compression } from './compression.ts'
import { partsOf, type FileContent } from './content.ts'
import { encodePlain } from './plain-data.ts'
import { FILE_VERSION, HEADER_BYTES, MAGIC, recordBytes } from './records.ts'
import { PAGE_SIZE } from '../../x86/index.ts'

/** Pages of one record, which is a block. */
const BATCH = 1024

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

interface Apart {
  readonly bytes: readonly Uint8Array[]
  readonly names: ApartNames
}

/** How a file is written. */
export interface WriteSettings {
  /** It has the pages, and they stay meanwhile. */
  readonly pool: PagePool
  readonly compression: Compression
  /** Bytes that are left out. */
  readonly apart?: readonly Uint8Array[] | undefined
}

/** The records of a body, each in its pieces. */
function* bodyOf(content: FileContent, pool: PagePool, apart: Apart): Generator<readonly Uint8Array[]> {
  const pages = new FilePages(pool)
  const indexes = [indexOf(content.memory, 0, pages), indexOf(content.rows, 1, pages)]
  yield recordBytes('head', encodePlain(content.head))
  yield recordBytes('apart', encodePlain(apart.names))
  yield recordBytes('facts', encodePlain(content.facts))
  for (let from = 0; from < pages.order.length; from += BATCH) {
    const batch = pages.order.slice(from, from + BATCH)
    const bytes = new Uint8Array(batch.length * PAGE_SIZE)
    batch.forEach((id, i) => {
      const words = pool.wordsOf(id)
      bytes.set(new Uint8Array(words.buffer, words.byteOffset, PAGE_SIZE), i * PAGE_SIZE)
    })
    yield recordBytes('pages', bytes)
  }
  for (const index of indexes) yield recordBytes('index', index)
  for (const part of partsOf(content.tree)) yield recordBytes('part', encodePlain(part, apart.bytes))
  yield recordBytes('end', new Uint8Array(0))
}

/** Writes a file; resolves when the target has it. Rejects with IO. */
export async function writeMomentFile(target: ByteOutput, content: FileContent, { pool, compression, apart = [] }: WriteSettings): Promise<void> {
  const output = openOutput(target)
  try {
    const names = await namesOfApart(apart)
    const header = new DataView(new ArrayBuffer(HEADER_BYTES))
    new Uint8Array(header.buffer).set(MAGIC)
    header.setUint32(8, FILE_VERSION, true)
    header.setUint32(12, compressionNumber(compression), true)
    await output.write(new Uint8Array(header.buffer))
    await writeBlocks(bodyOf(content, pool, { bytes: apart, names }), compression, (bytes) => output.write(bytes))
    await output.close()
  } catch (error) {
    await output.abort(error)
    throw error
  }
}
