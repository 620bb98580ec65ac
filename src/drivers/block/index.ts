/**
 * Block devices.
 *
 * @module
 */
export { SECTOR_SIZE, checkRange, checkSize, checkWritable } from './block-store.ts'
export type { BlockStore } from './block-store.ts'
export { MemoryBlockStore } from './memory-store.ts'
export type { MemoryStoreOptions, MemoryStoreState } from './memory-store.ts'
export { OverlayBlockStore } from './overlay-store.ts'
export type { OverlayState } from './overlay-store.ts'
export type { ClusterSetState } from './cluster-set.ts'
export { LAYOUT_32, LAYOUT_64, layoutOf } from './protocol.ts'
export type { BlockLayout, DiskGeometry } from './protocol.ts'
export { PERSISTENT_GRANT_LIMIT } from './persistent-grants.ts'
export { BlockServer } from './server.ts'
export type { BlockServerOptions, BlockStatistics } from './server.ts'
export type { RecordedAnswer, StoreAnswer } from './waiting-requests.ts'
export { BlockBackend, disksState } from './backend.ts'
export type { DisksState } from './backend.ts'
export type { BlockBackendOptions, ServedDisk } from './served-disk.ts'
export type { DiskRequest } from './disk-request.ts'
export { loadStores } from './stores.ts'
export type { SavedMemoryStore, SavedOpening, SavedOverlay, StoreState } from './stores.ts'
export { BlockClient } from './client.ts'
export type { BlockClientOptions, BlockFeatures, BlockRequest, DataPage, Segment } from './client.ts'
export { BlockFrontend, Disk } from './frontend.ts'
export { parseVirtualDevice } from './virtual-device.ts'
export type { VirtualDevice } from './virtual-device.ts'
