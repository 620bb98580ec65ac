/** The public view of the registers that a kernel in ring 0 has to itself. */
import type { SegmentState, SystemView, TableState } from '../../interface/registers.ts'
import type { Core } from '../core/core.ts'
import { executedOutside, readMsr, writeMsr } from '../system/msrs.ts'

/** System registers of one core. */
export class CoreSystemView implements SystemView {
  private readonly core: Core

  constructor(core: Core) {
    this.core = core
  }

  get gdt(): TableState {
    return this.core.system.gdt
  }

  set gdt(table: TableState) {
    this.core.system.gdt = table
  }

  get idt(): TableState {
    return this.core.system.idt
  }

  set idt(table: TableState) {
    this.core.system.idt = table
  }

  get ldtr(): SegmentState {
    return this.core.system.ldtr
  }

  set ldtr(segment: SegmentState) {
    this.core.system.ldtr = segment
  }

  get tr(): SegmentState {
    return this.core.system.tr
  }

  set tr(segment: SegmentState) {
    this.core.system.tr = segment
  }

  get timestampOffset(): readonly [low: number, high: number] {
    const { low, high } = this.core.system.timestampOffset
    return [low, high]
  }

  set timestampOffset([low, high]: readonly [low: number, high: number]) {
    this.core.system.timestampOffset = { low: low >>> 0, high: high >>> 0 }
  }

  msr(register: number): readonly [low: number, high: number] | undefined {
    return readMsr(this.core, register, executedOutside(this.core))
  }

  setMsr(register: number, low: number, high: number): boolean {
    return writeMsr(this.core, register, [low >>> 0, high >>> 0], executedOutside(this.core))
  }
}
