/**
 * Grants of a guest, both ways: frames that it lets other domains see (entries of its own grant table, version 1) and
 * frames of others that it maps or copies. Granting writes the table in place; only mapping and copying are hypercalls.
 *
 * Reference: public/grant_table.h.
 */
import { GNTST, GNTTAB_NR_RESERVED_ENTRIES, GrantEntryV1, GTF, PAGE_SIZE } from '../abi/index.ts'
import type { GrantCopy, HypercallPort } from '../abi/index.ts'
import { type DomId, type GrantHandle, type GrantRef, type Mfn, type Quiescible, type StateOf, sameState } from '../util/index.ts'
import { badState, shape, XenError } from '../util/index.ts'
import { checked } from './event-channels.ts'
import type { Page } from './pages.ts'
import { pageOf } from './pages.ts'

const ENTRIES_PER_FRAME = PAGE_SIZE / GrantEntryV1.size
/** Another domain has the frame mapped or is copying from it. */
const IN_USE = GTF.reading | GTF.writing

/** Where a mapped page is. */
export const mappedPageState = /* @__PURE__ */ shape.record({ frame: shape.word, handle: shape.word })

/** A page of another domain, mapped here. */
export interface MappedPage extends Page {
  readonly handle: GrantHandle
}

/** How a frame is granted or mapped. */
export interface GrantAccess {
  /** The other side, or this side when mapping, may only read. */
  readonly readOnly?: boolean
}

/** The hypercalls that grants need. */
export type GrantCalls = Pick<HypercallPort, 'memory' | 'setupGrantTable' | 'mapGrant' | 'unmapGrant' | 'copyGrants'>

const reference = /* @__PURE__ */ shape.whole(GNTTAB_NR_RESERVED_ENTRIES, 2 ** 20)

/** Frames of the table, references that are free, grants in force, those of them that end, and how many pages of others are mapped. */
export const grantsState = /* @__PURE__ */ shape.record({
  tables: /* @__PURE__ */ shape.list(shape.word, 2 ** 10),
  unused: /* @__PURE__ */ shape.list(reference, 2 ** 20),
  granted: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({ ref: reference, frame: shape.word }), 2 ** 20),
  ending: /* @__PURE__ */ shape.list(reference, 2 ** 20),
  mapped: /* @__PURE__ */ shape.whole(0, 2 ** 24),
})

/** A saved grant table, without ends that somebody waits for. */
export type GrantsState = StateOf<typeof grantsState>

/** The grant table of one guest. */
export class Grants implements Quiescible {
  private readonly hypercalls: GrantCalls
  private tables: readonly Mfn[] = []
  private readonly unused: GrantRef[] = []
  private readonly frames = new Map<GrantRef, Mfn>()
  /** Ended, but still mapped by the other side, and what is to happen once they are not. */
  private readonly ending = new Map<GrantRef, (() => void) | undefined>()
  private mapped = 0

  constructor(hypercalls: GrantCalls) {
    this.hypercalls = hypercalls
  }

  /** Grants that are in force, those that the other side has not let go of included. */
  get granted(): number {
    return this.frames.size
  }

  /** Pages of others that are mapped here. */
  get mappings(): number {
    return this.mapped
  }

  /**
   * Lets `domain` map or copy an own frame until {@link Grants.end}. Throws OUT_OF_RESOURCES when the table is
   * full.
   */
  grant(domid: DomId, frame: Mfn, access: GrantAccess = {}): GrantRef {
    const ref = this.unused.pop() ?? this.grow()
    const { view } = this.hypercalls.memory
    const entry = this.entry(ref)
    GrantEntryV1.domid.set(view, entry, domid)
    GrantEntryV1.frame.set(view, entry, frame)
    // The flags come last: they put the entry into force.
    GrantEntryV1.flags.set(view, entry, GTF.permit_access | (access.readOnly === true ? GTF.readonly : 0))
    this.frames.set(ref, frame)
    return ref
  }

  /** True while the other side maps the frame or copies from it. */
  inUse(ref: GrantRef): boolean {
    return (GrantEntryV1.flags.get(this.hypercalls.memory.view, this.entry(ref)) & IN_USE) !== 0
  }

  /** Takes a grant back at once; false, with the grant still in force, when the other side is using it. */
  end(ref: GrantRef): boolean {
    if (!this.frames.has(ref)) {
      throw new XenError('INVALID_ARGUMENT', `grant ${ref} is not in force`, { details: { ref } })
    }
    if (this.inUse(ref)) return false
    GrantEntryV1.flags.set(this.hypercalls.memory.view, this.entry(ref), 0)
    this.frames.delete(ref)
    this.unused.push(ref)
    return true
  }

  /** Takes a grant back as soon as the other side lets go of it, and calls `ended` then: the frame is ours again. */
  endWhenUnused(ref: GrantRef, ended?: () => void): void {
    if (this.end(ref)) ended?.()
    else this.ending.set(ref, ended)
  }

  /** Looks again at the grants that {@link Grants.endWhenUnused} could not take back; how many are left. */
  retryEnding(): number {
    for (const [ref, ended] of this.ending) {
      if (!this.end(ref)) continue
      this.ending.delete(ref)
      ended?.()
    }
    return this.ending.size
  }

