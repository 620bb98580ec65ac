/**
 * Hypercalls that only a 32-bit PV guest makes in this form: entry points with code segments, stacks with selectors,
 * descriptor tables.
 * Reference: xen/arch/x86/pv/callback.c, compat_*; descriptor-tables.c; public/xen.h.
 */
import {
  CALLBACKF, CALLBACKOP, CALLBACKTYPE, COMPAT, COMPAT_FLAT, CallbackUnregister, CompatCallbackRegister, ERRNO,
  FIRST_RESERVED_GDT_ENTRY, TrapInfo,
} from '../../../abi/index.ts'
import { Scratch, readInto } from '../../memory/guest-access.ts'
import type { HypercallArguments, HypercallHandler, HypercallName, HypercallRow, Support } from '../../domains/hypercall.ts'
import { FULL, type Operation, type Operations, byFirstArgument, byNumber, listed, refusal, refused } from '../../hypercalls/table.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { TlbClock } from '../../frames/tlb-clock.ts'
import { CALL_AGAIN, WORK, type WorkMeter } from '../../time/work-meter.ts'
import type { DescriptorTables } from '../direct-paging/descriptor-tables.ts'
import { registerHypercalls } from '../paravirtual/debug-registers.ts'
import { nmiOp, registerNmi } from '../paravirtual/nmi.ts'
import { setEntry } from '../paravirtual/paravirtual-vcpu.ts'
import { type Pv32Vcpu, pv32Of } from './pv32-vcpu.ts'
import { fixSelector } from './segments.ts'

/** What these hypercalls work on. */
export interface Pv32HypercallParts {
  readonly descriptorTables: DescriptorTables
  readonly tlb: TlbClock
  readonly meter: WorkMeter
}

type Pv32Handler = (caller: Vcpu, pv: Pv32Vcpu, args: HypercallArguments) => number

/** A handler for callers that have such state; others have no such hypercall. */
const forPv32 = (handler: Pv32Handler): HypercallHandler => (caller, args) => {
  const pv = pv32Of(caller)
  return pv === undefined ? -ERRNO.ENOSYS : handler(caller, pv, args)
}

const CompatTrapInfo = /* @__PURE__ */ COMPAT.of(TrapInfo)

/** set_trap_table(list): entries until one without address; no list clears all. */
function setTrapTable(meter: WorkMeter): Pv32Handler {
  const scratch = new Scratch(CompatTrapInfo.size)
  const { view } = scratch
  return (caller, pv, args) => {
    let address = args.address(0)
    if (address === 0) {
      for (let vector = 0; vector < 256; vector += 1) pv.setTrap(vector, { flags: 0, cs: 0, low: 0, high: 0 })
      return 0
    }
    for (; !meter.isSpent; address += CompatTrapInfo.size) {
      if (!readInto(caller.access, address, scratch, CompatTrapInfo.size)) return -ERRNO.EFAULT
      const low = CompatTrapInfo.address.low(view, 0)
      if (low === 0) return 0
      const cs = fixSelector(CompatTrapInfo.cs.get(view, 0))
      pv.setTrap(CompatTrapInfo.vector.get(view, 0), { flags: CompatTrapInfo.flags.get(view, 0), cs, low, high: 0 })
      meter.charge(WORK.element)
    }
    args.set(0, address)
    return CALL_AGAIN
  }
}

/** set_gdt(frames, entries). */
function setGdt(parts: Pv32HypercallParts): Pv32Handler {
  const scratch = new Scratch(16 * 4)
  const frames = new Float64Array(16)
  return (caller, pv, args) => {
    const entries = args.u32(1)
    if (entries > FIRST_RESERVED_GDT_ENTRY) return -ERRNO.EINVAL
    const count = Math.ceil(entries / 512)
    if (!readInto(caller.access, args.address(0), scratch, count * 4)) return -ERRNO.EFAULT
    for (let i = 0; i < count; i += 1) frames[i] = scratch.view.getUint32(i * 4, true)
    const result = parts.descriptorTables.setGdt(caller.owner, pv, frames, entries)
    if (result === 0) parts.tlb.flush(pv)
    parts.meter.charge(WORK.flush)
    return result
  }
}

/** Where the guest is to be entered. */
interface Target {
  readonly selector: number
  readonly address: number
  readonly masks: boolean
}

/** One kind of entry point. */
interface EntryKind {
  readonly support: Support
  readonly set: (caller: Vcpu, pv: Pv32Vcpu, target: Target) => number
}

/** A kind of entry point that is told of by setting it. */
const entryKind = (set: (pv: Pv32Vcpu, target: Target) => void): EntryKind => ({
  support: FULL,
  set: (_caller, pv, target) => {
    set(pv, target)
    return 0
  },
})

const NO_SYSCALL = /* @__PURE__ */ refused('ENOSYS', '64-bit guests have it')
const OLD_SYSENTER = /* @__PURE__ */ refused('ENOSYS', 'superseded by sysenter')

