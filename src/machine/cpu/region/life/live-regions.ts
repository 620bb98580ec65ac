/**
 * The regions that are installed, found by their decoded block, their front record and the frames that they have code in;
 * and the modules that hold their functions. A module costs memory as long as one of its regions is there.
 */
import { PAGE_SHIFT } from '../../../../x86/index.ts'
import { BLOCK } from '../../layout/record.ts'
import { EXIT_CAUSES } from '../form/exit-causes.ts'
import type { Region } from '../form/region.ts'

/** A module with regions. */
export interface LiveModule {
  readonly bytes: number
  readonly regions: Set<LiveRegion>
}

/** An installed region. */
export interface LiveRegion {
  readonly entry: number
  readonly mode: number
  readonly instructions: number
  /** Bytes of machine code, and frames that they lie in. */
  readonly codeBytes: number
  readonly frames: readonly number[]
  readonly module: LiveModule
  /** The decoded block and its front, and the function's place in table 0. */
  readonly block: number
  readonly front: number
  readonly slot: number
  /** Samples that found it at work, and number of the last one. */
  samples: number
  lastSample: number
  /** Samples of the interpreter behind an exit of this one, by cause (EXIT_CAUSES). */
  readonly leftBy: Uint32Array
}

/** What an installed region is made of. */
export interface LivePlace {
  readonly block: number
  readonly front: number
  readonly slot: number
  readonly now: number
}

/** The regions. */
export class LiveRegions {
  private readonly byBlock = new Map<number, LiveRegion>()
  private readonly byFront = new Map<number, LiveRegion>()
  private readonly byFrame = new Map<number, Set<LiveRegion>>()
  private readonly modules = new Set<LiveModule>()

  /** How many there are, and how many modules. */
  get count(): number {
    return this.byBlock.size
  }

  get moduleCount(): number {
    return this.modules.size
  }

  /** All of them. */
  all(): IterableIterator<LiveRegion> {
    return this.byBlock.values()
  }

  /** That of a decoded block. */
  at(block: number): LiveRegion | undefined {
    return this.byBlock.get(block)
  }

  /** That of a front record. */
  ofRecord(record: number): LiveRegion | undefined {
    return this.byFront.get(record - BLOCK.bytes)
  }

  /** Those with code in a frame. */
  inFrame(mfn: number): readonly LiveRegion[] {
    return [...this.byFrame.get(mfn) ?? []]
  }

  /** The module of whose regions none has been sampled for the longest time. */
  stalest(): LiveModule | undefined {
    let found: LiveModule | undefined
    let oldest = Infinity
    for (const module of this.modules) {
      let last = 0
      for (const { lastSample } of module.regions) last = Math.max(last, lastSample)
      if (last < oldest) [found, oldest] = [module, last]
    }
    return found
  }

  /** Adds an installed region. */
  add(region: Region, module: LiveModule, { block, front, slot, now }: LivePlace): void {
    const frames = [...new Set(region.pages.map(({ host }) => host >>> PAGE_SHIFT))]
    const { entry, mode, instructions, bytes } = region
    const live: LiveRegion = {
      entry, mode, instructions, codeBytes: bytes, frames, module, block, front, slot,
      samples: 0, lastSample: now, leftBy: new Uint32Array(EXIT_CAUSES.length),
    }
    module.regions.add(live)
    this.modules.add(module)
    this.byBlock.set(block, live)
    this.byFront.set(front, live)
    for (const mfn of frames) {
      const others = this.byFrame.get(mfn)
      if (others === undefined) this.byFrame.set(mfn, new Set([live]))
      else others.add(live)
    }
  }

  /** Forgets a region, and its module with the last one. */
  remove(live: LiveRegion): void {
    this.byBlock.delete(live.block)
    this.byFront.delete(live.front)
    for (const mfn of live.frames) {
      const others = this.byFrame.get(mfn)!
      others.delete(live)
      if (others.size === 0) this.byFrame.delete(mfn)
    }
    live.module.regions.delete(live)
    if (live.module.regions.size === 0) this.modules.delete(live.module)
  }

  /** Bytes of WebAssembly in all modules. */
  get moduleBytes(): number {
    let sum = 0
    for (const { bytes } of this.modules) sum += bytes
    return sum
  }
}
