/**
 * Bitmaps of the tools': sets of CPUs or of nodes, of as many bits as the caller says. What the host has beyond that is left out, and
 * what the caller has beyond the host is cleared.
 * Reference: xen/common/bitmap.c, xenctl_bitmap_to_bitmap, bitmap_to_xenctl_bitmap.
 */
import { XenctlBitmap } from '../../../abi/index.ts'
import { PAGE_SIZE } from '../../../x86/index.ts'
import type { ControlCall } from './control-call.ts'

const ZEROS = /* @__PURE__ */ new Uint8Array(PAGE_SIZE)

/** The numbers below `count` whose bits are set in the bitmap that the structure describes at `base`; -EFAULT. */
export function readBitmap(call: ControlCall, base: number, count: number): number[] | number {
  const bits = XenctlBitmap.nrBits.get(call.view, base)
  const bytes = new Uint8Array(Math.min(Math.ceil(bits / 8), Math.ceil(count / 8)))
  const result = call.read(call.address(XenctlBitmap.bitmap, base), bytes)
  if (result < 0) return result
  return Array.from({ length: Math.min(bits, count) }, (_, bit) => bit).filter((bit) => (bytes[bit >>> 3]! >>> (bit & 7) & 1) === 1)
}

/** Sets these bits of `count` in that bitmap, and clears all others: 0, or -EFAULT. */
export function writeBitmap(call: ControlCall, base: number, { set, count }: { readonly set: readonly number[]; readonly count: number }): number {
  const room = Math.ceil(XenctlBitmap.nrBits.get(call.view, base) / 8)
  const bytes = new Uint8Array(Math.min(room, Math.ceil(count / 8)))
  for (const bit of set) if (bit >>> 3 < bytes.length) bytes[bit >>> 3]! |= 1 << (bit & 7)
  const address = call.address(XenctlBitmap.bitmap, base)
  let result = call.write(address, bytes)
  for (let done = bytes.length; result === 0 && done < room; done += PAGE_SIZE) {
    result = call.write(address + done, ZEROS.subarray(0, Math.min(PAGE_SIZE, room - done)))
  }
  return result
}