/** Kinds of entry point, by the names of their numbers. */
const ENTRY_KINDS: Operations<typeof CALLBACKTYPE, EntryKind> = {
  event: /* @__PURE__ */ entryKind((pv, { selector, address }) => {
    pv.eventSelector = selector
    setEntry(pv.eventCallback, address, 0)
  }),
  failsafe: /* @__PURE__ */ entryKind((pv, { selector, address, masks }) => {
    pv.failsafeSelector = selector
    setEntry(pv.failsafeCallback, address, 0)
    pv.failsafeMasksEvents = masks
  }),
  syscall: { support: NO_SYSCALL, set: (caller) => refusal(NO_SYSCALL, caller) },
  sysenter_deprecated: { support: OLD_SYSENTER, set: (caller) => refusal(OLD_SYSENTER, caller) },
  nmi: { support: FULL, set: (caller, _pv, { address }) => registerNmi(caller, COMPAT_FLAT.KERNEL_CS, { low: address, high: 0 }) },
  sysenter: /* @__PURE__ */ entryKind((pv, { selector, address, masks }) => {
    pv.sysenterSelector = selector
    setEntry(pv.sysenterCallback, address, 0)
    pv.sysenterMasksEvents = masks
  }),
  syscall32: /* @__PURE__ */ entryKind((pv, { selector, address, masks }) => {
    pv.syscall32Selector = selector
    setEntry(pv.syscall32Callback, address, 0)
    pv.syscall32MasksEvents = masks
  }),
}
const KIND_BY_NUMBER = /* @__PURE__ */ byNumber(CALLBACKTYPE, ENTRY_KINDS)

/** Sets one entry point of a vCPU. */
function registerCallback(caller: Vcpu, pv: Pv32Vcpu, type: number, target: Target): number {
  const kind = type < KIND_BY_NUMBER.length ? KIND_BY_NUMBER[type] : undefined
  return kind === undefined ? -ERRNO.ENOSYS : kind.set(caller, pv, { ...target, selector: fixSelector(target.selector) })
}

/** Only an NMI's handler can be taken back. */
function unregisterCallback(pv: Pv32Vcpu, type: number): number {
  if (type === CALLBACKTYPE.nmi) {
    pv.setTrap(2, { flags: 0, cs: 0, low: 0, high: 0 })
    return 0
  }
  const kind = type < KIND_BY_NUMBER.length ? KIND_BY_NUMBER[type] : undefined
  return kind !== undefined && kind.support.level !== 'refused' ? -ERRNO.EINVAL : -ERRNO.ENOSYS
}

/** Makes the row of callback_op(command, argument). */
function callbackOp(): HypercallRow {
  const layout = CompatCallbackRegister
  const scratch = new Scratch(layout.size)
  const { view } = scratch
  const rows: Operations<typeof CALLBACKOP, Operation> = {
    register: {
      support: FULL,
      run: forPv32((caller, pv, args) => {
        if (!readInto(caller.access, args.address(1), scratch, layout.size)) return -ERRNO.EFAULT
        const masks = (layout.flags.get(view, 0) & CALLBACKF.mask_events) !== 0
        const [selector, address] = [layout.cs.low(view, 0) & 0xffff, layout.eip.low(view, 0)]
        return registerCallback(caller, pv, layout.type.get(view, 0), { selector, address, masks })
      }),
    },
    unregister: {
      support: FULL,
      run: forPv32((caller, pv, args) => {
        if (!readInto(caller.access, args.address(1), scratch, CallbackUnregister.size)) return -ERRNO.EFAULT
        return unregisterCallback(pv, CallbackUnregister.type.get(view, 0))
      }),
    },
  }
  return {
    name: 'callback_op', handler: byFirstArgument(CALLBACKOP, rows), source: 'public/callback.h; compat_callback_op',
    operations: [listed('CALLBACKOP_', CALLBACKOP, rows), listed('CALLBACKTYPE_', CALLBACKTYPE, ENTRY_KINDS)],
  }
}

/** set_callbacks(event selector, event address, failsafe selector, failsafe address). */
const setCallbacks: Pv32Handler = (caller, pv, args) => {
  const types = [CALLBACKTYPE.event, CALLBACKTYPE.failsafe]
  types.forEach((type, i) => {
    registerCallback(caller, pv, type, { selector: args.u32(2 * i) & 0xffff, address: args.u32(2 * i + 1), masks: false })
  })
  return 0
}

/** stack_switch(ss, sp). */
const stackSwitch: Pv32Handler = (_caller, pv, args) => {
  pv.kernelSs = fixSelector(args.u32(0))
  setEntry(pv.kernelSp, args.low[1]!, 0)
  return 0
}

/** Makes the rows of the hypercalls that need a processor. */
export function pv32Hypercalls(parts: Pv32HypercallParts): HypercallRow[] {
  const row = (name: HypercallName, source: string, handler: Pv32Handler): HypercallRow =>
    ({ name, source, handler: forPv32(handler), support: FULL })
  return [
    row('set_trap_table', 'public/arch-x86/xen.h, struct trap_info; compat_set_trap_table', setTrapTable(parts.meter)),
    row('set_gdt', 'public/arch-x86/xen.h; compat_set_gdt', setGdt(parts)),
    row('stack_switch', 'public/xen.h; do_stack_switch', stackSwitch),
    row('set_callbacks', 'public/xen.h; compat_set_callbacks', setCallbacks),
    ...registerHypercalls(), callbackOp(), nmiOp(COMPAT_FLAT.KERNEL_CS, COMPAT),
  ]
}
