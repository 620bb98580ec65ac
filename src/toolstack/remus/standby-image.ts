/**
 * What a standby has of the domain that it stands by for: the newest contents of every page, and the vCPUs and the time of the last
 * complete epoch, put together out of a checkpointed stream. An epoch that is not complete leaves no trace. When the standby takes over,
 * all of it is a stream of one saved domain, which is restored as any other.
 * Reference: tools/libs/guest/xg_sr_restore.c, handle_checkpoint (the rule that an epoch counts as a whole, not the code).
 */
import { XenError } from '../../util/index.ts'
import { ZeroPages } from '../save/zero-pages.ts'
import { PAGE_SIZE } from '../../x86/index.ts'
import {
  hasContents, MAX_BATCH_PAGES, readHead, SaveStreamWriter, writeHead, writeTail,
  type BulkRecord, type ByteSink, type ImageHeader, type PageBatch, type SaveStreamReader,
} from '../stream/index.ts'

type Record = Exclude<BulkRecord, { readonly type: 'page-data' }>

/** Records that come once, before any page. */
const STATIC: ReadonlySet<string> = /* @__PURE__ */ new Set(['pv-info', 'cpuid-policy', 'msr-policy', 'static-data-end', 'p2m-frames'])
/** The one of them that may come again, and then is another. */
const LAYOUT = 'p2m-frames'
/** Pages that one slab holds. */
const SLAB = 1024
/** Records beside pages that an epoch may have: far more than 128 vCPUs need. */
const MOST_RECORDS = 4096

const bad = (what: string): XenError => new XenError('INVALID_STREAM', what)

/** Pages by number. */
class Pages {
  /** `place` is where a page's contents are among the slabs; one that was never anything but zero has none. */
  private readonly places = new Map<number, { place: number | undefined; type: number }>()
  private readonly slabs: Uint8Array[] = []
  private slots = 0
  private readonly most: number

  constructor(most: number) {
    this.most = most
  }

  get count(): number {
    return this.places.size
  }

  /** Takes a batch: the newest contents count. */
  put({ pfns, types, contents }: PageBatch): void {
    const zeros = new ZeroPages(contents)
    let at = 0
    for (let i = 0; i < pfns.length; i += 1) {
      const entry = this.entry(pfns[i]!)
      entry.type = types[i]!
      if (!hasContents(types[i]!)) {
        if (entry.place !== undefined) this.slot(entry.place).fill(0)
        continue
      }
      if (entry.place !== undefined || !zeros.has(at)) this.slot(entry.place ??= this.newSlot()).set(contents.subarray(at, at + PAGE_SIZE))
      at += PAGE_SIZE
    }
  }

  /** Numbers in their order. */
  pfns(): Float64Array {
    return Float64Array.from(this.places.keys()).sort()
  }

  type(pfn: number): number {
    return this.places.get(pfn)!.type
  }

  /** Undefined for zeros. */
  contents(pfn: number): Uint8Array | undefined {
    const { place } = this.places.get(pfn)!
    return place === undefined ? undefined : this.slot(place)
  }

  private entry(pfn: number): { place: number | undefined; type: number } {
    const known = this.places.get(pfn)
    if (known !== undefined) return known
    if (this.count >= this.most) throw bad(`the image holds more pages than the domain may own (${this.most})`)
    const made = { place: undefined, type: 0 }
    this.places.set(pfn, made)
    return made
  }

  private newSlot(): number {
    if (this.slots % SLAB === 0) this.slabs.push(new Uint8Array(SLAB * PAGE_SIZE))
    this.slots += 1
    return this.slots - 1
  }

  private slot(place: number): Uint8Array {
    const start = (place % SLAB) * PAGE_SIZE
    return this.slabs[Math.floor(place / SLAB)]!.subarray(start, start + PAGE_SIZE)
  }
}

