/**
 * What the processors of PV guests have remembered, held against page tables and frame types as they stand: every
 * translation and every jump leads where the domain may go. The machine tells the facts and what contradicts its own
 * rules (decoded code that differs from its bytes, say); who owns what is judged here.
 *
 * A remembered translation need not agree with the page tables: a guest that changes an entry and does not flush keeps
 * the old one, as on any processor. Xen lets it, and makes the frame wait instead. So an entry is sound when
 *
 *   1. the page tables in force give it, with its rights, and the frame is one that the domain may map; or
 *   2. it is stale, and the frame is still the domain's (its own, or of a grant that it has not unmapped), and where it
 *      allows writing the frame is still of the writable type; or
 *   3. it is stale, and the frame waits for a flush: it is free, or its last writable use has ended, and its stamp is
 *      not older than the processor's last flush, so that the flush comes before anybody gets another use of it.
 *
 * What a processor keeps for when it loads a top-level table again is held to more: 2 and 3 do not count. That table is one of the domain's still, and it gives
 * each entry with its rights, so that nothing that has ended can come back with it.
 *
 * A processor whose physical memory its domain's map translates may lead only where that map leads now: what it loses is
 * forgotten at once. The frame numbers of its own page tables, the top one's among them, are guest-physical.
 *
 * Everything else leads out of the domain, or into a page table. 3 is a check of the stamps too: a stamp that is too
 * old skips the flush. The rule for the processor's own flushes (it may have flushed without the clock's knowledge) is
 * conservative: it only asks for more flushes than are needed.
 * Reference: xen/arch/x86/mm.c, _get_page_type (flush before a change of type, tlbflush_filter), _put_page_type
 * (page_set_tlbflush_timestamp), put_page_from_l1e; xen/common/page_alloc.c, alloc_heap_pages (flush before a freed
 * frame is handed out); xen/common/grant_table.c, gnttab_flush_tlb (unmapping flushes at once).
 */
import type { CacheInspection, CachedTranslation, KeptTranslations } from '../../machine/index.ts'
import type { Domain } from '../domains/domain.ts'
import { FRAME_FLAG, FRAME_TYPE, OWNER_FREE } from '../frames/frame-table.ts'
import type { GuestCaches, Leaf } from '../domains/guest-vcpu.ts'
import type { CheckedParts } from './parts.ts'
import { silentFrames } from './silent-frames.ts'

/** What the check looks at. */
export type CoherenceParts = Pick<CheckedParts, 'frames' | 'domains' | 'machineToPhys' | 'grants' | 'events' | 'typedHypercallsOf' | 'foreignFrames'>

/** How much was looked at. */
export interface CoherenceCounts {
  processors: number
  translations: number
  /** Of those and others what outlives a load of other tables. */
  kept: number
  jumps: number
  blocks: number
}

/** Takes what does not hold. */
type Report = (frame: number, what: string) => void

/** One processor and what its domain may reach. */
interface Side {
  readonly domain: Domain
  readonly caches: GuestCaches
  /** Frames of others under a grant: true where they may be written. */
  readonly granted: ReadonlyMap<number, boolean>
  readonly name: string
}

/** Looks at all processors; reports what leads where it must not. */
export function checkCoherence(parts: CoherenceParts, ledger: { report: Report }): CoherenceCounts {
  const report: Report = (frame, what) => ledger.report(frame, what)
  const counts = { processors: 0, translations: 0, kept: 0, jumps: 0, blocks: 0 }
  for (const domain of parts.domains.all()) {
    const granted = new Map<number, boolean>()
    for (const { mfn, writable } of parts.grants.mapped(domain.id)) {
      granted.set(mfn, writable || granted.get(mfn) === true)
    }
    for (const { guest, vcpu } of domain.vcpus) {
      const caches = guest?.caches
      if (caches === undefined) continue
      if (counts.processors === 0) counts.blocks = checkCode(parts, caches, report)
      const side = { domain, caches, granted, name: `vCPU ${vcpu} of domain ${domain.id}` }
      const seen = caches.inspect()
      counts.processors += 1
      counts.translations += seen.translations.length
      counts.kept += seen.kept.reduce((sum, { translations }) => sum + translations.length, 0)
      counts.jumps += seen.jumps.length
      checkProcessor(parts, side, { seen, report })
    }
  }
  return counts
}

/** Decoded code is shared by all processors: looked at once. */
function checkCode(parts: CoherenceParts, caches: GuestCaches, report: Report): number {
  const { blocks, faults } = caches.inspectCode()
  const silent = faults.length === 0 ? undefined : untoldFrames(parts)
  for (const { frame, what } of faults) if (silent?.has(frame) !== true) report(frame, what)
  return blocks
}

