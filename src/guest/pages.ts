/**
 * A guest's memory as its program sees it: its own frames, handed out and taken back one page at a time, and the
 * pages of other domains that it may look at for a while. Nothing else of the host's memory can be reached from here.
 */
import { PAGE_SIZE } from '../abi/index.ts'
import { type Mfn, sameState } from '../util/index.ts'
import { badState, shape, XenError } from '../util/index.ts'
import type { HypercallPort } from '../abi/index.ts'


/** One page that the guest may read and write. */
export interface Page {
  readonly frame: Mfn
  /** Byte offset of the page in `view`. */
  readonly base: number
  /** Host memory, for overlays: `Layout.field.get(page.view, page.base)`. */
  readonly view: DataView
  /** The page's 4096 bytes. */
  readonly bytes: Uint8Array
}

/** Makes the page of a frame. Whoever calls it has made sure that the frame is accessible. */
export function pageOf(memory: HypercallPort['memory'], frame: Mfn): Page {
  const base = frame * PAGE_SIZE
  return { frame, base, view: memory.view, bytes: memory.bytes.subarray(base, base + PAGE_SIZE) }
}

/** An entry of the saved p2m where the balloon is. */
const NO_FRAME = 0xffff_ffff
const numbers = /* @__PURE__ */ shape.array(Uint32Array, 0, 2 ** 24)

/** The p2m, and the page numbers that are free, in use and without a frame, each in the order in which they are taken. */
export const framesState = /* @__PURE__ */ shape.record<FramesState>({ frames: numbers, unused: numbers, used: numbers, holes: numbers })

/** Saved frames of a guest. */
export interface FramesState {
  readonly frames: Uint32Array
  readonly unused: Uint32Array
  readonly used: Uint32Array
  readonly holes: Uint32Array
}

/** The frames of a saved p2m. */
export function savedP2m({ frames }: FramesState): (Mfn | undefined)[] {
  // hot path: of every host that is stood up, some thousand entries.
  const p2m = new Array<Mfn | undefined>(frames.length)
  for (let number = 0; number < frames.length; number += 1) p2m[number] = frames[number] === NO_FRAME ? undefined : frames[number] as Mfn
  return p2m
}

/** Which pages are free, lent, and the balloon's, by pseudo-physical number. */
interface PageLists {
  readonly unused: number[]
  readonly used: Set<number>
  readonly holes: number[]
}

/** Takes note of saved numbers of pages. Throws INVALID_STATE where one is taken already, or its frame is there or not against what is said. hot path: see above. */
function takeNumbers(
  numbers: Uint32Array, { frames, seen, areThere }: { readonly frames: readonly (Mfn | undefined)[]; readonly seen: Uint8Array; readonly areThere: boolean },
): void {
  for (let i = 0; i < numbers.length; i += 1) {
    const number = numbers[i]!
    if (number >= frames.length || seen[number] !== 0 || (frames[number] !== undefined) !== areThere) throw badState(`page ${number} is not what it is said to be`)
    seen[number] = 1
  }
}

/** The same numbers as a list. hot path: an iterator takes five times as long. */
function listOfNumbers(numbers: Uint32Array): number[] {
  const list = new Array<number>(numbers.length)
  for (let i = 0; i < numbers.length; i += 1) list[i] = numbers[i]!
  return list
}

const listsOf = ({ unused, used, holes }: Pick<FramesState, 'unused' | 'used' | 'holes'>): PageLists =>
  ({ unused: listOfNumbers(unused), used: new Set(used), holes: listOfNumbers(holes) })

/** The guest's p2m and its free list, which is made when the first page is asked for: many guests ask for none. Pages come zeroed. */
export class FrameAllocator {
  /** Called when a page was released: a balloon that was short of pages goes on. */
  onRelease: (() => void) | undefined
  private readonly memory: HypercallPort['memory']
  /** Frame by pseudo-physical number; undefined where the balloon is. Given with the boot information until it changes. */
  private given: readonly (Mfn | undefined)[] | undefined
  private own: (Mfn | undefined)[] = []
  private readonly reserved: readonly Mfn[]
  private made: PageLists | undefined
  /** What the lists are to be made of, where they were loaded: thousands of pages, of which a guest may ask for none. */
  private loaded: Pick<FramesState, 'unused' | 'used' | 'holes'> | undefined
  /** Numbers of frames, where they do not lie in a row. */
  private index: Map<Mfn, number> | undefined
  /** What was saved last, while it is still so: there may be thousands of pages, of which few come and go. */
  private saved: FramesState | undefined

  /** `reserved` frames are in use from the start: rings, the start_info page. */
  constructor(memory: HypercallPort['memory'], frames: readonly (Mfn | undefined)[], reserved: readonly Mfn[] = []) {
    this.memory = memory
    this.given = frames
    this.reserved = reserved
  }

  private get frames(): readonly (Mfn | undefined)[] {
    return this.given ?? this.own
  }

  /** The p2m, to be changed. */
  private get changing(): (Mfn | undefined)[] {
    if (this.given !== undefined) this.own = [...this.given]
    this.given = undefined
    this.saved = undefined
    return this.own
  }

  private get lists(): PageLists {
    return (this.made ??= this.loaded === undefined ? this.makeLists() : listsOf(this.loaded))
  }

