/**
 * The physical map of a translated domain: which frame of the host lies at which of the guest's own frame numbers, and what
 * its processors may do there. Entries of the domain's own frames and the machine-to-physical table always agree, so that a
 * frame lies at one place at most. An entry holds no reference: own frames have their owner's, granted ones their mapping's.
 *
 *   entry:  frame * 4096 | kind << 3 | rights       0: nothing is there
 *
 * hot path: processors ask for entries when they fill their translations.
 * Reference: xen/arch/x86/mm/p2m.c, guest_physmap_add_entry, guest_physmap_remove_page; p2m-pt.c, p2m_type_to_flags.
 */
import { ERRNO } from '../../abi/index.ts'
import { type Shape, type StateOf, type Stateful, badState, shape, sameState } from '../../util/index.ts'
import { PAGE_SHIFT, PAGE_SIZE } from '../../x86/index.ts'
import { type FrameTable, FRAME_FLAG } from './frame-table.ts'
import type { MachineToPhys } from './machine-to-phys.ts'

/** What lies at a guest's frame number. */
export const PLACE = {
  NONE: 0,
  /** A frame of the domain's own, shared ones included. */
  OWN: 1,
  /** Others' frames: under a grant, for writing or for reading only, and of domains that this one has power over. */
  GRANTED: 2, GRANTED_READONLY: 3, FOREIGN: 4,
  /** A frame comes when it is first asked for. */
  ON_DEMAND: 5,
} as const

/** What stands for a frame where there is none of the domain's own memory: `NONE` for nothing, `ON_DEMAND` for what comes when it is asked for, to the guest a page of zeros. */
export const MEMORY_AT = { NONE: -1, ON_DEMAND: -2 } as const

/** One of {@link PLACE}. */
export type Place = (typeof PLACE)[keyof typeof PLACE]

/** What processors may do, in the machine's bits (FRAME_RIGHT): read 1, write 2, execute 4. */
const RIGHTS: readonly number[] = [0, 7, 3, 1, 3, 0]

/** One past the highest frame number that a guest may use: its physical addresses have 40 bits. */
export const MOST_GFNS = 2 ** 28
const CHUNK_BITS = 9
const CHUNK = 2 ** CHUNK_BITS
/** Rows of entries that a domain may have: those of 4 GiB, and as many more. */
const MOST_CHUNKS = 2 ** 12
const KIND_SHIFT = 3

const kindOf = (entry: number): Place => ((entry >>> KIND_SHIFT) & 7) as Place
const entryOf = (mfn: number, kind: Place): number => mfn * PAGE_SIZE + (kind << KIND_SHIFT) + RIGHTS[kind]!

/** The same numbers with room for as many more. */
function widened(numbers: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const wider = new Uint32Array(numbers.length * 2)
  wider.set(numbers)
  return wider
}

/** What a physical map works on. */
export interface PhysicalMapParts {
  readonly domid: number
  readonly frames: FrameTable
  readonly machineToPhys: MachineToPhys
  /** What processors have remembered of a frame number is to be forgotten at once. */
  changed(gfn: number): void
  /** Puts a frame where one is to come on demand, by `place`; false when there is none left. */
  demanded(gfn: number): boolean
}

/** What a saved physical map looks like: rows of entries by the number of their first, divided by their count. */
export const physicalMapShape: Shape<readonly (readonly [number, Uint32Array])[]> = /* @__PURE__ */ shape.list(
  /* @__PURE__ */ shape.tuple(/* @__PURE__ */ shape.whole(0, MOST_GFNS / CHUNK - 1), /* @__PURE__ */ shape.array(Uint32Array, CHUNK)), MOST_CHUNKS)

/** Physical map of one domain. */
export class PhysicalMap implements Stateful<StateOf<typeof physicalMapShape>> {
  private readonly parts: PhysicalMapParts
  /** Rows of entries by the number of their first, divided by their count. */
  private readonly chunks = new Map<number, Uint32Array>()
  /** What was saved or loaded last, while it is that. */
  private saved: StateOf<typeof physicalMapShape> | undefined
  /** Places where frames are to come on demand. */
  onDemand = 0

  constructor(parts: PhysicalMapParts) {
    this.parts = parts
  }

  /** What a processor is told of a frame number: the frame's address with its rights; 0 where it may do nothing. */
  entry(gfn: number): number {
    const entry = this.look(gfn)
    if (kindOf(entry) !== PLACE.ON_DEMAND) return entry
    return this.parts.demanded(gfn) ? this.look(gfn) : 0
  }

