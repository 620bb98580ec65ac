/**
 * Hypercalls that only a 64-bit PV guest on the machine's processor can make: entry points, stacks, segments.
 * Reference: xen/arch/x86/pv/callback.c, misc-hypercalls.c, descriptor-tables.c; public/xen.h.
 */
import {
  CALLBACKF, CALLBACKOP, CALLBACKTYPE, CallbackRegister, CallbackUnregister, ERRNO, FIRST_RESERVED_GDT_ENTRY, FLAT, NATIVE, SEGBASE,
  TrapInfo,
} from '../../../abi/index.ts'
import { isCanonical, signedFromParts } from '../../../util/index.ts'
import { SEGMENT } from '../../../x86/index.ts'
import { Scratch, readInto } from '../../memory/guest-access.ts'
import type { HypercallArguments, HypercallHandler, HypercallName, HypercallRow, Support } from '../../domains/hypercall.ts'
import { FULL, type Operation, type Operations, byFirstArgument, byNumber, listed, refusal, refused } from '../../hypercalls/table.ts'
import type { Vcpu } from '../../domains/domain.ts'
import { CALL_AGAIN, WORK, type WorkMeter } from '../../time/work-meter.ts'
import type { DescriptorTables } from '../direct-paging/descriptor-tables.ts'
import { registerHypercalls } from '../paravirtual/debug-registers.ts'
import { nmiOp, registerNmi } from '../paravirtual/nmi.ts'
import { type EntryPoint, setEntry } from '../paravirtual/paravirtual-vcpu.ts'
import { setSegmentBase } from '../paravirtual/segment-registers.ts'
import { type PvVcpu, pvOf } from './pv-vcpu.ts'
import type { SegmentLoader } from './segments.ts'
import type { TlbClock } from '../../frames/tlb-clock.ts'

/** What these hypercalls work on. */
export interface PvHypercallParts {
  readonly descriptorTables: DescriptorTables
  readonly segments: SegmentLoader
  readonly tlb: TlbClock
  readonly meter: WorkMeter
}

type PvHandler = (caller: Vcpu, pv: PvVcpu, args: HypercallArguments) => number

/** A handler for callers that have PV state; others have no such hypercall. */
const forPv = (handler: PvHandler): HypercallHandler => (caller, args) => {
  const pv = pvOf(caller)
  return pv === undefined ? -ERRNO.ENOSYS : handler(caller, pv, args)
}

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

/** Where the guest is to be entered. */
type Target = EntryPoint & { readonly masks: boolean }

/** One kind of entry point. */
interface EntryKind {
  readonly support: Support
  readonly set: (caller: Vcpu, pv: PvVcpu, target: Target) => number
}

/** A kind of entry point that is told of by setting it. */
const entryKind = (set: (pv: PvVcpu, target: Target) => void): EntryKind => ({
  support: FULL,
  set: (_caller, pv, target) => {
    set(pv, target)
    return 0
  },
})

const OLD_SYSENTER = /* @__PURE__ */ refused('ENOSYS', 'superseded by sysenter')

/** Kinds of entry point, by the names of their numbers. */
const ENTRY_KINDS: Operations<typeof CALLBACKTYPE, EntryKind> = {
  event: /* @__PURE__ */ entryKind((pv, { low, high }) => setEntry(pv.eventCallback, low, high)),
  failsafe: /* @__PURE__ */ entryKind((pv, { low, high, masks }) => {
    setEntry(pv.failsafeCallback, low, high)
    pv.failsafeMasksEvents = masks
  }),
  syscall: /* @__PURE__ */ entryKind((pv, { low, high, masks }) => {
    setEntry(pv.syscallCallback, low, high)
    pv.syscallMasksEvents = masks
  }),
  sysenter_deprecated: { support: OLD_SYSENTER, set: (caller) => refusal(OLD_SYSENTER, caller) },
  nmi: { support: FULL, set: (caller, _pv, target) => registerNmi(caller, FLAT.KERNEL_CS64, target) },
  sysenter: /* @__PURE__ */ entryKind((pv, { low, high, masks }) => {
    setEntry(pv.sysenterCallback, low, high)
    pv.sysenterMasksEvents = masks
  }),
  syscall32: /* @__PURE__ */ entryKind((pv, { low, high, masks }) => {
    setEntry(pv.syscall32Callback, low, high)
    pv.syscall32MasksEvents = masks
  }),
}
const KIND_BY_NUMBER = /* @__PURE__ */ byNumber(CALLBACKTYPE, ENTRY_KINDS)

