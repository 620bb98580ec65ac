/**
 * Giving a frame away for good to a domain that has an entry which accepts it.
 * Reference: xen/common/grant_table.c (gnttab_transfer, gnttab_prepare_for_transfer).
 */
import { PAGE_SHIFT } from '../../x86/index.ts'
import { ERRNO, GNTST, GTF, GrantEntryV1, GrantEntryV2 } from '../../abi/index.ts'
import type { GrantTable } from './grant-table.ts'
import type { GrantHost, TransferRequest } from './types.ts'

/** True when the entry accepts a frame from `giver`; it is then marked as committed, which the guest must not undo. */
function commit(host: GrantHost, taker: GrantTable, giver: number, ref: number): boolean {
  if (taker.retired || ref >= taker.entryCount) return false
  const flags = taker.flagsOf(ref)
  if (flags !== GTF.accept_transfer || taker.domainOf(ref) !== giver) return false
  host.memory.view.setUint16(taker.entryAt(ref), flags | GTF.transfer_committed, true)
  host.memory.markWritten(taker.entryAt(ref) >>> PAGE_SHIFT)
  return true
}

/**
 * One GNTTABOP_transfer; GNTST status. As in Xen, a frame that has been taken from its owner and then cannot be given
 * to the other domain is freed.
 */
export function transferFrame(
  host: GrantHost, giver: GrantTable, request: TransferRequest, tableOf: (domid: number) => GrantTable | undefined,
): number {
  const { ref } = request
  const mfn = giver.machineFrame(request.mfn)
  const { frames, memory } = host
  const stolen = frames.steal(mfn, giver.domain.id)
  if (stolen === 0) giver.domain.physmap?.forget(mfn)
  if (stolen !== 0) return stolen === -ERRNO.EINVAL ? GNTST.bad_page : GNTST.general_error
  host.flushTlb(giver.domain.id)
  const taker = tableOf(request.domid)
  if (taker === undefined) {
    frames.discard(mfn)
    return GNTST.bad_domain
  }
  const { id } = taker.domain
  if (!frames.hasRoom(id) || !commit(host, taker, giver.domain.id, ref) || !frames.adopt(mfn, id)) {
    frames.discard(mfn)
    return GNTST.general_error
  }
  const at = taker.entryAt(ref)
  // The entry names the place in the taker's memory; the frame's number takes its room.
  const place = taker.frameOf(ref)
  if (taker.domain.physmap === undefined) frames.setPfn(mfn, place)
  else taker.domain.physmap.place(place, mfn)
  if (taker.version === 1) GrantEntryV1.frame.set(memory.view, at, taker.guestFrame(mfn))
  else GrantEntryV2.fullPageFrame.setNumber(memory.view, at, taker.guestFrame(mfn))
  memory.view.setUint16(at, taker.flagsOf(ref) | GTF.transfer_completed, true)
  memory.markWritten(at >>> PAGE_SHIFT)
  return GNTST.okay
}
