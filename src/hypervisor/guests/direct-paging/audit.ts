/**
 * What must hold of page tables and descriptor pages, recounted from memory as it stands: every entry of a validated table
 * holds what it names, and lends a guest no more than it may have. For checks; what processors remember of tables is
 * checked apart.
 */
import { PTE } from '../../../x86/index.ts'
import type { FrameLedger } from '../../domains/domain-kind.ts'
import type { DomainRegistry } from '../../domains/registry.ts'
import { FRAME_FLAG, FRAME_TYPE, type FrameTable, OWNER_FREE, OWNER_VCPU } from '../../frames/frame-table.ts'
import { isTable, levelOf } from '../../frames/frame-types.ts'
import type { MachineToPhys } from '../../frames/machine-to-phys.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import { RING_1, RING_3, isSafeDescriptor } from './descriptors.ts'
import { entryFrame, choosesCaching, isForbiddenPaeTop, isForbiddenTable } from './page-entries.ts'
import { hasDevices } from './page-tables.ts'
import { PAE_ENTRIES, XEN_SLOTS, isGuestSlot } from './table-slots.ts'

/** What the audit looks at. */
export interface TableAuditParts {
  readonly memory: Pick<GuestMemory, 'words'>
  readonly frames: FrameTable
  readonly domains: DomainRegistry
  readonly machineToPhys: Pick<MachineToPhys, 'entryLow' | 'compat'>
}

/** A table, or the entries of one that its check has done. */
interface Table {
  readonly mfn: number
  readonly type: number
  readonly entries: number
  /** It belongs to a guest with three levels. */
  readonly isPae: boolean
}

const ENTRIES = 512

/** Goes through all tables and descriptor pages of the guests whose tables have so many levels. */
export function auditTables(parts: TableAuditParts, ledger: FrameLedger, levels: 3 | 4): void {
  const { frames, domains } = parts
  for (let mfn = frames.first; mfn < frames.end; mfn += 1) {
    const owner = frames.owner[mfn]!
    if (owner === OWNER_FREE) continue
    const isPae = domains.get(owner)?.hasPae === true
    // What serves a vCPU are top-level tables above those of guests with three levels.
    if ((isPae || owner === OWNER_VCPU) !== (levels === 3)) continue
    const type = frames.type[mfn]!
    if (frames.hasFlag(mfn, FRAME_FLAG.PINNED)) ledger.use(mfn, type, 'its pin')
    if (frames.hasFlag(mfn, FRAME_FLAG.PARTIAL | FRAME_FLAG.FALLING)) auditUnfinished(parts, ledger, { mfn, isPae })
    if (frames.typeCount[mfn] === 0 || !frames.hasFlag(mfn, FRAME_FLAG.VALIDATED)) continue
    if (type === FRAME_TYPE.SEGDESC) auditDescriptors(parts, ledger, { mfn, isPae })
    else if (isTable(type)) auditTable(parts, ledger, { mfn, type, entries: ENTRIES, isPae })
  }
}

/** No descriptor of a page in use lends a guest more than it may have. */
function auditDescriptors({ memory }: TableAuditParts, ledger: FrameLedger, { mfn, isPae }: Pick<Table, 'mfn' | 'isPae'>): void {
  for (let at = mfn << 10; at < (mfn + 1) << 10; at += 2) {
    if (!isSafeDescriptor(memory.words, at, isPae ? RING_1 : RING_3)) ledger.report(mfn, `descriptor ${(at & 1023) >> 1} is not one that a guest may have`)
  }
}

/** A table between two portions of work holds itself, and what the entries need that it has done or not undone yet. */
function auditUnfinished(parts: TableAuditParts, ledger: FrameLedger, { mfn, isPae }: Pick<Table, 'mfn' | 'isPae'>): void {
  const { frames } = parts
  const type = frames.type[mfn]!
  ledger.use(mfn, type, 'its unfinished check')
  const isBoth = frames.hasFlag(mfn, FRAME_FLAG.PARTIAL) && frames.hasFlag(mfn, FRAME_FLAG.FALLING)
  if (isBoth || !isTable(type) || frames.typeCount[mfn] !== 1 || frames.hasFlag(mfn, FRAME_FLAG.VALIDATED)) {
    ledger.report(mfn, 'is no table between two portions of work')
  } else auditTable(parts, ledger, { mfn, type, entries: frames.progress[mfn]!, isPae })
}

