/**
 * The pages of a file that is held and not packed: they stay where they are until somebody wants them. A machine that begins there has them
 * read into its memory, past the pool of its family, which asks for those alone that are wanted again.
 *
 * hot path: memory that the process has never touched costs more than reading what goes there; so each page is read to one place.
 */
import type { PageSource, PhysicalMemory } from '../../machine/index.ts'
import { XenError } from '../../util/index.ts'
import type { HeldFile } from '../stream/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import { FRAME_BYTES as BLOCK_FRAME, paddingOf } from './blocks.ts'
import { badFile, pageRecordBehind, RecordSample, type PageRecord } from './records.ts'

const PAGE_WORDS = PAGE_SIZE / 4

/** The frame of a page of the file that goes into no frame: the first ones are the machine's own. */
const NOWHERE = 0

/** A record of pages, and where its pages lie. */
export interface HeldRecord extends PageRecord {
  readonly where: string
  /** Of its first page in the file, and its number. */
  readonly offset: number
  readonly number: number
}

/** What stands where in memory: numbers, ascending, and for each the file's page, from 0, of so many. */
export interface HeldPlaces {
  readonly count: number
  readonly numbers: Uint32Array
  readonly pages: Uint32Array
}

/** The error of a file that cannot be read, or what was wrong with what it holds. */
export const unreadable = (cause: unknown): XenError => (XenError.is(cause) ? cause : new XenError('IO', 'the file of a moment cannot be read', { cause }))

/** Pages of one file. */
export class HeldPages {
  private readonly file: HeldFile
  private readonly records: HeldRecord[] = []
  /** Whoever reads the file, and sources that were not released. */
  private holders = 1

  constructor(file: HeldFile) {
    this.file = file
  }

  /** Adds a record; the source of its pages. */
  add(record: HeldRecord): PageSource {
    const { file } = this
    const { offset } = record
    this.records.push(record)
    this.holders += 1
    return {
      read: (words, first) => {
        try {
          file.fillNow(new Uint8Array(words.buffer, words.byteOffset, words.byteLength), offset + first * PAGE_SIZE)
        } catch (error) {
          throw unreadable(error)
        }
      },
      release: () => this.release(),
    }
  }

  /** One less wants it. */
  release(): void {
    this.holders -= 1
    if (this.holders === 0) this.file.release()
  }

  /**
   * Reads what stands at memory's frames into a memory that nothing has been done with; `wordsOf`: where a page is to be had that does not go
   * there from the file. Rejects with INVALID_STREAM where a sample is another, and with IO.
   */
  async fill(memory: PhysicalMemory, { count: all, numbers, pages }: HeldPlaces, wordsOf: (page: number) => Uint32Array): Promise<void> {
    const { words, firstFrame } = memory
    const frames = new Uint32Array(all)
    /** Frames that have another one's page, each before that one. */
    const copies: number[] = []
    for (let i = 0; i < numbers.length; i += 1) {
      const number = numbers[i]!
      if (number < firstFrame) continue
      const first = frames[pages[i]!]!
      if (first === NOWHERE) frames[pages[i]!] = number
      else copies.push(number, first)
    }
    const read = await Promise.allSettled(this.records.map((record) => this.fillBy(record, frames, { memory, wordsOf })))
    for (const one of read) if (one.status === 'rejected') throw one.reason
    for (const { number, count } of this.records) frames.fill(NOWHERE, number, number + count)
    for (let page = 0; page < frames.length; page += 1) if (frames[page] !== NOWHERE) words.set(wordsOf(page), frames[page]! * PAGE_WORDS)
    for (let i = 0; i < copies.length; i += 2) words.copyWithin(copies[i]! * PAGE_WORDS, copies[i + 1]! * PAGE_WORDS, (copies[i + 1]! + 1) * PAGE_WORDS)
  }

  private async fillBy(
    record: HeldRecord, frames: Uint32Array, { memory: { bytes, words }, wordsOf }: { readonly memory: PhysicalMemory; readonly wordsOf: (page: number) => Uint32Array },
  ): Promise<void> {
    for (const one of await Promise.allSettled(readsOf(record, frames, bytes).map(({ rows, from }) => this.file.fill(rows, from)))) {
      if (one.status === 'rejected') throw unreadable(one.reason)
    }
    const sample = new RecordSample(record.count * PAGE_SIZE)
    for (let page = record.number; page < record.number + record.count; page += 1) {
      const frame = frames[page]!
      if (frame === NOWHERE) sample.page(wordsOf(page), 0)
      else sample.page(words, frame * PAGE_WORDS)
    }
    if (!sample.isThat(record)) throw badFile(record.where, 'its hash is another')
  }
}

/** What is read of a record at once: pages that follow each other and go into memory, those that do so there, too, as one row. */
function readsOf({ offset, number, count }: HeldRecord, frames: Uint32Array, bytes: Uint8Array): { readonly rows: Uint8Array[]; readonly from: number }[] {
  const reads: { readonly rows: Uint8Array[]; readonly from: number }[] = []
  for (let at = 0, isBehind = false; at < count;) {
    const frame = frames[number + at]!
    if (frame === NOWHERE) {
      isBehind = false
      at += 1
      continue
    }
    let length = 1
    while (at + length < count && frames[number + at + length] === frame + length) length += 1
    if (!isBehind) reads.push({ rows: [], from: offset + at * PAGE_SIZE })
    reads[reads.length - 1]!.rows.push(bytes.subarray(frame * PAGE_SIZE, (frame + length) * PAGE_SIZE))
    isBehind = true
    at += length
  }
  return reads
}

/** The blocks of a file that is held and not packed, one after the other; those that are a record of pages are passed by. */
export class HeldBlocks implements AsyncIterable<Uint8Array> {
  private readonly file: HeldFile
  private at: number
  private place = 1

  /** `at`: where the first block begins. */
  constructor(file: HeldFile, at: number) {
    this.file = file
    this.at = at
  }

  /** The record of pages that the next block is, and where they lie; then that one is passed by. Throws INVALID_STREAM. */
  passPages(): { readonly record: PageRecord; readonly offset: number } | undefined {
    const { file, at } = this
    const length = this.lengthAt()
    const record = length === undefined ? undefined : pageRecordBehind((row, from) => file.fillNow(row, at + BLOCK_FRAME + from), length)
    if (record === undefined) return undefined
    this.pass(length!)
    return { record, offset: at + BLOCK_FRAME + record.at }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (let length = this.lengthAt(); length !== undefined; length = this.lengthAt()) {
      const bytes = new Uint8Array(length)
      await this.file.fill([bytes], this.at + BLOCK_FRAME)
      this.pass(length)
      yield bytes
    }
  }

  /** The next block's; undefined at the end. */
  private lengthAt(): number | undefined {
    const { file, at } = this
    if (at === file.size) return undefined
    const where = `block ${this.place}`
    if (at + BLOCK_FRAME > file.size) throw badFile(where, 'it is cut off')
    const frame = new Uint8Array(BLOCK_FRAME)
    file.fillNow(frame, at)
    const view = new DataView(frame.buffer)
    const length = view.getUint32(0, true)
    if (length === 0 || length !== view.getUint32(4, true) || at + BLOCK_FRAME + length + paddingOf(length) > file.size) {
      throw badFile(where, `it says that it has ${length} bytes`)
    }
    return length
  }

  private pass(length: number): void {
    this.at += BLOCK_FRAME + length + paddingOf(length)
    this.place += 1
  }
}
