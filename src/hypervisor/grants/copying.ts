/**
 * Copying between frames and grants without mapping them. Each side is acquired for the time of one copy: the entry's
 * record gets a use, the frame a reference, and a frame that is written a writable type.
 *
 * Version 2 entries may grant a part of a page, or pass on what another domain granted (transitive, one step deep).
 *
 * Reference: xen/common/grant_table.c (acquire_grant_for_copy, gnttab_copy_one).
 */
import { DOMID, GNTST, GTF, GrantEntryV2 } from '../../abi/index.ts'
import { PIN, isWritePinned, wouldOverflow, type ActiveEntry, type GrantTable } from './grant-table.ts'
import type { CopyRequest, CopySide, GrantHost } from './types.ts'

const PAGE = 4096

/** One side of a copy, held. */
interface Held {
  readonly mfn: number
  /** Bytes of the frame that may be used. */
  readonly start: number
  readonly length: number
  /** The entries to be released: the granted one, and what it passes on. */
  readonly entries: readonly { readonly table: GrantTable; readonly ref: number }[]
  readonly written: boolean
}

/** An entry about to be used, with what its use needs. */
interface Acquisition {
  readonly table: GrantTable
  readonly ref: number
  readonly user: number
  readonly readOnly: boolean
}

/** What an entry of version 1 or 2 grants, a reference on its frame taken. */
type Granted = Pick<ActiveEntry, 'mfn' | 'start' | 'length' | 'isSubPage' | 'transDomain' | 'transRef'>

/** Finds the table of a domain, DOMID_SELF included; undefined when there is none. */
export type TableFinder = (domain: number) => GrantTable | undefined

/** Copies on behalf of one host's domains. */
export class GrantCopier {
  private readonly host: GrantHost

  constructor(host: GrantHost) {
    this.host = host
  }

  /** One GNTTABOP_copy; GNTST status. `tableOf` also resolves DOMID_SELF to the caller's. */
  copy(caller: GrantTable, request: CopyRequest, tableOf: TableFinder): number {
    const { source, destination } = request
    const tables: GrantTable[] = []
    for (const side of [source, destination]) {
      if (side.domain !== DOMID.SELF && !side.isGrant) return GNTST.permission_denied
      const table = tableOf(side.domain)
      if (table === undefined) return GNTST.bad_domain
      tables.push(table)
    }
    const from = this.hold(source, { caller, table: tables[0]!, write: false, tableOf })
    if (typeof from === 'number') return from
    const to = this.hold(destination, { caller, table: tables[1]!, write: true, tableOf })
    if (typeof to === 'number') {
      this.letGo(from)
      return to
    }
    const status = this.move(request, from, to)
    this.letGo(to)
    this.letGo(from)
    return status
  }

  private move({ source, destination, length }: CopyRequest, from: Held, to: Held): number {
    if (source.offset + length > PAGE || destination.offset + length > PAGE) return GNTST.bad_copy_arg
    const fits = (side: CopySide, held: Held): boolean =>
      side.offset >= held.start && side.offset + length <= held.start + held.length
    if (!fits(source, from) || !fits(destination, to)) return GNTST.general_error
    const start = from.mfn * PAGE + source.offset
    this.host.memory.bytes.copyWithin(to.mfn * PAGE + destination.offset, start, start + length)
    this.host.memory.markWritten(to.mfn)
    return GNTST.okay
  }

  private hold(
    side: CopySide,
    { caller, table, write, tableOf }: {
      readonly caller: GrantTable; readonly table: GrantTable; readonly write: boolean; readonly tableOf: TableFinder
    },
  ): Held | number {
    const { frames } = this.host
    let held: Held
    if (side.isGrant) {
      const acquired = this.acquire(
        { table, ref: side.number, user: caller.domain.id, readOnly: !write }, tableOf, true)
      if (typeof acquired === 'number') return acquired
      held = acquired
    } else {
      if (!frames.getPage(side.number, caller.domain.id)) return GNTST.bad_page
      held = { mfn: side.number, start: 0, length: PAGE, entries: [], written: false }
    }
    if (!write) return held
    if (frames.getWritable(held.mfn)) return { ...held, written: true }
    this.letGo(held, false)
    return GNTST.general_error
  }

  private letGo(held: Held, readOnly = !held.written): void {
    for (const { table, ref } of held.entries) this.release(table, ref, readOnly)
    if (held.written) this.host.frames.putWritable(held.mfn)
    this.host.frames.putPage(held.mfn)
  }