function auditTable(parts: TableAuditParts, ledger: FrameLedger, table: Table): void {
  const { memory: { words }, frames, domains } = parts
  const { mfn, type, entries, isPae } = table
  const mayHaveDevices = hasDevices(domains, frames.owner[mfn]!)
  const level = levelOf(type)
  const isTop = isPae && level === 3
  // Said here once more: whoever judges does not ask those whom it judges what is right.
  const wanted = isPae ? (level === 3 ? PTE.USER | PTE.WRITABLE : 0) : PTE.USER
  for (let slot = 0; slot < entries; slot += 1) {
    const low = words[(mfn << 10) + slot * 2]!
    const high = words[(mfn << 10) + slot * 2 + 1]!
    if (!isGuestSlot(type, slot)) {
      if (entries === ENTRIES && !isOwnSlot(parts, type, { slot, low })) ledger.report(mfn, `the hypervisor's slot ${slot} holds ${low.toString(16)}`)
      continue
    }
    if (isTop && entries === ENTRIES) auditTopSlot(ledger, { mfn, slot, low, high })
    if ((low & PTE.PRESENT) === 0) continue
    const isForbidden = level === 1 ? choosesCaching(low) && !mayHaveDevices : isTop ? isForbiddenPaeTop(low, high) : isForbiddenTable(low)
    if (isForbidden) ledger.report(mfn, `entry ${slot} has flags that no guest may set: ${(low & 0xfff).toString(16)}`)
    if ((low & wanted) !== wanted) ledger.report(mfn, `entry ${slot} lacks USER, which every present entry has here`)
    const target = entryFrame(low, high)
    const what = `entry ${slot} of table ${mfn}`
    const leafType = (low & PTE.WRITABLE) === 0 ? FRAME_TYPE.NONE : FRAME_TYPE.WRITABLE
    if (level === 1) ledger.use(target, leafType, what)
    else if (isTop) ledger.use(target, slot === PAE_ENTRIES - 1 ? FRAME_TYPE.XEN_L2 : FRAME_TYPE.L2, what)
    else if (target !== mfn) useLower(frames, ledger, { target, level, what })
  }
}

/** What may stand in a slot of the hypervisor's. */
function isOwnSlot({ machineToPhys }: TableAuditParts, type: number, { slot, low }: { readonly slot: number; readonly low: number }): boolean {
  if (type === FRAME_TYPE.XEN_L2) return low === machineToPhys.compat.slotLow(slot)
  return low === 0 || (slot === XEN_SLOTS.first && low === machineToPhys.entryLow)
}

/** Of a 32-bit guest's level-3 table four entries count, the last of which is there. */
function auditTopSlot(
  ledger: FrameLedger, { mfn, slot, low, high }: { readonly mfn: number; readonly slot: number; readonly low: number; readonly high: number },
): void {
  if (slot >= PAE_ENTRIES && (low !== 0 || high !== 0)) ledger.report(mfn, `entry ${slot} of a table of four holds ${low.toString(16)}`)
  if (slot === PAE_ENTRIES - 1 && (low & PTE.PRESENT) === 0) ledger.report(mfn, 'the entry for the hypervisor\'s mappings is not there')
}

/** An entry of level 2 to 4 names a table one level down, or, read-only, one of its own level. */
function useLower(
  frames: FrameTable,
  ledger: FrameLedger,
  { target, level, what }: { readonly target: number; readonly level: number; readonly what: string },
): void {
  const isPlain = frames.isValid(target) && frames.type[target] === level - 1
  const isXenL2 = level === 2 && frames.isValid(target) && frames.type[target] === FRAME_TYPE.XEN_L2
  if (isPlain) ledger.use(target, level - 1, what)
  else ledger.use(target, isXenL2 ? FRAME_TYPE.XEN_L2 : level, `${what} (recursive)`)
}
