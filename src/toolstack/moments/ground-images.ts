/**
 * Images of a host's ground: the machine's memory, and the frame table, whose rows are pages of the same pool.
 *
 * hot path: the frame table of a host with 512 MiB, 3.5 MB, is compared in half a millisecond and copied in a third of one.
 */
import { FrameRows } from '../../hypervisor/index.ts'
import { PageIndex, type ImageFacts, type Machine, type MachineImages, type MemoryImage, type PagePool } from '../../machine/index.ts'
import { badState, hashState } from '../../util/index.ts'

const WORDS_SHIFT = 10

/** An image of both, until it is released. */
export class GroundImage {
  readonly memory: MemoryImage
  readonly rows: PageIndex
  /** Pages that were copied for it. */
  readonly newPages: number

  constructor(memory: MemoryImage, rows: PageIndex, newPages: number) {
    this.memory = memory
    this.rows = rows
    this.newPages = newPages
  }

  /** The same for somebody else, who releases it. */
  share(): GroundImage {
    return new GroundImage(this.memory.share(), this.rows.share(), this.newPages)
  }

  /** A hash of each. */
  hashes(): { readonly memory: string; readonly frames: string } {
    return { memory: this.memory.hash(), frames: hashState(this.rows.hash()) }
  }

  /** Lets its pages go. */
  release(): void {
    this.memory.release()
    this.rows.release()
  }
}

/** Keeps images of one ground. */
export class GroundImages {
  readonly machine: Machine
  readonly rows: FrameRows
  private readonly pool: PagePool
  private readonly images: MachineImages
  private base: PageIndex

  /** `rows`: of the hypervisor that runs; without it nothing has been done with the machine yet. */
  constructor(machine: Machine, pool: PagePool, rows?: FrameRows) {
    this.machine = machine
    this.pool = pool
    this.images = machine.keepImages(pool, { fresh: rows === undefined })
    this.rows = rows ?? new FrameRows(machine.memory.endFrame)
    this.base = PageIndex.zero(pool, this.rows.words.length >>> WORDS_SHIFT)
  }

  /** The image as it is; undefined where it would need more than `room` pages. `silent`: see MachineImages. */
  capture({ silent, room }: { readonly silent: Uint32Array; readonly room: number }): GroundImage | undefined {
    const before = this.pool.pages
    const memory = this.images.capture(silent, room)
    if (memory === undefined) return undefined
    const rows = this.captureRows()
    if (this.pool.pages - before > room) {
      memory.release()
      rows.release()
      return undefined
    }
    this.base.release()
    this.base = rows.share()
    return new GroundImage(memory, rows, this.pool.pages - before)
  }

  private captureRows(): PageIndex {
    const { base, pool, rows: { words } } = this
    const numbers: number[] = []
    for (let page = 0; page < base.length; page += 1) if (!pool.equals(base.at(page), words, page << WORDS_SHIFT)) numbers.push(page)
    return base.edit(Uint32Array.from(numbers), Uint32Array.from(numbers, (page) => pool.store(words, page << WORDS_SHIFT)))
  }

  /** An image for this ground out of what comes from anywhere, which it takes over. Throws INVALID_STATE. */
  adopt(memory: ImageFacts, rows: PageIndex): GroundImage {
    if (rows.length !== this.base.length) throw badState(`its frame table has ${rows.length} pages, not ${this.base.length}`)
    return new GroundImage(this.images.adopt(memory), rows, this.pool.pages)
  }

  /** Brings both to an image of this ground, or of one of the same size. How many pages of memory were copied. */
  restore(image: GroundImage, silent: Uint32Array): number {
    const { pages } = this.images.restore(image.memory, silent)
    for (let page = 0; page < image.rows.length; page += 1) {
      this.pool.copy(image.rows.at(page), { target: this.rows.words, at: page << WORDS_SHIFT })
    }
    this.base.release()
    this.base = image.rows.share()
    return pages
  }

  /** Keeps no more images. */
  end(): void {
    this.images.end()
    this.base.release()
  }
}
