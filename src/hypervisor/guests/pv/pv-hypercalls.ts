/**
 * Hypercalls that only a PV guest on the machine's processor can make: entry points, stacks, segments, debug registers,
 * returning from traps.
 * Reference: xen/arch/x86/pv/callback.c, misc-hypercalls.c, descriptor-tables.c; public/xen.h.
 */
import {
  CALLBACKF, CALLBACKOP, CALLBACKTYPE, CallbackRegister, CallbackUnregister, ERRNO, FIRST_RESERVED_GDT_ENTRY, SEGBASE,
  TrapInfo,
} from '../../../abi/index.ts'
import { isCanonical, signedFromParts } from '../../../util/index.ts'
import { CR0, CR4, DR6, DR7, SEGMENT } from '../../../x86/index.ts'
import { Scratch, readInto } from '../../memory/guest-access.ts'
import type { HypercallArguments, HypercallHandler } from '../../domains/hypercall.ts'
import type { Vcpu } from '../../domains/domain.ts'
import { CALL_AGAIN, WORK, type WorkMeter } from '../../time/work-meter.ts'
import type { DescriptorTables } from './descriptor-tables.ts'
import { registerNmi } from './nmi.ts'
import { type EntryPoint, type PvVcpu, setEntry } from './pv-vcpu.ts'
import { type SegmentLoader, setSegmentBase } from './segments.ts'
import type { TlbClock } from './tlb-clock.ts'
import { isGuestAddress } from '../../memory/guest-address.ts'

/** What these hypercalls work on. */
export interface PvHypercallParts {
  readonly descriptorTables: DescriptorTables
  readonly segments: SegmentLoader
  readonly tlb: TlbClock
  readonly meter: WorkMeter
}

type PvHandler = (caller: Vcpu, pv: PvVcpu, args: HypercallArguments) => number

/** A handler for callers that have PV state; others have no such hypercall. */
const forPv = (handler: PvHandler): HypercallHandler => (caller, args) =>
  caller.pv === undefined ? -ERRNO.ENOSYS : handler(caller, caller.pv, args)

/** set_trap_table(list): entries until one without address; no list clears all. */
function setTrapTable(scratch: Scratch, meter: WorkMeter): PvHandler {
  const { view } = scratch
  return (caller, pv, args) => {
    let address = args.address(0)
    if (address === 0) {
      for (let vector = 0; vector < 256; vector += 1) pv.setTrap(vector, { flags: 0, cs: 0, low: 0, high: 0 })
      return 0
    }
    for (; !meter.isSpent; address += TrapInfo.size) {
      if (!readInto(caller.access, address, scratch, TrapInfo.size)) return -ERRNO.EFAULT
      const low = TrapInfo.address.low(view, 0)
      const high = TrapInfo.address.high(view, 0)
      if (low === 0 && high === 0) return 0
      if (!isCanonical(signedFromParts(low, high))) return -ERRNO.EINVAL
      const flags = TrapInfo.flags.get(view, 0)
      pv.setTrap(TrapInfo.vector.get(view, 0), { flags, cs: TrapInfo.cs.get(view, 0) | 3, low, high })
      meter.charge(WORK.element)
    }
    args.set(0, address)
    return CALL_AGAIN
  }
}

/** set_gdt(frames, entries). */
function setGdt(parts: PvHypercallParts): PvHandler {
  const scratch = new Scratch(16 * 8)
  const frames = new Float64Array(16)
  return (caller, pv, args) => {
    const entries = args.u32(1)
    if (entries > FIRST_RESERVED_GDT_ENTRY) return -ERRNO.EINVAL
    const count = Math.ceil(entries / 512)
    if (!readInto(caller.access, args.address(0), scratch, count * 8)) return -ERRNO.EFAULT
    for (let i = 0; i < count; i += 1) {
      frames[i] = scratch.view.getUint32(i * 8 + 4, true) * 2 ** 32 + scratch.view.getUint32(i * 8, true)
    }
    const result = parts.descriptorTables.setGdt(caller.owner, pv, frames, entries)
    if (result === 0) parts.tlb.flush(pv)
    parts.meter.charge(WORK.flush)
    return result
  }
}

