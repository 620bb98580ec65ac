/**
 * A guest's memory as its program sees it: its own frames, handed out and taken back one page at a time, and the
 * pages of other domains that it may look at for a while. Nothing else of the host's memory can be reached from here.
 */
import { PAGE_SIZE } from '../abi/index.ts'
import type { Mfn } from '../util/index.ts'
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
export const savedP2m = ({ frames }: FramesState): (Mfn | undefined)[] =>
  Array.from(frames, (frame) => (frame === NO_FRAME ? undefined : frame as Mfn))

/** The guest's p2m and its free list. Pages come zeroed. */
export class FrameAllocator {
  /** Called when a page was released: a balloon that was short of pages goes on. */
  onRelease: (() => void) | undefined
  private readonly memory: HypercallPort['memory']
  /** Frame by pseudo-physical number; undefined where the balloon is. */
  private readonly frames: (Mfn | undefined)[]
  private readonly numberOf = new Map<Mfn, number>()
  private readonly unused: number[] = []
  private readonly used = new Set<number>()
  private readonly holes: number[] = []

  /** `reserved` frames are in use from the start: rings, the start_info page. */
  constructor(memory: HypercallPort['memory'], frames: readonly (Mfn | undefined)[], reserved: readonly Mfn[] = []) {
    this.memory = memory
    this.frames = [...frames]
    const taken = new Set(reserved)
    for (let number = frames.length - 1; number >= 0; number -= 1) {
      const frame = frames[number]
      if (frame === undefined) {
        this.holes.push(number)
        continue
      }
      this.numberOf.set(frame, number)
      if (taken.has(frame)) this.used.add(number)
      else this.unused.push(number)
    }
  }

  /** Which pages are free and which are lent, for a save of the kernel. */
  save(): FramesState {
    return {
      frames: Uint32Array.from(this.frames, (frame) => frame ?? NO_FRAME), unused: Uint32Array.from(this.unused),
      used: Uint32Array.from(this.used), holes: Uint32Array.from(this.holes),
    }
  }

  /** Takes over which pages are free; the frames themselves are those that it was made with. */
  load({ unused, used, holes }: FramesState): void {
    const seen = new Set<number>()
    const expect = (numbers: Uint32Array, there: boolean): void => {
      for (const number of numbers) {
        if (number >= this.frames.length || seen.has(number) || (this.frames[number] !== undefined) !== there) throw badState(`page ${number} is not what it is said to be`)
        seen.add(number)
      }
    }
    for (const pages of [unused, used]) expect(pages, true)
    expect(holes, false)
    if (seen.size < this.frames.length) throw badState('a page is neither free nor in use')
    this.unused.length = 0
    this.used.clear()
    this.holes.length = 0
    for (const number of unused) this.unused.push(number)
    for (const number of used) this.used.add(number)
    for (const number of holes) this.holes.push(number)
  }

  /** Pages that are free. */
  get free(): number {
    return this.unused.length
  }

  /** Pages that the guest has, free or not. */
  get total(): number {
    return this.numberOf.size
  }

  /** True for a frame of this guest. */
  owns(frame: Mfn): boolean {
    return this.numberOf.has(frame)
  }

  /** The page of an own frame; throws INVALID_ADDRESS for any other. */
  page(frame: Mfn): Page {
    if (!this.numberOf.has(frame)) {
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
    const number = this.unused.pop()
    if (number === undefined) {
      throw new XenError('OUT_OF_MEMORY', 'the guest has no free page', { details: { total: this.total } })
    }
    this.used.add(number)
    // A frame on the free list always has its place in the p2m.
    const page = pageOf(this.memory, this.frames[number]!)
    page.bytes.fill(0)
    this.memory.markWritten(page.frame)
    return page
  }

  /** Takes a page back that `allocate` gave. */
  release(page: Page): void {
    const number = this.numberOf.get(page.frame)
    if (number === undefined || !this.used.delete(number)) {
      throw new XenError('INVALID_ARGUMENT', `frame ${page.frame} is not allocated`, { details: { frame: page.frame } })
    }
    this.unused.push(number)
    // What was written into it nobody was told.
    this.memory.markWritten(page.frame)
    this.onRelease?.()
  }

  /** Frames that are lent or reserved: they are written without a word. */
  lent(): Mfn[] {
    return [...this.used].flatMap((number) => this.frames[number] ?? [])
  }

  /** Takes up to `count` free frames out of the p2m, for the balloon. */
  takeOut(count: number): Mfn[] {
    const taken: Mfn[] = []
    while (taken.length < count) {
      const number = this.unused.shift()
      if (number === undefined) break
      const frame = this.frames[number]!
      taken.push(frame)
      this.frames[number] = undefined
      this.numberOf.delete(frame)
      this.holes.push(number)
    }
    return taken
  }

  /** Puts frames that the balloon got into the p2m, and onto the free list. */
  putIn(frames: readonly Mfn[]): void {
    for (const frame of frames) {
      const number = this.holes.pop() ?? this.frames.length
      this.frames[number] = frame
      this.numberOf.set(frame, number)
      this.unused.push(number)
    }
  }
}
