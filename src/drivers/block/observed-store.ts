/**
 * A disk's store with somebody who hears of every change that it has taken, with the bytes, before its front-end is answered: for
 * mirrors. Reads pass by.
 */
import type { BlockStore } from './block-store.ts'

/** Hears what a store has taken. */
export interface WriteObserver {
  /** Bytes were stored at `offset`; they are the observer's to keep. */
  wrote(offset: number, bytes: Uint8Array): void
  /** A range reads as zeros from now on. */
  discarded(offset: number, length: number): void
}

const behind = (work: void | Promise<void>, tell: () => void): void | Promise<void> =>
  (work instanceof Promise ? work.then(tell) : tell())

/** The store, observed. */
export function observedStore(store: BlockStore, observer: WriteObserver): BlockStore {
  const { discard } = store
  return {
    get size() {
      return store.size
    },
    get readOnly() {
      return store.readOnly
    },
    read: (offset, target) => store.read(offset, target),
    write: (offset, source) => {
      // The guest may change its page while the store works.
      const bytes = source.slice()
      return behind(store.write(offset, bytes), () => observer.wrote(offset, bytes))
    },
    flush: () => store.flush(),
    ...(discard === undefined ? {} : {
      discard: (offset: number, length: number) => behind(discard.call(store, offset, length), () => observer.discarded(offset, length)),
    }),
    close: () => store.close(),
  }
}
