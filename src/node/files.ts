/** Kernels and ramdisks from the file system. */
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { FileReader } from '../toolstack/index.ts'
import { thrownMessage, XenError } from '../util/index.ts'
import { confinedPath, type ConfinedOptions } from './confined-path.ts'

/**
 * Reads files of this machine; relative names are taken from `directory`, by default the working directory. With
 * `confined` whatever lies outside of it is refused with PERMISSION_DENIED.
 */
export function nodeFiles(directory = '.', options: ConfinedOptions = {}): FileReader {
  return {
    async read(path) {
      const full = options.confined === true ? confinedPath(directory, path) : resolve(directory, path)
      try {
        return await readFile(full)
      } catch (error) {
        throw new XenError(
          'IO',
          `file ${path} cannot be read: ${thrownMessage(error)}`,
          {
            details: { path, full },
            cause: error,
          },
        )
      }
    },
  }
}
