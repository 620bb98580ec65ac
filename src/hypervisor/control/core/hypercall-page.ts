/**
 * Filling a frame of a domain's with hypercall stubs: where an image has a HYPERCALL_PAGE note, and where a guest asks for it
 * by a register. Reference: xen/arch/x86/domctl.c, XEN_DOMCTL_hypercall_init.
 */
import { ERRNO } from '../../../abi/index.ts'
import { PAGE_SIZE } from '../../../x86/index.ts'
import { FRAME_TYPE, type FrameTable } from '../../frames/frame-table.ts'
import type { FrameTypes } from '../../frames/frame-types.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'

/** What it works on. */
export interface HypercallPageParts {
  readonly memory: GuestMemory
  readonly frames: FrameTable
  readonly pageTypes: Pick<FrameTypes, 'getPageAndType' | 'putPageAndType'>
}

/**
 * Has `fill` write stubs into a frame: 0, -EINVAL when it is not the domain's, -EPERM when it is in use as a table,
 * -EOPNOTSUPP where the domain's kind has no such page.
 */
export function writeHypercallPage(
  { memory, frames, pageTypes }: HypercallPageParts,
  { domid, frame }: { readonly domid: number; readonly frame: number },
  fill: ((page: Uint8Array) => void) | undefined,
): number {
  if (fill === undefined) return -ERRNO.EOPNOTSUPP
  if (!frames.isValid(frame) || frames.owner[frame] !== domid) return -ERRNO.EINVAL
  if (pageTypes.getPageAndType(frame, FRAME_TYPE.WRITABLE, domid) !== 0) return -ERRNO.EPERM
  fill(memory.bytes.subarray(frame * PAGE_SIZE, (frame + 1) * PAGE_SIZE))
  memory.markWritten(frame)
  pageTypes.putPageAndType(frame)
  return 0
}
