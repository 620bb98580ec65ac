/**
 * memory_op: a domain's reservation, its memory map, and where the machine-to-physical table lies.
 * Reference: public/memory.h; xen/common/memory.c, do_memory_op; xen/arch/x86/mm.c, arch_memory_op.
 */
import { ArchSharedInfo, ERRNO, type GuestAbi, SharedInfo, XENMEM, XenMemoryReservation } from '../../abi/index.ts'
import type { Domain, Vcpu } from '../domains/domain.ts'
import type { FrameTable } from '../frames/frame-table.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import type { HypercallRow, Support } from '../domains/hypercall.ts'
import { Exchange, type ExchangeParts } from './memory-exchange.ts'
import { MachphysOperations } from './memory-machphys.ts'
import { machineMemoryMap } from './memory-machine-map.ts'
import { MemoryMaps } from './memory-map.ts'
import { type PhysmapOpParts, physmapOperations } from './memory-physmap.ts'
import { type ResourceParts, Resources } from './memory-resource.ts'
import { type ReservationCommand, Reservations } from './memory-reservation.ts'
import { FULL, type Operation, type Operations, byNumber, listed, partial, refuse, refused } from '../domains/hypercall-rows.ts'

/** What memory_op works on. */
export interface MemoryOpParts extends ExchangeParts, PhysmapOpParts, ResourceParts {
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
  const machphys = new MachphysOperations(parts, abi)
  const reservation = abi.of(XenMemoryReservation)
  return {
    maximum_ram_page: own(() => parts.memory.endFrame),
    current_reservation: own((caller, address) =>
      question(parts, caller, { address, scratch, operation: 'memory_op.current_reservation', answer: (domain) => domain.totalPages })),
    maximum_reservation: own((caller, address) =>
      question(parts, caller, { address, scratch, operation: 'memory_op.maximum_reservation', answer: (domain) => domain.maxPages })),
    maximum_gpfn: own((caller, address) => question(parts, caller, {
      address, scratch, operation: 'memory_op.maximum_gpfn',
      // A domain without any frame has the number 0.
      answer: (domain) => Math.max(0, domain.guest?.physmap.highest() ??
        domain.abi.of(ArchSharedInfo).maxPfn.number(parts.memory.view, domain.abi.of(SharedInfo).arch.at(domain.sharedInfo)) - 1),
    })),
    memory_map: own((caller, address) => maps.tell(caller, address)),
    machine_memory_map: own(machineMemoryMap(parts.memory.endFrame, abi)),
    set_memory_map: own((caller, address) => maps.set(caller, address)),
    machphys_mapping: own((caller, address) => machphys.mapping(caller, address)),
    machphys_mfn_list: own((caller, address) => machphys.frames(caller, address)),
    machphys_compat_mfn_list: own((caller, address) => machphys.compatFrames(caller, address)),
    get_sharing_freed_pages: own(() => 0),
    get_sharing_shared_pages: own(() => 0),
    claim_pages: own((caller, address) => claimPages(parts, caller, { address, scratch, layout: reservation })),
  }
}

/** Keeps frames aside for a domain: the privileged one's to ask. */
function claimPages(
  parts: MemoryOpParts, caller: Vcpu,
  { address, scratch, layout }: Pick<Question, 'address' | 'scratch'> & { readonly layout: Pick<typeof XenMemoryReservation, 'size' | keyof typeof XenMemoryReservation.fields> },
): number {
  if (!parts.domains.mayDo(caller.domid, 'memory_op.claim_pages')) return -ERRNO.EPERM
  if (!readInto(caller.access, address, scratch, layout.size)) return -ERRNO.EFAULT
  const { view } = scratch
  const isPlain = layout.extentStart.number(view, 0) === 0 && layout.extentOrder.get(view, 0) === 0 && layout.memFlags.get(view, 0) === 0
  if (!isPlain) return -ERRNO.EINVAL
  const domain = parts.domains.resolve(caller.owner, layout.domid.get(view, 0))
  return domain === undefined ? -ERRNO.ESRCH : parts.reservation.claim(domain, layout.nrExtents.number(view, 0))
}

/** Operations that a PV guest, or an unprivileged one, gets an error from. */
function refusedOperations() {
  const hvmOnly = refuse(refused('EPERM', 'of translated guests only', 'EOPNOTSUPP'))
  return {
    paging_op: hvmOnly, access_op: hvmOnly, sharing_op: hvmOnly,
    get_vnumainfo: refuse(refused('EOPNOTSUPP', 'no domain has virtual NUMA nodes')),
    reserved_device_memory_map: refuse(refused('EOPNOTSUPP', 'there are no physical devices')),
  }
}

/** Makes the row of memory_op for callers of one ABI; `own`: operations that mean something else to a kind of guest. */
export function memoryOp(parts: MemoryOpParts, abi: GuestAbi, own: Partial<Operations<typeof XENMEM, Operation>> = {}): HypercallRow {
  const reservations = new Reservations(parts, abi)
  const exchange = new Exchange(parts, abi)
  const resources = new Resources(parts, abi)
  const scratch = new Scratch(64)
  const unlimited = partial('mem_flags is not looked at: any address width, no nodes')
  const reservation = (command: ReservationCommand, support: Support): Operation => ({
    support, run: (caller, args) => reservations.operate(caller, command, args),
  })
  const rows: Operations<typeof XENMEM, Operation> = {
    ...mapOperations(parts, abi, scratch), ...physmapOperations(parts, abi), ...refusedOperations(),
    increase_reservation: reservation(XENMEM.increase_reservation, unlimited),
    decrease_reservation: reservation(XENMEM.decrease_reservation, FULL),
    populate_physmap: reservation(XENMEM.populate_physmap, unlimited),
    acquire_resource: { support: partial('grant tables alone: there are no servers of I/O requests and no traces'), run: (caller, args) => resources.acquire(caller, args) },
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
  /** What a policy knows it as. */
  readonly operation: string
  answer(domain: Domain): number
}

/** Answers about the domain that the structure names. */
function question(parts: MemoryOpParts, caller: Vcpu, { address, scratch, operation, answer }: Question): number {
  if (!readInto(caller.access, address, scratch, 2)) return -ERRNO.EFAULT
  const domain = parts.domains.resolve(caller.owner, scratch.view.getUint16(0, true))
  if (domain === undefined) return -ERRNO.ESRCH
  if (!parts.domains.mayControl(caller.domid, domain.id, operation)) return -ERRNO.EPERM
  return answer(domain)
}
