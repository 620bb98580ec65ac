/**
 * What is left of a domain at the instant it crashes, as plain data: who ended it and why, the vCPU's registers, the code
 * around its instruction pointer, its stack. console/crash-reporter.ts takes it.
 */
import type { DomId } from '../../util/index.ts'
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
