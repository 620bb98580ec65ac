export type { Decompressor } from './image/unpack.ts'