  private makeLists(): PageLists {
    const lists: PageLists = { unused: [], used: new Set(), holes: [] }
    const taken = new Set(this.reserved)
    for (let number = this.frames.length - 1; number >= 0; number -= 1) {
      const frame = this.frames[number]
      if (frame === undefined) lists.holes.push(number)
      else if (taken.has(frame)) lists.used.add(number)
      else lists.unused.push(number)
    }
    return lists
  }

  /** The number of an own frame; undefined for any other. */
  private numberOf(frame: Mfn): number | undefined {
    const { frames } = this
    // A builder's frames lie in a row, so that the first tells where each one is.
    const guess = frame - (frames[0] ?? 0)
    if (frames[guess] === frame) return guess
    this.index ??= new Map(frames.flatMap((own, number) => (own === undefined ? [] : [[own, number]])))
    return this.index.get(frame)
  }

  /** Which pages are free and which are lent, for a save of the kernel. */
  save(): FramesState {
    const { unused, used, holes } = this.lists
    this.saved ??= {
      frames: Uint32Array.from(this.frames, (frame) => frame ?? NO_FRAME), unused: Uint32Array.from(unused),
      used: Uint32Array.from(used), holes: Uint32Array.from(holes),
    }
    return this.saved
  }

  /** Told at once of what was saved last; otherwise worked out. */
  isAsSaved(state: FramesState): boolean {
    if (state === this.saved) return true
    if (!sameState(this.save(), state)) return false
    this.saved = state
    return true
  }

  /** Takes over which pages are free; the frames themselves are those that it was made with. */
  load({ unused, used, holes }: FramesState): void {
    const { frames } = this
    const seen = new Uint8Array(frames.length)
    takeNumbers(unused, { frames, seen, areThere: true })
    takeNumbers(used, { frames, seen, areThere: true })
    takeNumbers(holes, { frames, seen, areThere: false })
    if (unused.length + used.length + holes.length < frames.length) throw badState('a page is neither free nor in use')
    this.saved = undefined
    this.made = undefined
    this.loaded = { unused, used, holes }
  }

  /** Pages that are free. */
  get free(): number {
    return this.made?.unused.length ?? this.loaded?.unused.length ?? this.total - this.reserved.filter((frame) => this.owns(frame)).length
  }

  /** Pages that the guest has, free or not. */
  get total(): number {
    if (this.made !== undefined) return this.made.unused.length + this.made.used.size
    return this.loaded === undefined ? this.frames.filter((frame) => frame !== undefined).length : this.loaded.unused.length + this.loaded.used.length
  }

  /** True for a frame of this guest. */
  owns(frame: Mfn): boolean {
    return this.numberOf(frame) !== undefined
  }

  /** The page of an own frame; throws INVALID_ADDRESS for any other. */
  page(frame: Mfn): Page {
    if (!this.owns(frame)) {
      throw new XenError('INVALID_ADDRESS', `frame ${frame} is not this guest's`, { details: { frame } })
    }
    return pageOf(this.memory, frame)
  }

  /** Frames by pseudo-physical number; undefined where the balloon has taken one. */
  p2m(): readonly (Mfn | undefined)[] {
    return this.frames
  }

  /** A zeroed page; throws OUT_OF_MEMORY when none is left. */
  allocate(): Page {
    const { unused, used } = this.lists
    const number = unused.pop()
    if (number === undefined) {
      throw new XenError('OUT_OF_MEMORY', 'the guest has no free page', { details: { total: this.total } })
    }
    this.saved = undefined
    used.add(number)
    // A frame on the free list always has its place in the p2m.
    const page = pageOf(this.memory, this.frames[number]!)
    page.bytes.fill(0)
    this.memory.markWritten(page.frame)
    return page
  }

  /** Takes a page back that `allocate` gave. */
  release(page: Page): void {
    const { unused, used } = this.lists
    const number = this.numberOf(page.frame)
    if (number === undefined || !used.delete(number)) {
      throw new XenError('INVALID_ARGUMENT', `frame ${page.frame} is not allocated`, { details: { frame: page.frame } })
    }
    this.saved = undefined
    unused.push(number)
    // What was written into it nobody was told.
    this.memory.markWritten(page.frame)
    this.onRelease?.()
  }

  /** Frames that are lent or reserved: they are written without a word. */
  lent(): Mfn[] {
    return [...this.lists.used].flatMap((number) => this.frames[number] ?? [])
  }

  /** Takes up to `count` free frames out of the p2m, for the balloon. */
  takeOut(count: number): Mfn[] {
    const { lists: { unused, holes }, changing } = this
    const taken: Mfn[] = []
    while (taken.length < count) {
      const number = unused.shift()
      if (number === undefined) break
      const frame = changing[number]!
      taken.push(frame)
      changing[number] = undefined
      this.index?.delete(frame)
      holes.push(number)
    }
    return taken
  }

  /** Puts frames that the balloon got into the p2m, and onto the free list. */
  putIn(frames: readonly Mfn[]): void {
    const { lists: { unused, holes }, changing } = this
    for (const frame of frames) {
      const number = holes.pop() ?? changing.length
      changing[number] = frame
      this.index?.set(frame, number)
      unused.push(number)
    }
  }
}
