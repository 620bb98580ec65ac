/**
 * Registers that only a bare processor's own kernel uses: descriptor-table registers, task register, model-specific
 * registers. Plain data; what they mean is said where they are used.
 * Reference: Intel SDM volume 3, sections 2.4 and 9.1; volume 4.
 */
import { MSR } from '../../../x86/index.ts'
import type { SegmentState, TableState } from '../../interface/registers.ts'

/** A model-specific register that is nothing but a value: what it holds after reset. */
const PLAIN: ReadonlyMap<number, readonly [low: number, high: number]> = /* @__PURE__ */ new Map([
  [MSR.STAR, [0, 0]], [MSR.LSTAR, [0, 0]], [MSR.CSTAR, [0, 0]], [MSR.SFMASK, [0, 0]],
  [MSR.SYSENTER_CS, [0, 0]], [MSR.SYSENTER_ESP, [0, 0]], [MSR.SYSENTER_EIP, [0, 0]],
  // WB, WT, UC-, UC, twice.
  [MSR.PAT, [0x0007_0406, 0x0007_0406]],
  // Fast strings.
  [MSR.MISC_ENABLE, [1, 0]],
  [MSR.TSC_AUX, [0, 0]],
])

/** Numbers of those registers. */
export const PLAIN_MSRS: readonly number[] = /* @__PURE__ */ [...PLAIN.keys()]

const LDT_ATTRIBUTES = 0x82
const BUSY_TSS_ATTRIBUTES = 0x8b

/** System registers of one core. */
export class SystemRegisters {
  gdt!: TableState
  idt!: TableState
  ldtr!: SegmentState
  tr!: SegmentState
  /** What is added to the time stamp's source. */
  timestampOffset!: { low: number; high: number }
  private values!: Map<number, readonly [low: number, high: number]>

  constructor() {
    this.reset()
  }

  /** Everything as after reset. */
  reset(): void {
    this.resetTables()
    this.timestampOffset = { low: 0, high: 0 }
    this.values = new Map(PLAIN)
  }

  /** Table and task registers as after reset, and as INIT leaves them. */
  resetTables(): void {
    this.gdt = { baseLow: 0, baseHigh: 0, limit: 0xffff }
    this.idt = { baseLow: 0, baseHigh: 0, limit: 0xffff }
    const empty = { selector: 0, baseLow: 0, baseHigh: 0, limit: 0xffff }
    this.ldtr = { ...empty, attributes: LDT_ATTRIBUTES }
    this.tr = { ...empty, attributes: BUSY_TSS_ATTRIBUTES }
  }

  /** A register that is nothing but a value; undefined when it is none. */
  plain(register: number): readonly [low: number, high: number] | undefined {
    return this.values.get(register)
  }

  setPlain(register: number, low: number, high: number): void {
    this.values.set(register, [low >>> 0, high >>> 0])
  }
}
