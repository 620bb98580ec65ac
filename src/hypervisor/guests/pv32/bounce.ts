/**
 * Bounce frames of 32-bit guests: what a handler finds on its stack, below the stack pointer of an outer ring's.
 *
 *   esp -> [error code] | eip | cs + saved mask in bits 16..23 | eflags with virtual IF | [esp | ss]
 *
 * From rings 2 and 3 the frame goes to the stack that the kernel has named, from ring 1 to the one in use. A failsafe frame
 * has ds, es, fs and gs in place of an error code.
 * Reference: xen/arch/x86/x86_64/compat/entry.S, compat_create_bounce_frame; xen/arch/x86/domain.c, load_segments.
 */
import { VMASST_TYPE, VcpuInfo } from '../../../abi/index.ts'
import type { SegmentState } from '../../../machine/index.ts'
import { GPR, RFLAGS, SEGMENT } from '../../../x86/index.ts'
import { Scratch } from '../../memory/guest-access.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { Entry } from '../paravirtual/paravirtual-guest.ts'
import type { Pv32Vcpu } from './pv32-vcpu.ts'
import { type CompatSegments, linearAddress } from './segments.ts'

/** The byte of vcpu_info that masks upcalls. */
const UPCALL_MASK = VcpuInfo.evtchnUpcallMask.offset

/** Flags that every entry clears. */
const CLEARED = RFLAGS.VM | RFLAGS.RF | RFLAGS.NT | RFLAGS.TF | RFLAGS.IOPL
/** Words of the longest frame: a failsafe one from an outer ring. */
const MOST_WORDS = 9

/** What frames need besides the vCPU. */
export interface BounceHost {
  readonly memory: { readonly view: DataView }
  readonly segments: CompatSegments
}

/** Builds frames; one object serves all vCPUs. */
export class CompatBounce {
  private readonly host: BounceHost
  private readonly scratch = new Scratch(MOST_WORDS * 4)

  constructor(host: BounceHost) {
    this.host = host
  }

  /** Enters the guest's kernel; false when there is no such entry or no stack: the guest is to crash. */
  enter(vcpu: Vcpu, pv: Pv32Vcpu, entry: Entry): boolean {
    if ((entry.selector & 0xfffc) === 0) return false
    const code = this.host.segments.code(vcpu.owner, pv, entry.selector)
    return code !== undefined && this.frame(vcpu, pv, { entry, code, words: entry.errorCode < 0 ? [] : [entry.errorCode] })
  }

  /** Enters at an entry point in a segment that has been found, with `words` in the lowest places of the frame. */
  frame(
    vcpu: Vcpu, pv: Pv32Vcpu, how: { readonly entry: Entry; readonly code: SegmentState; readonly words: readonly number[] },
  ): boolean {
    const { registers } = pv.processor
    const { entry, code, words } = how
    const isOuter = (registers.selector(SEGMENT.cs) & 2) !== 0
    const stack = isOuter ? this.host.segments.stack(vcpu.owner, pv, pv.kernelSs, code.selector & 3) : registers.segment(SEGMENT.ss)
    if (stack === undefined || (stack.selector & 3) !== (code.selector & 3)) return false
    const size = (words.length + (isOuter ? 5 : 3)) * 4
    const top = isOuter ? pv.kernelSp.low : registers.low(GPR.rsp)
    const offset = (top - size) >>> 0
    const address = linearAddress(stack, offset, size)
    this.fill(vcpu, pv, { words, isOuter })
    if (address < 0 || !pv.kernelAccess.write(address, this.scratch.bytes.subarray(0, size))) return false
    if (entry.masksEvents) this.host.memory.view.setUint8(vcpu.infoAddress + UPCALL_MASK, 1)
    registers.set(GPR.rsp, offset, 0)
    registers.setFlags(((registers.flags() & ~CLEARED) | RFLAGS.IF) >>> 0)
    registers.setSegment(SEGMENT.ss, stack)
    registers.setSegment(SEGMENT.cs, code)
    registers.setRip(entry.point.low, 0)
    return true
  }

  /** Writes the frame into the scratch. */
  private fill(vcpu: Vcpu, pv: Pv32Vcpu, { words, isOuter }: { readonly words: readonly number[]; readonly isOuter: boolean }): void {
    const { registers } = pv.processor
    const { view } = this.scratch
    const mask = this.host.memory.view.getUint8(vcpu.infoAddress + UPCALL_MASK)
    let flags = registers.flags() & ~(RFLAGS.IF | RFLAGS.IOPL)
    if (mask === 0) flags |= RFLAGS.IF
    if (vcpu.owner.hasAssist(VMASST_TYPE.architectural_iopl)) flags |= pv.iopl
    const all = [...words, registers.rip(), (registers.selector(SEGMENT.cs) | (mask << 16)) >>> 0, flags >>> 0]
    if (isOuter) all.push(registers.low(GPR.rsp), registers.selector(SEGMENT.ss))
    all.forEach((word, i) => view.setUint32(i * 4, word, true))
  }
}
