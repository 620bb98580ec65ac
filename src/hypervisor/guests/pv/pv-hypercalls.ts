/**
 * Hypercalls that only a 64-bit PV guest on the machine's processor can make: entry points, stacks, segments.
 * Reference: xen/arch/x86/pv/callback.c, misc-hypercalls.c, descriptor-tables.c; public/xen.h.
 */
import {
  CALLBACKF, CALLBACKTYPE, CallbackRegister, ERRNO, FIRST_RESERVED_GDT_ENTRY, FLAT, NATIVE, SEGBASE,
  TrapInfo,
} from '../../../abi/index.ts'
import { isCanonical, signedFromParts } from '../../../util/index.ts'
import { SEGMENT } from '../../../x86/index.ts'
import { Scratch, readInto } from '../../memory/guest-access.ts'
import type { HypercallArguments, HypercallHandler, HypercallName, HypercallRow } from '../../domains/hypercall.ts'
import { FULL, type Operation, type Operations, byNumber, listed } from '../../domains/hypercall-rows.ts'
import type { Vcpu } from '../../domains/domain.ts'
import { CALL_AGAIN, WORK, type WorkMeter } from '../../time/work-meter.ts'
import type { DescriptorTables } from '../direct-paging/descriptor-tables.ts'
import { Callbacks, type EntryKind, entryKind, noEntryKind } from '../paravirtual/callbacks.ts'
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

const OLD_SYSENTER = /* @__PURE__ */ noEntryKind('superseded by sysenter')

/** Kinds of entry point, by the names of their numbers. */
const ENTRY_KINDS: Operations<typeof CALLBACKTYPE, EntryKind<PvVcpu, Target>> = {
  event: /* @__PURE__ */ entryKind((pv, { low, high }) => setEntry(pv.eventCallback, low, high)),
  failsafe: /* @__PURE__ */ entryKind((pv, { low, high, masks }) => {
    setEntry(pv.failsafeCallback, low, high)
    pv.failsafeMasksEvents = masks
  }),
  syscall: /* @__PURE__ */ entryKind((pv, { low, high, masks }) => {
    setEntry(pv.syscallCallback, low, high)
    pv.syscallMasksEvents = masks
  }),
  sysenter_deprecated: OLD_SYSENTER,
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

const CALLBACKS = /* @__PURE__ */ new Callbacks<PvVcpu, Target>({
  kinds: ENTRY_KINDS, size: CallbackRegister.size, source: 'public/callback.h; do_callback_op', vcpuOf: pvOf,
  read: (view) => ({
    type: CallbackRegister.type.get(view, 0),
    target: {
      low: CallbackRegister.address.low(view, 0), high: CallbackRegister.address.high(view, 0),
      masks: (CallbackRegister.flags.get(view, 0) & CALLBACKF.mask_events) !== 0,
    },
  }),
  checked: (target) => isCanonical(signedFromParts(target.low, target.high)) ? target : undefined,
})

/** set_callbacks(event, failsafe, syscall): errors of each are not told. */
const setCallbacks: PvHandler = (caller, pv, args) => {
  const types = [CALLBACKTYPE.event, CALLBACKTYPE.failsafe, CALLBACKTYPE.syscall]
  types.forEach((type, i) => {
    CALLBACKS.register(caller, pv, { type, target: { low: args.low[i]!, high: args.high[i]!, masks: false } })
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
    ...registerHypercalls(), setSegmentBaseOp(parts), CALLBACKS.row(), nmiOp(FLAT.KERNEL_CS64, NATIVE),
  ]
}
