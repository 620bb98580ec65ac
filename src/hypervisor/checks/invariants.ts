/**
 * Recounts everything that the frame table counts: references and types from page tables, descriptor tables, pins,
 * roots, grants, event pages and foreign mappings; looks at every entry and descriptor that a processor may use; and
 * lets event channels and grants agree with their peers. What the hypervisor promises of isolation is checked here
 * against the tables as they stand in memory, and in checks/coherence.ts against what processors remember of them. For
 * tests; nothing depends on it.
 */
import { XenError } from '../../util/index.ts'
import { PTE } from '../../x86/index.ts'
import { checkCoherence } from './coherence.ts'
import type { HypervisorParts } from '../composition.ts'
import type { Domain } from '../domains/domain.ts'
import { FRAME_FLAG, FRAME_TYPE, OWNER_FREE } from '../frames/frame-table.ts'
import { fixDescriptor } from '../guests/pv/descriptors.ts'
import { entryFrame, isForbiddenLeaf, isForbiddenTable } from '../guests/pv/page-entries.ts'
import { XEN_SLOTS, isGuestSlot, isTable } from '../guests/pv/page-types.ts'

/** Something that does not add up. */
export interface Finding {
  readonly frame: number
  readonly what: string
}

/** What the check looks at. */
export type CheckedParts = Pick<
  HypervisorParts, 'memory' | 'frames' | 'allocator' | 'domains' | 'machineToPhys' | 'portOf' | 'events' | 'grants' | 'tlb'
>

/** Counts that are worked out anew. */
class Recount {
  readonly references: Uint32Array
  readonly types: Uint32Array
  readonly findings: Finding[] = []
  private readonly parts: CheckedParts

  constructor(parts: CheckedParts) {
    this.parts = parts
    this.references = new Uint32Array(parts.frames.end)
    this.types = new Uint32Array(parts.frames.end)
  }

  report(frame: number, what: string): void {
    this.findings.push({ frame, what })
  }

  /** One use of a frame: a reference, and a type reference when the use depends on the type. */
  use(frame: number, type: number, what: string): void {
    const { frames } = this.parts
    if (!frames.isValid(frame) || frames.owner[frame] === OWNER_FREE) {
      this.report(frame, `${what} uses a frame that is not in use`)
      return
    }
    this.references[frame]! += 1
    if (type === FRAME_TYPE.NONE) return
    this.types[frame]! += 1
    const actual = frames.type[frame]
    if (actual !== type) this.report(frame, `${what} uses it as type ${type}, it has type ${actual}`)
  }
}

/** Everything that does not add up; empty on a sound host. */
export function checkInvariants(parts: CheckedParts, foreign: Iterable<number> = []): Finding[] {
  const recount = new Recount(parts)
  countFrames(parts, recount)
  // Frames that the toolstack itself has mapped, once for each mapping.
  for (const mfn of foreign) recount.use(mfn, FRAME_TYPE.WRITABLE, 'the toolstack')
  for (const domain of parts.domains.all()) {
    countDomain(parts, recount, domain)
    checkShared(parts, recount, domain)
  }
  compare(parts, recount)
  checkAgreement(parts, recount)
  checkCoherence(parts, (frame, what) => recount.report(frame, what))
  return recount.findings
}

/** What the hypervisor writes to for as long as a domain lives is still the domain's. */
function checkShared({ frames, grants }: CheckedParts, recount: Recount, domain: Domain): void {
  if (domain.dying) return
  const table = grants.of(domain.id)
  for (const mfn of [domain.sharedInfoFrame, ...table?.frames ?? [], ...table?.statusFrames ?? []]) {
    const isShared = frames.owner[mfn] === domain.id && frames.hasFlag(mfn, FRAME_FLAG.SHARED)
    if (!isShared) recount.report(mfn, `is written to on behalf of domain ${domain.id}, which it is not shared with`)
  }
}

/** Both ends of every channel and of every grant tell the same. */
function checkAgreement({ events, grants }: CheckedParts, recount: Recount): void {
  for (const part of [events, grants]) {
    try {
      part.check()
    } catch (error) {
      if (!XenError.is(error)) throw error
      recount.report(-1, error.message)
    }
  }
}

