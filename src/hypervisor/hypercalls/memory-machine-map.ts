/**
 * XENMEM_machine_memory_map: the machine's memory as its firmware would tell it, for a privileged domain. All that there is, is memory:
 * nothing of the machine lies between its frames.
 * Reference: public/memory.h; xen/arch/x86/mm.c, arch_memory_op.
 */
import { ERRNO, type GuestAbi, XenMemoryMap } from '../../abi/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import { TWO_32, signedFromParts } from '../../util/index.ts'
import type { Vcpu } from '../domains/domain.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import { encodeMap } from './memory-map.ts'

/** Kind of an entry: usable memory. */
const RAM = 1
/** Entries that the map has. */
const ENTRIES = 1

/** Makes the operation; `endFrame` is one past the machine's last frame. */
export function machineMemoryMap(endFrame: number, abi: GuestAbi): (caller: Vcpu, address: number) => number {
  const layout = abi.of(XenMemoryMap)
  const scratch = new Scratch(XenMemoryMap.size)
  const bytes = endFrame * PAGE_SIZE
  const map = encodeMap([{ addressLow: 0, addressHigh: 0, sizeLow: bytes >>> 0, sizeHigh: Math.floor(bytes / TWO_32), type: RAM }])
  return ({ owner, access }, address) => {
    if (!owner.privileged) return -ERRNO.EPERM
    if (!readInto(access, address, scratch, layout.size)) return -ERRNO.EFAULT
    const { view } = scratch
    // Xen wants room for one more than there are.
    if (layout.nrEntries.get(view, 0) < ENTRIES + 1) return -ERRNO.EINVAL
    const buffer = signedFromParts(layout.buffer.low(view, 0), layout.buffer.high(view, 0))
    layout.nrEntries.set(view, 0, ENTRIES)
    return access.write(buffer, map) && access.write(address, scratch.bytes.subarray(0, layout.size)) ? 0 : -ERRNO.EFAULT
  }
}
