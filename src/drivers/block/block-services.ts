/** What the block back-end is made with, what it shows of a disk that it serves, and what a disk asks of it. */
import type { Rate } from '../../guest/index.ts'
import type { BlockStore } from './block-store.ts'
import type { DiskRequest } from './disk-request.ts'
import type { DiskInterference } from './interference.ts'
import type { BlockStatistics } from './server.ts'
import type { WriteObserver } from './observed-store.ts'
import type { RecordedAnswer, StoreAnswer } from './waiting-requests.ts'

/** How the back-end is made. */
export interface BlockBackendOptions {
  /** Opens the store of a disk. A rejection is told to the toolstack in `hotplug-error`. */
  open(request: DiskRequest): BlockStore | Promise<BlockStore>
  /** A store that was waited for has answered: `take` carries the answer to the guest. Default: at once. */
  answered?(request: DiskRequest, answer: StoreAnswer, take: () => void): void
  /** What comes between the disks and their stores, for tests. */
  readonly interference?: DiskInterference | undefined
  /** A store has thrown or rejected. Its request fails, or it counts as closed; nothing else is harmed. */
  onStoreFailed?(request: DiskRequest, error: unknown): void
}

/** Limits of a disk; what is left out is unlimited. */
export interface DiskRates {
  readonly requests?: Rate | undefined
  readonly bytes?: Rate | undefined
}

/** One disk that is being served. */
export interface ServedDisk {
  readonly request: DiskRequest
  /** What has been done; undefined while no front-end is connected. */
  readonly statistics: BlockStatistics | undefined
  /** True when the front-end broke its ring. */
  readonly broken: boolean
  /** How much its front-end may ask for in an interval: requests, bytes. */
  readonly rates: DiskRates
  /** Sets other limits, or none. */
  setRates(rates: DiskRates): void
  /** True when its contents lie elsewhere than in memory: after a load somebody has to open them. */
  readonly opensAnew: boolean
  /** True while its store has not answered what it was asked. */
  readonly isAwaited: boolean
  /** From now on contents that lie elsewhere stay as they are, and changes are kept above them. */
  holdContents(): void
  /** Bytes of what is served. */
  readonly size: number
  /** Fills `target` with what is served at `offset`. Throws CLOSED while nothing is open. */
  read(offset: number, target: Uint8Array): void | Promise<void>
  /** The store that its opener gave; undefined while none is open. */
  readonly contents: BlockStore | undefined
  /** Lets the store go, whatever becomes of the disk. */
  release(): Promise<void>
  /**
   * Serves other contents, those of another medium, named by `params`; resolves when the front-end has been told of their size. The store
   * before is closed. Rejects with CLOSED, and then closes the new one, where the disk has gone meanwhile.
   */
  changeContents(store: BlockStore, params: string): Promise<void>
  /** Gives the contents another size; resolves when the front-end has been told. Throws NOT_SUPPORTED for contents that cannot, INVALID_ARGUMENT. */
  resize(bytes: number): Promise<void>
  /**
   * Has somebody hear of every change that the contents take, until the function that it resolves with is called. Resolves when no
   * request is under way that was begun before. Throws BUSY where somebody does already.
   */
  observe(observer: WriteObserver): Promise<() => Promise<void>>
  /**
   * Serves nothing until the function that it resolves with is called: requests stay in the ring. Resolves when none is under way any more, and what was written is
   * durable. Rejects with what the store says.
   */
  hold(): Promise<() => Promise<void>>
  /** True while the request with this number waits for its store. */
  waitsFor(request: number): boolean
  /**
   * Answers a waiting request as its store did in another run. Throws INVALID_STATE when no such request waits,
   * INVALID_ARGUMENT when it reads another number of bytes.
   */
  answer(answer: RecordedAnswer): void
}

/** What a disk needs of its back-end. */
export interface BlockServices {
  readonly options: BlockBackendOptions
  /** A number that no store was opened under. */
  nextNumber(): number
  /** The place of a store among those that are saved. */
  placeOf(store: BlockStore): number
  /** What is served for a store that was opened: itself where its contents are in memory, one for all disks that share it. */
  served(store: BlockStore): BlockStore
  /** The store that was saved at a place. */
  storeAt(place: number): BlockStore
  /** The disk of a path is gone. */
  forget(path: string): void
}
