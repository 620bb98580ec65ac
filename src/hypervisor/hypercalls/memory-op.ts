/**
 * memory_op: a domain's reservation, its memory map, and where the machine-to-physical table lies.
 * Reference: public/memory.h; xen/common/memory.c, do_memory_op; xen/arch/x86/mm.c, arch_memory_op.
 */
import {
  ArchSharedInfo, ERRNO, MACH2PHYS_NR_ENTRIES, MACH2PHYS_VIRT_END, MACH2PHYS_VIRT_START, SharedInfo, XENMEM,
  XenAddToPhysmap, XenForeignMemoryMap, XenMachphysMapping, XenMachphysMfnList, XenMemoryMap, XenRemoveFromPhysmap,
} from '../../abi/index.ts'
import { signedFromParts } from '../../util/index.ts'
import { MAX_MEMORY_MAP_ENTRIES, setMemoryMap } from '../control/core/memory-map.ts'
import type { Domain, MemoryMapEntry, Vcpu } from '../domains/domain.ts'
import type { FrameTable } from '../frames/frame-table.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import type { HypercallRow, Support } from '../domains/hypercall.ts'
import { Exchange, type ExchangeParts } from './memory-exchange.ts'
import { type ReservationCommand, Reservations } from './memory-reservation.ts'
import { FULL, type Operation, type Operations, byNumber, listed, partial, refuse, refuseAfter, refused } from './table.ts'

/** What memory_op works on. */
export interface MemoryOpParts extends ExchangeParts {
  readonly memory: GuestMemory
  readonly frames: FrameTable
}

const MAP_ENTRY_SIZE = 20
/** Bits of the command that name the operation; those above count extents that are done. */
const COMMAND_MASK = 0x3f

/** An operation on the structure at `address`. */
type Run = (caller: Vcpu, address: number) => number

/** Operations of a domain's own map, and of the host's frames. */
function mapOperations(parts: MemoryOpParts, scratch: Scratch) {
  const own = (run: Run, support: Support = FULL): Operation =>
    ({ support, run: (caller, args) => run(caller, args.address(1)) })
  return {
    maximum_ram_page: own(() => parts.memory.endFrame),
    current_reservation: own((caller, address) =>
      question(parts, caller, { address, scratch, answer: (domain) => domain.totalPages })),
    maximum_reservation: own((caller, address) =>
      question(parts, caller, { address, scratch, answer: (domain) => domain.maxPages })),
    maximum_gpfn: own((caller, address) => question(parts, caller, {
      address, scratch,
      answer: ({ sharedInfo }) => ArchSharedInfo.maxPfn.number(parts.memory.view, SharedInfo.arch.at(sharedInfo)) - 1,
    })),
    memory_map: own((caller, address) => memoryMap(caller, address, scratch)),
    set_memory_map: own((caller, address) => copyMemoryMap(parts, caller, address, scratch)),
    machphys_mapping: own((caller, address) => machphysMapping(parts, caller, address, scratch)),
    machphys_mfn_list: own((caller, address) => machphysFrames(parts, caller, address, scratch)),
    remove_from_physmap: own((caller, address) => removeFromPhysmap(parts, caller, address, scratch)),
    get_sharing_freed_pages: own(() => 0),
    get_sharing_shared_pages: own(() => 0),
    claim_pages: own(
      (caller) => (caller.owner.privileged ? 0 : -ERRNO.EPERM),
      partial('the claim is granted to a privileged domain, and nothing is kept aside for it'),
    ),
  }
}

