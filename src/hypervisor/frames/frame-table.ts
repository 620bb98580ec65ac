/**
 * The frame table: who owns each frame, what it may be used for, and how many uses it has. Every mapping of a frame
 * holds a reference; every use that depends on the frame's kind (a writable mapping, a page table, a descriptor page)
 * holds a type reference as well, and the kind can change only while nobody holds one. That is the isolation.
 *
 * hot path: plain typed arrays indexed by frame number; nothing is allocated per call.
 * Reference: xen/arch/x86/mm.c, the comment at its head; xen/arch/x86/include/asm/mm.h, PGT_* and PGC_*.
 */
import { DOMID } from '../../abi/index.ts'
import { type StateOf, type Stateful, badState, invariant, shape } from '../../util/index.ts'
import { FRAME_FLAG, OWNER_FREE, OWNER_XEN } from './frame-facts.ts'
import { FrameRows } from './frame-rows.ts'

export { FRAME_FLAG, OWNER_FREE, OWNER_VCPU, OWNER_XEN } from './frame-facts.ts'

/** What a frame is used as while its type count is not zero (and was used as last when it is). */
export const FRAME_TYPE = {
  NONE: 0, L1: 1, L2: 2, L3: 3, L4: 4, SEGDESC: 5, WRITABLE: 6,
  /** The level-2 table of a 32-bit guest that holds mappings of the hypervisor's (PGT_pae_xen_l2). */
  XEN_L2: 7,
} as const

/** Most references that one frame may have; one is kept back so that a release can always take one. */
const COUNT_LIMIT = 0xffff_fffd

const MOST_FRAMES = 2 ** 24

/** What a saved frame table looks like: a row for each field, by frame number. */
export const frameTableShape = /* @__PURE__ */ shape.record({
  owner: /* @__PURE__ */ shape.array(Uint16Array, 0, MOST_FRAMES), type: /* @__PURE__ */ shape.array(Uint8Array, 0, MOST_FRAMES),
  flags: /* @__PURE__ */ shape.array(Uint8Array, 0, MOST_FRAMES), references: /* @__PURE__ */ shape.array(Uint32Array, 0, MOST_FRAMES),
  typeCount: /* @__PURE__ */ shape.array(Uint32Array, 0, MOST_FRAMES), linear: /* @__PURE__ */ shape.array(Int32Array, 0, MOST_FRAMES),
  progress: /* @__PURE__ */ shape.array(Uint16Array, 0, MOST_FRAMES), stamp: /* @__PURE__ */ shape.array(Float64Array, 0, MOST_FRAMES),
})

/** A frame table as plain data. */
export type FrameTableState = StateOf<typeof frameTableShape>

/** Most entries that a paused check of a table can be behind. */
const MOST_PROGRESS = 512
const ALL_FLAGS = /* @__PURE__ */ Object.values(FRAME_FLAG).reduce((all: number, flag) => all | flag, 0)

/** What the table tells its owner about. */
export interface FrameTableHooks {
  /** The last reference to the frame is gone; the frame is still marked with its former owner. */
  released(mfn: number): void
}

/** Ownership, type and reference counts of every frame of the host. */
export class FrameTable implements Stateful<FrameTableState> {
  readonly rows: FrameRows
  /** Frames below this number are the machine's own. */
  readonly first: number
  /** One past the last frame. */
  readonly end: number
  readonly owner: Readonly<Uint16Array>
  readonly type: Readonly<Uint8Array>
  readonly flags: Readonly<Uint8Array>
  readonly references: Readonly<Uint32Array>
  readonly typeCount: Readonly<Uint32Array>
  /** Recursive page-table entries: positive counts entries in this table, negative counts uses of this table. */
  readonly linear: Readonly<Int32Array>
  /** Entries of a PARTIAL or FALLING table that hold references. */
  readonly progress: Readonly<Uint16Array>
  /**
   * Value of the TLB clock when the last type reference was dropped, or the frame was freed. Wider than 32 bits: a
   * busy host flushes 2^32 times in a day, and a clock that wraps would take stale translations for flushed ones.
   */
  readonly stamp: Readonly<Float64Array>
  private hooks: FrameTableHooks = { released: () => undefined }
  /** By domain: no frame of its lies below this one; 0 where that is not known. */
  private readonly lowest = new Uint32Array(DOMID.FIRST_RESERVED)

