/**
 * The iret hypercall of 32-bit kernels: how one returns from a bounce frame to an outer ring or within its own. Everything
 * comes from the stack and is made safe: no ring of the hypervisor's, interrupts on, no I/O privilege.
 *
 *   esp -> eax | eip | cs | eflags | [esp | ss, to an outer ring]
 *
 * Reference: xen/arch/x86/pv/iret.c, compat_iret.
 */
import { VMASST_TYPE, VcpuInfo } from '../../../abi/index.ts'
import { GPR, PAGE_SHIFT, RFLAGS, SEGMENT, VECTOR } from '../../../x86/index.ts'
import { Scratch, readInto } from '../../memory/guest-access.ts'
import { CALL_SILENT, type HypercallHandler, type HypercallRow } from '../../domains/hypercall.ts'
import { FULL } from '../../domains/hypercall-rows.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import type { Vcpu } from '../../domains/domain.ts'
import { type Pv32Vcpu, pv32Of } from './pv32-vcpu.ts'
import { NULL_SEGMENT } from '../paravirtual/segment-registers.ts'
import { type CompatSegments, FLAT_CODE, dropInnerSegments } from './segments.ts'

/** The byte of vcpu_info that masks upcalls. */
const UPCALL_MASK = VcpuInfo.evtchnUpcallMask.offset
/** Words of the frame by their places. */
const WORD = { EAX: 0, EIP: 1, CS: 2, EFLAGS: 3, ESP: 4, SS: 5 } as const
/** Words that a frame to virtual-8086 mode has, and bit of a trap's flags that masks events. */
const [VM86_WORDS, TRAP_MASKS_EVENTS] = [10, 4] as const

/** What iret asks of the hypervisor around it. */
export interface CompatIretHost {
  readonly segments: CompatSegments
  readonly memory: Pick<GuestMemory, 'view' | 'markWritten'>
  crash(vcpu: Vcpu, reason: string): void
  /** Gives the guest a fault at the place it has returned to. */
  inject(vcpu: Vcpu, vector: number, errorCode: number): void
}

/** Where a frame leads. */
interface Target {
  cs: number
  ss: number
  eip: number
  esp: number
  eflags: number
}

/** Makes the row of iret. */
export function compatIret(host: CompatIretHost): HypercallRow {
  return { name: 'iret', handler: handlerOf(host), source: 'xen/arch/x86/pv/iret.c; compat_iret', support: FULL }
}

function handlerOf(host: CompatIretHost): HypercallHandler {
  const scratch = new Scratch(VM86_WORDS * 4)
  return (caller) => {
    const pv = pv32Of(caller)
    if (pv === undefined) return 0
    const target = readTarget(caller, pv, scratch)
    if (target === undefined) host.crash(caller, 'iret from a frame that leads nowhere')
    else goTo(host, caller, pv, { target, eax: scratch.view.getUint32(0, true) })
    return CALL_SILENT
  }
}

/** Reads the frame, whose stack segment does not count; undefined for one that cannot be read or leads into the hypervisor. */
function readTarget(caller: Vcpu, pv: Pv32Vcpu, scratch: Scratch): Target | undefined {
  const { registers } = pv.processor
  const stack = registers.low(GPR.rsp)
  const { view } = scratch
  const word = (index: number): number => view.getUint32(index * 4, true)
  if (!readInto(caller.access, stack, scratch, 16)) return undefined
  const target = { cs: word(WORD.CS) & 0xffff, eip: word(WORD.EIP), eflags: word(WORD.EFLAGS), ss: registers.selector(SEGMENT.ss), esp: (stack + 16) >>> 0 }
  if ((target.eflags & RFLAGS.VM) !== 0) return refuseVm86(caller, pv, { scratch, stack, eflags: target.eflags })
  const ring = target.cs & 3
  if (ring === 0) return undefined
  if (ring === 1) return target
  if (!readInto(caller.access, stack, scratch, 24)) return undefined
  return { ...target, esp: word(WORD.ESP), ss: word(WORD.SS) & 0xffff }
}

/**
 * There is no virtual-8086 mode: the frame is moved to the kernel's stack, with an error code in its lowest place, and the
 * handler of #GP is entered as if the first instruction there had raised it.
 */
function refuseVm86(
  caller: Vcpu, pv: Pv32Vcpu, from: { readonly scratch: Scratch; readonly stack: number; readonly eflags: number },
): Target | undefined {
  const { scratch, stack } = from
  const esp = (pv.kernelSp.low - VM86_WORDS * 4) >>> 0
  if (!readInto(caller.access, stack, scratch, VM86_WORDS * 4)) return undefined
  const eax = scratch.view.getUint32(0, true)
  scratch.view.setUint32(0, 0, true)
  if (!caller.access.write(esp, scratch.bytes)) return undefined
  scratch.view.setUint32(0, eax, true)
  const masks = (pv.trapFlags[VECTOR.GP]! & TRAP_MASKS_EVENTS) !== 0
  const eflags = from.eflags & ~(RFLAGS.VM | RFLAGS.RF | RFLAGS.NT | RFLAGS.TF | (masks ? RFLAGS.IF : 0))
  return { cs: pv.trapSelector[VECTOR.GP]!, ss: pv.kernelSs, eip: pv.trapLow[VECTOR.GP]!, esp, eflags }
}

function goTo(host: CompatIretHost, caller: Vcpu, pv: Pv32Vcpu, { target, eax }: { readonly target: Target; readonly eax: number }): void {
  const { registers } = pv.processor
  const { eflags, cs, ss } = target
  if (caller.owner.hasAssist(VMASST_TYPE.architectural_iopl)) pv.iopl = eflags & RFLAGS.IOPL
  registers.set(GPR.rax, eax, 0)
  registers.set(GPR.rsp, target.esp, 0)
  registers.setFlags(((eflags & ~RFLAGS.IOPL) | RFLAGS.IF) >>> 0)
  if (caller.infoAddress >= 0) {
    host.memory.view.setUint8(caller.infoAddress + UPCALL_MASK, (eflags & RFLAGS.IF) === 0 ? 1 : 0)
    host.memory.markWritten(caller.infoAddress >>> PAGE_SHIFT)
  }
  pv.nmiMasked = false
  const code = host.segments.code(caller.owner, pv, cs)
  const stack = code === undefined ? undefined : host.segments.stack(caller.owner, pv, ss, cs & 3)
  if (code === undefined || stack === undefined) {
    // The fault is the processor's on the way out: the guest's kernel hears of it as if it had got where it was going.
    registers.setSegment(SEGMENT.ss, { ...(stack ?? NULL_SEGMENT), selector: ss })
    registers.setSegment(SEGMENT.cs, { ...(code ?? FLAT_CODE), selector: cs })
    registers.setRip(target.eip, 0)
    host.inject(caller, VECTOR.GP, (code === undefined ? cs : ss) & 0xfffc)
    return
  }
  registers.setSegment(SEGMENT.ss, stack)
  registers.setSegment(SEGMENT.cs, code)
  registers.setRip(target.eip, 0)
  dropInnerSegments(registers, cs & 3)
}
