/**
 * A machine's physical memory: one WebAssembly.Memory that never grows and never moves. A machine frame number is a
 * byte offset divided by 4096, so an address that a page walk yields is used directly, and a page that two domains
 * share is the same bytes. Who owns a frame is not known here; what processors need besides is in machine-memory.ts.
 */
import { PAGE_SHIFT, PAGE_SIZE } from '../../x86/index.ts'
import { Bitmap, type Stateful, XenError, badState, shape } from '../../util/index.ts'
import { FRAME_NOTE, MAX_MEMORY_BYTES, NOTE_GROUP_SHIFT, WASM_PAGE, layOut, mostMemoryBytes } from './layout.ts'
import type { MemoryLayout } from './layout.ts'

const MOST_FRAMES = MAX_MEMORY_BYTES / PAGE_SIZE
/** Notes of four frames that are clean. */
const ALL_CLEAN = FRAME_NOTE.CLEAN * 0x0101_0101
const frameNumbers = /* @__PURE__ */ shape.array(Uint32Array, 0, MOST_FRAMES)

/** What a saved memory looks like. */
export const memoryShape = /* @__PURE__ */ shape.record<MemoryState>({
  firstFrame: shape.word, endFrame: shape.word, frames: frameNumbers,
  bytes: /* @__PURE__ */ shape.array(Uint8Array, 0, MAX_MEMORY_BYTES), used: frameNumbers, clean: frameNumbers,
  codeFrames: frameNumbers, codeLines: /* @__PURE__ */ shape.array(Uint32Array, 0, 2 * MOST_FRAMES),
})

/** A memory as plain data: the frames of domains, not the machine's own areas. */
export interface MemoryState {
  readonly firstFrame: number
  readonly endFrame: number
  /** Frames that are not all zero, ascending. */
  readonly frames: Uint32Array
  /** Their bytes, one after another. */
  readonly bytes: Uint8Array
  /** Frames that have been handed out, zero or not. */
  readonly used: Uint32Array
  /** Frames whose writes are watched and that have not been written since. */
  readonly clean: Uint32Array
  /** Frames from which code was taken since they were written. */
  readonly codeFrames: Uint32Array
  /** From which of their lines of 64 bytes, a bit each, two words for each frame: what decoding costs was paid for these. */
  readonly codeLines: Uint32Array
}

/** A memory of so many pages. Throws OUT_OF_MEMORY where the process has no room for it. */
function memoryOf(pages: number): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages })
  } catch (error) {
    throw new XenError('OUT_OF_MEMORY', `the process has no room for a machine of ${pages * WASM_PAGE} bytes`, { details: { bytes: pages * WASM_PAGE }, cause: error })
  }
}

/** Where the machine's own areas lie, for the machine's own processors; not published. */
export let layoutOf: (memory: PhysicalMemory) => MemoryLayout

/** All frames of a machine; what the hypervisor knows as GuestMemory. */
export class PhysicalMemory implements Stateful<MemoryState> {
  static {
    layoutOf = (memory) => memory.areas
  }

  /** The WebAssembly memory behind the views. */
  readonly memory: WebAssembly.Memory
  /** The whole memory. It never moves and never grows. */
  readonly buffer: ArrayBuffer
  readonly view: DataView
  readonly bytes: Uint8Array
  /** 32-bit words of the memory: `words[(mfn << 10) + i]`. */
  readonly words: Uint32Array
  /** First frame that may belong to a domain; what lies below is the machine's own. */
  readonly firstFrame: number
  /** One past the last frame. */
  readonly endFrame: number
  /** Where the machine's own areas lie. */
  private readonly areas: MemoryLayout
  /** The first frame's note, the first group's, and the word of the first frame's lines. hot path: looked at for each write that is told of. */
  private readonly noteAt: number
  private readonly groupAt: number
  private readonly linesAt: number
  /** Told about writes to decoded code. */
  protected onCodeWrite: (mfn: number) => void = () => {}
  /** Frames that have been handed out; the others are as zero as they were made. */
  protected readonly used: Bitmap
  /** True once writes to some frame were watched. */
  protected watched = false