  /** `rows`: of a table that there was before, which are taken as they are; without them they are those of free frames. */
  constructor(first: number, end: number, rows?: FrameRows) {
    this.first = first
    this.end = end
    this.rows = rows ?? new FrameRows(end)
    const { owner, type, flags, references, typeCount, linear, progress, stamp } = this.rows
    this.owner = owner
    this.type = type
    this.flags = flags
    this.references = references
    this.typeCount = typeCount
    this.linear = linear
    this.progress = progress
    this.stamp = stamp
  }

  /** Connects the part that takes frames back; to be called once, by the composition. */
  connect(hooks: FrameTableHooks): void {
    this.hooks = hooks
  }

  save(): FrameTableState {
    const { owner, type, flags, references, typeCount, linear, progress, stamp } = this
    return {
      owner: owner.slice(), type: type.slice(), flags: flags.slice(), references: references.slice(),
      typeCount: typeCount.slice(), linear: linear.slice(), progress: progress.slice(), stamp: stamp.slice(),
    }
  }

  /** The hypervisor's own frames lie where they lie in a fresh table of the same host. Counts are not looked at here. */
  load(state: FrameTableState): void {
    for (const [name, row] of Object.entries(state)) if (row.length !== this.end) throw badState(`${name} is of another host`)
    this.judgeAll(state, this)
    const { rows } = this
    for (const name of Object.keys(state) as (keyof FrameTableState)[]) (rows[name] as Uint8Array).set(state[name])
    rows.touchAll()
  }

  /** Looks at rows as they come from anywhere, beside those of a fresh table of the same host. Throws INVALID_STATE. */
  judgeAll(state: FrameTableState, fresh: Pick<FrameTable, 'owner' | 'type' | 'typeCount'>): void {
    for (let mfn = 0; mfn < this.end; mfn += 1) {
      const wrong = this.judge(state, fresh, mfn)
      if (wrong !== undefined) throw badState(`frame ${mfn} ${wrong}`)
    }
  }

  private judge(state: FrameTableState, fresh: Pick<FrameTable, 'owner' | 'type' | 'typeCount'>, mfn: number): string | undefined {
    const owner = state.owner[mfn]!
    if ((owner === OWNER_XEN) !== (fresh.owner[mfn] === OWNER_XEN)) return 'is not the hypervisor\'s'
    if (owner === OWNER_XEN && !isAsMade(state, fresh, mfn)) return 'is the hypervisor\'s'
    if (mfn < this.first && owner !== OWNER_FREE) return 'is the machine\'s'
    if (state.type[mfn]! > FRAME_TYPE.XEN_L2 || (state.flags[mfn]! & ~ALL_FLAGS) !== 0) return 'is of no known type'
    if (state.progress[mfn]! > MOST_PROGRESS || !(state.stamp[mfn]! >= 0 && state.stamp[mfn]! < Infinity)) return 'has no such past'
    const isFree = owner === OWNER_FREE
    if (isFree && (state.references[mfn] !== 0 || state.typeCount[mfn] !== 0 || state.flags[mfn] !== 0)) return 'is free and in use'
    return undefined
  }

  /** True for a frame that a domain may own. */
  isValid(mfn: number): boolean {
    return mfn >= this.first && mfn < this.end
  }

  /** Takes a reference to a frame that `domid` owns; false when it does not, or when the count is at its limit. */
  getPage(mfn: number, domid: number): boolean {
    if (!(mfn >= this.first && mfn < this.end) || this.owner[mfn] !== domid) return false
    return this.addReference(mfn)
  }

  /** True for a frame that a domain owns and that is referenced: one that {@link FrameTable.getPage} takes a reference to, if there is one to be had. */
  isOwnedBy(mfn: number, domid: number): boolean {
    return mfn >= this.first && mfn < this.end && this.owner[mfn] === domid && this.references[mfn] !== 0
  }

  /** Takes a reference whoever owns the frame; false when nobody does. */
  addReference(mfn: number): boolean {
    const count = this.references[mfn]!
    if (count === 0 || count >= COUNT_LIMIT) return false
    this.rows.setReferences(mfn, count + 1)
    return true
  }

