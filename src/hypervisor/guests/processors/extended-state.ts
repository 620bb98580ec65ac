/**
 * The extended state of a vCPU: XCR0 as its kernel has set it, what it ever held, and the state itself as XSAVE writes it.
 * XSETBV changes the first two, toolstacks take all of it out and give it back; a refused one changes nothing.
 * Reference: xen/arch/x86/xstate.c, handle_xsetbv, validate_xstate; xen/arch/x86/domctl.c, XEN_DOMCTL_setvcpuextstate.
 */
import { ERRNO } from '../../../abi/index.ts'
import { XCR0 } from '../../../x86/index.ts'
import type { Processor } from '../../../machine/index.ts'

/** A vCPU as far as its extended state is concerned. */
export interface ExtendedVcpu {
  readonly processor: Processor
  /** XCR0 as the guest has set it, 0 before that, and all bits that it ever had. */
  xcr0: number
  xcr0Accumulated: number
}

/** XCR0 and all bits that it ever had, before the area. */
const HEADER_BYTES = 16
/** The area: its header, the state of AVX behind that, and its end. */
const [XSAVE_HEADER, AVX_STATE, AREA_END] = [512, 576, 832] as const
/** In the header: what the area holds, its form, and bytes that are zero. */
const [HOLDS, FORM, RESERVED] = [0, 8, 16] as const
const MXCSR = { at: 24, bits: 0xffff } as const
/** What the processor has in XCR0 before the guest has set it. */
const BEFORE = XCR0.X87 | XCR0.SSE

/** Bytes of the area for what XCR0 ever had; none before the guest has set it. */
const areaBytes = (accumulated: number): number =>
  (accumulated === 0 ? 0 : (accumulated & XCR0.AVX) === 0 ? AVX_STATE : AREA_END)

/** x87 always, AVX only with SSE. */
const isSound = (xcr0: number): boolean =>
  (xcr0 & XCR0.X87) !== 0 && ((xcr0 & XCR0.AVX) === 0 || (xcr0 & XCR0.SSE) !== 0)

/** XSETBV of register 0 where `offered` bits may be set: true when it is done. */
export function setXcr0(pv: ExtendedVcpu, value: { readonly low: number; readonly high: number }, offered: number): boolean {
  const { low, high } = value
  if (high !== 0 || (low & ~offered) !== 0 || !isSound(low)) return false
  pv.xcr0 = low
  pv.xcr0Accumulated |= low
  pv.processor.registers.setXcr0(low)
  return true
}

/** All of it, as toolstacks carry it: XCR0, all bits that it ever had, the area. Empty where the processor has no XSAVE. */
export function takeExtendedState(pv: ExtendedVcpu): Uint8Array {
  if (pv.processor.cpuid(0xd, 0)[0] === 0) return new Uint8Array(0)
  const area = pv.processor.saveExtendedState().subarray(0, areaBytes(pv.xcr0Accumulated))
  const bytes = new Uint8Array(HEADER_BYTES + area.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, pv.xcr0, true)
  view.setUint32(8, pv.xcr0Accumulated, true)
  bytes.set(area, HEADER_BYTES)
  return bytes
}

/** Why an area is refused: a negative error number, or 0. */
function validate(header: DataView, o: { readonly xcr0: number; readonly accumulated: number; readonly offered: number }): number {
  const { xcr0, accumulated, offered } = o
  const holds = header.getUint32(HOLDS, true)
  const isBad = header.getUint32(HOLDS + 4, true) !== 0 || (holds & ~accumulated) !== 0 || (xcr0 & ~accumulated) !== 0 ||
    (accumulated & ~offered) !== 0 || !isSound(xcr0) || !isSound(accumulated)
  if (isBad) return -ERRNO.EINVAL
  if (header.getBigUint64(FORM, true) !== 0n) return -ERRNO.EOPNOTSUPP
  for (let at: number = RESERVED; at < AVX_STATE - XSAVE_HEADER; at += 8) if (header.getBigUint64(at, true) !== 0n) return -ERRNO.EIO
  return 0
}

/** Gives a vCPU such bytes where `offered` bits of XCR0 may be set: 0, -EINVAL, -EOPNOTSUPP or -EIO with nothing changed. */
export function giveExtendedState(pv: ExtendedVcpu, bytes: Uint8Array, offered: number): number {
  if (bytes.length < HEADER_BYTES || bytes.length > HEADER_BYTES + AREA_END) return -ERRNO.EINVAL
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const [xcr0, accumulated] = [view.getUint32(0, true), view.getUint32(8, true)]
  if (view.getUint32(4, true) !== 0 || view.getUint32(12, true) !== 0) return -ERRNO.EINVAL
  if (accumulated === 0 && xcr0 !== 0) return -ERRNO.EINVAL
  if (accumulated !== 0) {
    if (bytes.length < HEADER_BYTES + AVX_STATE) return -ERRNO.EINVAL
    const header = new DataView(bytes.buffer, bytes.byteOffset + HEADER_BYTES + XSAVE_HEADER, AVX_STATE - XSAVE_HEADER)
    const error = validate(header, { xcr0, accumulated, offered })
    if (error !== 0) return error
  }
  if (bytes.length === HEADER_BYTES) return 0
  if (bytes.length !== HEADER_BYTES + areaBytes(accumulated)) return -ERRNO.EINVAL
  const area = new Uint8Array(AREA_END)
  area.set(bytes.subarray(HEADER_BYTES))
  const own = new DataView(area.buffer)
  own.setUint32(MXCSR.at, own.getUint32(MXCSR.at, true) & MXCSR.bits, true)
  pv.xcr0 = xcr0
  pv.xcr0Accumulated = accumulated
  pv.processor.registers.setXcr0(xcr0 === 0 ? BEFORE : xcr0)
  pv.processor.loadExtendedState(area)
  return 0
}
