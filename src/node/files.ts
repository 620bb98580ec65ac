/** Kernels and ramdisks from the file system. */
import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import type { FileReader } from '../toolstack/index.ts'
import { XenError } from '../util/index.ts'

/** Reads files of this machine; relative names are taken from `directory`, by default the working directory. */
export function nodeFiles(directory = '.'): FileReader {
  return {
    async read(path) {
      const full = resolve(directory, path)
      try {
        return await readFile(full)
      } catch (error) {
        throw new XenError(
          'IO',
          `file ${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
          {
            details: { path, full },
            cause: error,
          },
        )
      }
    },
  }
}