  /** Gives a reference back; the last one frees the frame. */
  putPage(mfn: number): void {
    const count = this.references[mfn]! - 1
    // The message is put together for a failure only: it costs more than all the rest.
    if (count < 0) invariant(false, `frame ${mfn} has no reference to give back`)
    this.rows.setReferences(mfn, count)
    if (count === 0) this.hooks.released(mfn)
  }

  /** True for a frame whose type is writable already: writing it changes nothing but its bytes. */
  isWritable(mfn: number): boolean {
    return this.type[mfn] === FRAME_TYPE.WRITABLE && (this.flags[mfn]! & FRAME_FLAG.VALIDATED) !== 0
  }

  /** A new domain has no frame yet. */
  begin(domid: number): void {
    this.lowest[domid] = this.end
  }

  /**
   * The frames of a domain that has so many, ascending. They are looked for from the lowest that it was ever given, and from the first of
   * all where that was said of another: rows may have been brought back.
   */
  framesOf(domid: number, count: number): number[] {
    const found = this.framesFrom(Math.max(this.first, this.lowest[domid] ?? 0), domid, count)
    return found.length < count ? this.framesFrom(this.first, domid, count) : found
  }

  private framesFrom(from: number, domid: number, count: number): number[] {
    const found: number[] = []
    for (let at = from; found.length < count; at += 1) {
      at = this.owner.indexOf(domid, at)
      if (at < 0) break
      found.push(at)
    }
    return found
  }

  /** Hands a free frame to an owner, with the owner's own reference. */
  assign(mfn: number, domid: number, flags: number = FRAME_FLAG.ALLOCATED): void {
    // The message is put together for a failure only.
    if (this.references[mfn] !== 0) invariant(false, `frame ${mfn} is in use and cannot be assigned`)
    if (mfn < this.lowest[domid]!) this.lowest[domid] = mfn
    this.rows.setOwner(mfn, domid)
    this.rows.setReferences(mfn, 1)
    this.rows.setFlags(mfn, flags)
    this.rows.setType(mfn, FRAME_TYPE.NONE)
    this.rows.setTypeCount(mfn, 0)
    this.rows.setLinear(mfn, 0)
  }

  /** The same for the frames from `first` to `end` - 1. */
  assignRun(first: number, end: number, domid: number): void {
    const used = firstUsed(this.references, first, end)
    if (used < end) invariant(false, `frame ${used} is in use and cannot be assigned`)
    if (first < this.lowest[domid]!) this.lowest[domid] = first
    this.rows.give(first, end, { owner: domid, flags: FRAME_FLAG.ALLOCATED })
  }

  /** Marks a frame as the hypervisor's, writable by its owner and never usable as anything else. */
  assignShared(mfn: number, domid: number): void {
    this.assign(mfn, domid, FRAME_FLAG.ALLOCATED | FRAME_FLAG.SHARED | FRAME_FLAG.VALIDATED)
    this.rows.setType(mfn, FRAME_TYPE.WRITABLE)
    this.rows.setTypeCount(mfn, 1)
  }

  /** Forgets a frame whose last reference is gone. */
  clear(mfn: number): void {
    this.rows.setOwner(mfn, OWNER_FREE)
    this.rows.setFlags(mfn, 0)
    this.rows.setType(mfn, FRAME_TYPE.NONE)
    this.rows.setTypeCount(mfn, 0)
    this.rows.setReferences(mfn, 0)
    this.rows.setLinear(mfn, 0)
  }

  /** True while a flag is set. */
  hasFlag(mfn: number, flag: number): boolean {
    return (this.flags[mfn]! & flag) !== 0
  }
}

/** The first frame from `first` on, and below `end`, that has a reference; `end` where none has. */
function firstUsed(references: Readonly<Uint32Array>, first: number, end: number): number {
  for (let mfn = first; mfn < end; mfn += 1) if (references[mfn] !== 0) return mfn
  return end
}

/** Whether one of the hypervisor's own frames is as in a fresh table; those that it shares with tools may be mapped by them. */
function isAsMade(state: FrameTableState, fresh: Pick<FrameTable, 'type' | 'typeCount'>, mfn: number): boolean {
  const [count, made] = [state.typeCount[mfn]!, fresh.typeCount[mfn]!]
  return state.type[mfn] === fresh.type[mfn] && (count === made || (made > 0 && count > made))
}