/** Owners' references, pins, and the entries of all validated tables. */
function countFrames(parts: CheckedParts, recount: Recount): void {
  const { frames, allocator } = parts
  for (let mfn = frames.first; mfn < frames.end; mfn += 1) {
    const isOwned = frames.owner[mfn] !== OWNER_FREE
    if (isOwned === allocator.isFree(mfn)) recount.report(mfn, isOwned ? 'owned and free' : 'neither owned nor free')
    if (!isOwned) continue
    if (frames.hasFlag(mfn, FRAME_FLAG.ALLOCATED)) recount.references[mfn]! += 1
    // What the hypervisor shares stays writable by a type reference of its own.
    if (frames.hasFlag(mfn, FRAME_FLAG.SHARED)) recount.types[mfn]! += 1
    const type = frames.type[mfn]!
    if (frames.hasFlag(mfn, FRAME_FLAG.PINNED)) recount.use(mfn, type, 'its pin')
    if (frames.hasFlag(mfn, FRAME_FLAG.PARTIAL | FRAME_FLAG.FALLING)) countUnfinished(parts, recount, mfn)
    if (frames.typeCount[mfn] === 0 || !frames.hasFlag(mfn, FRAME_FLAG.VALIDATED)) continue
    if (type === FRAME_TYPE.SEGDESC) checkDescriptors(parts, recount, mfn)
    else if (isTable(type)) countTable(parts, recount, { mfn, type, entries: 512 })
  }
}

/** No descriptor of a page in use lends a guest more than it may have. */
function checkDescriptors({ memory }: CheckedParts, recount: Recount, mfn: number): void {
  const pair = new Uint32Array(2)
  for (let at = mfn << 10; at < (mfn + 1) << 10; at += 2) {
    pair.set(memory.words.subarray(at, at + 2))
    const isSafe = fixDescriptor(pair, 0) && pair[0] === memory.words[at] && pair[1] === memory.words[at + 1]
    if (!isSafe) recount.report(mfn, `descriptor ${(at & 1023) >> 1} is not one that a guest may have`)
  }
}

/** A table between two portions of work holds itself, and what the entries need that it has done or not undone yet. */
function countUnfinished(parts: CheckedParts, recount: Recount, mfn: number): void {
  const { frames } = parts
  const type = frames.type[mfn]!
  recount.use(mfn, type, 'its unfinished check')
  const isBoth = frames.hasFlag(mfn, FRAME_FLAG.PARTIAL) && frames.hasFlag(mfn, FRAME_FLAG.FALLING)
  if (isBoth || !isTable(type) || frames.typeCount[mfn] !== 1 || frames.hasFlag(mfn, FRAME_FLAG.VALIDATED)) {
    recount.report(mfn, 'is no table between two portions of work')
  } else countTable(parts, recount, { mfn, type, entries: frames.progress[mfn]! })
}

function countTable(
  parts: CheckedParts,
  recount: Recount,
  { mfn, type, entries }: { readonly mfn: number; readonly type: number; readonly entries: number },
): void {
  const { memory: { words }, frames, domains } = parts
  const hasDevices = domains.get(frames.owner[mfn]!)?.privileged === true
  for (let slot = 0; slot < entries; slot += 1) {
    const low = words[(mfn << 10) + slot * 2]!
    if (type === FRAME_TYPE.L4 && !isGuestSlot(slot)) {
      const own = slot === XEN_SLOTS.first && low === parts.machineToPhys.entryLow
      if (entries === 512 && low !== 0 && !own) recount.report(mfn, `the hypervisor's slot ${slot} holds ${low.toString(16)}`)
      continue
    }
    if ((low & PTE.PRESENT) === 0) continue
    const isForbidden = type === FRAME_TYPE.L1 ? isForbiddenLeaf(low, hasDevices) : isForbiddenTable(low)
    if (isForbidden) recount.report(mfn, `entry ${slot} has flags that no guest may set: ${(low & 0xfff).toString(16)}`)
    if ((low & PTE.USER) === 0) recount.report(mfn, `entry ${slot} lacks USER, which every present entry has here`)
    const target = entryFrame(low, words[(mfn << 10) + slot * 2 + 1]!)
    const what = `entry ${slot} of table ${mfn}`
    const leafType = (low & PTE.WRITABLE) === 0 ? FRAME_TYPE.NONE : FRAME_TYPE.WRITABLE
    if (type === FRAME_TYPE.L1) recount.use(target, leafType, what)
    else if (target !== mfn) countLower(recount, target, type, what)
  }
}