/** Sets one entry point of a vCPU. */
function registerCallback(
  caller: Vcpu,
  pv: PvVcpu,
  type: number,
  target: EntryPoint & { readonly masks: boolean },
): number {
  const { low, high, masks } = target
  if (!isCanonical(signedFromParts(low, high))) return -ERRNO.EINVAL
  switch (type) {
    case CALLBACKTYPE.event:
      setEntry(pv.eventCallback, low, high)
      return 0
    case CALLBACKTYPE.failsafe:
      setEntry(pv.failsafeCallback, low, high)
      pv.failsafeMasksEvents = masks
      return 0
    case CALLBACKTYPE.syscall:
      setEntry(pv.syscallCallback, low, high)
      pv.syscallMasksEvents = masks
      return 0
    case CALLBACKTYPE.syscall32:
      setEntry(pv.syscall32Callback, low, high)
      pv.syscall32MasksEvents = masks
      return 0
    case CALLBACKTYPE.sysenter:
      setEntry(pv.sysenterCallback, low, high)
      pv.sysenterMasksEvents = masks
      return 0
    case CALLBACKTYPE.nmi: return registerNmi(caller, low, high)
    default: return -ERRNO.ENOSYS
  }
}

/** callback_op(command, argument). */
const callbackOp = (scratch: Scratch): PvHandler => (caller, pv, args) => {
  const { view } = scratch
  if (args.u32(0) === CALLBACKOP.register) {
    if (!readInto(caller.access, args.address(1), scratch, CallbackRegister.size)) return -ERRNO.EFAULT
    const masks = (CallbackRegister.flags.get(view, 0) & CALLBACKF.mask_events) !== 0
    const low = CallbackRegister.address.low(view, 0)
    const high = CallbackRegister.address.high(view, 0)
    return registerCallback(caller, pv, CallbackRegister.type.get(view, 0), { low, high, masks })
  }
  if (args.u32(0) !== CALLBACKOP.unregister) return -ERRNO.ENOSYS
  if (!readInto(caller.access, args.address(1), scratch, CallbackUnregister.size)) return -ERRNO.EFAULT
  const type = CallbackUnregister.type.get(view, 0)
  if (type === CALLBACKTYPE.nmi) {
    pv.setTrap(2, { flags: 0, cs: 0, low: 0, high: 0 })
    return 0
  }
  const types: readonly number[] = Object.values(CALLBACKTYPE)
  return types.includes(type) && type !== CALLBACKTYPE.sysenter_deprecated ? -ERRNO.EINVAL : -ERRNO.ENOSYS
}

/** set_callbacks(event, failsafe, syscall): errors of each are not told. */
const setCallbacks: PvHandler = (caller, pv, args) => {
  const types = [CALLBACKTYPE.event, CALLBACKTYPE.failsafe, CALLBACKTYPE.syscall]
  types.forEach((type, i) => {
    registerCallback(caller, pv, type, { low: args.low[i]!, high: args.high[i]!, masks: false })
  })
  return 0
}

/** stack_switch(ss, sp). */
const stackSwitch: PvHandler = (_caller, pv, args) => {
  pv.kernelSs = (args.u32(0) | 3) & 0xffff
  setEntry(pv.kernelSp, args.low[1]!, args.high[1]!)
  return 0
}

/** Sets or clears the guest's CR0.TS, in its view and in the processor. */
export function setTaskSwitched(pv: PvVcpu, value: boolean): void {
  const { registers } = pv.processor
  pv.taskSwitched = value
  const cr0 = registers.controlLow(0)
  registers.setControl(0, (value ? cr0 | CR0.TS : cr0 & ~CR0.TS) >>> 0, 0)
}

/** fpu_taskswitch(set). */
const fpuTaskswitch: PvHandler = (_caller, pv, args) => {
  setTaskSwitched(pv, args.u32(0) !== 0)
  return 0
}