  /** What is at a frame number. */
  kind(gfn: number): Place {
    return kindOf(this.look(gfn))
  }

  /** The frame of the domain's own at a frame number, which comes now where it was to come on demand; -1 for none. */
  frame(gfn: number): number {
    const entry = this.entry(gfn)
    return kindOf(entry) === PLACE.OWN ? entry >>> PAGE_SHIFT : -1
  }

  /** The frame of any kind that is there already; -1 for none. */
  present(gfn: number): number {
    const entry = this.look(gfn)
    return entry >= PAGE_SIZE ? entry >>> PAGE_SHIFT : -1
  }

  /** Where a frame of the domain's own lies; -1 for nowhere. */
  placeOf(mfn: number): number {
    const gfn = this.parts.machineToPhys.get(mfn)
    return this.isAt(gfn, mfn) ? gfn : -1
  }

  /** Whether a frame of the domain's own can be put somewhere: not where others' frames lie. */
  mayPlace(gfn: number): boolean {
    return this.isPlace(gfn) && !this.isOthers(gfn) && this.hasRoom(gfn)
  }

  /** False where a place needs a row and there are as many as there may be. */
  private hasRoom(gfn: number): boolean {
    return this.chunks.size < MOST_CHUNKS || this.chunks.has(Math.floor(gfn / CHUNK))
  }

  /** True for what may be a frame number at all. */
  isPlace(gfn: number): boolean {
    return gfn >= 0 && gfn < MOST_GFNS && Number.isInteger(gfn)
  }

  /**
   * Puts a frame of the domain's own somewhere; what lay there stays the domain's, without a place, and the frame leaves its
   * old one. 0; -EINVAL where others' frames lie, and for what is no frame number.
   */
  place(gfn: number, mfn: number): number {
    const { machineToPhys } = this.parts
    if (!this.mayPlace(gfn)) return -ERRNO.EINVAL
    this.leave(gfn)
    const before = machineToPhys.get(mfn)
    if (this.isAt(before, mfn)) this.write(before, 0)
    this.write(gfn, entryOf(mfn, PLACE.OWN))
    machineToPhys.set(mfn, gfn)
    return 0
  }

  /** Puts another domain's frame somewhere, for which the caller holds references: 0, or -EINVAL as above. */
  placeOthers(gfn: number, mfn: number, kind: typeof PLACE.GRANTED | typeof PLACE.GRANTED_READONLY | typeof PLACE.FOREIGN): number {
    if (!this.mayPlace(gfn)) return -ERRNO.EINVAL
    this.leave(gfn)
    this.write(gfn, entryOf(mfn, kind))
    return 0
  }

  /** Has a frame come somewhere on demand: 0, or -EBUSY where something is. */
  placeOnDemand(gfn: number): number {
    if (!this.isPlace(gfn) || !this.hasRoom(gfn)) return -ERRNO.EINVAL
    if (this.look(gfn) !== 0) return -ERRNO.EBUSY
    this.write(gfn, entryOf(0, PLACE.ON_DEMAND))
    this.onDemand += 1
    return 0
  }

  /** Makes a hole; whoever placed others' frames gives their references back. */
  remove(gfn: number): void {
    if (!this.isPlace(gfn)) return
    this.leave(gfn)
    if (this.look(gfn) !== 0) this.write(gfn, 0)
  }

  /** A frame of the domain's own ceases to be: it leaves its place. */
  forget(mfn: number): void {
    const gfn = this.parts.machineToPhys.get(mfn)
    if (this.isAt(gfn, mfn)) this.remove(gfn)
  }

  /** Highest frame number with something there; -1 for none. */
  highest(): number {
    for (const [index, chunk] of this.inOrder().reverse()) {
      for (let i = CHUNK - 1; i >= 0; i -= 1) if (chunk[i] !== 0) return index * CHUNK + i
    }
    return -1
  }

  /** Numbers where frames are to come on demand. */
  onDemandPlaces(): number[] {
    const list: number[] = []
    if (this.onDemand > 0) for (const { gfn, kind } of this.places()) if (kind === PLACE.ON_DEMAND) list.push(gfn)
    return list
  }

  /** Numbers where there is memory of the domain's own, ascending: frames of its reservation, and those that are to come on demand. */
  memory(): Uint32Array {
    let found = new Uint32Array(CHUNK)
    let count = 0
    for (const [index, chunk] of this.inOrder()) {
      if (count + CHUNK > found.length) found = widened(found)
      for (let i = 0; i < CHUNK; i += 1) if (this.memoryOf(chunk[i]!) !== MEMORY_AT.NONE) found[count++] = index * CHUNK + i
    }
    return found.subarray(0, count)
  }

