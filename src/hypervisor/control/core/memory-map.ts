/** A domain's memory map, as XENMEM_memory_map tells it. Reference: xen/arch/x86/mm.c, XENMEM_set_memory_map. */
import { ERRNO } from '../../../abi/index.ts'
import type { Domain, MemoryMapEntry } from '../../domains/domain.ts'

/** Most entries of a memory map (E820MAX). */
export const MAX_MEMORY_MAP_ENTRIES = 128

/** Sets a domain's memory map: 0, or -EINVAL for more entries than one may have. */
export function setMemoryMap(domain: Domain, map: readonly MemoryMapEntry[]): number {
  if (map.length > MAX_MEMORY_MAP_ENTRIES) return -ERRNO.EINVAL
  domain.memoryMap = map
  return 0
}
