/**
 * The stream of a protected domain as its primary writes it: Xen's, with a CHECKPOINT of libxc and the container's CHECKPOINT_END behind
 * each epoch. What is written while the domain stands still is only put aside; it is sent when the domain runs again.
 * Reference: xen/docs/specs/libxl-migration-stream.pandoc, libxc-migration-stream.pandoc; tools/libs/light/libxl_stream_write.c.
 */
import { ComparedPages } from '../../machine/index.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import { countFull, hasContents, MAX_BATCH_PAGES, SaveStreamWriter, type Allocate, type PageSource } from '../stream/index.ts'

/** Where chunks go at once while the domain runs. */
export type SendChunk = (chunk: Uint8Array) => Promise<void>

/** Writes the stream. Of pages that are put aside only those are written that differ from what was written of them last, as far as that is remembered. */
export class CheckpointStream {
  readonly writer: SaveStreamWriter
  private readonly pages: ChangedPagesWriter
  private readonly buffers: EpochBuffers | undefined
  private readonly remembered: number
  private aside: Uint8Array[] | undefined

  /** `remembered`: pages at most whose contents are kept to be compared with. `keepsNothing`: nothing of a chunk is kept where it has been sent. */
  constructor(send: SendChunk, { remembered, keepsNothing }: { readonly remembered: number; readonly keepsNothing: boolean }) {
    const sink = {
      write: (chunk: Uint8Array): Promise<void> | void => (this.aside === undefined ? send(chunk) : void this.aside.push(chunk)),
    }
    this.buffers = keepsNothing ? new EpochBuffers() : undefined
    this.remembered = remembered
    this.writer = this.pages = new ChangedPagesWriter(sink, this.buffers?.allocate)
  }

  /** From now on everything is put aside, and small records go together. What was put aside before has been sent. */
  async putAside(): Promise<void> {
    await this.writer.flush()
    this.aside = []
    this.buffers?.beginEpoch()
    // Not before the first epoch, which has them all.
    this.pages.compare(this.remembered)
    this.writer.gather()
  }

  /** Pages that were left out since this was asked last. */
  takeUnchanged(): number {
    const { unchanged } = this.pages
    this.pages.unchanged = 0
    return unchanged
  }

  /** Ends the epoch; what was put aside, to be sent. */
  async endEpoch(): Promise<readonly Uint8Array[]> {
    await this.writer.writeImageRecord({ type: 'checkpoint' })
    await this.writer.writeContainerRecord({ type: 'checkpoint-end' })
    await this.writer.flush()
    const chunks = this.aside ?? []
    this.aside = undefined
    return chunks
  }
}

/** Buffers that are used again in each epoch: fresh memory for each would have V8 collect all of its garbage every ten. */
const MOST_BUFFERS = 8

/** The memory of what is put aside: from one epoch to the next, in which all of the last one has been sent. */
class EpochBuffers {
  private readonly buffers: Uint8Array[] = []
  private used = 0
  private isAside = false

  /** Before an epoch one record is under way while another is written. */
  readonly allocate: Allocate = (size) => {
    const place = this.isAside ? this.used : this.used % 2
    this.used += 1
    if (place >= MOST_BUFFERS) return new Uint8Array(size)
    if ((this.buffers[place]?.length ?? 0) < size) this.buffers[place] = new Uint8Array(size)
    return this.buffers[place]!.subarray(0, size)
  }

  beginEpoch(): void {
    this.isAside = true
    this.used = 0
  }
}

/** Places of pages that are looked at: as many as a record has at most. What is known of others lies behind them. */
const LOOKED = MAX_BATCH_PAGES
/** Places for which there is room at first; it doubles. */
const FIRST_KNOWN = 256
/** No type, for a place that nothing is known of. */
const NO_TYPE = 0xff

/** What a domain's pages were when they were last written: of the first that were, up to a number of them. */
export class KnownPages {
  private readonly placeOf = new Map<number, number>()
  private types = new Uint8Array(0)
  private readonly pages: ComparedPages
  private most: number

