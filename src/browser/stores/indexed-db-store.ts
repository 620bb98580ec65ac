/**
 * A disk in IndexedDB: slower than a private file, and there also for shared workers and pages. Pieces that hold zeros take no room. Requests
 * reach the database in their order; what a flush has waited for is there after a crash of the browser.
 *
 * Reference: W3C, Indexed Database API 3.0.
 */
import { checkRange, checkSize, type BlockStore } from '../../drivers/index.ts'
import { checkArgument, checkOptions, text, thrownMessage, whole, XenError } from '../../util/index.ts'

/** How a disk is opened. */
export interface IndexedDbStoreOptions {
  /** Bytes that a new one has. One that is there keeps its size. Without it the disk has to be there. */
  readonly size?: number
}

const DATABASE = 'paravirt'
const DISKS = 'disks'
const PIECES = 'pieces'
/** Bytes of a piece. */
const PIECE = 16 << 10

const failed = (name: string, cause: unknown): XenError =>
  new XenError('IO', `the disk ${name} in IndexedDB: ${thrownMessage(cause)}`, { details: { name }, cause })

/** What a request has found. */
const answer = <T>(request: IDBRequest<T>): Promise<T> => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result)
  request.onerror = () => reject(request.error ?? new Error('the request has failed'))
})

/** Resolves when what a transaction has written is there. */
const done = (transaction: IDBTransaction): Promise<void> => new Promise((resolve, reject) => {
  transaction.oncomplete = () => resolve()
  transaction.onabort = () => reject(transaction.error ?? new Error('the transaction was given up'))
})

async function openDatabase(): Promise<IDBDatabase> {
  if (typeof indexedDB === 'undefined') throw new XenError('NOT_SUPPORTED', 'there is no IndexedDB here', { details: {} })
  const request = indexedDB.open(DATABASE, 1)
  request.onupgradeneeded = () => {
    request.result.createObjectStore(DISKS)
    request.result.createObjectStore(PIECES)
  }
  return answer(request)
}

/** Numbers of the pieces that a range touches. */
function* piecesOf(offset: number, length: number): Generator<number> {
  for (let number = Math.floor(offset / PIECE); number * PIECE < offset + length; number += 1) yield number
}

/** The part of a range that is in a piece: from where to where in the range, and where in the piece. */
function partOf(number: number, offset: number, length: number): { readonly from: number; readonly to: number; readonly at: number } {
  const start = number * PIECE
  const from = Math.max(0, start - offset)
  return { from, to: Math.min(length, start + PIECE - offset), at: offset + from - start }
}

/** A disk in IndexedDB; {@link indexedDbStore} opens one. */
export class IndexedDbBlockStore implements BlockStore {
  readonly readOnly = false
  readonly size: number
  private readonly name: string
  private readonly database: IDBDatabase
  private closed = false

  /** `database`: opened for this disk alone. */
  constructor(name: string, database: IDBDatabase, size: number) {
    this.name = name
    this.database = database
    this.size = size
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    checkRange(this, offset, target.length)
    await this.within('readonly', async (pieces) => {
      await Promise.all([...piecesOf(offset, target.length)].map(async (number) => {
        const piece = await this.piece(pieces, number)
        const { from, to, at } = partOf(number, offset, target.length)
        if (piece === undefined) target.fill(0, from, to)
        else target.set(piece.subarray(at, at + to - from), from)
      }))
    })
  }

  /** Rejects with IO where the browser has no more room. The bytes are the caller's again at once. */
  async write(offset: number, source: Uint8Array): Promise<void> {
    checkRange(this, offset, source.length)
    await this.change(offset, source.length, (piece, { from, to, at }) => piece.set(source.subarray(from, to), at))
  }

  async discard(offset: number, length: number): Promise<void> {
    checkRange(this, offset, length)
    await this.change(offset, length, (piece, { from, to, at }) => void piece.fill(0, at, at + to - from))
  }

  async flush(): Promise<void> {
    // A later transaction ends behind those before it, and this one says how durably.
    await this.within('readwrite', async () => undefined, 'strict')
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    this.database.close()
  }

  private async piece(pieces: IDBObjectStore, number: number): Promise<Uint8Array | undefined> {
    const found: unknown = await answer(pieces.get([this.name, number]))
    return found instanceof Uint8Array && found.length === PIECE ? found : undefined
  }

  private async change(offset: number, length: number, act: (piece: Uint8Array, part: ReturnType<typeof partOf>) => void): Promise<void> {
    // What is written was the caller's: it is taken at once, where pieces are not whole behind the reading of the rest.
    const parts = [...piecesOf(offset, length)].map((number) => {
      const part = partOf(number, offset, length)
      const fresh = new Uint8Array(PIECE)
      act(fresh, part)
      return { number, part, fresh }
    })
    await this.within('readwrite', async (pieces) => {
      await Promise.all(parts.map(async ({ number, part: { from, to, at }, fresh }) => {
        const before = to - from === PIECE ? undefined : await this.piece(pieces, number)
        if (before !== undefined) {
          fresh.set(before.subarray(0, at))
          fresh.set(before.subarray(at + to - from), at + to - from)
        }
        const key = [this.name, number]
        if (fresh.some((byte) => byte !== 0)) await answer(pieces.put(fresh, key))
        else await answer(pieces.delete(key))
      }))
    })
  }

  private async within(mode: IDBTransactionMode, act: (pieces: IDBObjectStore) => Promise<void>, durability: 'relaxed' | 'strict' = 'relaxed'): Promise<void> {
    if (this.closed) throw new XenError('CLOSED', `the disk ${this.name} is closed`, { details: { name: this.name } })
    try {
      const transaction = this.database.transaction([PIECES], mode, { durability })
      const ended = done(transaction)
      // Both reject where one does.
      ended.catch(() => undefined)
      await act(transaction.objectStore(PIECES))
      await ended
    } catch (cause) {
      throw failed(this.name, cause)
    }
  }
}

/**
 * Opens a disk by name. Rejects with IO where there is none and no size is given.
 *
 * @example
 * const disk = await indexedDbStore('notes', { size: 16 << 20 })
 */
export async function indexedDbStore(name: string, options: IndexedDbStoreOptions = {}): Promise<IndexedDbBlockStore> {
  checkArgument('the name of a disk', name, text)
  checkOptions('indexedDbStore', options, { size: whole(0, Number.MAX_SAFE_INTEGER) })
  const { size } = options
  if (size !== undefined) checkSize(size)
  const database = await openDatabase().catch((cause: unknown) => { throw XenError.is(cause) ? cause : failed(name, cause) })
  try {
    const transaction = database.transaction([DISKS], 'readwrite')
    const disks = transaction.objectStore(DISKS)
    const found: unknown = await answer(disks.get(name))
    if (found === undefined && size !== undefined) await answer(disks.put(size, name))
    await done(transaction)
    const kept = typeof found === 'number' ? found : size
    if (kept === undefined) throw new XenError('IO', `there is no disk ${name} in IndexedDB: give the size of a new one`, { details: { name } })
    return new IndexedDbBlockStore(name, database, checkSize(kept))
  } catch (cause) {
    database.close()
    throw XenError.is(cause) ? cause : failed(name, cause)
  }
}
