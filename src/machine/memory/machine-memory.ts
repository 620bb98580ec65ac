/**
 * Physical memory as the machine's own processors know it: where the machine's areas lie in it, and who hears of writes to
 * decoded code.
 */
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
}
