/** What may come between a block back-end and its stores, so that tests see what guests do when a disk fails. */
import type { BlockStore } from './block-store.ts'
import type { DiskRequest } from './disk-request.ts'

/** What whoever interferes may ask of the domain that the back-end runs in. */
export interface DiskServices {
  /** Host time in nanoseconds. */
  now(): number
  /** Does something so many nanoseconds from now; the guests run on meanwhile. */
  after(nanoseconds: number, act: () => void): void
  /** Lets time stand still until the returned function is called: for what is waited for outside of the host. */
  hold(): () => void
}

/** Stands between. */
export interface DiskInterference {
  /**
   * What the requests of a disk go through from its connection on; its contents stay the store's. Time stands still for nothing
   * that it waits for, unless it says so.
   */
  through(request: DiskRequest, store: BlockStore, services: DiskServices): BlockStore
}