  /** What memory there is at each of these numbers: its frame, or one of {@link MEMORY_AT}. Nothing comes on demand for it. */
  memoryAt(gfns: Uint32Array): Int32Array {
    const found = new Int32Array(gfns.length)
    for (let i = 0; i < gfns.length; i += 1) found[i] = this.memoryOf(this.look(gfns[i]!))
    return found
  }

  private memoryOf(entry: number): number {
    const kind = kindOf(entry)
    if (kind === PLACE.ON_DEMAND) return MEMORY_AT.ON_DEMAND
    const isMemory = kind === PLACE.OWN && (this.parts.frames.flags[entry >>> PAGE_SHIFT]! & FRAME_FLAG.SHARED) === 0
    return isMemory ? entry >>> PAGE_SHIFT : MEMORY_AT.NONE
  }

  /** Everything that is there: number, frame, kind. */
  *places(): Generator<{ readonly gfn: number; readonly mfn: number; readonly kind: Place }> {
    for (const [index, chunk] of this.inOrder()) {
      for (let i = 0; i < CHUNK; i += 1) {
        const entry = chunk[i]!
        if (entry !== 0) yield { gfn: index * CHUNK + i, mfn: entry >>> PAGE_SHIFT, kind: kindOf(entry) }
      }
    }
  }

  save(): StateOf<typeof physicalMapShape> {
    this.saved ??= this.inOrder().map(([index, chunk]) => [index, chunk.slice()] as const)
    return this.saved
  }

  isAsSaved(state: StateOf<typeof physicalMapShape>): boolean {
    if (state === this.saved) return true
    if (!sameState(this.save(), state)) return false
    this.saved = state
    return true
  }

  /** Whose frames they are, checks say when all is loaded. */
  load(state: StateOf<typeof physicalMapShape>): void {
    if (new Set(state.map(([index]) => index)).size !== state.length) throw badState('frame numbers are there twice')
    for (const [, chunk] of state) for (const entry of chunk) this.judge(entry)
    this.chunks.clear()
    this.onDemand = 0
    for (const [index, chunk] of state) {
      this.chunks.set(index, chunk.slice())
      for (const entry of chunk) if (kindOf(entry) === PLACE.ON_DEMAND) this.onDemand += 1
    }
    this.saved = state
  }

  private judge(entry: number): void {
    const kind = kindOf(entry)
    const mfn = entry >>> PAGE_SHIFT
    const hasFrame = kind !== PLACE.NONE && kind !== PLACE.ON_DEMAND
    const isSound = (kind as number) < RIGHTS.length && entry === entryOf(mfn, kind) && (hasFrame ? this.parts.frames.isValid(mfn) : mfn === 0)
    if (!isSound) throw badState(`its entry ${entry.toString(16)} is none`)
  }

  private look(gfn: number): number {
    return this.chunks.get(gfn >>> CHUNK_BITS)?.[gfn & (CHUNK - 1)] ?? 0
  }

  private inOrder(): (readonly [number, Uint32Array])[] {
    return [...this.chunks].sort(([one], [other]) => one - other)
  }

  private isOthers(gfn: number): boolean {
    const kind = this.kind(gfn)
    return kind === PLACE.GRANTED || kind === PLACE.GRANTED_READONLY || kind === PLACE.FOREIGN
  }

  private isAt(gfn: number, mfn: number): boolean {
    return this.isPlace(gfn) && this.look(gfn) === entryOf(mfn, PLACE.OWN)
  }

  /** What the place is about to lose. */
  private leave(gfn: number): void {
    const entry = this.look(gfn)
    if (kindOf(entry) === PLACE.OWN) this.parts.machineToPhys.clear(entry >>> PAGE_SHIFT)
    if (kindOf(entry) === PLACE.ON_DEMAND) this.onDemand -= 1
  }

  private write(gfn: number, entry: number): void {
    const chunk = this.chunks.get(gfn >>> CHUNK_BITS) ?? new Uint32Array(CHUNK)
    this.chunks.set(gfn >>> CHUNK_BITS, chunk)
    const before = chunk[gfn & (CHUNK - 1)]!
    chunk[gfn & (CHUNK - 1)] = entry
    this.saved = undefined
    if (before >= PAGE_SIZE) this.parts.changed(gfn)
  }
}