  /** `bytes` of memory for guests, rounded up to whole frames, and room for `processors` processors. */
  constructor(bytes: number, processors: number) {
    const frames = Math.ceil(bytes / PAGE_SIZE)
    if (!(frames > 0)) throw new XenError('INVALID_ARGUMENT', 'a machine needs memory', { details: { bytes } })
    this.areas = layOut(frames, processors)
    if (this.areas.endFrame * PAGE_SIZE > MAX_MEMORY_BYTES) {
      const most = mostMemoryBytes(processors)
      throw new XenError('OUT_OF_MEMORY', `a machine holds at most ${most} bytes`, { details: { bytes, most } })
    }
    this.noteAt = this.areas.frameNotes
    this.groupAt = this.areas.noteGroups
    this.linesAt = this.areas.codeLines >> 2
    const pages = this.areas.wasmPages
    this.memory = memoryOf(pages)
    this.buffer = this.memory.buffer
    this.view = new DataView(this.buffer)
    this.bytes = new Uint8Array(this.buffer)
    this.words = new Uint32Array(this.buffer)
    this.firstFrame = this.areas.firstFrame
    this.endFrame = this.areas.endFrame
    this.used = new Bitmap(this.endFrame)
  }

  /**
   * Makes the frames from `first` to `end` - 1 all zero before they are handed out, which is told as a write. One that is handed out for the first time is left alone: the host
   * gives memory to the process only when it is touched, and most of a guest's memory never is.
   */
  clearFrames(first: number, end: number): void {
    const { used, words, bytes, noteAt, groupAt } = this
    for (let mfn = first; mfn < end; mfn += 1) {
      if (!used.add(mfn)) words.fill(0, mfn * (PAGE_SIZE / 4), (mfn + 1) * (PAGE_SIZE / 4))
      if (this.hasCode(mfn)) this.onCodeWrite(mfn)
    }
    bytes.fill(FRAME_NOTE.BLANK, noteAt + first, noteAt + end)
    bytes.fill(1, groupAt + (first >>> NOTE_GROUP_SHIFT), groupAt + ((end - 1) >>> NOTE_GROUP_SHIFT) + 1)
  }

  /** True for a frame of which it is known that it is all zero: nobody has told of a write since it was handed out. */
  isBlank(mfn: number): boolean {
    return (this.bytes[this.areas.frameNotes + mfn]! & FRAME_NOTE.BLANK) !== 0
  }

  /**
   * To be called after TypeScript has written into a guest's frame: drops instructions decoded from it and notes it
   * in dirty tracking.
   */
  markWritten(mfn: number): void {
    if (mfn < 0 || mfn >= this.endFrame) return
    const { bytes } = this
    bytes[this.noteAt + mfn] = 0
    bytes[this.groupAt + (mfn >>> NOTE_GROUP_SHIFT)] = 1
    if (this.hasCode(mfn)) this.onCodeWrite(mfn)
  }

  /** A page, of guests or of the machine's own, may differ from what it was when memory was last captured or restored. */
  protected touch(page: number): void {
    this.bytes[this.areas.frameNotes + page]! &= ~(FRAME_NOTE.KEPT | FRAME_NOTE.BLANK)
    this.bytes[this.areas.noteGroups + (page >>> NOTE_GROUP_SHIFT)] = 1
  }

  /** True when code was taken from a frame since it was written. */
  protected hasCode(mfn: number): boolean {
    const { words } = this
    const lines = this.linesAt + mfn * 2
    return (words[lines]! | words[lines + 1]!) !== 0
  }

  /** Lines of a frame from which code was taken since it was written: two words. */
  private linesOf(mfn: number): Uint32Array {
    const lines = this.linesAt + mfn * 2
    return this.words.subarray(lines, lines + 2)
  }

  /**
   * Begins to watch writes to a frame (log-dirty): it counts as clean until it is written again. Translations that
   * already allow writing must be flushed by the caller.
   */
  watchWrites(mfn: number): void {
    this.watched = true
    this.bytes[this.areas.frameNotes + mfn]! |= FRAME_NOTE.CLEAN
  }

  /** Ends the watching of a frame's writes. */
  ignoreWrites(mfn: number): void {
    this.bytes[this.areas.frameNotes + mfn]! &= ~FRAME_NOTE.CLEAN
  }