/** Operations that a PV guest, or an unprivileged one, gets an error from. */
function refusedOperations(scratch: Scratch) {
  const ownMap = refused('EACCES', 'the physical map of a guest without a translated one is its own')
  const hvmOnly = refuse(refused('EPERM', 'of translated guests only', 'EOPNOTSUPP'))
  return {
    add_to_physmap: refuseAfter(ownMap, scratch, XenAddToPhysmap.size),
    add_to_physmap_batch: refuseAfter(ownMap, scratch, XenAddToPhysmap.size),
    machine_memory_map: refuse(refused('EPERM', 'the host has no memory map of firmware to show', 'EOPNOTSUPP')),
    paging_op: hvmOnly, access_op: hvmOnly, sharing_op: hvmOnly, acquire_resource: hvmOnly,
    get_vnumainfo: refuse(refused('EOPNOTSUPP', 'no domain has virtual NUMA nodes')),
    reserved_device_memory_map: refuse(refused('EOPNOTSUPP', 'there are no physical devices')),
    set_pod_target: refuse(refused('ENOSYS', 'populate on demand is of translated guests only')),
    get_pod_target: refuse(refused('ENOSYS', 'populate on demand is of translated guests only')),
    machphys_compat_mfn_list: refuse(refused('ENOSYS', 'there are no 32-bit PV guests')),
  }
}

