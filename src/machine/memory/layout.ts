/**
 * Where things lie in the one linear memory of a machine:
 *
 *   0        4096                                                             firstFrame * 4096           endFrame * 4096
 *   | unused | frame notes | block table | record cache | fronts | processors | frames of domains         |
 *
 * Everything below `firstFrame` is the machine's own: no page table of a guest may lead there.
 * Nothing here knows what an instruction is.
 */
import { PAGE_SIZE } from '../../x86/index.ts'

/** Bytes of one page of a WebAssembly.Memory. */
export const WASM_PAGE = 65_536
/** Most that a WebAssembly.Memory can hold. */
export const MAX_MEMORY_BYTES = 65_536 * WASM_PAGE
/** Bytes that one processor's state, translations and jump cache take; the translations that it keeps of other tables are behind {@link USED_BYTES} of them. */
export const PROCESSOR_BYTES = 332 * 1024
/** Bytes of these that every processor uses. */
export const USED_BYTES = 224 * 1024
/** Processors that a machine has room for unless its options say otherwise. */
export const DEFAULT_PROCESSORS = 64
/**
 * Buckets of the table that finds decoded blocks by physical address: about as many as there can be blocks, as each step along a chain is one to memory
 * that no cache holds. A compiler as a guest's program fills the record cache, and with a quarter of these it took a sixth of its time to find blocks.
 */
export const BLOCK_BUCKETS = 1 << 18
/** Bytes for decoded instructions and for fronts; untouched ones cost nothing. */
export const RECORD_CACHE_BYTES = 48 * 1024 * 1024
/**
 * Bytes of these for blocks that begin with compiled code (cpu/code/fronts.ts): a place of their own, so that code that is
 * compiled does not make the record cache full any earlier, which a guest's time would show.
 */
const FRONT_BYTES = 2 * 1024 * 1024

/** Byte offsets of the machine's own areas. */
export interface MemoryLayout {
  /** Eight bytes a frame: one bit for each 64-byte line that holds decoded code. */
  readonly codeLines: number
  /** One byte a frame, see {@link FRAME_NOTE}. */
  readonly frameNotes: number
  /** One byte for each 256 frames: not zero where a note of one of them has been taken back, see {@link NOTE_GROUP_SHIFT}. */
  readonly noteGroups: number
  /** Heads of the block table's chains, four bytes each. */
  readonly blockTable: number
  readonly recordCache: number
  readonly recordCacheEnd: number
  readonly fronts: number
  readonly frontsEnd: number
  readonly processors: number
  /** As large as a processor's area, behind those: where handles of destroyed processors lead. */
  readonly retired: number
  readonly firstFrame: number
  readonly endFrame: number
  /** Pages of the WebAssembly.Memory. */
  readonly wasmPages: number
}

/** Frames of a group, as a power of two: whoever clears a frame's note marks its group, so that the others need not be looked at. */
export const NOTE_GROUP_SHIFT = 8

/** Bits of a frame's note. */
export const FRAME_NOTE = {
  /** Writes are being watched and this frame has not been written since. */
  CLEAN: 1,
  /** The page is as it was when memory was last captured or restored (image/memory-history.ts); of the machine's own pages too. */
  KEPT: 2,
  /** The frame is all zero: nobody has written it since it was handed out. */
  BLANK: 4,
} as const

const align = (value: number, unit: number): number => Math.ceil(value / unit) * unit

/** Works out where everything goes for `frames` frames of guests' memory. */
export function layOut(frames: number, processors: number, recordCacheBytes = RECORD_CACHE_BYTES): MemoryLayout {
  // The notes also cover the machine's own frames, so that a frame number indexes them directly.
  const own = PAGE_SIZE + BLOCK_BUCKETS * 4 + recordCacheBytes + (processors + 1) * PROCESSOR_BYTES + 4 * WASM_PAGE
  const noted = Math.ceil((own / PAGE_SIZE + frames) * 1.01) + 64
  const codeLines = PAGE_SIZE
  // Images hold the lines by whole pages.
  const frameNotes = align(codeLines + noted * 8, PAGE_SIZE)
  const noteGroups = align(frameNotes + noted, 4)
  const blockTable = align(noteGroups + (noted >>> NOTE_GROUP_SHIFT) + 1, PAGE_SIZE)
  const recordCache = blockTable + BLOCK_BUCKETS * 4
  const frontsEnd = align(recordCache + recordCacheBytes, PAGE_SIZE)
  const fronts = frontsEnd - FRONT_BYTES
  const retired = frontsEnd + processors * PROCESSOR_BYTES
  const firstFrame = (retired + PROCESSOR_BYTES) / PAGE_SIZE
  const endFrame = firstFrame + frames
  return {
    codeLines, frameNotes, noteGroups, blockTable, recordCache, recordCacheEnd: fronts, fronts, frontsEnd, processors: frontsEnd, retired,
    firstFrame, endFrame,
    wasmPages: Math.ceil((endFrame * PAGE_SIZE) / WASM_PAGE),
  }
}

/** Most bytes of guests' memory that a machine with room for so many processors can have, in whole frames. */
export function mostMemoryBytes(processors: number = DEFAULT_PROCESSORS): number {
  let fits = 0
  let tooMany = MAX_MEMORY_BYTES / PAGE_SIZE
  while (tooMany - fits > 1) {
    const middle = Math.floor((fits + tooMany) / 2)
    if (layOut(middle, processors).endFrame * PAGE_SIZE <= MAX_MEMORY_BYTES) fits = middle
    else tooMany = middle
  }
  return fits * PAGE_SIZE
}
