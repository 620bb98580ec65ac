/**
 * The stream of a protected domain as its primary writes it: Xen's, with a CHECKPOINT of libxc and the container's CHECKPOINT_END behind
 * each epoch. What is written while the domain stands still is only put aside; it is sent when the domain runs again.
 * Reference: xen/docs/specs/libxl-migration-stream.pandoc, libxc-migration-stream.pandoc; tools/libs/light/libxl_stream_write.c.
 */
import { PAGE_SIZE } from '../../x86/index.ts'
import { hasContents, SaveStreamWriter, type PageSource } from '../stream/index.ts'

/** Where chunks go at once while the domain runs. */
export type SendChunk = (chunk: Uint8Array) => Promise<void>

/** Writes the stream. Of pages that are put aside only those are written that differ from what was written of them last, as far as that is remembered. */
export class CheckpointStream {
  readonly writer: SaveStreamWriter
  private readonly pages: ChangedPagesWriter
  private aside: Uint8Array[] | undefined

  /** `remembered`: pages at most whose contents are kept to be compared with. */
  constructor(send: SendChunk, { remembered }: { readonly remembered: number }) {
    const sink = {
      write: (chunk: Uint8Array): Promise<void> | void => (this.aside === undefined ? send(chunk) : void this.aside.push(chunk)),
    }
    this.writer = this.pages = new ChangedPagesWriter(sink, new KnownPages(remembered))
  }

  /** From now on everything is put aside, and small records go together. */
  async putAside(): Promise<void> {
    await this.writer.flush()
    this.aside = []
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

/** Compares pages, a word at a time. Contents of pages lie so in memory. */
function same(one: Uint8Array, other: Uint8Array): boolean {
  const words = (page: Uint8Array): Uint32Array => new Uint32Array(page.buffer, page.byteOffset, page.length / 4)
  const [left, right] = [words(one), words(other)]
  for (let i = 0; i < left.length; i += 1) if (left[i] !== right[i]) return false
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

  constructor(sink: ConstructorParameters<typeof SaveStreamWriter>[0], known: KnownPages) {
    super(sink)
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
