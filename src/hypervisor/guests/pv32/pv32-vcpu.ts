/**
 * What a virtual CPU of a 32-bit PV guest is beyond what all PV guests have: entry points with code segments, and the
 * table of level 4 through which the processor, which is in long mode, reaches the guest's table of level 3. Kernel and
 * processes share that and are told apart by their rings, 1 and 3.
 * Reference: xen/arch/x86/include/asm/domain.h, struct pv_vcpu; xen/arch/x86/pv/domain.c, setup_compat_l4.
 */
import { PAGE_SHIFT, PTE, SEGMENT } from '../../../x86/index.ts'
import { type StateOf, type Stateful, badState, shape } from '../../../util/index.ts'
import type { FrameUse } from '../../domains/guest-vcpu.ts'
import type { Vcpu } from '../../domains/domain.ts'
import { FRAME_TYPE } from '../../frames/frame-table.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import { ParavirtualGuest, type ParavirtualParts } from '../paravirtual/paravirtual-guest.ts'
import { paravirtualFields } from '../paravirtual/paravirtual-vcpu.ts'
import type { Processor } from '../../../machine/index.ts'

/** What a saved vCPU looks like. */
export const pv32Shape = /* @__PURE__ */ shape.record({
  ...paravirtualFields, rootFrame: shape.word, baseTable: shape.word, eventSelector: shape.word, failsafeSelector: shape.word, failsafePending: shape.flag,
})

/** A vCPU as plain data. */
export type Pv32State = StateOf<typeof pv32Shape>

/** Rights of the one entry of the table of level 4. */
const TOP_ENTRY = PTE.PRESENT | PTE.WRITABLE | PTE.USER | PTE.ACCESSED

/** The entry that leads to a guest's table of level 3; 0 for none. Frames of a host fit into the low half. */
export const topEntry = (table: number): number => (table === 0 ? 0 : ((table << PAGE_SHIFT) | TOP_ENTRY) >>> 0)

/** State of one virtual CPU around its processor. */
export abstract class Pv32Vcpu extends ParavirtualGuest implements Stateful<Pv32State> {
  readonly topType = FRAME_TYPE.L3
  /** Frame of the table of level 4, which is the hypervisor's; 0 before the vCPU has got its registers. */
  rootFrame = 0
  /** Code segments of the entry points. */
  eventSelector = 0
  failsafeSelector = 0
  /** A segment register could not be loaded, of which the failsafe callback is still to tell. */
  failsafePending = false
  private baseTable = 0
  private readonly memory: GuestMemory

  constructor(vcpu: Vcpu, processor: Processor, parts: ParavirtualParts) {
    super(vcpu, processor, parts)
    this.memory = parts.memory
  }

  get kernelTable(): number {
    return this.baseTable === 0 ? 0 : this.rootFrame
  }

  get root(): number {
    return this.kernelTable
  }

  get inKernel(): boolean {
    return (this.processor.registers.selector(SEGMENT.cs) & 3) === 1
  }

  get isUser(): boolean {
    return (this.processor.registers.selector(SEGMENT.ss) & 3) === 3
  }

  get topTable(): number {
    return this.baseTable
  }

  /** The processor finds the guest's table in its own from now on; translations are the caller's to flush. */
  set topTable(table: number) {
    this.baseTable = table
    if (this.rootFrame === 0) return
    this.memory.words[this.rootFrame << 10] = topEntry(table)
    this.memory.markWritten(this.rootFrame)
  }

  /** Its table is held by the entry above it, which is counted with all others. */
  protected topTables(): Iterable<FrameUse> {
    return []
  }

  save(): Pv32State {
    const { rootFrame, baseTable, eventSelector, failsafeSelector, failsafePending } = this
    return {
      ...this.saveCommon(), rootFrame, baseTable, eventSelector, failsafeSelector, failsafePending,
    }
  }

  isAsSaved(state: Pv32State): boolean {
    return this.isCommonAsSaved(state)
  }

  load(state: Pv32State): void {
    const { processor } = state
    const root = state.baseTable === 0 ? 0 : state.rootFrame
    const control: unknown = processor.control
    if (!Array.isArray(control) || control[4] !== (root << PAGE_SHIFT) >>> 0 || control[5] !== root >>> 20) {
      throw badState('its processor walks from another table than its own')
    }
    this.loadCommon(state)
  }
}

/** A 32-bit PV guest's half of a vCPU; undefined for one of another kind, and for one that has no registers yet. */
export const pv32Of = ({ guest }: Vcpu): Pv32Vcpu | undefined => (guest instanceof Pv32Vcpu ? guest : undefined)
