/**
 * The stream of a protected domain as its primary writes it: Xen's, with a CHECKPOINT of libxc and the container's CHECKPOINT_END behind
 * each epoch. What is written while the domain stands still is only put aside; it is sent when the domain runs again.
 * Reference: xen/docs/specs/libxl-migration-stream.pandoc, libxc-migration-stream.pandoc; tools/libs/light/libxl_stream_write.c.
 */
import { PAGE_SIZE } from '../../x86/index.ts'
import { hasContents, SaveStreamWriter, type Allocate, type PageSource } from '../stream/index.ts'

/** Where chunks go at once while the domain runs. */
export type SendChunk = (chunk: Uint8Array) => Promise<void>

/** Writes the stream. Of pages that are put aside only those are written that differ from what was written of them last, as far as that is remembered. */
export class CheckpointStream {
  readonly writer: SaveStreamWriter
  private readonly pages: ChangedPagesWriter
  private readonly buffers: EpochBuffers | undefined
  private aside: Uint8Array[] | undefined

  /** `remembered`: pages at most whose contents are kept to be compared with. `keepsNothing`: nothing of a chunk is kept where it has been sent. */
  constructor(send: SendChunk, { remembered, keepsNothing }: { readonly remembered: number; readonly keepsNothing: boolean }) {
    const sink = {
      write: (chunk: Uint8Array): Promise<void> | void => (this.aside === undefined ? send(chunk) : void this.aside.push(chunk)),
    }
    this.buffers = keepsNothing ? new EpochBuffers() : undefined
    this.writer = this.pages = new ChangedPagesWriter(sink, new KnownPages(remembered), this.buffers?.allocate)
  }

  /** From now on everything is put aside, and small records go together. What was put aside before has been sent. */
  async putAside(): Promise<void> {
    await this.writer.flush()
    this.aside = []
    this.buffers?.beginEpoch()
    this.pages.isComparing = true
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

/** What a domain's pages were when they were last written: of the first that were, up to a number of them. */
export class KnownPages {
  private readonly pages = new Map<number, { type: number; readonly contents: Uint8Array }>()
  private readonly most: number

  constructor(most: number) {
    this.most = most
  }

  /** True for a page that is not as it was; it is known from now on, where there is room. `contents` is empty for types that have none. */
  isNew(pfn: number, type: number, contents: Uint8Array): boolean {
    const known = this.pages.get(pfn)
    if (known === undefined || known.contents.length !== contents.length) {
      if (known !== undefined || this.pages.size < this.most) this.pages.set(pfn, { type, contents: contents.slice() })
      return true
    }
    if (known.type === type && same(known.contents, contents)) return false
    known.type = type
    known.contents.set(contents)
    return true
  }
}

const wordsOf = (page: Uint8Array): Uint32Array => new Uint32Array(page.buffer, page.byteOffset, page.length / 4)

/** Compares pages, eight words at a time: two of three are the same to their ends. Contents of pages lie so in memory. hot path. */
function same(one: Uint8Array, other: Uint8Array): boolean {
  const [left, right] = [wordsOf(one), wordsOf(other)]
  for (let i = 0; i < left.length; i += 8) {
    const first = (left[i]! ^ right[i]!) | (left[i + 1]! ^ right[i + 1]!) | (left[i + 2]! ^ right[i + 2]!) | (left[i + 3]! ^ right[i + 3]!)
    const second = (left[i + 4]! ^ right[i + 4]!) | (left[i + 5]! ^ right[i + 5]!) | (left[i + 6]! ^ right[i + 6]!) | (left[i + 7]! ^ right[i + 7]!)
    if ((first | second) !== 0) return false
  }
  return true
}

/** Leaves out pages that are as they were. */
class ChangedPagesWriter extends SaveStreamWriter {
  /** Pages are looked at: not before the first epoch, which has them all. */
  isComparing = false
  /** Pages that were left out. */
  unchanged = 0
  private readonly known: KnownPages
  /** Where pages are looked at; what is written of them is copied once more. */
  private looked = new Uint8Array(0)

  constructor(sink: ConstructorParameters<typeof SaveStreamWriter>[0], known: KnownPages, allocate: Allocate | undefined) {
    super(sink, allocate)
    this.known = known
  }

  override async writePages(source: PageSource): Promise<void> {
    if (!this.isComparing) return super.writePages(source)
    const { pfns, types, copy } = source
    const size = types.reduce((sum, type) => sum + (hasContents(type) ? PAGE_SIZE : 0), 0)
    if (this.looked.length < size) this.looked = new Uint8Array(size)
    const contents = this.looked.subarray(0, size)
    copy(contents)
    const kept: { pfn: number; type: number; contents: Uint8Array }[] = []
    let at = 0
    for (let i = 0; i < types.length; i += 1) {
      const length = hasContents(types[i]!) ? PAGE_SIZE : 0
      const page = contents.subarray(at, at + length)
      at += length
      if (this.known.isNew(pfns[i]!, types[i]!, page)) kept.push({ pfn: pfns[i]!, type: types[i]!, contents: page })
    }
    this.unchanged += types.length - kept.length
    if (kept.length === 0) return
    await super.writePages({
      pfns: kept.map(({ pfn }) => pfn), types: Uint8Array.from(kept, ({ type }) => type),
      copy: (into) => {
        let place = 0
        for (const page of kept) {
          into.set(page.contents, place)
          place += page.contents.length
        }
      },
    })
  }
}
