/**
 * Bounce frames: how a PV guest is entered at one of its own handlers. The frame that the handler finds on its stack is
 * the processor's own exception frame below two saved registers:
 *
 *   rsp -> rcx | r11 | [error code] | rip | cs + saved mask in bits 32..39 | rflags with virtual IF | rsp | ss
 *
 * Reference: xen/arch/x86/x86_64/entry.S, create_bounce_frame; Intel SDM volume 3, 6.14.
 */
import { FLAT, VcpuInfo } from '../../../abi/index.ts'
import { signedFromParts } from '../../../util/index.ts'
import { GPR, RFLAGS, SEGMENT } from '../../../x86/index.ts'
import { type GuestAccess, Scratch } from '../../memory/guest-access.ts'
import type { Entry } from '../paravirtual/paravirtual-guest.ts'
import { FLAT_CODE_64, FLAT_DATA, type PvVcpu, setFlat } from './pv-vcpu.ts'

/** The byte of vcpu_info that masks upcalls. */
const UPCALL_MASK = VcpuInfo.evtchnUpcallMask.offset

/** What a bounce needs besides the vCPU. */
export interface BounceTarget {
  readonly pv: PvVcpu
  /** The guest's memory as the mode in force shows it. */
  readonly access: GuestAccess
  readonly view: DataView
  /** Byte address of the vCPU's vcpu_info. */
  readonly infoAddress: number
  /** The guest keeps the real I/O privilege level in its flags. */
  readonly showsIopl: boolean
}

/** Flags that every entry clears. */
const CLEARED = RFLAGS.AC | RFLAGS.VM | RFLAGS.RF | RFLAGS.NT | RFLAGS.TF
/** Words of the frame with an error code. */
const FRAME_BYTES = 64

/** Builds frames; one object serves all vCPUs. */
export class BounceFrames {
  private readonly scratch = new Scratch(FRAME_BYTES)
  /** A frame without an error code: its first bytes. */
  private readonly shorter = this.scratch.bytes.subarray(0, FRAME_BYTES - 8)

  /**
   * Enters the guest's kernel at `bounce.point`, in its flat code segment. False when it has no such entry or no stack: the guest is to crash.
   */
  enter(target: BounceTarget, bounce: Entry): boolean {
    const { pv } = target
    if (bounce.point.low === 0 && bounce.point.high === 0) return false
    const { registers } = pv.processor
    const cs = registers.selector(SEGMENT.cs)
    const wasKernel = pv.inKernel
    let stack: number
    if (wasKernel) stack = signedFromParts(registers.low(GPR.rsp), registers.high(GPR.rsp))
    else {
      pv.toggleMode()
      stack = signedFromParts(pv.kernelSp.low, pv.kernelSp.high)
    }
    const frame = bounce.errorCode < 0 ? this.shorter : this.scratch.bytes
    const top = stack - (stack - Math.floor(stack / 16) * 16)
    this.fill(target, bounce, wasKernel ? cs & 0xfffc : cs)
    const bottom = top - frame.length
    if (!target.access.write(bottom, frame)) return false
    if (bounce.masksEvents) target.view.setUint8(target.infoAddress + UPCALL_MASK, 1)
    registers.set(GPR.rsp, bottom >>> 0, Math.floor(bottom / 0x1_0000_0000) >>> 0)
    registers.setFlags((registers.flags() & ~(CLEARED | RFLAGS.IOPL)) | RFLAGS.IF)
    setFlat(registers, SEGMENT.ss, FLAT_DATA)
    setFlat(registers, SEGMENT.cs, FLAT_CODE_64)
    registers.setRip(bounce.point.low, bounce.point.high)
    return true
  }

  /** Writes the frame into the scratch. */
  private fill(target: BounceTarget, bounce: Entry, cs: number): void {
    const { pv, view } = target
    const { registers } = pv.processor
    const frame = this.scratch.view
    const mask = view.getUint8(target.infoAddress + UPCALL_MASK)
    put(frame, 0, registers.low(GPR.rcx), registers.high(GPR.rcx))
    put(frame, 8, registers.low(GPR.r11), registers.high(GPR.r11))
    let at = 16
    if (bounce.errorCode >= 0) {
      put(frame, at, bounce.errorCode, 0)
      at += 8
    }
    const rip = registers.rip()
    put(frame, at, rip >>> 0, Math.floor(rip / 0x1_0000_0000) >>> 0)
    put(frame, at + 8, cs, mask)
    let flags = registers.flags() & ~(RFLAGS.IF | RFLAGS.IOPL)
    if (mask === 0) flags |= RFLAGS.IF
    if (target.showsIopl) flags |= pv.iopl
    put(frame, at + 16, flags, 0)
    put(frame, at + 24, registers.low(GPR.rsp), registers.high(GPR.rsp))
    put(frame, at + 32, registers.selector(SEGMENT.ss), 0)
  }
}

/** Where a syscall of a guest's user mode goes: the 32-bit entry when it came from the flat 32-bit code segment. */
export const isCompatibilitySyscall = (selector: number): boolean => selector === FLAT.USER_CS32

function put(view: DataView, at: number, low: number, high: number): void {
  view.setUint32(at, low, true)
  view.setUint32(at + 4, high, true)
}
