/**
 * Images of a host's ground: the machine's memory, and the frame table, whose rows are pages of the same pool.
 *
 * hot path: of the frame table of a host with 512 MiB, 3.5 MB, only the pages are looked at that were written.
 */
import { FrameRows } from '../../hypervisor/index.ts'
import { PageIndex, type ImageFacts, type Machine, type MachineImages, type MemoryImage, type PagePool, type Restoration } from '../../machine/index.ts'
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
    this.rows.touched.fill(0)
    this.base.release()
    this.base = rows.share()
    return new GroundImage(memory, rows, this.pool.pages - before)
  }

  /** Frames that may have been written between the image that was captured last and the capture or restoration before it, ascending. */
  get written(): Uint32Array {
    const { images: { written }, machine: { memory: { firstFrame } } } = this
    // Those of the machine's own come first.
    let own = 0
    while (own < written.length && written[own]! < firstFrame) own += 1
    return written.subarray(own)
  }

  /** Only pages that were written are looked at. */
  private captureRows(): PageIndex {
    const { base, pool, rows: { words, touched } } = this
    const numbers: number[] = []
    for (let page = touched.indexOf(1); page >= 0; page = touched.indexOf(1, page + 1)) {
      if (!pool.equals(base.at(page), words, page << WORDS_SHIFT)) numbers.push(page)
    }
    return base.edit(Uint32Array.from(numbers), Uint32Array.from(numbers, (page) => pool.store(words, page << WORDS_SHIFT)))
  }

  /** An image for this ground out of what comes from anywhere, which it takes over. Throws INVALID_STATE. */
  adopt(memory: ImageFacts, rows: PageIndex): GroundImage {
    if (rows.length !== this.base.length) throw badState(`its frame table has ${rows.length} pages, not ${this.base.length}`)
    return new GroundImage(this.images.adopt(memory), rows, this.pool.pages)
  }

  /** Brings both to an image of this ground, or of one of the same size. How many pages of memory were copied. */
  restore(image: GroundImage, silent: ArrayLike<number>): number {
    return this.restoreRows(image, this.images.restore(image.memory, silent))
  }

  /** The same for a ground that nothing has been done with, where somebody has written the image's frames already. */
  restoreFilled(image: GroundImage): void {
    this.restoreRows(image, this.images.restoreFilled(image.memory))
  }

  /** The same for whoever brings the processors back in place. */
  rewind(image: GroundImage, silent: ArrayLike<number>): number {
    return this.restoreRows(image, this.images.rewind(image.memory, silent))
  }

  private restoreRows(image: GroundImage, { pages }: Restoration): number {
    const { base, pool, rows } = this
    base.compare(image.rows, (page) => { rows.touched[page] = 1 })
    for (let page = rows.touched.indexOf(1); page >= 0; page = rows.touched.indexOf(1, page + 1)) {
      pool.copy(image.rows.at(page), { target: rows.words, at: page << WORDS_SHIFT })
      rows.restored(page)
    }
    base.release()
    this.base = image.rows.share()
    return pages
  }

  /** Keeps no more images. */
  end(): void {
    this.images.end()
    this.base.release()
  }
}
