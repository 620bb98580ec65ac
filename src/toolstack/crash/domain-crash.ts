/**
 * A domain's crash as its user is told of it: what happened and where, code in words, functions on the stack, and the error
 * of a guest in TypeScript as cause. How a report of the hypervisor becomes one is in describe-crash.ts.
 */
import type { CrashReport } from '../../hypervisor/index.ts'
import { XenError, type XenErrorDetails } from '../../util/index.ts'

/** One instruction near the place of a crash. */
export interface CrashInstruction {
  readonly address: bigint
  readonly bytes: Uint8Array
  /** As objdump writes it. */
  readonly text: string
}

/** A place on the stack whose word points into a function: most are return addresses. */
export interface CrashCall {
  /** Where the word stands. */
  readonly stack: bigint
  readonly address: bigint
  /** `function+0x12/0x40`. */
  readonly symbol: string
}

/** An exception by name. */
export interface CrashException {
  readonly vector: number
  /** `page fault`, `invalid opcode`, ... */
  readonly name: string
  readonly errorCode: number
  /** What a page fault was about. */
  readonly address: bigint
  /** Where it happened. */
  readonly rip: bigint
  readonly symbol: string | undefined
  readonly fromUser: boolean
  /** `page fault: read of 0x0 from user mode`, `invalid opcode ...: AVX: not offered by x86-64-v2`. */
  readonly description: string
  /** The feature that the instruction needs and this processor has not: `AVX`. */
  readonly lacking: string | undefined
  /** Code from there on. */
  readonly code: readonly CrashInstruction[]
}

/** Everything about a domain's crash. */
export interface DomainCrash {
  readonly id: number
  readonly name: string
  readonly vcpu: number
  /** Host time in nanoseconds. */
  readonly time: number
  /** The hypervisor ended it for what it did, the guest itself called, or somebody else ended it as crashed. */
  readonly origin: CrashReport['origin']
  /** In one line: what happened, and where. */
  readonly message: string
  /** All of it, in lines. */
  readonly text: string
  /** The one that the guest could not take; where it ended itself, the last that it took before. */
  readonly exception: CrashException | undefined
  /** Function of the instruction pointer, where the kernel's symbols are known. */
  readonly symbol: string | undefined
  readonly code: readonly CrashInstruction[]
  readonly calls: readonly CrashCall[]
  /** Registers, raw code and stack; undefined for guests in TypeScript. */
  readonly state: CrashReport['state']
  /** What a guest written in TypeScript threw. */
  readonly cause: unknown
  /** Disks of the domain whose contents have failed, with the error of their own: what may be behind its end. */
  readonly diskErrors: readonly DiskError[]
}

/** The error that a disk's contents failed with last. */
export interface DiskError {
  /** The disk: `xvda`. */
  readonly disk: string
  readonly error: unknown
}

/** The error of whoever waits for something that a crashed domain will never do. */
export function crashError(crash: DomainCrash, what: string, details: XenErrorDetails = {}): XenError {
  return new XenError('DOMAIN_CRASHED', `${what}: ${crash.text}`, {
    details: { domid: crash.id, ...details, crash }, cause: crash.cause,
  })
}
