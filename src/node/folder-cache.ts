/** Moments of fixtures in a folder. */
import { closeSync, createWriteStream, existsSync, fstatSync, openSync, readSync, readv } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { FixtureCache } from '../testing/index.ts'
import { NO_COMPRESSION, openOutput, type HeldFile } from '../toolstack/index.ts'
import { XenError } from '../util/index.ts'

const readRows = async (file: number, rows: readonly Uint8Array[], at: number): Promise<number> => (await promisify(readv)(file, rows, at)).bytesRead

/** Rows that systems read at once. */
const MOST_ROWS = 1024

/** Parts of a file that are read at once, each by a thread of Node's. */
const READERS = 4

/** Where fixtures are kept unless told otherwise: `PARAVIRT_CACHE`, or `.cache/paravirt` of the user. */
export const cacheFolder = (): string => process.env['PARAVIRT_CACHE'] ?? join(homedir(), '.cache', 'paravirt')

/** Files whose holder was forgotten. */
const forgotten = new FinalizationRegistry((file: number) => closeSync(file))

/** A file that stays open until it is released. */
class OpenFile implements HeldFile {
  readonly given = true
  readonly size: number
  private readonly file: number
  private isOpen = true

  constructor(path: string) {
    this.file = openSync(path, 'r')
    this.size = fstatSync(this.file).size
    forgotten.register(this, this.file, this)
  }

  async fill(rows: readonly Uint8Array[], from: number): Promise<void> {
    this.check()
    for (let [left, at] = [rows.filter(({ length }) => length > 0), from]; left.length > 0;) {
      const bytesRead = await readRows(this.file, left.slice(0, MOST_ROWS), at)
      if (bytesRead === 0) throw ended(at)
      at += bytesRead
      left = behind(left, bytesRead)
    }
  }

  fillNow(row: Uint8Array, from: number): void {
    this.check()
    for (let done = 0; done < row.length;) {
      const bytesRead = readSync(this.file, row, done, row.length - done, from + done)
      if (bytesRead === 0) throw ended(from + done)
      done += bytesRead
    }
  }

  /** Its number may be another file's by now. */
  private check(): void {
    if (!this.isOpen) throw new XenError('IO', 'the file is closed')
  }

  release(): void {
    if (!this.isOpen) return
    this.isOpen = false
    forgotten.unregister(this)
    closeSync(this.file)
  }

  /** All of it at once, in parts that are read beside each other. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      const bytes = new Uint8Array(this.size)
      const size = Math.ceil(bytes.length / READERS)
      await Promise.all(Array.from({ length: READERS }, (_, i) => this.fill([bytes.subarray(i * size, (i + 1) * size)], i * size)))
      yield bytes
    } finally {
      this.release()
    }
  }
}

const ended = (at: number): XenError => new XenError('IO', `a file ends at ${at}, where it went on`, { details: { at } })

/** What is left of rows that so many bytes were read into. */
function behind(rows: readonly Uint8Array[], bytesRead: number): Uint8Array[] {
  let left = bytesRead
  const first = rows.findIndex(({ length }) => {
    if (left < length) return true
    left -= length
    return false
  })
  return first < 0 ? [] : [rows[first]!.subarray(left), ...rows.slice(first + 1)]
}

/**
 * A folder as a cache of fixtures. Files are not packed: a disk is faster than unpacking. One that is written appears when it
 * is whole, so that processes may share a folder.
 */
export function folderCache(folder = cacheFolder()): FixtureCache {
  const pathOf = (key: string): string => join(folder, `${key}.moment`)
  return {
    compression: NO_COMPRESSION,
    read: async (key) => (existsSync(pathOf(key)) ? new OpenFile(pathOf(key)) : undefined),
    write: async (key, save) => {
      await mkdir(folder, { recursive: true })
      const own = `${pathOf(key)}.${process.pid}`
      try {
        await save(openOutput(createWriteStream(own, { flush: true })))
        await rename(own, pathOf(key))
      } catch (error) {
        await rm(own, { force: true })
        throw error
      }
    },
  }
}
