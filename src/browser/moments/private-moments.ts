/**
 * Moments in a browser's private file system, as they are in memory: one that is read back is held, so that its pages go from the file into
 * the machine that begins there. A file's first bytes say how long it is and are written last, so that one whose writing was cut off is
 * none. When each was used last is the time at which an empty file beside it was written.
 */
import type { FixtureCache } from '../../testing/index.ts'
import { NO_COMPRESSION, type ByteInput, type HeldFile } from '../../toolstack/index.ts'
import { checkOptions, whole, XenError } from '../../util/index.ts'
import { listPrivateFiles, openPrivateFile, removePrivateFile, type SyncFile } from '../stores/private-files.ts'

/** How many moments a cache keeps. */
export interface PrivateCacheOptions {
  /** Bytes that all of them may have together; those go first that were used least recently. The one that was kept last stays. Default: 2 GiB. */
  readonly most?: number | undefined
}

/** Bytes in front: a magic and a length, each of 8 bytes. */
const HEADER = 16
const MAGIC = 0x7076_6d6f_6d65_6e74n
const MOST = 2 ** 31

/** How the names of files begin. */
const [MOMENT, USED] = ['moment ', 'used ']

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

/** Files whose holder was forgotten. */
const forgotten = new FinalizationRegistry((file: SyncFile) => file.close())

/** A moment that is held until it is released: nobody takes its file away until then. */
class HeldMoment implements HeldFile {
  readonly given = true
  readonly size: number
  private readonly file: SyncFile
  private isOpen = true
  /** Where it is read to what goes to several rows. */
  private between = new Uint8Array(0)

  constructor(file: SyncFile, size: number) {
    this.file = file
    this.size = size
    forgotten.register(this, file, this)
  }

  /** Rows are short, and each call takes a while: what goes to several is read at once. */
  async fill(rows: readonly Uint8Array[], from: number): Promise<void> {
    if (rows.length === 1) return this.fillNow(rows[0]!, from)
    const length = rows.reduce((sum, row) => sum + row.length, 0)
    if (this.between.length < length) this.between = new Uint8Array(length)
    this.fillNow(this.between.subarray(0, length), from)
    let at = 0
    for (const row of rows) {
      row.set(this.between.subarray(at, at + row.length))
      at += row.length
    }
  }

  fillNow(row: Uint8Array, from: number): void {
    if (!this.isOpen) throw new XenError('IO', 'the private file is closed')
    if (this.file.read(row, { at: HEADER + from }) !== row.length) throw new XenError('IO', `a private file ends before ${from + row.length}`, { details: { from } })
  }

  release(): void {
    if (!this.isOpen) return
    this.isOpen = false
    forgotten.unregister(this)
    this.file.close()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      const bytes = new Uint8Array(this.size)
      this.fillNow(bytes, 0)
      yield bytes
    } finally {
      this.release()
    }
  }
}

async function hold(key: string): Promise<HeldMoment | undefined> {
  const file = await openPrivateFile(MOMENT + key, { create: false, mode: 'read-only' })
  if (file === undefined) return undefined
  const length = lengthOf(file)
  if (length !== undefined) return new HeldMoment(file, length)
  file.close()
  return undefined
}

/** Notes that a moment is used now; where another tab does so at this instant, that is as good. */
async function noteUse(key: string): Promise<void> {
  try {
    const file = (await openPrivateFile(USED + key, { create: true }))!
    file.write(Uint8Array.of(0), { at: 0 })
    file.close()
  } catch {
    // Then it counts as used when it was written.
  }
}

async function writeWhole(key: string, save: Parameters<FixtureCache['write']>[1]): Promise<void> {
  const file = (await openPrivateFile(MOMENT + key, { create: true }))!
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
    await removePrivateFile(MOMENT + key)
    throw error
  }
}

/** Takes a moment away, but for one that is held somewhere, which goes another time. True where it went. */
async function remove(key: string): Promise<boolean> {
  try {
    await removePrivateFile(MOMENT + key)
    await removePrivateFile(USED + key)
    return true
  } catch (error) {
    if (XenError.is(error, 'BUSY')) return false
    throw error
  }
}

/** A moment that is kept. */
interface KeptMoment {
  readonly key: string
  readonly size: number
  /** When it was used last, in milliseconds since 1970. */
  readonly used: number
}

/** All that are kept. */
async function keptMoments(): Promise<readonly KeptMoment[]> {
  const uses = new Map((await listPrivateFiles(USED)).map(({ name, written }) => [name.slice(USED.length), written]))
  return (await listPrivateFiles(MOMENT)).map(({ name, size, written }) => {
    const key = name.slice(MOMENT.length)
    return { key, size, used: Math.max(written, uses.get(key) ?? 0) }
  })
}

/** Takes away what `isOld` says of by its key, and, of all but `key`, what was used least recently until `most` bytes are left at most. */
async function makeRoom(key: string, { most, isOld }: { readonly most: number; readonly isOld: (key: string) => boolean }): Promise<void> {
  const kept = [...await keptMoments()].sort((one, other) => one.used - other.used)
  let total = kept.reduce((sum, { size }) => sum + size, 0)
  for (const one of kept) {
    if (one.key === key || !(isOld(one.key) || total > most)) continue
    if (await remove(one.key)) total -= one.size
  }
}

/** The same with what is told of other keys: which of them nobody will ask for any more. */
export function privateMoments({ most = MOST }: PrivateCacheOptions, isOld: (key: string) => boolean): FixtureCache {
  return {
    compression: NO_COMPRESSION,
    read: async (key): Promise<ByteInput | undefined> => {
      const file = await hold(key)
      if (file !== undefined) void noteUse(key)
      return file
    },
    write: async (key, save) => {
      await writeWhole(key, save)
      await makeRoom(key, { most, isOld })
    },
  }
}

/**
 * A cache of fixtures and moments in the private file system, for `linux` and `fixture` of `paravirt/testing` in a dedicated worker. It keeps
 * so many bytes: what was used least recently goes when something else is kept, but for what is in use. Throws INVALID_ARGUMENT.
 *
 * @example
 * const ready = linux({ guests, cache: privateCache({ most: 1 << 29 }) })
 */
export function privateCache(options: PrivateCacheOptions = {}): FixtureCache {
  checkOptions('privateCache', options, { most: whole(0, Number.MAX_SAFE_INTEGER) })
  return privateMoments(options, () => false)
}
