/**
 * A processor's area in linear memory, declared once: TypeScript reads it through the overlay, generated code uses the
 * same offsets. The first 256 bytes are 32 slots of 8 bytes that an instruction record names by their byte offset.
 *
 *   base            +4096            +69632    +73632         +73728           +204800   +221184      +229376      +327680
 *   | state         | TLB, 2 banks   | TLB log | store aside    | jump cache      | scratch | nested TLB | kept banks | their logs
 */
import { array, i32, overlay, u32, u64 } from '../../../util/index.ts'

/** Slots that operands may name besides the 16 general registers: byte offset of each. */
export const SLOT = {
  /** Always zero: the absent base or index of an address. */
  zero: 128,
  /** Temporaries that live within one instruction. */
  t0: 136, t1: 144, t2: 152,
  /** Linear address of the page that holds the running block; base of rip-relative addresses. */
  page: 160,
  fs: 168, gs: 176, es: 184, cs: 192, ss: 200, ds: 208,
  t3: 216,
} as const

/** Slot of a segment's base by the segment's number. */
export const SEGMENT_SLOT = [SLOT.es, SLOT.cs, SLOT.ss, SLOT.ds, SLOT.fs, SLOT.gs] as const

/** A processor's state. Arithmetic flags: see emit/flags.ts. */
export const State = /* @__PURE__ */ overlay(4096, {
  general: array(0, u64, 16),
  temporaries: array(SLOT.t0, u64, 3),
  page: u64(SLOT.page),
  fsBase: u64(SLOT.fs),
  gsBase: u64(SLOT.gs),
  /** What the last arithmetic gave, sign-extended. */
  flagResult: u64(224),
  /** AF and corrections to SF and PF. */
  flagLow: u32(232),
  /** CF in bit 31, CF xor OF in bit 30. */
  flagHigh: u32(236),
  rip: u64(240),
  /** Host address that a prepared write goes to. */
  host: u32(248),
  /** All flags but the six arithmetic ones. */
  systemFlags: u32(252),
  xmm: array(256, u64, 32),
  /** Instructions left of the running slice; negative only inside generated code. */
  budget: i32(512),
  /** Record at which execution stopped. */
  record: u32(516),
  /** How code is decoded and what it may do: part of the key of blocks. */
  mode: u32(520),
  /** As the jump cache keys its entries: CONTEXT. */
  context: u32(524),
  /** Address of the TLB bank in use. */
  bank: u32(528),
  /** Entries in the TLB log. */
  logCount: u32(532),
  /** Not zero when a large page has been translated since the last full flush. */
  largePages: u32(536),
  /** Bits of PERMISSION that hold now. */
  permissions: u32(540),
  /** Byte offset that the processor's physical address 0 has in memory; first byte and bytes that it may reach. */
  physicalBase: u32(544),
  physicalLow: u32(548),
  physicalSize: u32(600),
  /** Not zero while data accesses are looked at one by one (core/debug.ts), and the address of the one at hand. */
  watch: u32(616),
  watchedAddress: u64(624),
  /** Offsets of memory's tables: code lines, frame notes and their groups, block table. */
  codeLines: u32(552),
  frameNotes: u32(556),
  noteGroups: u32(604),
  blockTable: u32(560),
  /** Physical address of the top page table. */
  root: u32(564),
  /** Fault that generated code found. */
  faultVector: u32(568),
  faultCode: u32(572),
  faultAddress: u64(576),
  /** A write that has to be carried out piece by piece: host addresses and bytes of the first piece. */
  pendingFirst: u32(584),
  pendingSecond: u32(588),
  pendingSplit: u32(592),
  pendingSize: u32(596),
  /** 64 bytes where such a write is put together. */
  scratch: u64(640),
  control: array(704, u64, 9),
  kernelGsBase: u64(784),
  debug: array(792, u64, 8),
  mxcsr: u32(856),
  xcr0: u32(860),
  /** x87: eight registers of 16 bytes, then the control words. */
  x87: array(864, u64, 16),
  x87Control: u32(992),
  x87Status: u32(996),
  x87Tags: u32(1000),
  x87Opcode: u32(1004),
  x87Instruction: u64(1008),
  x87Data: u64(1016),
  /** Six segment registers: selector, limit, attributes; bases are slots. */
  selectors: array(1024, u32, 6),
  limits: array(1048, u32, 6),
  attributes: array(1072, u32, 6),
  /** Bits of the stack pointer that count outside of 64-bit mode: all 32, or 16 where SS.B is clear. */
  stackMask: u32(1200),
  /** The record of the region (region/form/region.ts) that was left last, and why, as a number of EXIT_CAUSES; 0: none since generated code began to run. */
  exitRecord: u32(1204),
  exitCause: u32(1208),
  /**
   * How often regions were left for code that they have not since the last sample, and of the last time: the region's record, the
   * exit's word (region/form/exit-word.ts), and where it led.
   */
  leads: u32(1512),
  /** Where the log of the translations in force lies. */
  log: u32(1516),
  leadRecord: u32(1492),
  leadWord: u64(1496),
  leadTo: u64(1504),
  /** Upper halves of the vector registers: 960 bytes behind the lower ones; so do the temporary's, at 1104. */
  ymmHigh: array(1216, u64, 32),
  /** Always zero: the absent half of a vector. */
  zeroVector: array(1472, u64, 2),
  /**
   * Selectors of code and, in the upper half, of stack where the host says of both that their segments never change; else 0. And what
   * a return to them costs beside the instruction.
   */
  constantSelectors: u32(1520),
  returnPrice: u32(1524),
  /** Half the number of the block that was counted last, while coverage is on (code/coverage.ts). */
  coveredBefore: u32(1488),
  /** Guest-physical page (HIGH_PAGE) that led nowhere, of a processor whose memory its host translates. */
  physicalFault: u32(1212),
})

