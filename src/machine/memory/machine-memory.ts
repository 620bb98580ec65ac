/**
 * Physical memory as the machine's own processors know it: where the machine's areas lie in it, and who hears of writes to
 * decoded code.
 */
import { PAGE_SHIFT } from '../../x86/index.ts'
import type { Bitmap } from '../../util/index.ts'
import type { MemoryLayout } from './layout.ts'
import { PhysicalMemory, layoutOf } from './physical-memory.ts'

/** Told when bytes of a frame that holds decoded instructions have changed. */
export type CodeWriteListener = (mfn: number) => void

/** Memory of a machine with processors. */
export class MachineMemory extends PhysicalMemory {
  /** Where the machine's own areas lie. */
  readonly layout: MemoryLayout = layoutOf(this)

  /** Sets who is told about writes to decoded code. */
  setCodeWriteListener(listener: CodeWriteListener): void {
    this.onCodeWrite = listener
  }

  /** Tells that the bytes of a frame are others, where code was taken from them; what was paid for it is forgotten. True where it was. */
  dropCode(mfn: number): boolean {
    if (!this.hasCode(mfn)) return false
    this.onCodeWrite(mfn)
    return true
  }

  /** Lines of a frame from which code was taken have changed: the page of the machine's own that they stand in is another. */
  noteLines(mfn: number): void {
    this.touch((this.layout.codeLines + mfn * 8) >>> PAGE_SHIFT)
  }

  /** The same for whoever keeps images. */
  override touch(page: number): void {
    super.touch(page)
  }

  /** True once writes to some frame were watched. */
  get hasWatched(): boolean {
    return this.watched
  }

  /** Which frames have been handed out. */
  get handedOut(): Bitmap {
    return this.used
  }
}
