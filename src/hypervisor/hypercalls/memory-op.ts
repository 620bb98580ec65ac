/**
 * memory_op: a domain's reservation, its memory map, and where the machine-to-physical table lies.
 * Reference: public/memory.h; xen/common/memory.c, do_memory_op; xen/arch/x86/mm.c, arch_memory_op.
 */
import { ArchSharedInfo, ERRNO, type GuestAbi, SharedInfo, XENMEM, XenAddToPhysmap, XenRemoveFromPhysmap } from '../../abi/index.ts'
import type { Domain, Vcpu } from '../domains/domain.ts'
import type { FrameTable } from '../frames/frame-table.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import type { HypercallRow, Support } from '../domains/hypercall.ts'
import { Exchange, type ExchangeParts } from './memory-exchange.ts'
import { MachphysOperations } from './memory-machphys.ts'
import { MemoryMaps } from './memory-map.ts'
import { type ReservationCommand, Reservations } from './memory-reservation.ts'
import { FULL, type Operation, type Operations, byNumber, listed, partial, refuse, refuseAfter, refused } from './table.ts'

/** What memory_op works on. */
export interface MemoryOpParts extends ExchangeParts {
  readonly memory: GuestMemory
  readonly frames: FrameTable
}

/** Bits of the command that name the operation; those above count extents that are done. */
const COMMAND_MASK = 0x3f

/** An operation on the structure at `address`. */
type Run = (caller: Vcpu, address: number) => number

/** Operations of a domain's own map, and of the host's frames. */
function mapOperations(parts: MemoryOpParts, abi: GuestAbi, scratch: Scratch) {
  const own = (run: Run, support: Support = FULL): Operation =>
    ({ support, run: (caller, args) => run(caller, args.address(1)) })
  const maps = new MemoryMaps(parts.domains, abi)
  const machphys = new MachphysOperations(parts.machineToPhys, parts.memory.endFrame, abi)
  const removal = abi.of(XenRemoveFromPhysmap)
  return {
    maximum_ram_page: own(() => parts.memory.endFrame),
    current_reservation: own((caller, address) =>
      question(parts, caller, { address, scratch, answer: (domain) => domain.totalPages })),
    maximum_reservation: own((caller, address) =>
      question(parts, caller, { address, scratch, answer: (domain) => domain.maxPages })),
    maximum_gpfn: own((caller, address) => question(parts, caller, {
      address, scratch,
      answer: (domain) => domain.guest?.physmap.highest() ??
        domain.abi.of(ArchSharedInfo).maxPfn.number(parts.memory.view, domain.abi.of(SharedInfo).arch.at(domain.sharedInfo)) - 1,
    })),
    memory_map: own((caller, address) => maps.tell(caller, address)),
    set_memory_map: own((caller, address) => maps.set(caller, address)),
    machphys_mapping: own((caller, address) => machphys.mapping(caller, address)),
    machphys_mfn_list: own((caller, address) => machphys.frames(caller, address)),
    machphys_compat_mfn_list: own((caller, address) => machphys.compatFrames(caller, address)),
    remove_from_physmap: own((caller, address) => removeFromPhysmap(parts, caller, { address, scratch, layout: removal })),
    get_sharing_freed_pages: own(() => 0),
    get_sharing_shared_pages: own(() => 0),
    claim_pages: own(
      (caller) => (caller.owner.privileged ? 0 : -ERRNO.EPERM),
      partial('the claim is granted to a privileged domain, and nothing is kept aside for it'),
    ),
  }
}

