/**
 * Changing a grant table's version. Only the first eight entries, the toolstack's, live through it; all others must
 * be out of use and are cleared.
 *
 * Reference: xen/common/grant_table.c (gnttab_set_version).
 */
import { ERRNO, GNTTAB_NR_RESERVED_ENTRIES, GTF, GrantEntryV1, GrantEntryV2 } from '../../abi/index.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import type { GrantTable } from './grant-table.ts'

const IN_USE = GTF.reading | GTF.writing

/** An entry as both versions can hold it; `flags` with GTF_reading and GTF_writing. */
interface PlainEntry {
  readonly flags: number
  readonly domid: number
  readonly frame: number
}

const EMPTY: PlainEntry = { flags: 0, domid: 0, frame: 0 }

/** GNTTABOP_set_version: 0 or a negative error number. */
export function setVersion(table: GrantTable, version: number, memory: GuestMemory): number {
  if (version !== 1 && version !== 2) return -ERRNO.EINVAL
  if (version > table.domain.maxVersion) return -ERRNO.ENOSYS
  if (version === table.version) return 0
  for (const ref of table.active.keys()) if (ref >= GNTTAB_NR_RESERVED_ENTRIES) return -ERRNO.EBUSY
  const refs = Array.from({ length: GNTTAB_NR_RESERVED_ENTRIES }, (_, ref) => ref)
  if (version === 2) return toVersion2(table, refs.map((ref) => readPlain(table, ref, memory)), memory)
  if (refs.some((ref) => !fitsVersion1(table, ref))) return -ERRNO.ERANGE
  const kept = refs.map((ref) => readPlain(table, ref, memory))
  if (!table.dropStatusFrames()) return -ERRNO.EBUSY
  table.clearEntries()
  table.version = 1
  kept.forEach((entry, ref) => {
    const { flags, domid, frame } = entry
    GrantEntryV1.encode(memory.view, table.entryAt(ref), { flags, domid, frame })
  })
  return 0
}

function toVersion2(table: GrantTable, kept: readonly PlainEntry[], memory: GuestMemory): number {
  table.version = 2
  if (!table.addStatusFrames()) {
    table.version = 1
    return -ERRNO.ENOMEM
  }
  table.clearEntries()
  kept.forEach((entry, ref) => {
    const at = table.entryAt(ref)
    GrantEntryV2.flags.set(memory.view, at, entry.flags & ~IN_USE)
    GrantEntryV2.domid.set(memory.view, at, entry.domid)
    GrantEntryV2.fullPageFrame.setNumber(memory.view, at, entry.frame)
    memory.view.setUint16(table.statusAt(ref), entry.flags & IN_USE, true)
  })
  return 0
}

/** False for an entry that version 1 cannot express: transitive, or a frame beyond 32 bits. */
function fitsVersion1(table: GrantTable, ref: number): boolean {
  const type = table.flagsOf(ref) & GTF.type_mask
  return type !== GTF.transitive && (type !== GTF.permit_access || table.frameOf(ref) <= 0xffff_ffff)
}

function readPlain(table: GrantTable, ref: number, memory: GuestMemory): PlainEntry {
  const flags = table.flagsOf(ref)
  if (table.version === 1) return { flags, domid: table.domainOf(ref), frame: table.frameOf(ref) }
  if ((flags & GTF.type_mask) !== GTF.permit_access) return EMPTY
  const inUse = memory.view.getUint16(table.statusAt(ref), true)
  return { flags: flags | inUse, domid: table.domainOf(ref), frame: table.frameOf(ref) }
}
