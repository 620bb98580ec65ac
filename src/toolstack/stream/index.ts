/** The saved-domain stream: formats, records, reader and writer. */
export { SaveStreamReader } from './reader.ts'
export type { ImageHeader, XlHeader } from './reader.ts'
export { SaveStreamWriter } from './writer.ts'
export type { ByteSink } from './writer.ts'
export type { ByteChunks } from './byte-source.ts'
export { MAX_BATCH_PAGES, PAGE_TYPE, PAGE_TYPE_PINNED } from './format.ts'
export type { CpuidLeaf, ImageRecord, LibxlRecord, MsrEntry, PageEntry } from './records.ts'
