/**
 * What must hold of page tables and descriptor pages, recounted from memory as it stands: every entry of a validated table
 * holds what it names, and lends a guest no more than it may have. For checks; what processors remember of tables is
 * checked apart.
 */
import { PTE } from '../../../x86/index.ts'
import type { FrameLedger } from '../../domains/domain-kind.ts'
import type { DomainRegistry } from '../../domains/registry.ts'
import { FRAME_FLAG, FRAME_TYPE, type FrameTable, OWNER_FREE } from '../../frames/frame-table.ts'
import { isTable } from '../../frames/frame-types.ts'
import type { MachineToPhys } from '../../frames/machine-to-phys.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import { fixDescriptor } from './descriptors.ts'
import { entryFrame, isForbiddenLeaf, isForbiddenTable } from './page-entries.ts'
import { XEN_SLOTS, isGuestSlot } from './page-tables.ts'

/** What the audit looks at. */
export interface TableAuditParts {
  readonly memory: Pick<GuestMemory, 'words'>
  readonly frames: FrameTable
  readonly domains: DomainRegistry
  readonly machineToPhys: Pick<MachineToPhys, 'entryLow'>
}

/** A table, or the entries of one that its check has done. */
interface Table {
  readonly mfn: number
  readonly type: number
  readonly entries: number
}

const ENTRIES = 512

/** Goes through all tables and descriptor pages of a host. */
export function auditTables(parts: TableAuditParts, ledger: FrameLedger): void {
  const { frames } = parts
  for (let mfn = frames.first; mfn < frames.end; mfn += 1) {
    if (frames.owner[mfn] === OWNER_FREE) continue
    const type = frames.type[mfn]!
    if (frames.hasFlag(mfn, FRAME_FLAG.PINNED)) ledger.use(mfn, type, 'its pin')
    if (frames.hasFlag(mfn, FRAME_FLAG.PARTIAL | FRAME_FLAG.FALLING)) auditUnfinished(parts, ledger, mfn)
    if (frames.typeCount[mfn] === 0 || !frames.hasFlag(mfn, FRAME_FLAG.VALIDATED)) continue
    if (type === FRAME_TYPE.SEGDESC) auditDescriptors(parts, ledger, mfn)
    else if (isTable(type)) auditTable(parts, ledger, { mfn, type, entries: ENTRIES })
  }
}

/** No descriptor of a page in use lends a guest more than it may have. */
function auditDescriptors({ memory }: TableAuditParts, ledger: FrameLedger, mfn: number): void {
  const pair = new Uint32Array(2)
  for (let at = mfn << 10; at < (mfn + 1) << 10; at += 2) {
    pair.set(memory.words.subarray(at, at + 2))
    const isSafe = fixDescriptor(pair, 0) && pair[0] === memory.words[at] && pair[1] === memory.words[at + 1]
    if (!isSafe) ledger.report(mfn, `descriptor ${(at & 1023) >> 1} is not one that a guest may have`)
  }
}

/** A table between two portions of work holds itself, and what the entries need that it has done or not undone yet. */
function auditUnfinished(parts: TableAuditParts, ledger: FrameLedger, mfn: number): void {
  const { frames } = parts
  const type = frames.type[mfn]!
  ledger.use(mfn, type, 'its unfinished check')
  const isBoth = frames.hasFlag(mfn, FRAME_FLAG.PARTIAL) && frames.hasFlag(mfn, FRAME_FLAG.FALLING)
  if (isBoth || !isTable(type) || frames.typeCount[mfn] !== 1 || frames.hasFlag(mfn, FRAME_FLAG.VALIDATED)) {
    ledger.report(mfn, 'is no table between two portions of work')
  } else auditTable(parts, ledger, { mfn, type, entries: frames.progress[mfn]! })
}

function auditTable(parts: TableAuditParts, ledger: FrameLedger, table: Table): void {
  const { memory: { words }, frames, domains } = parts
  const { mfn, type, entries } = table
  const hasDevices = domains.get(frames.owner[mfn]!)?.privileged === true
  for (let slot = 0; slot < entries; slot += 1) {
    const low = words[(mfn << 10) + slot * 2]!
    if (type === FRAME_TYPE.L4 && !isGuestSlot(slot)) {
      const own = slot === XEN_SLOTS.first && low === parts.machineToPhys.entryLow
      if (entries === ENTRIES && low !== 0 && !own) ledger.report(mfn, `the hypervisor's slot ${slot} holds ${low.toString(16)}`)
      continue
    }
    if ((low & PTE.PRESENT) === 0) continue
    const isForbidden = type === FRAME_TYPE.L1 ? isForbiddenLeaf(low, hasDevices) : isForbiddenTable(low)
    if (isForbidden) ledger.report(mfn, `entry ${slot} has flags that no guest may set: ${(low & 0xfff).toString(16)}`)
    if ((low & PTE.USER) === 0) ledger.report(mfn, `entry ${slot} lacks USER, which every present entry has here`)
    const target = entryFrame(low, words[(mfn << 10) + slot * 2 + 1]!)
    const what = `entry ${slot} of table ${mfn}`
    const leafType = (low & PTE.WRITABLE) === 0 ? FRAME_TYPE.NONE : FRAME_TYPE.WRITABLE
    if (type === FRAME_TYPE.L1) ledger.use(target, leafType, what)
    else if (target !== mfn) useLower(frames, ledger, { target, level: type, what })
  }
}

/** An entry of level 2 to 4 names a table one level down, or, read-only, one of its own level. */
function useLower(
  frames: FrameTable,
  ledger: FrameLedger,
  { target, level, what }: { readonly target: number; readonly level: number; readonly what: string },
): void {
  const isPlain = frames.isValid(target) && frames.type[target] === level - 1
  if (isPlain) ledger.use(target, level - 1, what)
  else ledger.use(target, level, `${what} (recursive)`)
}
