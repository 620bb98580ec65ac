/**
 * The time-stamp counters of a PVH domain's vCPUs: where they begin, what their kernels add, and what a saved context makes of
 * them. A counter is the ticks of the domain's frequency and an offset; TSC_ADJUST is what of the offset lies above its base, so
 * that WRMSR to the counter changes it, too.
 * Reference: xen/arch/x86/hvm/hvm.c, hvm_set_guest_tsc_fixed, hvm_set_guest_tsc_msr, hvm_set_guest_tsc_adjust,
 * hvm_vcpu_initialise, hvm_vcpu_reset_state.
 */
import { bigFromParts } from '../../../util/index.ts'
import { MSR } from '../../../x86/index.ts'
import { type PvhVcpu, pvhOf } from './pvh-vcpu.ts'

type Halves = readonly [low: number, high: number]

const ZERO: Halves = [0, 0]

const difference = (a: Halves, b: Halves): Halves => {
  const value = BigInt.asUintN(64, bigFromParts(...a) - bigFromParts(...b))
  return [Number(value & 0xffff_ffffn), Number(value >> 32n)]
}

const sum = (a: Halves, b: Halves): Halves => difference(a, difference(ZERO, b))

/** TSC_ADJUST. */
export const timestampAdjust = ({ timestampBase, processor }: PvhVcpu): Halves => difference(processor.system.timestampOffset, timestampBase)

/** WRMSR to TSC_ADJUST: the counter moves by as much. */
export function setTimestampAdjust({ timestampBase, processor }: PvhVcpu, value: Halves): void {
  processor.system.timestampOffset = sum(timestampBase, value)
}

/** TSC_ADJUST is said to be a value; the counter stays as it is. */
export function declareTimestampAdjust(pvh: PvhVcpu, value: Halves): void {
  pvh.timestampBase = difference(pvh.processor.system.timestampOffset, value)
}

/** The counter of a new vCPU: that of vCPU 0 begins at zero, the others go along with it. */
export function beginTimestamp(pvh: PvhVcpu): void {
  if (pvh.vcpu.vcpu === 0) pvh.processor.system.setMsr(MSR.TSC, 0, 0)
  restartTimestamp(pvh)
}

/** A vCPU starts up: its counter goes along with vCPU 0's, and nothing has been added to it. */
export function restartTimestamp(pvh: PvhVcpu): void {
  follow(pvh)
  declareTimestampAdjust(pvh, ZERO)
}

/** A vCPU gets its first registers: its counter goes along with vCPU 0's, and what was added is said to be what it was. */
export function joinTimestamp(pvh: PvhVcpu): void {
  const adjust = timestampAdjust(pvh)
  follow(pvh)
  declareTimestampAdjust(pvh, adjust)
}

function follow({ domain, processor }: PvhVcpu): void {
  const first = pvhOf(domain.vcpus[0]!)
  if (first !== undefined) processor.system.timestampOffset = first.processor.system.timestampOffset
}
