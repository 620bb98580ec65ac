/**
 * What is left of a domain at the instant it crashes, as plain data: who ended it and why, the vCPU's registers, the code
 * around its instruction pointer, its stack. console/crash-reporter.ts takes it.
 */
import { type DomId, type Shape, shape } from '../../util/index.ts'
import type { VcpuUserRegisters } from './vcpu-registers.ts'

/** The exception that was last sent to a guest: all that is left of it when the guest ends itself over it. */
export interface TrapNote {
  /** -1 before the first. */
  vector: number
  errorCode: number
  address: number
  /** Where it happened, a signed number, and in which of the guest's modes. */
  rip: number
  fromUser: boolean
}

/** Bytes of code around an address; shorter where memory ends. */
export interface CrashedCode {
  /** Of the first byte of `bytes`: a signed number. */
  readonly address: number
  /** Up to eight bytes that end right before `address`. */
  readonly before: Uint8Array
  readonly bytes: Uint8Array
}

/** The top of the stack. */
export interface CrashedStack {
  /** Of the first word: a signed number. */
  readonly address: number
  readonly words: readonly bigint[]
  /** True when the words end where memory cannot be read. */
  readonly isCut: boolean
}

/** An exception of the guest's and where it came from. */
export interface CrashedException extends Readonly<TrapNote> {
  /** The code there; undefined where nothing can be read. */
  readonly code: CrashedCode | undefined
}

/** The registers of a binary guest's vCPU. */
export interface CrashRegisters {
  readonly registers: VcpuUserRegisters
  readonly cr0: bigint, readonly cr2: bigint, readonly cr3: bigint, readonly cr4: bigint
  readonly fsBase: bigint, readonly gsBase: bigint, readonly gsShadow: bigint
  readonly inKernel: boolean
  /** The instruction at rip, as objdump writes it; undefined where nothing can be fetched. */
  readonly instruction: string | undefined
}

/** A binary guest's vCPU. */
export interface CrashState extends CrashRegisters {
  /** Whether events are masked; undefined without a vcpu_info. */
  readonly eventsMasked: boolean | undefined
  readonly code: CrashedCode | undefined
  readonly stack: CrashedStack
}

/** How a domain crashed. */
export interface CrashReport {
  readonly domid: DomId
  readonly vcpu: number
  /** Host time in nanoseconds. */
  readonly time: number
  /** The hypervisor ended it for what it did, the guest itself called, or somebody else ended it as crashed. */
  readonly origin: 'hypervisor' | 'guest' | 'outside'
  /** In words. */
  readonly reason: string
  /** The one that the guest could not take, or the last that it took before it ended itself. */
  readonly exception: CrashedException | undefined
  /** Undefined for guests in TypeScript, and for vCPUs that never had registers. */
  readonly state: CrashState | undefined
}

/** One level of a walk through page tables. */
export interface WalkStep {
  /** 4 for the top-level table. */
  readonly level: number
  readonly index: number
  readonly entry: bigint
  /** Pseudo-physical number of the frame that the entry names; all ones where it has none. */
  readonly pfn: bigint
}

const wide = /* @__PURE__ */ shape.wide(64)
/** An address as a signed number, exact or not. */
const address = /* @__PURE__ */ shape.real(-(2 ** 64), 2 ** 64)
const bytes = /* @__PURE__ */ shape.array(Uint8Array, 0, 4096)
const codeShape = /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.record<CrashedCode>({ address, before: bytes, bytes }))

const registersShape = /* @__PURE__ */ shape.record<VcpuUserRegisters>({
  rax: wide, rbx: wide, rcx: wide, rdx: wide, rsi: wide, rdi: wide, rbp: wide, rsp: wide, r8: wide, r9: wide, r10: wide, r11: wide,
  r12: wide, r13: wide, r14: wide, r15: wide, rip: wide, rflags: wide, cs: shape.word, ss: shape.word, ds: shape.word, es: shape.word,
  fs: shape.word, gs: shape.word, savedUpcallMask: shape.word,
})

const stateShape = /* @__PURE__ */ shape.record<CrashState>({
  registers: registersShape, cr0: wide, cr2: wide, cr3: wide, cr4: wide, fsBase: wide, gsBase: wide, gsShadow: wide, inKernel: shape.flag,
  eventsMasked: /* @__PURE__ */ shape.optional(shape.flag), instruction: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.text(4096)),
  code: codeShape,
  stack: /* @__PURE__ */ shape.record<CrashedStack>({ address, words: /* @__PURE__ */ shape.list(wide, 4096), isCut: shape.flag }),
})

/** What a noted exception looks like in saved state. */
export const trapNoteFields = /* @__PURE__ */ Object.freeze({
  vector: /* @__PURE__ */ shape.whole(-1, 255), errorCode: /* @__PURE__ */ shape.whole(-1, 0xffff_ffff), address, rip: address, fromUser: shape.flag,
})

/** What a saved crash report looks like. */
export const crashReportShape: Shape<CrashReport> = /* @__PURE__ */ shape.record<CrashReport>({
  // A domain that is loaded with it checks the number.
  domid: shape.word as Shape<never>, vcpu: shape.word, time: shape.time,
  origin: /* @__PURE__ */ shape.oneOf('hypervisor', 'guest', 'outside'), reason: /* @__PURE__ */ shape.text(65536),
  exception: /* @__PURE__ */ shape.optional(/* @__PURE__ */ shape.record<CrashedException>({ ...trapNoteFields, code: codeShape })),
  state: /* @__PURE__ */ shape.optional(stateShape),
})
