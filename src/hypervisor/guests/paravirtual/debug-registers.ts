/**
 * Registers that a PV guest has by hypercalls: debug registers, and CR0.TS of the floating-point unit.
 * Reference: xen/arch/x86/pv/misc-hypercalls.c, do_set_debugreg, do_get_debugreg, do_fpu_taskswitch.
 */
import { ERRNO } from '../../../abi/index.ts'
import { signedFromParts } from '../../../util/index.ts'
import { CR0, CR4, DR6, DR7 } from '../../../x86/index.ts'
import type { HypercallArguments, HypercallHandler, HypercallName, HypercallRow } from '../../domains/hypercall.ts'
import type { Vcpu } from '../../domains/domain.ts'
import { FULL } from '../../domains/hypercall-rows.ts'
import { isGuestAddress } from '../../memory/guest-address.ts'
import { type ParavirtualVcpu, paravirtualOf } from './paravirtual-vcpu.ts'

/** A hypercall of a vCPU that has PV state. */
export type ParavirtualHandler = (caller: Vcpu, pv: ParavirtualVcpu, args: HypercallArguments) => number

/** A handler for callers that have PV state; others have no such hypercall. */
export const forParavirtual = (handler: ParavirtualHandler): HypercallHandler => (caller, args) => {
  const pv = paravirtualOf(caller)
  return pv === undefined ? -ERRNO.ENOSYS : handler(caller, pv, args)
}

/** Sets or clears the guest's CR0.TS, in its view and in the processor. */
export function setTaskSwitched(pv: ParavirtualVcpu, value: boolean): void {
  const { registers } = pv.processor
  pv.taskSwitched = value
  const cr0 = registers.controlLow(0)
  registers.setControl(0, (value ? cr0 | CR0.TS : cr0 & ~CR0.TS) >>> 0, 0)
}

/** fpu_taskswitch(set). */
const fpuTaskswitch: ParavirtualHandler = (_caller, pv, args) => {
  setTaskSwitched(pv, args.u32(0) !== 0)
  return 0
}

const DR6_ZERO = 0x1000
const DR7_ZERO = 0xd800
const DR7_ACTIVE = 0xff

/**
 * A single-step trap of the guest's that the processor did not raise, because the hypervisor carried the instruction
 * out: DR6 tells of it.
 */
export function noteSingleStep(pv: ParavirtualVcpu): void {
  const { registers } = pv.processor
  registers.setDebug(6, (registers.debugLow(6) | DR6.BS) >>> 0, 0)
}

/** Writes a debug register as the guest may: 0, -EPERM, -EINVAL, or -ENODEV for one that does not exist. */
export function setDebugRegister(pv: ParavirtualVcpu, register: number, low: number, high: number): number {
  const store = (index: number, value: number, top: number): number => {
    pv.processor.registers.setDebug(index, value >>> 0, top)
    return 0
  }
  if (register <= 3) return isGuestAddress(signedFromParts(low, high)) ? store(register, low, high) : -ERRNO.EPERM
  if (register > 7) return -ERRNO.ENODEV
  // DR4 and DR5 are other names of DR6 and DR7, unless debugging extensions are on.
  if (register <= 5 && (pv.cr4.low & CR4.DE) !== 0) return -ERRNO.ENODEV
  if (high !== 0) return -ERRNO.EINVAL
  if (register === 4 || register === 6) return store(6, (low & ~DR6_ZERO) | DR6.ONES, 0)
  const value = (low & ~DR7_ZERO) | DR7.ONES
  if ((value & DR7.GD) !== 0) return -ERRNO.EPERM
  if ((value & DR7_ACTIVE) !== 0 && watchesIo(value)) return -ERRNO.EPERM
  return store(7, value, 0)
}

/** True when any of the four breakpoints is on I/O ports: nothing here can watch those. */
const watchesIo = (value: number): boolean => [16, 20, 24, 28].some((shift) => (value >>> shift & 3) === 2)

/** set_debugreg(register, value). */
const setDebugreg: ParavirtualHandler = (_caller, pv, args) =>
  setDebugRegister(pv, args.u32(0), args.low[1]!, args.high[1]!)

/** get_debugreg(register). */
const getDebugreg: ParavirtualHandler = (_caller, pv, args) => {
  const register = args.u32(0)
  if (register > 7) return -ERRNO.ENODEV
  const isAlias = register === 4 || register === 5
  if (isAlias && (pv.cr4.low & CR4.DE) !== 0) return -ERRNO.ENODEV
  const actual = isAlias ? register + 2 : register
  const { registers } = pv.processor
  return signedFromParts(registers.debugLow(actual), registers.debugHigh(actual))
}

/** Their hypercalls. */
export function registerHypercalls(): HypercallRow[] {
  const row = (name: HypercallName, source: string, handler: ParavirtualHandler): HypercallRow =>
    ({ name, source, handler: forParavirtual(handler), support: FULL })
  return [
    row('fpu_taskswitch', 'public/xen.h; do_fpu_taskswitch', fpuTaskswitch),
    row('set_debugreg', 'public/xen.h; do_set_debugreg', setDebugreg),
    row('get_debugreg', 'public/xen.h; do_get_debugreg', getDebugreg),
  ]
}
