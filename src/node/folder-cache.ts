/** Moments of fixtures in a folder. */
import { createReadStream, createWriteStream, existsSync } from 'node:fs'
import { mkdir, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { openOutput } from '../toolstack/index.ts'
import type { FixtureCache } from '../testing/index.ts'
import { NO_COMPRESSION } from '../toolstack/index.ts'

/** Bytes that are read of a file at a time. */
const PIECE = 4 << 20

/** Where fixtures are kept unless told otherwise: `PARAVIRT_CACHE`, or `.cache/paravirt` of the user. */
export const cacheFolder = (): string => process.env['PARAVIRT_CACHE'] ?? join(homedir(), '.cache', 'paravirt')

/**
 * A folder as a cache of fixtures. Files are not packed: a disk is faster than unpacking. One that is written appears when it
 * is whole, so that processes may share a folder.
 */
export function folderCache(folder = cacheFolder()): FixtureCache {
  const pathOf = (key: string): string => join(folder, `${key}.moment`)
  return {
    compression: NO_COMPRESSION,
    read: async (key) => (existsSync(pathOf(key)) ? createReadStream(pathOf(key), { highWaterMark: PIECE }) : undefined),
    write: async (key, save) => {
      await mkdir(folder, { recursive: true })
      const own = `${pathOf(key)}.${process.pid}`
      try {
        await save(openOutput(createWriteStream(own)))
        await rename(own, pathOf(key))
      } catch (error) {
        await rm(own, { force: true })
        throw error
      }
    },
  }
}
