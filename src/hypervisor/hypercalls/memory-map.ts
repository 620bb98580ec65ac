/**
 * XENMEM_memory_map and XENMEM_set_memory_map: a domain's map of its memory, in the form that firmware has on a PC.
 * Reference: public/memory.h, struct xen_memory_map; xen/arch/x86/mm.c, arch_memory_op.
 */
import { ERRNO, type GuestAbi, XenForeignMemoryMap, XenMemoryMap } from '../../abi/index.ts'
import { signedFromParts } from '../../util/index.ts'
import { MAX_MEMORY_MAP_ENTRIES, setMemoryMap } from '../control/core/memory-map.ts'
import type { MemoryMapEntry, Vcpu } from '../domains/domain.ts'
import type { DomainRegistry } from '../domains/registry.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'

const MAP_ENTRY_SIZE = 20

/** Tells and sets memory maps; structures are at guest addresses of the caller's. */
export class MemoryMaps {
  private readonly domains: DomainRegistry
  private readonly layout: Pick<typeof XenMemoryMap, 'size' | 'nrEntries' | 'buffer'>
  private readonly foreign: Pick<typeof XenForeignMemoryMap, 'size' | 'domid' | 'map'>
  private readonly scratch = new Scratch(XenForeignMemoryMap.size)

  constructor(domains: DomainRegistry, abi: GuestAbi) {
    this.domains = domains
    this.layout = abi.of(XenMemoryMap)
    this.foreign = abi.of(XenForeignMemoryMap)
  }

  /** XENMEM_memory_map: the caller's own. */
  tell({ owner, access }: Vcpu, address: number): number {
    const { scratch, layout } = this
    if (!readInto(access, address, scratch, layout.size)) return -ERRNO.EFAULT
    if (owner.memoryMap.length === 0) return -ERRNO.ENOSYS
    const { view } = scratch
    const count = Math.min(layout.nrEntries.get(view, 0), owner.memoryMap.length)
    const buffer = signedFromParts(layout.buffer.low(view, 0), layout.buffer.high(view, 0))
    layout.nrEntries.set(view, 0, count)
    const stored = access.write(buffer, encodeMap(owner.memoryMap.slice(0, count)))
      && access.write(address, scratch.bytes.subarray(0, layout.size))
    return stored ? 0 : -ERRNO.EFAULT
  }

  /** XENMEM_set_memory_map: of the domain that the structure names. */
  set(caller: Vcpu, address: number): number {
    const { layout, foreign } = this
    if (!readInto(caller.access, address, this.scratch, foreign.size)) return -ERRNO.EFAULT
    const { view } = this.scratch
    const map = foreign.map.at(0)
    const count = layout.nrEntries.get(view, map)
    if (count > MAX_MEMORY_MAP_ENTRIES) return -ERRNO.EINVAL
    const domain = this.domains.resolve(caller.owner, foreign.domid.get(view, 0))
    if (domain === undefined) return -ERRNO.ESRCH
    if (!this.domains.mayControl(caller.domid, domain.id, 'memory_op.set_memory_map')) return -ERRNO.EPERM
    const bytes = new Uint8Array(count * MAP_ENTRY_SIZE)
    const buffer = signedFromParts(layout.buffer.low(view, map), layout.buffer.high(view, map))
    if (!caller.access.read(buffer, bytes)) return -ERRNO.EFAULT
    return setMemoryMap(domain, decodeMap(bytes))
  }
}

/** A memory map as guests see it: packed entries of 20 bytes. */
/** A map as a guest reads it: rows of 20 bytes. */
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