/** What a frame may hold that nobody was told of: what is written silently, and frames that were such and are free by now; handing one out drops its code. */
function untoldFrames(parts: CoherenceParts): Set<number> {
  const { frames } = parts
  const untold = new Set(silentFrames(parts))
  for (let mfn = frames.first; mfn < frames.end; mfn += 1) if (frames.owner[mfn] === OWNER_FREE) untold.add(mfn)
  return untold
}

function checkProcessor(
  parts: CoherenceParts, side: Side, { seen, report }: { readonly seen: CacheInspection; readonly report: Report },
): void {
  const { caches, name } = side
  for (const { frame, what } of seen.faults) report(frame, `${name}: ${what}`)
  if (caches.isUser && !seen.isUser) report(-1, `${name} runs with more than a guest's rights`)
  if (seen.root !== caches.root) report(seen.root, `${name} walks from another top-level table than that of its mode`)
  if (!caches.isDue()) report(-1, `${name} is not reached by flushes`)
  for (const entry of [...seen.translations, ...seen.jumps]) {
    const wrong = judge(parts, side, entry)
    if (wrong !== undefined) report(entry.frame, `${name}: ${describe(entry)} ${wrong}`)
  }
  for (const kept of seen.kept) checkKept(parts, side, { kept, report })
}

/** What comes into force again with a top-level table. */
function checkKept(parts: CoherenceParts, side: Side, { kept, report }: { readonly kept: KeptTranslations; readonly report: Report }): void {
  const { domain, caches, name } = side
  const { root } = kept
  const all = [...kept.translations, ...kept.jumps]
  if (all.length > 0 && !isTopTable(parts, domain, root)) report(root, `${name} keeps translations of a top-level table that is none`)
  for (const entry of all) {
    const leaf = caches.lookFrom?.(root, entry.address)
    if (isGiven(leaf, entry) && (!entry.write || leaf!.dirty) && (!entry.execute || leaf!.executable) && leaf!.user && leaf!.accessed) continue
    report(entry.frame, `${name}: ${describe(entry)} is kept, and its tables give another`)
  }
}

const isTopTable = ({ frames }: CoherenceParts, domain: Domain, root: number): boolean =>
  frames.isValid(root) && frames.owner[root] === domain.id && frames.type[root] === FRAME_TYPE.L4 && frames.typeCount[root]! > 0
    && frames.hasFlag(root, FRAME_FLAG.VALIDATED)

/** Why an entry must not be there, or undefined. */
function judge(parts: CoherenceParts, side: Side, entry: CachedTranslation): string | undefined {
  const { frames } = parts
  const { frame } = entry
  if (!frames.isValid(frame)) return 'leads outside of all guests\' memory'
  if (side.caches.reaches !== undefined) {
    return side.caches.reaches(frame, entry.write) ? undefined : 'leads to a frame that has no such place in its memory'
  }
  const isDue = side.caches.isDue(frames.stamp[frame]!)
  if (!mayReach(parts, side, entry)) {
    if (frames.owner[frame] === OWNER_FREE) return isDue ? undefined : 'leads to a free frame that waits for no flush'
    return `leads to a frame of domain ${frames.owner[frame]}`
  }
  if (!entry.write) return undefined
  // The hypervisor's own frames have no writable type, so that they end here as well.
  if (frames.type[frame] !== FRAME_TYPE.WRITABLE) return `writes a frame of type ${frames.type[frame]}`
  if (isGiven(side.caches.look(entry.address), entry)) {
    return frames.typeCount[frame]! > 0 ? undefined : 'writes a frame whose writable use has ended, by the page tables'
  }
  return frames.typeCount[frame]! > 0 || isDue ? undefined : 'writes a frame that waits for no flush'
}

/** True when the page tables give an entry with its right to write. */
const isGiven = (leaf: Leaf | undefined, { frame, write }: CachedTranslation): boolean =>
  leaf !== undefined && leaf.frame === frame && (!write || leaf.writable)

/** The frames that a domain may hold translations of: its own, granted ones, those of domains that it controls. */
function mayReach({ frames, domains, machineToPhys }: CoherenceParts, side: Side, entry: CachedTranslation): boolean {
  const { frame, write } = entry
  const owner = frames.owner[frame]!
  if (owner === side.domain.id) return true
  const granted = side.granted.get(frame)
  if (granted !== undefined) return granted || !write
  if (machineToPhys.has(frame)) return !write
  return owner !== OWNER_FREE && side.domain.privileged && domains.get(owner) !== undefined
}

function describe({ address, read, write, execute }: CachedTranslation): string {
  const rights = `${read ? 'r' : '-'}${write ? 'w' : '-'}${execute ? 'x' : '-'}`
  return `what it remembers of ${address < 0 ? '-' : ''}0x${Math.abs(address).toString(16)} (${rights})`
}
