/** Disks in qcow2 files. */
export { MemoryImageFile } from './image-file.ts'
export type { ImageFile } from './image-file.ts'
export { QcowBlockStore, backingOf } from './qcow2-store.ts'
export type { QcowOptions } from './qcow2-store.ts'
export type { QcowHeader } from './header.ts'