/** Bytes from the beginning of a vector register at which its upper half lies: beyond all registers' lower halves. */
export const UPPER_HALF = State.ymmHigh.offset - State.xmm.offset

/** Where a TLB entry's parts lie: tags are the page's linear address, or NO_TAG. */
export const TLB = {
  offset: 4096, bankBytes: 32_768, entries: 1024, entryBytes: 32,
  read: 0, write: 8, execute: 16,
  /** To be added to a linear address to give the byte in memory. */
  delta: 24,
} as const
/** Tag that no page has. */
export const NO_TAG = 1
/** What an access to memory is for, as generated code names it: the offset of its tag in a TLB entry. */
export const ACCESS = { READ: TLB.read, WRITE: TLB.write, EXECUTE: TLB.execute } as const
/** Addresses of TLB entries in use, four bytes each, so that a flush costs what was used. */
export const TLB_LOG = { offset: 69_632, entries: 1000 } as const
/** Eight bytes that stand for those in memory while an instruction's store goes aside (processor/store-aside.ts). */
export const STORE_ASIDE = { offset: 73_632, bytes: 8 } as const
/** Jump cache: rip, context, block. */
export const JUMP = { offset: 73_728, entries: 8192, entryBytes: 16, context: 8, block: 12 } as const
/** Records that are executed once: a block cut short by the budget. */
export const SCRATCH_BLOCK = { offset: 204_800, bytes: 16_384 } as const
/**
 * What the host has said of guest-physical pages (core/nested-memory.ts): the page with the valid bit, then the page in
 * memory with bits of FRAME_RIGHT.
 */
export const NESTED_TLB = { offset: 221_184, entries: 1024, entryBytes: 8, valid: 0x800 } as const
/** Banks of the TLB, each with its log, for translations that outlive a switch to other tables (core/translations.ts), beside the usual one. */
export const KEPT_TLB = { offset: 229_376, banks: 3, logs: 327_680, logBytes: 4096, end: 339_968 } as const
/** Where a guest-physical page of 40 bits, which travels in 32, has its highest ones. */
export const HIGH_PAGE = 0xff

/**
 * Error code by which generated code tells an address that is not canonical, or goes on beyond 4 GiB: a #GP, or a stack
 * fault where the access goes through SS, which the driver finds out.
 */
