/**
 * Segment descriptors: what their bits mean, where they stand in a segment register's hidden part (bits 55..40 of the
 * descriptor without the limit's), and the types of system segments and gates.
 * Reference: Intel SDM volume 3, sections 3.4.5, 3.5 and 5.8.
 */

/** Bits of a segment's attributes. Some mean one thing for code and another for data. */
export const ATTRIBUTE = {
  ACCESSED: 1 << 0, WRITABLE: 1 << 1, READABLE: 1 << 1, EXPAND_DOWN: 1 << 2, CONFORMING: 1 << 2, CODE: 1 << 3,
  /** A code or data segment, and not one of the system's. */
  SEGMENT: 1 << 4,
  /** Privilege level of the descriptor. */
  DPL: 3 << 5,
  PRESENT: 1 << 7,
  /** Code: 64-bit. */
  LONG: 1 << 13,
  /** Operands, addresses and stack pointer of 32 bits. */
  BIG: 1 << 14,
  /** The descriptor's limit counts pages. */
  GRANULAR: 1 << 15,
} as const

/** Where the privilege level begins in a segment's attributes. */
export const DPL_SHIFT = 5

/** Descriptor privilege level out of a segment's attributes. */
export const dplOf = (attributes: number): number => (attributes & ATTRIBUTE.DPL) >> DPL_SHIFT

const CONFORMING_CODE = ATTRIBUTE.SEGMENT | ATTRIBUTE.CODE | ATTRIBUTE.CONFORMING

/** True for conforming code, which outer rings may enter and look at. */
export const isConforming = (attributes: number): boolean => (attributes & CONFORMING_CODE) === CONFORMING_CODE

/** Types of system descriptors: the low bits of their attributes. */
export const SYSTEM_TYPE = {
  TSS_16: 1, LDT: 2, BUSY: 2, CALL_GATE_16: 4, TASK_GATE: 5, INTERRUPT_GATE_16: 6, TRAP_GATE_16: 7, TSS: 9,
  TSS_BUSY: 11, CALL_GATE: 12, INTERRUPT_GATE: 14, TRAP_GATE: 15,
} as const
