/** A disk in a browser's private file system (OPFS): calls answer at once, and what is written is there at the next visit. */
import { checkRange, checkSize, type BlockStore } from '../../drivers/index.ts'
import { checkArgument, checkOptions, text, thrownMessage, whole, XenError } from '../../util/index.ts'
import { openPrivateFile, type SyncFile } from './private-files.ts'

/** How a disk is opened. */
export interface OpfsStoreOptions {
  /** Bytes that a new one has. One that is there keeps its size. Without it the disk has to be there. */
  readonly size?: number
}

/** A disk in a private file; {@link opfsStore} opens one. */
export class OpfsBlockStore implements BlockStore {
  readonly readOnly = false
  private readonly file: SyncFile
  private readonly name: string

  /** `file`: one that is nobody else's. */
  constructor(name: string, file: SyncFile) {
    this.name = name
    this.file = file
  }

  get size(): number {
    return this.file.getSize()
  }

  /** Makes it larger, by zeros, or smaller. Throws INVALID_ARGUMENT, IO where there is no room. */
  resize(size: number): void {
    checkSize(size)
    this.attempt(() => this.file.truncate(size))
  }

  read(offset: number, target: Uint8Array): void {
    checkRange(this, offset, target.length)
    const length = this.attempt(() => this.file.read(target, { at: offset }))
    if (length !== target.length) throw this.failed(`${length} bytes of ${target.length} can be read`)
  }

  write(offset: number, source: Uint8Array): void {
    checkRange(this, offset, source.length)
    const length = this.attempt(() => this.file.write(source, { at: offset }))
    if (length !== source.length) throw this.failed(`${length} bytes of ${source.length} are written`)
  }

  flush(): void {
    this.attempt(() => this.file.flush())
  }

  close(): void {
    this.file.close()
  }

  private attempt<T>(act: () => T): T {
    try {
      return act()
    } catch (cause) {
      throw this.failed(thrownMessage(cause), cause)
    }
  }

  private failed(why: string, cause?: unknown): XenError {
    return new XenError('IO', `private file ${this.name}: ${why}`, { details: { name: this.name }, ...(cause === undefined ? {} : { cause }) })
  }
}

/**
 * Opens a disk by name, in a dedicated worker. Rejects with IO where there is none and no size is given, BUSY where it is open already.
 *
 * @example
 * const disk = await opfsStore('debian', { size: 1 << 30 })
 */
export async function opfsStore(name: string, options: OpfsStoreOptions = {}): Promise<OpfsBlockStore> {
  checkArgument('the name of a disk', name, text)
  checkOptions('opfsStore', options, { size: whole(0, Number.MAX_SAFE_INTEGER) })
  const { size } = options
  if (size !== undefined) checkSize(size)
  const file = await openPrivateFile(`disk ${name}`, { create: size !== undefined })
  if (file === undefined) throw new XenError('IO', `there is no disk ${name}: give the size of a new one`, { details: { name } })
  const store = new OpfsBlockStore(name, file)
  if (file.getSize() === 0 && size !== undefined) {
    try {
      store.resize(size)
    } catch (error) {
      store.close()
      throw error
    }
  }
  return store
}
