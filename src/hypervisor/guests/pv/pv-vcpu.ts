/**
 * What a virtual CPU of a 64-bit PV guest is beyond what all PV guests have: the handler of SYSCALL, and the way between its
 * two modes. Kernel and user both run in ring 3; the hypervisor switches page tables and GS base between them.
 * Reference: xen/arch/x86/include/asm/domain.h, struct pv_vcpu; xen/arch/x86/pv/domain.c, toggle_guest_mode.
 */
import { FLAT } from '../../../abi/index.ts'
import type { Registers, SegmentState } from '../../../machine/index.ts'
import { PAGE_SHIFT } from '../../../x86/index.ts'
import { type StateOf, type Stateful, badState, shape } from '../../../util/index.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { FrameUse } from '../../domains/guest-vcpu.ts'
import { FRAME_TYPE } from '../../frames/frame-table.ts'
import { ParavirtualGuest } from '../paravirtual/paravirtual-guest.ts'
import { entryPoint, entryShape, paravirtualFields } from '../paravirtual/paravirtual-vcpu.ts'

/** Flat 64-bit code in ring 3. */
export const FLAT_CODE_64: SegmentState = {
  selector: FLAT.KERNEL_CS64, baseLow: 0, baseHigh: 0, limit: 0xffff_ffff, attributes: 0xa0fb,
}
/** Flat 32-bit code in ring 3. */
export const FLAT_CODE_32: SegmentState = {
  selector: FLAT.USER_CS32, baseLow: 0, baseHigh: 0, limit: 0xffff_ffff, attributes: 0xc0fb,
}
/** Flat data in ring 3. */
export const FLAT_DATA: SegmentState = {
  selector: FLAT.KERNEL_SS, baseLow: 0, baseHigh: 0, limit: 0xffff_ffff, attributes: 0xc0f3,
}

/** Loads one of these segments: behind their selectors there is never anything else. */
export function setFlat(registers: Registers, index: number, segment: SegmentState): void {
  if (registers.selector(index) !== segment.selector) registers.setSegment(index, segment)
}

/** What a saved vCPU looks like. */
export const pvShape = /* @__PURE__ */ shape.record({
  ...paravirtualFields, kernelTable: shape.word, userTable: shape.word, inKernel: shape.flag, syscallCallback: entryShape,
  syscallMasksEvents: shape.flag,
})

/** A vCPU as plain data. */
export type PvState = StateOf<typeof pvShape>

/** State of one virtual CPU around its processor. */
export abstract class PvVcpu extends ParavirtualGuest implements Stateful<PvState> {
  readonly topType = FRAME_TYPE.L4
  /** To the processor both modes are user mode. */
  readonly isUser = true
  readonly eventSelector = FLAT.KERNEL_CS64
  /** Frame of the kernel's top-level table; 0 for none. */
  kernelTable = 0
  inKernel = true
  readonly syscallCallback = entryPoint()
  syscallMasksEvents = false

  get root(): number {
    return this.inKernel ? this.kernelTable : this.userTable
  }

  get topTable(): number {
    return this.kernelTable
  }

  set topTable(frame: number) {
    this.kernelTable = frame
  }

  /** Changes between kernel and user mode: GS bases and page tables change places. */
  toggleMode(): void {
    this.processor.registers.swapGsBase()
    this.inKernel = !this.inKernel
    this.loadRoot()
  }

  /** Whether the guest's kernel takes SYSCALL of 64-bit code, or of shorter code. */
  hasSyscallEntry(fromLongCode: boolean): boolean {
    const { low, high } = fromLongCode ? this.syscallCallback : this.syscall32Callback
    return low !== 0 || high !== 0
  }

  protected *topTables(): Iterable<FrameUse> {
    for (const frame of [this.kernelTable, this.userTable]) {
      if (frame !== 0) yield { frame, type: FRAME_TYPE.L4, what: `a root of vCPU ${this.vcpu.vcpu}` }
    }
  }

  save(): PvState {
    const { kernelTable, userTable, inKernel, syscallMasksEvents } = this
    return { ...this.saveCommon(), kernelTable, userTable, inKernel, syscallMasksEvents, syscallCallback: { ...this.syscallCallback } }
  }

  isAsSaved(state: PvState): boolean {
    return this.isCommonAsSaved(state)
  }

  load(state: PvState): void {
    const { processor, kernelTable, userTable, inKernel } = state
    const root = inKernel ? kernelTable : userTable
    const control: unknown = processor.control
    if (!Array.isArray(control) || control[4] !== (root << PAGE_SHIFT) >>> 0 || control[5] !== root >>> 20) {
      throw badState('its processor walks from another table than that of its mode')
    }
    this.loadCommon(state)
    Object.assign(this.syscallCallback, state.syscallCallback)
  }
}

/** A 64-bit PV guest's half of a vCPU; undefined for one of another kind, and for one that has no registers yet. */
export const pvOf = ({ guest }: Vcpu): PvVcpu | undefined => (guest instanceof PvVcpu ? guest : undefined)
