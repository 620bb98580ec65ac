/**
 * Guest-physical memory of a processor whose host translates it (a p2m): asks the host for what generated code has not
 * heard of yet, and forgets what the host takes back. The guest's own flushes leave it alone.
 */
import { PAGE_SHIFT } from '../../../x86/index.ts'
import type { PhysicalSource } from '../../interface/sources.ts'
import type { MachineMemory } from '../../memory/machine-memory.ts'
import { HIGH_PAGE, NESTED_FAULT, NESTED_TLB } from '../layout/state.ts'
import type { RegisterFile } from './register-file.ts'

/** Bits of an entry: the page and what may be done with it. */
const ENTRY_BITS = (-1 << PAGE_SHIFT) | NESTED_FAULT.RIGHTS

/** Frame numbers that one bit of {@link HIGH_PAGE} stands for. */
const HIGH_FRAMES = 2 ** 20

/** Nested translations of one processor. */
export class NestedMemory {
  private readonly memory: MachineMemory
  private readonly registers: RegisterFile
  private readonly source: PhysicalSource

  constructor(memory: MachineMemory, registers: RegisterFile, source: PhysicalSource) {
    this.memory = memory
    this.registers = registers
    this.source = source
  }

  /** What the host has of a guest-physical page (HIGH_PAGE); 0 for nothing, and for what is no frame of guests. */
  ask(page: number): number {
    const { memory } = this
    const entry = (this.source.frame((page >>> PAGE_SHIFT) + (page & HIGH_PAGE) * HIGH_FRAMES) & ENTRY_BITS) >>> 0
    const mfn = entry >>> PAGE_SHIFT
    if ((entry & NESTED_FAULT.RIGHTS) === 0 || mfn < memory.firstFrame || mfn >= memory.endFrame) return 0
    const at = this.place(page >>> PAGE_SHIFT)
    memory.words[at] = (page | NESTED_TLB.valid) >>> 0
    memory.words[at + 1] = entry
    return entry
  }

  /** Forgets one frame. */
  drop(gfn: number): void {
    this.memory.words[this.place(gfn)] = 0
  }

  /** Forgets all. */
  clear(): void {
    const first = this.place(0)
    this.memory.words.fill(0, first, first + (NESTED_TLB.entries * NESTED_TLB.entryBytes) / 4)
  }

  private place(gfn: number): number {
    return (this.registers.base + NESTED_TLB.offset + (gfn & (NESTED_TLB.entries - 1)) * NESTED_TLB.entryBytes) >> 2
  }
}