/** Operations that a PV guest, or an unprivileged one, gets an error from. */
function refusedOperations(abi: GuestAbi, scratch: Scratch) {
  const { size } = abi.of(XenAddToPhysmap)
  const ownMap = refused('EACCES', 'the physical map of a guest without a translated one is its own')
  const hvmOnly = refuse(refused('EPERM', 'of translated guests only', 'EOPNOTSUPP'))
  return {
    add_to_physmap: refuseAfter(ownMap, scratch, size),
    add_to_physmap_batch: refuseAfter(ownMap, scratch, size),
    machine_memory_map: refuse(refused('EPERM', 'the host has no memory map of firmware to show', 'EOPNOTSUPP')),
    paging_op: hvmOnly, access_op: hvmOnly, sharing_op: hvmOnly, acquire_resource: hvmOnly,
    get_vnumainfo: refuse(refused('EOPNOTSUPP', 'no domain has virtual NUMA nodes')),
    reserved_device_memory_map: refuse(refused('EOPNOTSUPP', 'there are no physical devices')),
    set_pod_target: refuse(refused('ENOSYS', 'populate on demand is of translated guests only')),
    get_pod_target: refuse(refused('ENOSYS', 'populate on demand is of translated guests only')),
  }
}

/** Makes the row of memory_op for callers of one ABI; `own`: operations that mean something else to a kind of guest. */
export function memoryOp(parts: MemoryOpParts, abi: GuestAbi, own: Partial<Operations<typeof XENMEM, Operation>> = {}): HypercallRow {
  const reservations = new Reservations(parts, abi)
  const exchange = new Exchange(parts, abi)
  const scratch = new Scratch(64)
  const unlimited = partial('mem_flags is not looked at: any address width, no nodes')
  const reservation = (command: ReservationCommand, support: Support): Operation => ({
    support, run: (caller, args) => reservations.operate(caller, command, args),
  })
  const rows: Operations<typeof XENMEM, Operation> = {
    ...mapOperations(parts, abi, scratch), ...refusedOperations(abi, scratch),
    increase_reservation: reservation(XENMEM.increase_reservation, unlimited),
    decrease_reservation: reservation(XENMEM.decrease_reservation, FULL),
    populate_physmap: reservation(XENMEM.populate_physmap, unlimited),
    exchange: { support: unlimited, run: (caller, args) => exchange.operate(caller, args.address(1)) },
    ...own,
  }
  const runs = byNumber(XENMEM, rows).map((row) => row?.run)
  return {
    name: 'memory_op', source: 'public/memory.h; do_memory_op, arch_memory_op',
    handler: (caller, args) => runs[args.low[0]! & COMMAND_MASK]?.(caller, args) ?? -ERRNO.ENOSYS,
    operations: [listed('XENMEM_', XENMEM, rows)],
  }
}

/** A question about the domain that a structure names. */
interface Question {
  readonly address: number
  /** What the structure is copied to. */
  readonly scratch: Scratch
  answer(domain: Domain): number
}

/** Answers about the domain that the structure names. */
function question(parts: MemoryOpParts, caller: Vcpu, { address, scratch, answer }: Question): number {
  if (!readInto(caller.access, address, scratch, 2)) return -ERRNO.EFAULT
  const domain = parts.domains.resolve(caller.owner, scratch.view.getUint16(0, true))
  if (domain === undefined) return -ERRNO.ESRCH
  if (!parts.domains.mayControl(caller.domid, domain.id)) return -ERRNO.EPERM
  return answer(domain)
}

/** A PV guest's physical map is its own: there is nothing to take away but the proof that the frame is its own. */
function removeFromPhysmap(
  parts: MemoryOpParts, caller: Vcpu,
  { address, scratch, layout }: Pick<Question, 'address' | 'scratch'> & { readonly layout: Pick<typeof XenRemoveFromPhysmap, 'size' | 'domid' | 'gpfn'> },
): number {
  if (!readInto(caller.access, address, scratch, layout.size)) return -ERRNO.EFAULT
  const domain = parts.domains.resolve(caller.owner, layout.domid.get(scratch.view, 0))
  if (domain === undefined) return -ERRNO.ESRCH
  if (!parts.domains.mayControl(caller.domid, domain.id)) return -ERRNO.EPERM
  const mfn = layout.gpfn.number(scratch.view, 0)
  return parts.frames.isValid(mfn) && parts.frames.owner[mfn] === domain.id ? 0 : -ERRNO.ENOENT
}