/** set_segment_base(which, base): the guest is in kernel mode, so the user's GS base lies behind the active one. */
function setSegmentBaseOp(parts: PvHypercallParts): PvHandler {
  return (caller, pv, args) => {
    const { registers } = pv.processor
    const base = { low: args.low[1]!, high: args.high[1]! }
    const which = args.u32(0)
    if (which === SEGBASE.GS_USER_SEL) {
      selectUserGs(parts, caller, pv, base.low & 0xffff)
      return 0
    }
    if (which > SEGBASE.GS_USER_SEL || !isCanonical(signedFromParts(base.low, base.high))) return -ERRNO.EINVAL
    if (which === SEGBASE.GS_USER) registers.setKernelGsBase(base.low, base.high)
    else setSegmentBase(registers, which === SEGBASE.FS ? SEGMENT.fs : SEGMENT.gs, base)
    return 0
  }
}

/** Loads the selector; its base becomes the user's, the kernel's stays. A bad one becomes an empty one. */
function selectUserGs(parts: PvHypercallParts, caller: Vcpu, pv: PvVcpu, selector: number): void {
  const { registers } = pv.processor
  const wanted = selector > 3 ? selector | 3 : selector
  const loaded = parts.segments.data(caller.owner, pv, wanted)
  const kernel = registers.segment(SEGMENT.gs)
  const { baseLow, baseHigh } = kernel
  registers.setSegment(SEGMENT.gs, {
    selector: loaded.selector, limit: loaded.limit, attributes: loaded.attributes, baseLow, baseHigh,
  })
  registers.setKernelGsBase(loaded.baseLow, loaded.baseHigh)
}

const DR6_ZERO = 0x1000
const DR7_ZERO = 0xd800
const DR7_ACTIVE = 0xff

/**
 * A single-step trap of the guest's that the processor did not raise, because the hypervisor carried the instruction
 * out: DR6 tells of it.
 */
export function noteSingleStep(pv: PvVcpu): void {
  const { registers } = pv.processor
  registers.setDebug(6, (registers.debugLow(6) | DR6.BS) >>> 0, 0)
}

/** Writes a debug register as the guest may: 0, -EPERM, -EINVAL, or -ENODEV for one that does not exist. */
export function setDebugRegister(pv: PvVcpu, register: number, low: number, high: number): number {
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
const setDebugreg: PvHandler = (_caller, pv, args) =>
  setDebugRegister(pv, args.u32(0), args.low[1]!, args.high[1]!)

/** get_debugreg(register). */
const getDebugreg: PvHandler = (_caller, pv, args) => {
  const register = args.u32(0)
  if (register > 7) return -ERRNO.ENODEV
  const isAlias = register === 4 || register === 5
  if (isAlias && (pv.cr4.low & CR4.DE) !== 0) return -ERRNO.ENODEV
  const actual = isAlias ? register + 2 : register
  const { registers } = pv.processor
  return signedFromParts(registers.debugLow(actual), registers.debugHigh(actual))
}

/** The handlers by the names of their numbers. */
export function pvHypercalls(parts: PvHypercallParts): Readonly<Record<
  'set_trap_table' | 'set_gdt' | 'stack_switch' | 'set_callbacks' | 'fpu_taskswitch' | 'set_debugreg' | 'get_debugreg'
  | 'update_descriptor' | 'set_segment_base' | 'callback_op', HypercallHandler>> {
  const scratch = new Scratch(16)
  return {
    set_trap_table: forPv(setTrapTable(scratch, parts.meter)),
    set_gdt: forPv(setGdt(parts)),
    stack_switch: forPv(stackSwitch),
    set_callbacks: forPv(setCallbacks),
    fpu_taskswitch: forPv(fpuTaskswitch),
    set_debugreg: forPv(setDebugreg),
    get_debugreg: forPv(getDebugreg),
    update_descriptor: (caller, args) => parts.descriptorTables.update(
      caller.owner, { low: args.low[0]!, high: args.high[0]! }, args.low[1]!, args.high[1]!,
    ),
    set_segment_base: forPv(setSegmentBaseOp(parts)),
    callback_op: forPv(callbackOp(scratch)),
  }
}
