/**
 * The handles under which a domain has others' grants mapped. Records come in pages of 256, so that the limit counts
 * what Xen's counts; a handle that was given back comes round again last, which makes the use of a stale one show.
 *
 * Reference: xen/common/grant_table.c (get_maptrack_handle).
 */
import { type StateOf, type Stateful, shape, sameState } from '../../util/index.ts'

/** Records in one page of the limit. */
const RECORDS_PER_FRAME = 256

/** One mapping of another domain's grant. */
export interface Mapping {
  readonly domid: number
  readonly ref: number
  /** GNTMAP flags; host_map and device_map go one by one as they are unmapped. */
  flags: number
}

/** What the saved handles of one domain look like. */
export const maptrackShape = /* @__PURE__ */ shape.record({
  /** Handles that exist, used or free. */
  size: shape.word,
  /** The free ones, in the order in which they will be given out. */
  free: /* @__PURE__ */ shape.list(shape.word),
  mappings: /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.tuple(shape.word, /* @__PURE__ */ shape.record<Mapping>({
    domid: /* @__PURE__ */ shape.whole(0, 0xffff), ref: shape.word, flags: shape.word,
  }))),
})

/** Saved handles of one domain. */
export type MaptrackState = StateOf<typeof maptrackShape>

/** True for saved handles of which each is either free or used, within the limit of `maxFrames`. */
export function maptrackFits({ size, free, mappings }: MaptrackState, maxFrames: number): boolean {
  const frames = size / RECORDS_PER_FRAME
  if (!Number.isInteger(frames) || frames > maxFrames) return false
  const handles = new Set([...free, ...mappings.map(([handle]) => handle)])
  const each = [...handles].every((handle) => handle < size)
  return each && handles.size === size && free.length + mappings.length === size
}

/** All handles of one domain. */
export class Maptrack implements Stateful<MaptrackState> {
  private readonly mappings: (Mapping | undefined)[] = []
  /** Free handles, in the order in which they will be given out, from `head` on. */
  private free: number[] = []
  private head = 0
  private readonly maxFrames: number

  constructor(maxFrames: number) {
    this.maxFrames = maxFrames
  }

  /** Mappings that exist. */
  get count(): number {
    return this.mappings.length - (this.free.length - this.head)
  }

  /** A free handle, or -1 at the limit. It is taken by {@link Maptrack.set}. */
  next(): number {
    if (this.head === this.free.length && !this.grow()) return -1
    return this.free[this.head]!
  }

  /** Puts a mapping under the handle that {@link Maptrack.next} gave. */
  set(handle: number, mapping: Mapping): void {
    this.head += 1
    this.mappings[handle] = mapping
  }

  /** The mapping under a handle, or undefined. */
  get(handle: number): Mapping | undefined {
    return this.mappings[handle]
  }

  /** Forgets a mapping. */
  release(handle: number): void {
    this.mappings[handle] = undefined
    if (this.head > 4 * RECORDS_PER_FRAME) {
      this.free = this.free.slice(this.head)
      this.head = 0
    }
    this.free.push(handle)
  }

  /** Handles in use with their mappings, highest first. */
  *entries(): IterableIterator<[number, Mapping]> {
    for (let handle = this.mappings.length - 1; handle >= 0; handle -= 1) {
      const mapping = this.mappings[handle]
      if (mapping !== undefined) yield [handle, mapping]
    }
  }

  save(): MaptrackState {
    return {
      size: this.mappings.length,
      free: this.free.slice(this.head),
      mappings: [...this.entries()].map(([handle, mapping]) => [handle, { ...mapping }] as const),
    }
  }

  isAsSaved({ size, free, mappings }: MaptrackState): boolean {
    const { head } = this
    if (size !== this.mappings.length || free.length !== this.free.length - head || mappings.length !== this.count) return false
    for (let i = 0; i < free.length; i += 1) if (free[i] !== this.free[head + i]) return false
    for (const [handle, mapping] of mappings) if (!sameState(this.mappings[handle], mapping)) return false
    return true
  }

  /** Takes over saved handles, which {@link maptrackFits} has checked. */
  load({ size, free, mappings }: MaptrackState): void {
    this.mappings.length = 0
    for (let i = 0; i < size; i += 1) this.mappings.push(undefined)
    for (const [handle, mapping] of mappings) this.mappings[handle] = { ...mapping }
    this.free = [...free]
    this.head = 0
  }

  private grow(): boolean {
    const start = this.mappings.length
    if (start >= this.maxFrames * RECORDS_PER_FRAME) return false
    for (let i = 0; i < RECORDS_PER_FRAME; i += 1) {
      this.mappings.push(undefined)
      this.free.push(start + i)
    }
    return true
  }
}