  /** Maps a page of another domain; throws HYPERCALL_FAILED with the GNTST status when it may not. */
  map(domid: DomId, ref: GrantRef, access: GrantAccess = {}): MappedPage {
    const { status, handle, frame } = this.hypercalls.mapGrant({ domid, ref, readOnly: access.readOnly === true })
    if (status !== GNTST.okay) {
      throw new XenError('HYPERCALL_FAILED', `grant ${ref} of domain ${domid} cannot be mapped: status ${status}`, {
        details: { operation: 'mapGrant', status, domid, ref },
      })
    }
    this.mapped += 1
    return Object.assign(pageOf(this.hypercalls.memory, frame), { handle })
  }

  /** Lets a page go that {@link Grants.map} mapped. */
  unmap(page: MappedPage): void {
    const status = this.hypercalls.unmapGrant(page.handle)
    if (status === GNTST.okay) this.mapped -= 1
  }

  /** The page of a mapping that was loaded with its owner. */
  attach({ frame, handle }: { readonly frame: number; readonly handle: number }): MappedPage {
    if (frame * PAGE_SIZE >= this.hypercalls.memory.bytes.length) throw badState(`frame ${frame} is beyond the machine's memory`)
    return Object.assign(pageOf(this.hypercalls.memory, frame as Mfn), { handle: handle as GrantHandle })
  }

  /** What keeps the table from being saved now: somebody who waits for the end of a grant. */
  underWay(): string | undefined {
    return [...this.ending.values()].some((ended) => ended !== undefined) ? 'a wait for the end of a grant' : undefined
  }

  /** The tables, the references, the grants and the mappings, for a save of the kernel. */
  save(): GrantsState {
    return {
      tables: [...this.tables], unused: [...this.unused], granted: [...this.frames].map(([ref, frame]) => ({ ref, frame })),
      ending: [...this.ending.keys()], mapped: this.mapped,
    }
  }

  /** Whether it is what a save of it said, so that nothing has to be brought back. */
  isAsSaved({ tables, unused, granted, ending, mapped }: GrantsState): boolean {
    if (mapped !== this.mapped || granted.length !== this.frames.size || ending.length !== this.ending.size) return false
    let at = 0
    for (const [ref, frame] of this.frames) {
      const saved = granted[at++]!
      if (saved.ref !== ref || saved.frame !== frame) return false
    }
    at = 0
    for (const ref of this.ending.keys()) if (ending[at++] !== ref) return false
    return sameState(this.tables, tables) && sameState(this.unused, unused)
  }

  /** Takes over tables and references; grants stay in force, mappings wait for their owners. */
  load({ tables, unused, granted, ending, mapped }: GrantsState): void {
    const most = tables.length * ENTRIES_PER_FRAME
    const refs = [...unused, ...granted.map(({ ref }) => ref)]
    if (refs.some((ref) => ref >= most)) throw badState('a grant is beyond the table')
    if (new Set(refs).size < refs.length) throw badState('two grants have one number')
    const inForce = new Set(granted.map(({ ref }) => ref))
    if (!ending.every((ref) => inForce.has(ref))) throw badState('a grant ends that is not in force')
    if (tables.some((frame) => frame * PAGE_SIZE >= this.hypercalls.memory.bytes.length)) throw badState('the table is beyond the machine\'s memory')
    // Both were numbers of frames and grants when they were saved.
    this.tables = tables as readonly Mfn[]
    for (const ref of unused) this.unused.push(ref as GrantRef)
    for (const { ref, frame } of granted) this.frames.set(ref as GrantRef, frame as Mfn)
    for (const ref of ending) this.ending.set(ref as GrantRef, undefined)
    this.mapped = mapped
  }

  /** Copies between own frames and grants of others; GNTST status of each. */
  copy(copies: readonly GrantCopy[]): readonly number[] {
    return this.hypercalls.copyGrants(copies)
  }

  /** Where the entry of a grant lies in host memory. */
  private entry(ref: GrantRef): number {
    const table = this.tables[Math.floor(ref / ENTRIES_PER_FRAME)]
    if (table === undefined) {
      throw new XenError('INVALID_ARGUMENT', `grant ${ref} is beyond the table`, { details: { ref } })
    }
    return table * PAGE_SIZE + (ref % ENTRIES_PER_FRAME) * GrantEntryV1.size
  }

  /** Makes the table one frame larger and returns the first new reference. */
  private grow(): GrantRef {
    const wanted = this.tables.length + 1
    const result = this.hypercalls.setupGrantTable(wanted)
    if (typeof result === 'number' || result.length < wanted) {
      const status = typeof result === 'number' ? result : 0
      throw new XenError('OUT_OF_RESOURCES', `the grant table cannot have ${wanted} frames`, {
        details: { wanted, status },
      })
    }
    const first = this.tables.length * ENTRIES_PER_FRAME
    this.tables = result
    const start = Math.max(first, GNTTAB_NR_RESERVED_ENTRIES)
    for (let ref = first + ENTRIES_PER_FRAME - 1; ref > start; ref -= 1) this.unused.push(ref as GrantRef)
    return start as GrantRef
  }
}

/** Turns a failed map of a foreign frame into HYPERCALL_FAILED, and makes the page. */
export function mapForeignPage(hypercalls: HypercallPort, domid: DomId, frame: number): Page {
  const result = checked(hypercalls.mapForeign(domid, frame), 'mapForeign', { domid, frame })
  return pageOf(hypercalls.memory, result as Mfn)
}
