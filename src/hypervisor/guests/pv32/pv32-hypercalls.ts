/**
 * Hypercalls that only a 32-bit PV guest makes in this form: entry points with code segments, stacks with selectors,
 * descriptor tables.
 * Reference: xen/arch/x86/pv/callback.c, compat_*; descriptor-tables.c; public/xen.h.
 */
import {
  CALLBACKF, CALLBACKTYPE, COMPAT, COMPAT_FLAT, CompatCallbackRegister, ERRNO,
  FIRST_RESERVED_GDT_ENTRY, TrapInfo,
} from '../../../abi/index.ts'
import { Scratch, readInto } from '../../memory/guest-access.ts'
import type { HypercallArguments, HypercallHandler, HypercallName, HypercallRow } from '../../domains/hypercall.ts'
import { FULL, type Operations } from '../../domains/hypercall-rows.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { TlbClock } from '../../frames/tlb-clock.ts'
import { CALL_AGAIN, WORK, type WorkMeter } from '../../time/work-meter.ts'
import type { DescriptorTables } from '../direct-paging/descriptor-tables.ts'
import { Callbacks, type EntryKind, entryKind, noEntryKind } from '../paravirtual/callbacks.ts'
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

const NO_SYSCALL = /* @__PURE__ */ noEntryKind('64-bit guests have it')
const OLD_SYSENTER = /* @__PURE__ */ noEntryKind('superseded by sysenter')

/** Kinds of entry point, by the names of their numbers. */
const ENTRY_KINDS: Operations<typeof CALLBACKTYPE, EntryKind<Pv32Vcpu, Target>> = {
  event: /* @__PURE__ */ entryKind((pv, { selector, address }) => {
    pv.eventSelector = selector
    setEntry(pv.eventCallback, address, 0)
  }),
  failsafe: /* @__PURE__ */ entryKind((pv, { selector, address, masks }) => {
    pv.failsafeSelector = selector
    setEntry(pv.failsafeCallback, address, 0)
    pv.failsafeMasksEvents = masks
  }),
  syscall: NO_SYSCALL,
  sysenter_deprecated: OLD_SYSENTER,
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

const CALLBACKS = /* @__PURE__ */ new Callbacks<Pv32Vcpu, Target>({
  kinds: ENTRY_KINDS, size: CompatCallbackRegister.size, source: 'public/callback.h; compat_callback_op', vcpuOf: pv32Of,
  read: (view) => ({
    type: CompatCallbackRegister.type.get(view, 0),
    target: {
      selector: CompatCallbackRegister.cs.low(view, 0) & 0xffff, address: CompatCallbackRegister.eip.low(view, 0),
      masks: (CompatCallbackRegister.flags.get(view, 0) & CALLBACKF.mask_events) !== 0,
    },
  }),
  checked: (target) => ({ ...target, selector: fixSelector(target.selector) }),
})

/** set_callbacks(event selector, event address, failsafe selector, failsafe address). */
const setCallbacks: Pv32Handler = (caller, pv, args) => {
  const types = [CALLBACKTYPE.event, CALLBACKTYPE.failsafe]
  types.forEach((type, i) => {
    CALLBACKS.register(caller, pv, { type, target: { selector: args.u32(2 * i) & 0xffff, address: args.u32(2 * i + 1), masks: false } })
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
    ...registerHypercalls(), CALLBACKS.row(), nmiOp(COMPAT_FLAT.KERNEL_CS, COMPAT),
  ]
}
