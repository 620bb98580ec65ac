/**
 * A machine's physical memory: one WebAssembly.Memory that never grows and never moves. A machine frame number is a
 * byte offset divided by 4096, so an address that a page walk yields is used directly, and a page that two domains
 * share is the same bytes. Who owns a frame is not known here.
 */
import { PAGE_SHIFT, PAGE_SIZE } from '../../x86/index.ts'
import { Bitmap, XenError } from '../../util/index.ts'
import { FRAME_NOTE, MAX_MEMORY_BYTES, layOut, mostMemoryBytes } from './layout.ts'
import type { MemoryLayout } from './layout.ts'

/** Told when bytes of a frame that holds decoded instructions have changed. */
export type CodeWriteListener = (mfn: number) => void

/** All frames of a machine; what the hypervisor knows as GuestMemory. */
export class PhysicalMemory {
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
  /** Where the machine's own areas lie. @internal */
  readonly layout: MemoryLayout
  private onCodeWrite: CodeWriteListener = () => {}
  /** Frames that have been handed out; the others are as zero as they were made. */
  private readonly used: Bitmap

  /** `bytes` of memory for guests, rounded up to whole frames, and room for `processors` processors. */
  constructor(bytes: number, processors: number) {
    const frames = Math.ceil(bytes / PAGE_SIZE)
    if (!(frames > 0)) throw new XenError('INVALID_ARGUMENT', 'a machine needs memory', { details: { bytes } })
    this.layout = layOut(frames, processors)
    if (this.layout.endFrame * PAGE_SIZE > MAX_MEMORY_BYTES) {
      const most = mostMemoryBytes(processors)
      throw new XenError('OUT_OF_MEMORY', `a machine holds at most ${most} bytes`, { details: { bytes, most } })
    }
    const pages = this.layout.wasmPages
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages })
    this.buffer = this.memory.buffer
    this.view = new DataView(this.buffer)
    this.bytes = new Uint8Array(this.buffer)
    this.words = new Uint32Array(this.buffer)
    this.firstFrame = this.layout.firstFrame
    this.endFrame = this.layout.endFrame
    this.used = new Bitmap(this.endFrame)
  }

  /**
   * Makes a frame all zero before it is handed out. One that is handed out for the first time is left alone: the host
   * gives memory to the process only when it is touched, and most of a guest's memory never is.
   */
  clearFrame(mfn: number): void {
    if (this.used.add(mfn)) return
    this.words.fill(0, mfn * (PAGE_SIZE / 4), (mfn + 1) * (PAGE_SIZE / 4))
  }

  /**
   * To be called after TypeScript has written into a guest's frame: drops instructions decoded from it and notes it
   * in dirty tracking.
   */
  markWritten(mfn: number): void {
    if (mfn < 0 || mfn >= this.endFrame) return
    this.bytes[this.layout.frameNotes + mfn]! &= ~FRAME_NOTE.CLEAN
    const lines = (this.layout.codeLines >> 2) + mfn * 2
    if ((this.words[lines]! | this.words[lines + 1]!) !== 0) this.onCodeWrite(mfn)
  }

  /**
   * Begins to watch writes to a frame (log-dirty): it counts as clean until it is written again. Translations that
   * already allow writing must be flushed by the caller.
   */
  watchWrites(mfn: number): void {
    this.bytes[this.layout.frameNotes + mfn]! |= FRAME_NOTE.CLEAN
  }

  /** Ends the watching of a frame's writes. */
  ignoreWrites(mfn: number): void {
    this.bytes[this.layout.frameNotes + mfn]! &= ~FRAME_NOTE.CLEAN
  }

  /** True while a watched frame has not been written. */
  isClean(mfn: number): boolean {
    return (this.bytes[this.layout.frameNotes + mfn]! & FRAME_NOTE.CLEAN) !== 0
  }

  /** Sets who is told about writes to decoded code. @internal */
  setCodeWriteListener(listener: CodeWriteListener): void {
    this.onCodeWrite = listener
  }

  /** Byte offset of a frame. */
  static offsetOf(mfn: number): number {
    return mfn * 2 ** PAGE_SHIFT
  }
}
