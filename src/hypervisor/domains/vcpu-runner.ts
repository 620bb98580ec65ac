/**
 * The seam between the hypervisor and whatever executes a virtual CPU. The hypervisor owns the interface; each kind of
 * guest brings what implements it, and guests in TypeScript are given theirs from above. Nothing here says which it is.
 */
import type { HypercallPort } from '../../abi/index.ts'
import type { PhysicalAccess, PrivilegedRequest } from '../../machine/index.ts'

/**
 * What the guest asked of a privileged instruction; the processor has decoded it, the hypervisor gives it its
 * meaning.
 */
export type PrivilegedOperation = PrivilegedRequest

/**
 * Why a runner came back. A runner may reuse the object: it is valid until the next `run`.
 * Addresses are signed numbers, see util's `signedFromParts`.
 */
export type VcpuExit =
  /** The budget is spent. */
  | { readonly kind: 'budget' }
  /** Nothing to do until an event or a timer comes. */
  | { readonly kind: 'block' }
  /** A guest in TypeScript resolved promises: give JavaScript a turn before virtual time moves on. */
  | { readonly kind: 'turn' }
  /** `syscall`; rip points behind it, rcx and r11 are untouched (the hypervisor knows rip and rflags). */
  | { readonly kind: 'syscall' }
  /** `int n`, `int3`, `into`; rip points behind it. */
  | { readonly kind: 'interrupt'; readonly vector: number }
  /** A fault or trap; for a fault rip points at the instruction and nothing else has changed. */
  | { readonly kind: 'exception'; readonly vector: number; readonly errorCode: number; readonly address: number }
  /** A hook of a trace asked to stop; rip points at the next instruction. */
  | { readonly kind: 'stopped' }
  /** An instruction that ring 3 may not execute; rip points at it. */
  | { readonly kind: 'privileged'; readonly request: PrivilegedOperation }
  /** The guest's processor has halted; rip points behind the instruction. */
  | { readonly kind: 'halt' }
  /** The guest's processor cannot go on: an exception that it could not deliver. */
  | { readonly kind: 'shutdown' }
  /** An access to what is no memory of the guest's, or not for that use; rip points at the instruction. */
  | { readonly kind: 'physical'; readonly access: PhysicalAccess }

/** Where a guest is entered other than where it stopped. */
export type VcpuEntry =
  /** The event callback (upcall); the hypervisor has seen that it is wanted and not masked. */
  | { readonly kind: 'event' }
  /** A trap that the guest's own handler takes. */
  | { readonly kind: 'trap'; readonly vector: number; readonly errorCode: number; readonly address: number }
  /** `syscall` from the guest's user mode. */
  | { readonly kind: 'syscall' }
  /** The NMI callback. */
  | { readonly kind: 'nmi' }

/** Executes one virtual CPU. */
export interface VcpuRunner {
  /**
   * Runs until about `budget` instructions are executed or the hypervisor is needed. Never throws on the guest's
   * behalf.
   */
  run(budget: number): VcpuExit
  /** Instructions that the last `run` executed; virtual time follows it. */
  readonly executed: number
  /**
   * Makes the next `run` start at `entry`. False when the guest has no handler there, or no stack to enter on: it is
   * to crash.
   */
  enter(entry: VcpuEntry): boolean
}

/** Who says what a guest in TypeScript does first, where several things are ready: tests that want one certain order of many. */
export interface ReadyOrder {
  /** Somebody does; where nobody does a guest takes things in turns. */
  readonly isDirected: boolean
  /** Which of `count` things goes first; 0 for the one that would. */
  first(count: number): number
}

/** Makes the runner of one vCPU of a guest written in TypeScript. */
export type RunnerFactory = (hypercalls: HypercallPort, vcpu: number, order: ReadyOrder) => VcpuRunner