/** An entry of level 2 to 4 names a table one level down, or, read-only, one of its own level. */
function countLower(recount: Recount, target: number, level: number, what: string): void {
  const before = recount.findings.length
  recount.use(target, level - 1, what)
  if (recount.findings.length === before) return
  recount.findings.length = before
  recount.references[target]! -= 1
  recount.types[target]! -= 1
  recount.use(target, level, `${what} (recursive)`)
}

/** Roots, descriptor tables and registered pages of a domain, and what it maps of others. */
function countDomain(parts: CheckedParts, recount: Recount, domain: Domain): void {
  for (const vcpu of domain.vcpus) {
    const { pv } = vcpu
    if (vcpu.infoFrame >= 0) recount.use(vcpu.infoFrame, FRAME_TYPE.WRITABLE, `vcpu_info of vCPU ${vcpu.vcpu}`)
    if (pv === undefined) continue
    for (const root of [pv.kernelTable, pv.userTable]) {
      if (root !== 0) recount.use(root, FRAME_TYPE.L4, `a root of vCPU ${vcpu.vcpu}`)
    }
    for (const mfn of [...pv.gdtFrames, ...pv.ldtFrames]) {
      if (mfn !== 0) recount.use(mfn, FRAME_TYPE.SEGDESC, 'a descriptor table')
    }
  }
  if (domain.eoiFrame >= 0) recount.use(domain.eoiFrame, FRAME_TYPE.WRITABLE, 'the EOI bitmap')
  for (const frame of parts.portOf(domain).foreignFrames()) recount.use(frame, FRAME_TYPE.WRITABLE, 'a foreign mapping')
  for (const mfn of parts.events.of(domain.id)?.pages() ?? []) recount.use(mfn, FRAME_TYPE.WRITABLE, 'an event page')
  for (const { mfn, writable } of parts.grants.uses(domain.id)) {
    recount.use(mfn, writable ? FRAME_TYPE.WRITABLE : FRAME_TYPE.NONE, 'a grant mapping')
  }
}

function compare({ frames, domains }: CheckedParts, recount: Recount): void {
  const pages = new Map<number, { total: number; shared: number }>()
  for (let mfn = frames.first; mfn < frames.end; mfn += 1) {
    const owner = frames.owner[mfn]!
    const domain = domains.get(owner)
    if (owner === OWNER_FREE || domain === undefined) continue
    const count = pages.get(owner) ?? { total: 0, shared: 0 }
    if (frames.hasFlag(mfn, FRAME_FLAG.SHARED)) count.shared += 1
    else count.total += 1
    pages.set(owner, count)
    compareFrame(frames, recount, mfn)
  }
  for (const domain of domains.all()) {
    const count = pages.get(domain.id) ?? { total: 0, shared: 0 }
    const { id, totalPages, sharedPages } = domain
    if (count.total !== totalPages) {
      recount.report(-1, `domain ${id} counts ${totalPages} pages and owns ${count.total}`)
    }
    if (count.shared === sharedPages) continue
    recount.report(-1, `domain ${id} counts ${sharedPages} shared pages and has ${count.shared}`)
  }
}

function compareFrame(frames: CheckedParts['frames'], recount: Recount, mfn: number): void {
  const found = recount.references[mfn]!
  const types = recount.types[mfn]!
  const { [mfn]: references } = frames.references
  const { [mfn]: typeCount } = frames.typeCount
  if (found !== references) recount.report(mfn, `counts ${references} references, has ${found}`)
  if (types !== typeCount) recount.report(mfn, `counts ${typeCount} uses of type ${frames.type[mfn]}, has ${types}`)
}
