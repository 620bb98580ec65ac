/**
 * Moments in a browser's private file system, as they are in memory: reading one back takes no unpacking. A file's first bytes say how
 * long it is and are written last, so that one whose writing was cut off is none.
 */
import type { FixtureCache } from '../../testing/index.ts'
import { NO_COMPRESSION, type ByteInput } from '../../toolstack/index.ts'
import { openPrivateFile, removePrivateFile, type SyncFile } from '../stores/private-files.ts'

/** Bytes in front: a magic and a length, each of 8 bytes. */
const HEADER = 16
const MAGIC = 0x7076_6d6f_6d65_6e74n

function headerOf(length: number): Uint8Array {
  const header = new DataView(new ArrayBuffer(HEADER))
  header.setBigUint64(0, MAGIC)
  header.setBigUint64(8, BigInt(length))
  return new Uint8Array(header.buffer)
}

/** Bytes behind the header; undefined where the file is not whole. */
function lengthOf(file: SyncFile): number | undefined {
  const header = new DataView(new ArrayBuffer(HEADER))
  if (file.read(new Uint8Array(header.buffer), { at: 0 }) !== HEADER || header.getBigUint64(0) !== MAGIC) return undefined
  const length = Number(header.getBigUint64(8))
  return file.getSize() === HEADER + length ? length : undefined
}

const nameOf = (key: string): string => `moment ${key}`

async function readWhole(key: string): Promise<Uint8Array | undefined> {
  const file = await openPrivateFile(nameOf(key), { create: false })
  if (file === undefined) return undefined
  try {
    const length = lengthOf(file)
    if (length === undefined) return undefined
    const bytes = new Uint8Array(length)
    return file.read(bytes, { at: HEADER }) === length ? bytes : undefined
  } finally {
    file.close()
  }
}

async function writeWhole(key: string, save: Parameters<FixtureCache['write']>[1]): Promise<void> {
  const file = (await openPrivateFile(nameOf(key), { create: true }))!
  try {
    file.truncate(0)
    let length = 0
    await save({
      write: (chunk) => {
        if (file.write(chunk, { at: HEADER + length }) !== chunk.length) throw new Error('the browser has no more room')
        length += chunk.length
      },
      close: () => undefined,
      abort: () => undefined,
    })
    file.flush()
    file.write(headerOf(length), { at: 0 })
    file.flush()
    file.close()
  } catch (error) {
    file.close()
    await removePrivateFile(nameOf(key))
    throw error
  }
}

/** A cache of fixtures and moments in the private file system, for `linux` and `fixture` of `paravirt/testing` in a dedicated worker. */
export const privateCache = (): FixtureCache => ({
  compression: NO_COMPRESSION,
  read: (key): Promise<ByteInput | undefined> => readWhole(key),
  write: writeWhole,
})
