/** What a front-end has by number: each fid stands for a place, and may have a file or folder open. */
import { fileError, type Answer, type FileStore, type ListedFile, type OpenFile, type OpenHow } from './file-store.ts'
import { Places, type Place } from './places.ts'
import { FID_LIMIT, NO_FID, OPEN_FILE_LIMIT } from './protocol.ts'

/** A file that a fid has open. */
export interface OpenedFile {
  readonly file: OpenFile
  readonly how: OpenHow
}

/** One fid. */
export interface Fid {
  readonly number: number
  place: Place
  /** User on whose behalf it was attached. */
  readonly uid: number
  opened: OpenedFile | undefined
  /** What a folder that is open held when it was read from its beginning; undefined for what is no open folder. */
  listing: readonly ListedFile[] | undefined
}

/** The fids of one front-end. */
export class Fids {
  readonly places = new Places()
  private readonly byNumber = new Map<number, Fid>()
  private openFiles = 0

  get size(): number {
    return this.byNumber.size
  }

  /** Files that are open. */
  get open(): number {
    return this.openFiles
  }

  all(): Iterable<Fid> {
    return this.byNumber.values()
  }

  /** Throws EBADF for a number that nothing stands behind. */
  get(number: number): Fid {
    const fid = this.byNumber.get(number)
    if (fid === undefined) throw fileError('EBADF', `there is no fid ${number}`)
    return fid
  }

  /** Throws EBADF for a number that is taken or none, ENFILE where there are too many. */
  checkFree(number: number): void {
    if (number === NO_FID || this.byNumber.has(number)) throw fileError('EBADF', `fid ${number} is no new one`)
    if (this.byNumber.size >= FID_LIMIT) throw fileError('ENFILE', `there are ${FID_LIMIT} fids`)
  }

  add(number: number, place: Place, uid: number): Fid {
    const fid: Fid = { number, place: this.places.use(place), uid, opened: undefined, listing: undefined }
    this.byNumber.set(number, fid)
    return fid
  }

  /** Has a fid stand for another place. */
  move(fid: Fid, place: Place): void {
    this.places.use(place)
    this.places.release(fid.place)
    fid.place = place
  }

  /** Throws EMFILE where no more files may be open. */
  checkOpen(fid: Fid): void {
    if (fid.opened !== undefined || fid.listing !== undefined) throw fileError('EBUSY', `fid ${fid.number} is open already`)
    if (this.openFiles >= OPEN_FILE_LIMIT) throw fileError('EMFILE', `${OPEN_FILE_LIMIT} files are open`)
  }

  keepOpen(fid: Fid, opened: OpenedFile): void {
    fid.opened = opened
    this.openFiles += 1
  }

  /** Forgets a fid; the file that it has open is to be closed by whoever asks. */
  drop(fid: Fid): OpenFile | undefined {
    this.byNumber.delete(fid.number)
    this.places.release(fid.place)
    if (fid.opened !== undefined) this.openFiles -= 1
    return fid.opened?.file
  }
}

/** What operations work with. */
export interface SessionView {
  readonly store: FileStore
  readonly fids: Fids
  /** Bytes that data of one answer may have. */
  readonly dataLimit: number
  readonly counts: FileCounts
  /** Waits for the store where it does not answer at once. */
  wait<T>(answer: Answer<T>): Generator<PromiseLike<unknown>, T, unknown>
}

/** What a front-end has asked for so far. */
export interface FileCounts {
  requests: number
  reads: number
  writes: number
  bytesRead: number
  bytesWritten: number
  errors: number
}

/** Throws EROFS where nothing may change. */
export function checkChangeable({ store }: SessionView): void {
  if (store.readOnly) throw fileError('EROFS', 'the folder is read-only')
}
