/** A processor's saved state: plain data with named fields. */
import type { SegmentState, TableState } from './registers.ts'

/** Saved architectural state: plain data with named fields. */
export interface ProcessorState {
  /** Earlier versions are taken back too: 1 has no `shadow` and `debugTrap`, 2 no `upper`. */
  readonly version: 3
  /** 16 values, low and high half in turn. */
  readonly general: readonly number[]
  readonly rip: readonly [number, number]
  readonly flags: number
  readonly segments: readonly SegmentState[]
  /** CR0, CR2, CR3, CR4, CR8; low and high half in turn. */
  readonly control: readonly number[]
  readonly kernelGsBase: readonly [number, number]
  /** DR0-DR3, DR6, DR7; low and high half in turn. */
  readonly debug: readonly number[]
  /** FXSAVE image. */
  readonly fpu: readonly number[]
  readonly xcr0: number
  /** Upper halves of the vector registers, 256 bytes; absent while all are zero. */
  readonly upper?: readonly number[]
  /** What the last instruction holds back until the next is done: interrupts, or debug traps as well. */
  readonly shadow: 'none' | 'sti' | 'ss'
  /** DR6 bits of a debug trap that comes before the next instruction. */
  readonly debugTrap: number
  /** TSC_AUX of a hosted processor; absent means 0. A bare one has it among its model-specific registers. */
  readonly tscAux?: number
  /** For bare processors. */
  readonly system: ProcessorSystemState | undefined
  /** Position of the processor's own random numbers; absent when they come from elsewhere. */
  readonly random?: readonly number[]
}

/** What a bare processor has beyond a hosted one. */
export interface ProcessorSystemState {
  readonly gdt: TableState
  readonly idt: TableState
  readonly ldtr: SegmentState
  readonly tr: SegmentState
  readonly efer: number
  /** Model-specific registers that are nothing but values: number, low, high half. */
  readonly msrs: readonly (readonly [register: number, low: number, high: number])[]
  /** Time-stamp counter, which goes on from there. */
  readonly timestamp: readonly [low: number, high: number]
  /** Vectors that wait. */
  readonly interrupts: readonly number[]
  readonly nmi: boolean
  readonly nmiBlocked: boolean
  readonly activity: 'running' | 'halted' | 'shutdown'
  /** An exception that the host of a virtualised processor has raised and that has not been delivered. */
  readonly raised?: { readonly vector: number; readonly errorCode: number | undefined }
}