export const NOT_CANONICAL = 0x1_0000
/**
 * In place of a vector: a guest-physical address led nowhere, which is the host's affair and no exception of the guest's.
 * The error code is NESTED_FAULT.
 */
export const PHYSICAL_FAULT = 0x100
/**
 * In place of a vector: a walk has set bits of page tables where decoded code was taken from. That code is gone, and the
 * instruction is begun anew, by what its bytes are now.
 */
export const WALK_AGAIN = 0x101
/** The same for an access to bytes that are watched: the instruction is begun anew, by itself and under the eyes of who watches. */
export const WATCH_AGAIN = 0x102
/**
 * Bits of State.watch: why data accesses are looked at. With PAGES alone, those to other pages are remembered; HELD_READ and
 * HELD_WRITE keep the page at hand from it, and NOTED has what is looked at told.
 */
export const WATCH = { BREAKPOINTS: 1, ALIGNMENT: 2, TRACE: 4, ASIDE: 8, PAGES: 16, HELD_READ: 32, HELD_WRITE: 64, NOTED: 128 } as const
/** What was wanted of the page, a bit of FRAME_RIGHT; whether the host lets something else be done with it; whether it was for a page table. */
export const NESTED_FAULT = { RIGHTS: 7, PRESENT: 8, TABLE: 16 } as const

/** What the memory path has to know of the processor's rights. */
export const PERMISSION = {
  USER: 1, WRITE_PROTECT: 2, NX: 4, PAGING: 8, LONG: 16, PAE: 32, SMEP: 64, SMAP: 128, PSE: 256,
  /** Physical addresses are the guest's, which its host translates. */
  NESTED: 512,
} as const

/**
 * How code is decoded, part of a block's key: the code's size in the bits of SIZE; in those of FLOAT why x87 and vector
 * instructions may not run (CR0.TS, CR0.EM, CR4.OSFXSR clear, XCR0 or CR4.OSXSAVE without AVX); SEGMENTED outside of 64-bit mode where a segment is not
 * flat, so that code is decoded with checks of segments (runtime/segments.ts).
 */
export const MODE = {
  CODE64: 0, CODE32: 1, CODE16: 2, SIZE: 3, SWITCHED: 4, EMULATED: 8, NO_SSE: 16, NO_AVX: 64, FLOAT: 92, SEGMENTED: 32,
} as const

/**
 * What the jump cache keys entries by besides rip: the mode, whether ring 3 asks (what one ring may execute another may
 * not), and a generation that ends with every flush.
 */
export const CONTEXT = { MODE: 0x7f, USER: 0x80, GENERATION: 8 } as const

/** Why generated code comes back to its driver, or what a single record's execution led to. */
export const STATUS = {
  /** Go on with the next record. */
  NEXT: 0,
  /** A fault: the instruction had no effect. */
  FAULT: 1,
  /** The instruction is done, but the block may have changed: look up the next one. */
  RELOAD: 2,
  /** The instruction is done and set rip. */
  JUMP: 3,
  /** The host is to carry out the instruction. */
  PRIVILEGED: 4,
  /** SYSCALL; rip is behind it. */
  SYSCALL: 5,
  /** INT; rip is behind it. */
  INTERRUPT: 6,
  /** HLT; rip is behind it. */
  HALT: 7,
  /** No decoded block at rip. */
  NEED_BLOCK: 8,
  /** The budget is smaller than the block at rip, or spent. */
  BUDGET: 9,
  /** A string instruction used up the budget; rip is at it. */
  PARTIAL: 10,
  /** The instruction is done and changed something that the driver has to look at. */
  CHECK: 11,
  /** As CHECK, but the instruction has set rip. */
  CHECK_JUMP: 12,
  /** A breakpoint stops before the instruction. */
  STOP: 13,
} as const

/** True for the status of an instruction that has not been executed, or not to its end. */
export const isUndone = (status: number): boolean =>
  status === STATUS.FAULT || status === STATUS.PRIVILEGED || status === STATUS.PARTIAL || status === STATUS.STOP