/** Makes the row of memory_op. */
export function memoryOp(parts: MemoryOpParts): HypercallRow {
  const reservations = new Reservations(parts)
  const exchange = new Exchange(parts)
  const scratch = new Scratch(64)
  const unlimited = partial('mem_flags is not looked at: any address width, no nodes')
  const reservation = (command: ReservationCommand, support: Support): Operation => ({
    support, run: (caller, args) => reservations.operate(caller, command, args),
  })
  const rows: Operations<typeof XENMEM, Operation> = {
    ...mapOperations(parts, scratch), ...refusedOperations(scratch),
    increase_reservation: reservation(XENMEM.increase_reservation, unlimited),
    decrease_reservation: reservation(XENMEM.decrease_reservation, FULL),
    populate_physmap: reservation(XENMEM.populate_physmap, unlimited),
    exchange: { support: unlimited, run: (caller, args) => exchange.operate(caller, args.address(1)) },
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

function memoryMap(caller: Vcpu, address: number, scratch: Scratch): number {
  const { memoryMap: map } = caller.owner
  if (!readInto(caller.access, address, scratch, XenMemoryMap.size)) return -ERRNO.EFAULT
  if (map.length === 0) return -ERRNO.ENOSYS
  const { view } = scratch
  const count = Math.min(XenMemoryMap.nrEntries.get(view, 0), map.length)
  const buffer = signedFromParts(XenMemoryMap.buffer.low(view, 0), XenMemoryMap.buffer.high(view, 0))
  XenMemoryMap.nrEntries.set(view, 0, count)
  const stored = caller.access.write(buffer, encodeMap(map.slice(0, count)))
    && caller.access.write(address, scratch.bytes.subarray(0, XenMemoryMap.size))
  return stored ? 0 : -ERRNO.EFAULT
}

function copyMemoryMap(parts: MemoryOpParts, caller: Vcpu, address: number, scratch: Scratch): number {
  if (!readInto(caller.access, address, scratch, XenForeignMemoryMap.size)) return -ERRNO.EFAULT
  const { view } = scratch
  const map = XenForeignMemoryMap.map.at(0)
  const count = XenMemoryMap.nrEntries.get(view, map)
  if (count > MAX_MEMORY_MAP_ENTRIES) return -ERRNO.EINVAL
  const domain = parts.domains.resolve(caller.owner, XenForeignMemoryMap.domid.get(view, 0))
  if (domain === undefined) return -ERRNO.ESRCH
  if (!parts.domains.mayControl(caller.domid, domain.id)) return -ERRNO.EPERM
  const bytes = new Uint8Array(count * MAP_ENTRY_SIZE)
  const buffer = signedFromParts(XenMemoryMap.buffer.low(view, map), XenMemoryMap.buffer.high(view, map))
  if (!caller.access.read(buffer, bytes)) return -ERRNO.EFAULT
  return setMemoryMap(domain, decodeMap(bytes))
}

/** A memory map as guests see it: packed entries of 20 bytes. */
export function encodeMap(map: readonly MemoryMapEntry[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(map.length * MAP_ENTRY_SIZE))
  map.forEach((entry, i) => {
    const at = i * MAP_ENTRY_SIZE
    view.setUint32(at, entry.addressLow, true)
    view.setUint32(at + 4, entry.addressHigh, true)
    view.setUint32(at + 8, entry.sizeLow, true)
    view.setUint32(at + 12, entry.sizeHigh, true)
    view.setUint32(at + 16, entry.type, true)
  })
  return new Uint8Array(view.buffer)
}

function decodeMap(bytes: Uint8Array): MemoryMapEntry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Array.from({ length: bytes.length / MAP_ENTRY_SIZE }, (_, i) => {
    const at = i * MAP_ENTRY_SIZE
    return {
      addressLow: view.getUint32(at, true), addressHigh: view.getUint32(at + 4, true),
      sizeLow: view.getUint32(at + 8, true), sizeHigh: view.getUint32(at + 12, true),
      type: view.getUint32(at + 16, true),
    }
  })
}

function machphysMapping(parts: MemoryOpParts, caller: Vcpu, address: number, scratch: Scratch): number {
  const last = caller.owner.privileged ? parts.memory.endFrame : MACH2PHYS_NR_ENTRIES
  const { view } = scratch
  XenMachphysMapping.vStart.set(view, 0, BigInt.asUintN(64, BigInt(MACH2PHYS_VIRT_START)))
  XenMachphysMapping.vEnd.set(view, 0, BigInt.asUintN(64, BigInt(MACH2PHYS_VIRT_END)))
  XenMachphysMapping.maxMfn.setNumber(view, 0, last - 1)
  return caller.access.write(address, scratch.bytes.subarray(0, XenMachphysMapping.size)) ? 0 : -ERRNO.EFAULT
}

/** First frames of each 2 MiB of the table, for tools of a privileged domain. */
function machphysFrames(parts: MemoryOpParts, caller: Vcpu, address: number, scratch: Scratch): number {
  if (!caller.owner.privileged) return -ERRNO.EPERM
  if (!readInto(caller.access, address, scratch, XenMachphysMfnList.size)) return -ERRNO.EFAULT
  const { view } = scratch
  const { tableFrame, tableFrames } = parts.machineToPhys
  const count = Math.min(XenMachphysMfnList.maxExtents.get(view, 0), Math.ceil(tableFrames / 512))
  const { extentStart } = XenMachphysMfnList
  const list = signedFromParts(extentStart.low(view, 0), extentStart.high(view, 0))
  const out = new DataView(new ArrayBuffer(count * 8))
  for (let i = 0; i < count; i += 1) out.setUint32(i * 8, tableFrame + i * 512, true)
  XenMachphysMfnList.nrExtents.set(view, 0, count)
  const stored = caller.access.write(list, new Uint8Array(out.buffer))
    && caller.access.write(address, scratch.bytes.subarray(0, XenMachphysMfnList.size))
  return stored ? 0 : -ERRNO.EFAULT
}

/** A PV guest's physical map is its own: there is nothing to take away but the proof that the frame is its own. */
function removeFromPhysmap(parts: MemoryOpParts, caller: Vcpu, address: number, scratch: Scratch): number {
  if (!readInto(caller.access, address, scratch, XenRemoveFromPhysmap.size)) return -ERRNO.EFAULT
  const domain = parts.domains.resolve(caller.owner, XenRemoveFromPhysmap.domid.get(scratch.view, 0))
  if (domain === undefined) return -ERRNO.ESRCH
  if (!parts.domains.mayControl(caller.domid, domain.id)) return -ERRNO.EPERM
  const mfn = XenRemoveFromPhysmap.gpfn.number(scratch.view, 0)
  return parts.frames.isValid(mfn) && parts.frames.owner[mfn] === domain.id ? 0 : -ERRNO.ENOENT
}