  private constructor(pages: ComparedPages, most: number) {
    this.pages = pages
    this.most = most
  }

  /** For `most` pages; undefined where the process has no room for any. */
  static make(most: number): KnownPages | undefined {
    const pages = ComparedPages.make(LOOKED)
    return pages && new KnownPages(pages, most)
  }

  /** Where contents of pages are put to be looked at, one behind the other: MAX_BATCH_PAGES of them. */
  get looked(): Uint8Array {
    return this.pages.bytes.subarray(0, LOOKED * PAGE_SIZE)
  }

  /** True for a page that is not as it was; it is known from now on, where there is room. `at`: which of those that are looked at has its contents, where its type has any. */
  isNew(pfn: number, type: number, at: number): boolean {
    const place = this.placeOf.get(pfn) ?? this.add(pfn)
    if (place === undefined) return true
    const { types, pages } = this
    const isFull = hasContents(type)
    if (types[place] === type && (!isFull || pages.areSame(LOOKED + place, at))) return false
    types[place] = type
    if (isFull) pages.copy(at, LOOKED + place)
    return true
  }

  /** A place for a page that is not known; undefined where there is no room. */
  private add(pfn: number): number | undefined {
    const place = this.placeOf.size
    if (place >= this.most) return undefined
    if (place === this.types.length && !this.grow()) return undefined
    this.placeOf.set(pfn, place)
    return place
  }

  private grow(): boolean {
    const { types } = this
    const size = Math.min(Math.max(FIRST_KNOWN, 2 * types.length), this.most)
    if (!this.pages.grow(LOOKED + size)) {
      this.most = types.length
      return false
    }
    this.types = new Uint8Array(size).fill(NO_TYPE)
    this.types.set(types)
    return true
  }
}

/** Leaves out pages that are as they were. */
class ChangedPagesWriter extends SaveStreamWriter {
  /** Pages that were left out. */
  unchanged = 0
  private known: KnownPages | undefined

  /** From now on pages are looked at, and that many of them remembered; all are written where there is no room for it. */
  compare(remembered: number): void {
    this.known ??= KnownPages.make(remembered)
  }

  override async writePages(source: PageSource): Promise<void> {
    const { known } = this
    if (known === undefined) return super.writePages(source)
    const { pfns, types, copy } = source
    copy(known.looked.subarray(0, countFull(types) * PAGE_SIZE))
    const kept: Kept = { pfns: [], types: [], places: [] }
    let at = 0
    for (let i = 0; i < types.length; i += 1) {
      const [pfn, type] = [pfns[i]!, types[i]!]
      const isFull = hasContents(type)
      if (known.isNew(pfn, type, at)) {
        kept.pfns.push(pfn)
        kept.types.push(type)
        if (isFull) kept.places.push(at)
      }
      if (isFull) at += 1
    }
    this.unchanged += types.length - kept.pfns.length
    if (kept.pfns.length === 0) return
    // Behind the looks, which may have made room for more: then it is another view.
    const { looked } = known
    await super.writePages({ pfns: kept.pfns, types: Uint8Array.from(kept.types), copy: (into) => copyPlaces(looked, kept.places, into) })
  }
}

/** Pages that are to be written, and where the contents of those lie that have any. */
interface Kept {
  readonly pfns: number[]
  readonly types: number[]
  readonly places: number[]
}

/** Copies pages one behind the other: those that lie so already together. */
function copyPlaces(from: Uint8Array, places: readonly number[], into: Uint8Array): void {
  for (let i = 0, end; i < places.length; i = end) {
    end = i + 1
    while (end < places.length && places[end] === places[i]! + end - i) end += 1
    into.set(from.subarray(places[i]! * PAGE_SIZE, (places[i]! + end - i) * PAGE_SIZE), i * PAGE_SIZE)
  }
}
