/**
 * The iret hypercall: how a PV kernel returns from a bounce frame, to user mode or within itself. Everything comes from
 * the guest's stack and is made safe: ring 3, interrupts on, no I/O privilege.
 * Reference: xen/arch/x86/pv/iret.c, do_iret; public/arch-x86/xen-x86_64.h, struct iret_context.
 */
import { IretContext, VGCF, VMASST_TYPE, VcpuInfo } from '../../../abi/index.ts'
import { signedFromParts } from '../../../util/index.ts'
import { GPR, PAGE_SHIFT, RFLAGS, SEGMENT, VECTOR } from '../../../x86/index.ts'
import { Scratch, readInto } from '../../memory/guest-access.ts'
import { CALL_SILENT, type HypercallHandler, type HypercallRow } from '../../domains/hypercall.ts'
import { FULL } from '../../domains/hypercall-rows.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import type { Vcpu } from '../../domains/domain.ts'
import { FLAT_CODE_64, FLAT_DATA, type PvVcpu, pvOf, setFlat } from './pv-vcpu.ts'
import type { SegmentLoader } from './segments.ts'

/** The byte of vcpu_info that masks upcalls. */
const UPCALL_MASK = VcpuInfo.evtchnUpcallMask.offset

/** What iret asks of the hypervisor around it. */
export interface IretHost {
  readonly segments: SegmentLoader
  readonly memory: Pick<GuestMemory, 'view' | 'markWritten'>
  crash(vcpu: Vcpu, reason: string): void
  /** Gives the guest a fault at the place it has returned to. */
  inject(vcpu: Vcpu, vector: number, errorCode: number): void
}

/** Makes the row of iret. */
export function iret(host: IretHost): HypercallRow {
  const source = 'public/arch-x86/xen-x86_64.h, struct iret_context; do_iret'
  return { name: 'iret', handler: handlerOf(host), source, support: FULL }
}

function handlerOf(host: IretHost): HypercallHandler {
  const scratch = new Scratch(IretContext.size)
  return (caller) => {
    const pv = pvOf(caller)
    if (pv === undefined) return 0
    const { registers } = pv.processor
    const stack = signedFromParts(registers.low(GPR.rsp), registers.high(GPR.rsp))
    if (!readInto(caller.access, stack, scratch, IretContext.size)) {
      host.crash(caller, 'iret from a stack that cannot be read')
      return CALL_SILENT
    }
    const cs = IretContext.cs.low(scratch.view, 0) & 0xffff
    if ((cs & 3) === 3) {
      if (pv.userTable === 0) {
        host.crash(caller, 'iret to user mode without user page tables')
        return CALL_SILENT
      }
      pv.toggleMode()
    }
    restore(host, caller, pv, scratch.view)
    return CALL_SILENT
  }
}

function restore(host: IretHost, caller: Vcpu, pv: PvVcpu, view: DataView): void {
  const { registers } = pv.processor
  const flags = IretContext.rflags.low(view, 0)
  if (caller.owner.hasAssist(VMASST_TYPE.architectural_iopl)) pv.iopl = flags & RFLAGS.IOPL
  const real = (flags & ~(RFLAGS.IOPL | RFLAGS.VM)) | RFLAGS.IF
  const ripLow = IretContext.rip.low(view, 0)
  const ripHigh = IretContext.rip.high(view, 0)
  registers.setRip(ripLow, ripHigh)
  registers.setFlags(real >>> 0)
  registers.set(GPR.rsp, IretContext.rsp.low(view, 0), IretContext.rsp.high(view, 0))
  registers.set(GPR.rax, IretContext.rax.low(view, 0), IretContext.rax.high(view, 0))
  if ((IretContext.flags.low(view, 0) & VGCF.in_syscall) === 0) {
    registers.set(GPR.r11, IretContext.r11.low(view, 0), IretContext.r11.high(view, 0))
    registers.set(GPR.rcx, IretContext.rcx.low(view, 0), IretContext.rcx.high(view, 0))
  } else {
    // A return by SYSRET leaves rip in RCX and the flags in R11.
    registers.set(GPR.rcx, ripLow, ripHigh)
    registers.set(GPR.r11, real >>> 0, 0)
  }
  if (caller.infoAddress >= 0) {
    host.memory.view.setUint8(caller.infoAddress + UPCALL_MASK, (flags & RFLAGS.IF) === 0 ? 1 : 0)
    host.memory.markWritten(caller.infoAddress >>> PAGE_SHIFT)
  }
  pv.nmiMasked = false
  loadSegments(host, caller, pv, view)
}

function loadSegments(host: IretHost, caller: Vcpu, pv: PvVcpu, view: DataView): void {
  const { registers } = pv.processor
  const cs = (IretContext.cs.low(view, 0) & 0xffff) | 3
  const ss = (IretContext.ss.low(view, 0) & 0xffff) | 3
  const code = host.segments.code(caller.owner, pv, cs)
  const stack = host.segments.stack(caller.owner, pv, ss)
  if (code === FLAT_CODE_64) setFlat(registers, SEGMENT.cs, code)
  else if (code !== undefined) registers.setSegment(SEGMENT.cs, code)
  if (stack === FLAT_DATA) setFlat(registers, SEGMENT.ss, stack)
  else if (stack !== undefined) registers.setSegment(SEGMENT.ss, stack)
  if (code === undefined) host.inject(caller, VECTOR.GP, cs & 0xfffc)
  else if (stack === undefined) host.inject(caller, VECTOR.GP, ss & 0xfffc)
}