  /** True while a watched frame has not been written. */
  isClean(mfn: number): boolean {
    return (this.bytes[this.areas.frameNotes + mfn]! & FRAME_NOTE.CLEAN) !== 0
  }

  /** The first frame from `mfn` on, and below `end`, that is not clean; `end` where all are. hot path: four at a time. */
  firstNotClean(mfn: number, end: number): number {
    const { words, bytes, noteAt } = this
    let at = mfn
    for (; at < end && (at & 3) !== 0; at += 1) if ((bytes[noteAt + at]! & FRAME_NOTE.CLEAN) === 0) return at
    // Notes lie at pages.
    for (const first = noteAt >>> 2; at + 4 <= end && (words[first + (at >>> 2)]! & ALL_CLEAN) === ALL_CLEAN;) at += 4
    for (; at < end; at += 1) if ((bytes[noteAt + at]! & FRAME_NOTE.CLEAN) === 0) return at
    return end
  }

  save(): MemoryState {
    const frames: number[] = []
    const clean: number[] = []
    const codeFrames: number[] = []
    // Frames that were never handed out may hold what the hypervisor keeps in them.
    for (let mfn = this.firstFrame; mfn < this.endFrame; mfn += 1) {
      if (!this.isZero(mfn)) frames.push(mfn)
      if (this.isClean(mfn)) clean.push(mfn)
      if (this.hasCode(mfn)) codeFrames.push(mfn)
    }
    const bytes = new Uint8Array(frames.length * PAGE_SIZE)
    frames.forEach((mfn, i) => bytes.set(this.bytes.subarray(mfn * PAGE_SIZE, (mfn + 1) * PAGE_SIZE), i * PAGE_SIZE))
    const { firstFrame, endFrame, used } = this
    return { firstFrame, endFrame, frames: Uint32Array.from(frames), bytes, used: Uint32Array.from(used), clean: Uint32Array.from(clean),
      codeFrames: Uint32Array.from(codeFrames), codeLines: Uint32Array.from(codeFrames.flatMap((mfn) => [...this.linesOf(mfn)])) }
  }

  /** A memory of the same size; no processor runs on it. Translations that allow writing must be flushed by the caller. */
  load({ firstFrame, endFrame, frames, bytes, used, clean, codeFrames, codeLines }: MemoryState): void {
    if (firstFrame !== this.firstFrame || endFrame !== this.endFrame) throw badState(`it has frames ${firstFrame} to ${endFrame}`)
    if (bytes.length !== frames.length * PAGE_SIZE) throw badState(`it has ${bytes.length} bytes in ${frames.length} frames`)
    if (codeLines.length !== 2 * codeFrames.length) throw badState(`it has ${codeLines.length / 2} rows of lines in ${codeFrames.length} frames`)
    for (const row of [frames, used, clean, codeFrames]) {
      if (row.some((mfn, i) => mfn < firstFrame || mfn >= endFrame || (i > 0 && mfn <= row[i - 1]!))) throw badState('frames out of order')
    }
    this.used.clear()
    for (const mfn of used) this.used.add(mfn)
    for (let mfn = firstFrame; mfn < endFrame; mfn += 1) {
      if (!this.isZero(mfn)) this.words.fill(0, mfn * (PAGE_SIZE / 4), (mfn + 1) * (PAGE_SIZE / 4))
      this.markWritten(mfn)
    }
    frames.forEach((mfn, i) => this.bytes.set(bytes.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE), mfn * PAGE_SIZE))
    for (const mfn of clean) this.watchWrites(mfn)
    codeFrames.forEach((mfn, i) => {
      this.linesOf(mfn).set(codeLines.subarray(2 * i, 2 * i + 2))
      // The machine's own page that they stand in is another.
      this.touch((this.areas.codeLines + mfn * 8) >>> PAGE_SHIFT)
    })
  }

  private isZero(mfn: number): boolean {
    const end = (mfn + 1) * (PAGE_SIZE / 4)
    for (let at = mfn * (PAGE_SIZE / 4); at < end; at += 1) if (this.words[at] !== 0) return false
    return true
  }

  /** Byte offset of a frame. */
  static offsetOf(mfn: number): number {
    return mfn * 2 ** PAGE_SHIFT
  }
}
