/**
 * Grants of a front-end that stay mapped from one request to the next: what `feature-persistent` is about. How many
 * there are is bounded, and so is the room that their numbers take; a grant beyond either is mapped for its request.
 *
 * hot path: a grant is found by its number in an array, 2 ns instead of the 15 of a map.
 */
import { badState, shape, type GrantHandle, type StateOf } from '../../util/index.ts'

/** Grants that stay mapped for one ring: three times what can be under way. Stops a guest from using up our handles. */
export const PERSISTENT_GRANT_LIMIT = 1056
/** Grants below this number stay mapped: twice what the largest grant table has. Bounds the array. */
const REFERENCE_LIMIT = 1 << 16
/** Frame 0 is the machine's own and stands for no grant. */
const NONE = 0

const mapping = /* @__PURE__ */ shape.list(shape.word, PERSISTENT_GRANT_LIMIT)

/** The grants that are kept, their frames, and the handles in the order of mapping. */
export const persistentState = /* @__PURE__ */ shape.record({ refs: mapping, frames: mapping, handles: mapping })

/** Saved grants. */
export type PersistentState = StateOf<typeof persistentState>

/** Mapped grants by their number. */
export class PersistentGrants {
  private frames = new Uint32Array(0)
  private readonly handles: GrantHandle[] = []

  /** Grants that are kept. */
  get size(): number {
    return this.handles.length
  }

  /** The frame of a grant that is kept; 0 when it is not. */
  frameOf(ref: number): number {
    return ref < this.frames.length ? this.frames[ref]! : NONE
  }

  /** True when a grant with this number can be kept. */
  hasRoom(ref: number): boolean {
    return ref < REFERENCE_LIMIT && this.handles.length < PERSISTENT_GRANT_LIMIT
  }

  /** Keeps a grant that has been mapped, after {@link PersistentGrants.hasRoom}. */
  keep(ref: number, frame: number, handle: GrantHandle): void {
    if (ref >= this.frames.length) this.grow(ref + 1)
    this.frames[ref] = frame
    this.handles.push(handle)
  }

  save(): PersistentState {
    const refs = Array.from(this.frames.keys()).filter((ref) => this.frames[ref] !== NONE)
    return { refs, frames: refs.map((ref) => this.frames[ref]!), handles: [...this.handles] }
  }

  load({ refs, frames, handles }: PersistentState): void {
    const isSound = refs.length === frames.length && refs.length <= handles.length && refs.every((ref) => ref < REFERENCE_LIMIT)
    if (!isSound) throw badState('grants that cannot be kept')
    refs.forEach((ref, index) => {
      if (ref >= this.frames.length) this.grow(ref + 1)
      this.frames[ref] = frames[index]!
    })
    for (const handle of handles) this.handles.push(handle as GrantHandle)
  }

  /** Forgets all grants; their handles, for unmapping. */
  clear(): readonly GrantHandle[] {
    this.frames = new Uint32Array(0)
    return this.handles.splice(0)
  }

  private grow(wanted: number): void {
    const frames = new Uint32Array(2 ** Math.ceil(Math.log2(Math.max(wanted, 1024))))
    frames.set(this.frames)
    this.frames = frames
  }
}