/** Sets one entry point of a vCPU. */
function registerCallback(caller: Vcpu, pv: PvVcpu, type: number, target: Target): number {
  if (!isCanonical(signedFromParts(target.low, target.high))) return -ERRNO.EINVAL
  const kind = type < KIND_BY_NUMBER.length ? KIND_BY_NUMBER[type] : undefined
  return kind === undefined ? -ERRNO.ENOSYS : kind.set(caller, pv, target)
}

/** Only an NMI's handler can be taken back. */
function unregisterCallback(pv: PvVcpu, type: number): number {
  if (type === CALLBACKTYPE.nmi) {
    pv.setTrap(2, { flags: 0, cs: 0, low: 0, high: 0 })
    return 0
  }
  const kind = type < KIND_BY_NUMBER.length ? KIND_BY_NUMBER[type] : undefined
  return kind !== undefined && kind.support.level !== 'refused' ? -ERRNO.EINVAL : -ERRNO.ENOSYS
}

/** Makes the row of callback_op(command, argument). */
function callbackOp(scratch: Scratch): HypercallRow {
  const { view } = scratch
  const rows: Operations<typeof CALLBACKOP, Operation> = {
    register: {
      support: FULL,
      run: forPv((caller, pv, args) => {
        if (!readInto(caller.access, args.address(1), scratch, CallbackRegister.size)) return -ERRNO.EFAULT
        const masks = (CallbackRegister.flags.get(view, 0) & CALLBACKF.mask_events) !== 0
        const low = CallbackRegister.address.low(view, 0)
        const high = CallbackRegister.address.high(view, 0)
        return registerCallback(caller, pv, CallbackRegister.type.get(view, 0), { low, high, masks })
      }),
    },
    unregister: {
      support: FULL,
      run: forPv((caller, pv, args) => {
        if (!readInto(caller.access, args.address(1), scratch, CallbackUnregister.size)) return -ERRNO.EFAULT
        return unregisterCallback(pv, CallbackUnregister.type.get(view, 0))
      }),
    },
  }
  return {
    name: 'callback_op', handler: byFirstArgument(CALLBACKOP, rows), source: 'public/callback.h; do_callback_op',
    operations: [listed('CALLBACKOP_', CALLBACKOP, rows), listed('CALLBACKTYPE_', CALLBACKTYPE, ENTRY_KINDS)],
  }
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

/** Makes the row of set_segment_base(which, base): the guest is in kernel mode, so the user's GS base is not active. */
function setSegmentBaseOp(parts: PvHypercallParts): HypercallRow {
  /** Sets a base that has been found canonical. */
  const base = (set: (pv: PvVcpu, base: EntryPoint) => void): Operation => ({
    support: FULL,
    run: forPv((_caller, pv, args) => {
      const value = { low: args.low[1]!, high: args.high[1]! }
      if (!isCanonical(signedFromParts(value.low, value.high))) return -ERRNO.EINVAL
      set(pv, value)
      return 0
    }),
  })
  const rows: Operations<typeof SEGBASE, Operation> = {
    FS: base((pv, value) => setSegmentBase(pv.processor.registers, SEGMENT.fs, value)),
    GS_USER: base((pv, { low, high }) => pv.processor.registers.setKernelGsBase(low, high)),
    GS_KERNEL: base((pv, value) => setSegmentBase(pv.processor.registers, SEGMENT.gs, value)),
    GS_USER_SEL: {
      support: FULL,
      run: forPv((caller, pv, args) => {
        selectUserGs(parts, caller, pv, args.low[1]! & 0xffff)
        return 0
      }),
    },
  }
  const runs = byNumber(SEGBASE, rows).map((row) => row?.run)
  return {
    name: 'set_segment_base', source: 'public/arch-x86/xen-x86_64.h, SEGBASE_*; do_set_segment_base',
    handler: (caller, args) => runs[args.u32(0)]?.(caller, args) ?? -ERRNO.EINVAL,
    operations: [listed('SEGBASE_', SEGBASE, rows)],
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

/** Makes the rows of the hypercalls that need a processor. */
export function pvHypercalls(parts: PvHypercallParts): HypercallRow[] {
  const scratch = new Scratch(16)
  const row = (name: HypercallName, source: string, handler: PvHandler): HypercallRow =>
    ({ name, source, handler: forPv(handler), support: FULL })
  return [
    row('set_trap_table', 'public/arch-x86/xen.h, struct trap_info; do_set_trap_table', setTrapTable(scratch, parts.meter)),
    row('set_gdt', 'public/arch-x86/xen.h; do_set_gdt', setGdt(parts)),
    row('stack_switch', 'public/xen.h; do_stack_switch', stackSwitch),
    row('set_callbacks', 'public/xen.h; do_set_callbacks', setCallbacks),
    ...registerHypercalls(), setSegmentBaseOp(parts), callbackOp(scratch), nmiOp(FLAT.KERNEL_CS64, NATIVE),
  ]
}
