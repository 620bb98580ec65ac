/** vcpu_guest_context of guests of either width, for whoever has a domain's ABI and bytes. */
import { CompatVcpuGuestContext, type GuestAbi, VcpuGuestContext } from '../../abi/index.ts'
import { decodeCompatVcpuContext, encodeCompatVcpuContext } from './compat-vcpu-context.ts'
import { decodeVcpuContext, encodeVcpuContext } from './vcpu-context.ts'
import type { VcpuContext } from './vcpu-registers.ts'

/** Writes and reads a vCPU's whole state as a guest of one ABI lays it out. */
export interface VcpuContextCodec {
  /** Bytes that it takes. */
  readonly size: number
  /** Writes all of its bytes. */
  encode(context: VcpuContext, view: DataView, base: number): void
  /** Nothing is checked. */
  decode(view: DataView, base: number): VcpuContext
}

const CODECS: Readonly<Record<GuestAbi['name'], VcpuContextCodec>> = {
  native: { size: VcpuGuestContext.size, encode: encodeVcpuContext, decode: decodeVcpuContext },
  compat: { size: CompatVcpuGuestContext.size, encode: encodeCompatVcpuContext, decode: decodeCompatVcpuContext },
}

/** The codec of guests of an ABI. */
export const vcpuContextCodec = ({ name }: GuestAbi): VcpuContextCodec => CODECS[name]