  private acquire(use: Acquisition, tableOf: TableFinder, allowTransitive: boolean): Held | number {
    const { table, ref, user, readOnly } = use
    if (table.retired || ref >= table.entryCount) return GNTST.bad_gntref
    const pins = readOnly ? PIN.hostRead : PIN.hostWrite
    const active = table.active.get(ref)
    if (active !== undefined && (active.domain !== user || wouldOverflow(active.pin, pins))) return GNTST.general_error
    const isTransitive = table.version === 2 && (table.flagsOf(ref) & GTF.type_mask) === GTF.transitive
    if (isTransitive) return this.acquireTransitive(use, tableOf, allowTransitive)
    if (active === undefined || (!readOnly && !isWritePinned(active.pin))) return this.acquireFresh(use)
    if (!this.host.frames.getPage(active.mfn, table.domain.id)) {
      table.settle(ref, readOnly)
      return GNTST.bad_domain
    }
    active.pin += pins
    return this.heldBy(active, [{ table, ref }])
  }

  /** An entry that comes into use, or into use for writing: checked against what the guest has in it now. */
  private acquireFresh({ table, ref, user, readOnly }: Acquisition): Held | number {
    const status = table.announce(ref, { readOnly, map: false, domain: user })
    if (status !== GNTST.okay) return status
    const granted = this.read(table, ref)
    const active = table.active.get(ref)
    if (typeof granted === 'number' || (active !== undefined && !isSame(active, granted))) {
      if (typeof granted !== 'number') this.host.frames.putPage(granted.mfn)
      table.settle(ref, readOnly)
      return typeof granted === 'number' ? granted : GNTST.general_error
    }
    return this.heldBy(this.record({ table, ref, user, readOnly }, granted), [{ table, ref }])
  }

  /** An entry that passes on another domain's grant to its own domain. */
  private acquireTransitive(use: Acquisition, tableOf: TableFinder, allowed: boolean): Held | number {
    const { table, ref, user, readOnly } = use
    const before = table.active.get(ref)
    if (before === undefined || (!readOnly && !isWritePinned(before.pin))) {
      const status = table.announce(ref, { readOnly, map: false, domain: user })
      if (status !== GNTST.okay) return status
    }
    const at = table.entryAt(ref)
    const transDomain = GrantEntryV2.transDomid.get(this.host.memory.view, at)
    const transRef = GrantEntryV2.gref.get(this.host.memory.view, at)
    const isOther = transDomain !== table.domain.id && transDomain !== DOMID.SELF
    const behind = allowed && isOther ? tableOf(transDomain) : undefined
    if (behind === undefined) {
      table.settle(ref, readOnly)
      return GNTST.general_error
    }
    const inner = this.acquire({ table: behind, ref: transRef, user: table.domain.id, readOnly }, tableOf, false)
    if (typeof inner === 'number') {
      table.settle(ref, readOnly)
      return inner
    }
    // Always taken for a sub-page, because that is what cannot be mapped.
    const granted: Granted = { ...inner, isSubPage: true, transDomain, transRef }
    if (before !== undefined && !(before.isSubPage && isSame(before, granted))) {
      this.letGo(inner, readOnly)
      table.settle(ref, readOnly)
      return GNTST.general_error
    }
    return this.heldBy(this.record(use, granted), [{ table, ref }, ...inner.entries])
  }

  /** What the entry grants now, a reference on the frame taken; or a GNTST status. */
  private read(table: GrantTable, ref: number): Granted | number {
    const mfn = table.frameOf(ref)
    if (!this.host.frames.getPage(mfn, table.domain.id)) return GNTST.bad_page
    const at = table.entryAt(ref)
    const { view } = this.host.memory
    const isSubPage = table.version === 2 && (table.flagsOf(ref) & GTF.sub_page) !== 0
    return {
      mfn, isSubPage, transDomain: table.domain.id, transRef: ref,
      start: isSubPage ? GrantEntryV2.pageOff.get(view, at) : 0,
      length: isSubPage ? GrantEntryV2.length.get(view, at) : PAGE,
    }
  }

  private record({ table, ref, user, readOnly }: Acquisition, granted: Granted): ActiveEntry {
    const pins = readOnly ? PIN.hostRead : PIN.hostWrite
    const active = table.active.get(ref)
    if (active !== undefined) {
      active.pin += pins
      return active
    }
    const { mfn, start, length, isSubPage, transDomain, transRef } = granted
    const fresh: ActiveEntry = { pin: pins, domain: user, mfn, start, length, isSubPage, transDomain, transRef }
    table.active.set(ref, fresh)
    return fresh
  }

  private release(table: GrantTable, ref: number, readOnly: boolean): void {
    const active = table.active.get(ref)!
    active.pin -= readOnly ? PIN.hostRead : PIN.hostWrite
    table.settle(ref, readOnly)
  }

  private heldBy({ mfn, start, length }: ActiveEntry, entries: Held['entries']): Held {
    return { mfn, start, length, entries, written: false }
  }
}

/** True when an entry still grants what its record says. */
function isSame(active: ActiveEntry, granted: Granted): boolean {
  const sameSource = active.transDomain === granted.transDomain && active.transRef === granted.transRef
  if (active.mfn !== granted.mfn || !sameSource) return false
  return !active.isSubPage || (granted.isSubPage && active.start === granted.start && active.length === granted.length)
}
