/**
 * The library in a browser: a host in a worker behind the same typed calls, terminals, disks in files, IndexedDB and at URLs, moments at
 * URLs, networks between tabs, by `fetch` and by a relay. Nothing here needs cross-origin isolation. Everything else - `Host`, guests, drivers - is imported from where it
 * always is, and runs in a browser as it is.
 *
 * @example
 * import { connectTerminal, connectWorker, type TerminalLike } from 'paravirt/browser'
 *
 * declare const terminal: TerminalLike // of @xterm/xterm
 * const host = await connectWorker(new Worker('./worker.js', { type: 'module' }))
 * connectTerminal((await host.domain('linux')).console, terminal)
 *
 * @module
 */
export { serveWorker } from './worker/serve-worker.ts'
export type { WorkerScope } from './worker/serve-worker.ts'
export { connectWorker } from './worker/connect-worker.ts'
export type { WorkerLike } from './worker/messages.ts'
export { connectTerminal } from './terminal.ts'
export type { ConsoleLike, Disposer, TerminalConnection, TerminalLike } from './terminal.ts'
export { BlobBlockStore } from './stores/blob-store.ts'
export type { BlobLike, BlobSlice } from './stores/blob-store.ts'
export { DirectoryFileStore } from './stores/directory-store.ts'
export type { DirectoryHandleLike, DirectoryStoreOptions, FileHandleLike, FileSlice, FileSnapshot, FileWriter } from './stores/directory-store.ts'
export { HttpBlockStore, httpStore } from './stores/http-store.ts'
export type { HttpStoreFigures, HttpStoreOptions, RemoteFile } from './stores/http-store.ts'
export { IndexedDbBlockStore, indexedDbStore } from './stores/indexed-db-store.ts'
export type { IndexedDbStoreOptions } from './stores/indexed-db-store.ts'
export { OpfsBlockStore, opfsStore } from './stores/opfs-store.ts'
export type { OpfsStoreOptions } from './stores/opfs-store.ts'
export type { SyncFile } from './stores/private-files.ts'
export { fetchMoment } from './moments/fetch-moment.ts'
export type { FetchedMoment, FetchMomentOptions } from './moments/fetch-moment.ts'
export { privateCache } from './moments/private-moments.ts'
export type { PrivateCacheOptions } from './moments/private-moments.ts'
export { FetchOutside, fetchOutside } from './network/fetch-outside.ts'
export type { FetchOutsideOptions } from './network/fetch-outside.ts'
export { WispOutside, wispOutside } from './network/wisp-outside.ts'
export type { WispOutsideOptions } from './network/wisp-outside.ts'
export type { RelaySocket } from './network/wisp-line.ts'
export type { RelayTarget } from './network/wisp-packets.ts'
export { connectRelay, connectTabs } from './network/wires.ts'
export type { Wire } from './network/wires.ts'
