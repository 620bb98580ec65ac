/**
 * Registers of a processor as software and debuggers see them. Values of 64 bits are two unsigned 32-bit halves; virtual
 * addresses are signed numbers (util's `signedFromParts`).
 */

/**
 * A segment register's hidden part as software sees it. `limit` in bytes; `attributes`: descriptor bits 55..40 without
 * the limit's.
 */
export interface SegmentState {
  readonly selector: number
  readonly baseLow: number
  readonly baseHigh: number
  readonly limit: number
  readonly attributes: number
}

/** Where a descriptor table lies; `limit` is the offset of its last byte. */
export interface TableState {
  readonly baseLow: number
  readonly baseHigh: number
  readonly limit: number
}

/** Architectural registers. General and segment registers by x86's numbers (GPR, SEGMENT). */
export interface Registers {
  /** Bits 0 to 31 of a general register. */
  low(general: number): number
  /** Bits 32 to 63 of a general register. */
  high(general: number): number
  /** Writes all 64 bits of a general register. */
  set(general: number, low: number, high: number): void
  /** Instruction pointer as a signed number; exact when canonical. Outside of 64-bit mode the offset in CS. */
  rip(): number
  /** Writes what {@link Registers.rip} tells into a general register, as SYSCALL does. */
  keepRip(general: number): void
  /** Where execution goes on, also after HLT; halves of the virtual address. */
  setRip(low: number, high: number): void
  /** RFLAGS with the lazily kept arithmetic flags worked out; bit 1 set. */
  flags(): number
  /** RFLAGS without the six arithmetic flags, which need no working out then. */
  systemFlags(): number
  /** Writes RFLAGS without checks. */
  setFlags(value: number): void
  /** Selector of a segment register. */
  selector(index: number): number
  /** Attributes of a segment register, as in {@link SegmentState}. */
  attributes(index: number): number
  /** Selector and hidden part of a segment register. */
  segment(index: number): SegmentState
  /** Sets selector and hidden part at once, without any check. */
  setSegment(index: number, state: SegmentState): void
  /** Control register 0, 2, 3, 4 or 8. */
  controlLow(index: number): number
  /** Bits 32 to 63 of a control register. */
  controlHigh(index: number): number
  /** Writes a control register without checks; CR3 and paging bits take effect at once (stale translations go). */
  setControl(index: number, low: number, high: number): void
  /** Base behind KERNEL_GS_BASE. */
  kernelGsBaseLow(): number
  /** Bits 32 to 63 of the base behind KERNEL_GS_BASE. */
  kernelGsBaseHigh(): number
  /** Writes the base that SWAPGS exchanges. */
  setKernelGsBase(low: number, high: number): void
  /** Exchanges it with that of GS. */
  swapGsBase(): void
  /** TSC_AUX, which RDTSCP reads beside the time stamp: 32 bits. */
  tscAux(): number
  /** Writes TSC_AUX. */
  setTscAux(value: number): void
  /** XCR0, bits 0 to 31: the parts of the state that software may use where CR4.OSXSAVE is set. */
  xcr0(): number
  /** Writes XCR0 without checks. */
  setXcr0(value: number): void
  /** Debug register 0 to 3, 6 or 7. */
  debugLow(index: number): number
  /** Bits 32 to 63 of a debug register. */
  debugHigh(index: number): number
  /** Writes a debug register without checks. */
  setDebug(index: number, low: number, high: number): void
}

/** Registers that a kernel in ring 0 has to itself. */
export interface SystemView {
  /** Where the descriptor tables lie. */
  gdt: TableState
  idt: TableState
  /** Local descriptor table and task register with their hidden parts. */
  ldtr: SegmentState
  tr: SegmentState
  /** What is added to the source of time to give the time-stamp counter, in halves: what WRMSR to the counter changes. */
  timestampOffset: readonly [low: number, high: number]
  /** A model-specific register in halves; undefined when there is none. */
  msr(register: number): readonly [low: number, high: number] | undefined
  /** Writes a model-specific register as WRMSR does; false where that faults. */
  setMsr(register: number, low: number, high: number): boolean
}