/** The image of one domain. */
export class StandbyImage {
  private config = ''
  private header: ImageHeader | undefined
  private statics: Record[] = []
  private pages = new Pages(0)
  private mostStaged = 0
  private tail: readonly Record[] = []
  /** Epochs that are complete. */
  epochs = 0

  /** Pages of the domain. */
  get pageCount(): number {
    return this.pages.count
  }

  /** Reads what the stream begins with; the configuration. Throws INVALID_STREAM. */
  async readStart(reader: SaveStreamReader, mostPages: (config: string) => number): Promise<void> {
    this.config = await readHead(reader)
    const most = mostPages(this.config)
    this.pages = new Pages(most)
    this.mostStaged = most * 2
  }

  /** Reads one epoch to its end; how many pages it had. Throws INVALID_STREAM, and then the epoch before it counts. */
  async readEpoch(reader: SaveStreamReader): Promise<number> {
    const staged: PageBatch[] = []
    const tail: Record[] = []
    let pages = 0
    this.header ??= await reader.readImageHeader()
    for (;;) {
      const record = await reader.readBulkRecord()
      if (record.type === 'checkpoint') break
      if (record.type === 'end') throw bad('the stream ends, and is not one of checkpoints')
      if (record.type !== 'page-data') this.keep(record, tail)
      else {
        pages += record.batch.pfns.length
        // Before the first epoch there is nothing to go back to.
        if (this.epochs === 0) this.pages.put(record.batch)
        else if (pages > this.mostStaged) throw bad(`an epoch of more than ${this.mostStaged} pages`)
        else staged.push(record.batch)
      }
    }
    const end = await reader.readContainerRecord()
    if (end.type !== 'checkpoint-end') throw bad(`record ${end.type} follows a checkpoint`)
    for (const batch of staged) this.pages.put(batch)
    const layout = tail.filter(({ type }) => type === LAYOUT)
    if (layout.length > 0) this.statics = [...this.statics.filter(({ type }) => type !== LAYOUT), ...layout]
    this.tail = tail.filter(({ type }) => type !== LAYOUT)
    this.epochs += 1
    return pages
  }

  private keep(record: Record, tail: Record[]): void {
    const isStatic = STATIC.has(record.type) && (record.type !== LAYOUT || this.epochs === 0)
    if (isStatic && this.epochs > 0) throw bad(`record ${record.type} comes a second time`)
    const list = isStatic ? this.statics : tail
    if (list.length >= MOST_RECORDS) throw bad(`more than ${MOST_RECORDS} records in an epoch`)
    if (record.type !== 'unknown') list.push(record)
  }

  /** Writes the last complete epoch as the stream of a saved domain. */
  async write(sink: ByteSink): Promise<void> {
    const { header } = this
    if (header === undefined || this.epochs === 0) throw bad('there is no complete epoch')
    const writer = new SaveStreamWriter(sink)
    await writeHead(writer, this.config)
    await writer.writeImageHeader({ major: header.xenMajor, minor: header.xenMinor }, header.kind)
    for (const record of this.statics) await writer.writeImageRecord(record)
    await this.writePages(writer)
    for (const record of this.tail) await writer.writeImageRecord(record)
    await writer.writeImageRecord({ type: 'end' })
    await writeTail(writer)
  }

  private async writePages(writer: SaveStreamWriter): Promise<void> {
    const all = this.pages.pfns()
    for (let start = 0; start < all.length; start += MAX_BATCH_PAGES) {
      const pfns = all.subarray(start, start + MAX_BATCH_PAGES)
      const types = Uint8Array.from(pfns, (pfn) => this.pages.type(pfn))
      await writer.writePages({
        pfns, types,
        copy: (into) => {
          let at = 0
          for (let i = 0; i < pfns.length; i += 1) {
            if (!hasContents(types[i]!)) continue
            const contents = this.pages.contents(pfns[i]!)
            if (contents === undefined) into.fill(0, at, at + PAGE_SIZE)
            else into.set(contents, at)
            at += PAGE_SIZE
          }
        },
      })
    }
  }
}
