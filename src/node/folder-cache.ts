/** Moments of fixtures in a folder. */
import { closeSync, createWriteStream, existsSync, fstatSync, openSync, read } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { FixtureCache } from '../testing/index.ts'
import { NO_COMPRESSION, openOutput, type GivenChunks } from '../toolstack/index.ts'

const readAt = promisify(read)

/** Parts of a file that are read at once, each by a thread of Node's. */
const READERS = 4

/** Where fixtures are kept unless told otherwise: `PARAVIRT_CACHE`, or `.cache/paravirt` of the user. */
export const cacheFolder = (): string => process.env['PARAVIRT_CACHE'] ?? join(homedir(), '.cache', 'paravirt')

/** Reads part of a file to its end, or to the file's; how many bytes that were. */
async function readPart(file: number, into: Uint8Array, from: number): Promise<number> {
  let length = 0
  while (length < into.length) {
    const { bytesRead } = await readAt(file, into, length, into.length - length, from + length)
    if (bytesRead === 0) break
    length += bytesRead
  }
  return length
}

/** A file whole: its memory is the reader's, so that nothing is copied. Reading begins when it is asked for, and goes on beside JavaScript. */
function wholeFile(path: string): GivenChunks {
  return {
    given: true,
    async *[Symbol.asyncIterator]() {
      const file = openSync(path, 'r')
      try {
        const bytes = new Uint8Array(fstatSync(file).size)
        const size = Math.ceil(bytes.length / READERS)
        const starts = Array.from({ length: READERS }, (_, i) => i * size)
        const lengths = await Promise.all(starts.map((from) => readPart(file, bytes.subarray(from, from + size), from)))
        yield bytes.subarray(0, lengths.reduce((sum, length) => sum + length, 0))
      } finally {
        closeSync(file)
      }
    },
  }
}

/**
 * A folder as a cache of fixtures. Files are not packed: a disk is faster than unpacking. One that is written appears when it
 * is whole, so that processes may share a folder.
 */
export function folderCache(folder = cacheFolder()): FixtureCache {
  const pathOf = (key: string): string => join(folder, `${key}.moment`)
  return {
    compression: NO_COMPRESSION,
    read: async (key) => (existsSync(pathOf(key)) ? wholeFile(pathOf(key)) : undefined),
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
