/**
 * Writes a saved-domain stream. Each call waits until the sink has taken what was written before, so a
 * slow sink slows the writer.
 * Reference: xen/docs/specs/libxl-migration-stream.pandoc, libxc-migration-stream.pandoc.
 */
import { ByteWriter, joinBytes } from '../../util/index.ts'
import type { ByteSink } from './byte-output.ts'
import {
  IMAGE_DOMAIN,
  IMAGE_IDENT,
  IMAGE_MARKER,
  IMAGE_RECORD,
  IMAGE_VERSION,
  LIBXL_IDENT,
  LIBXL_VERSION,
  XL_BYTE_ORDER,
  XL_MAGIC,
  XL_MANDATORY,
  type ImageKind,
} from './format.ts'
import { encodeNamedPages, encodePageSource, type Allocate, type PageSource } from './page-data.ts'
import {
  type ImageRecord, type LibxlRecord, type RawRecord, encodeImageRecord, encodeLibxlRecord,
} from './records.ts'

/** Header of a record. */
const HEADER_SIZE = 8
/** Bodies up to this size go together with their header. */
const SMALL = 1 << 16

/** Some buffers in turn: one is filled while the others are under way. */
function inTurn(count: number): Allocate {
  const buffers = Array.from({ length: count }, () => new Uint8Array(0))
  let turn = 0
  return (size) => {
    turn = (turn + 1) % count
    if (buffers[turn]!.length < size) buffers[turn] = new Uint8Array(size)
    return buffers[turn]!.subarray(0, size)
  }
}

/**
 * Writes headers and records in the order in which the caller gives them. One write is under way at most; when it
 * fails, the next one says so, or `flush`.
 */
export class SaveStreamWriter {
  private readonly sink: ByteSink
  private readonly allocate: Allocate | undefined
  private pending: Promise<void> = Promise.resolve()
  /** Small pieces that wait for the others to go with. */
  private gathered: Uint8Array[] | undefined
  private written = 0

  /** `allocate`: memory of so many bytes for a record of pages, for whoever knows when it is free again; by default the sink says what it keeps. */
  constructor(sink: ByteSink, allocate?: (size: number) => Uint8Array) {
    this.sink = sink
    // One is filled, one is under way, and one may still be looked at.
    this.allocate = allocate ?? (sink.keepsNothing === true ? inTurn(2) : sink.keepsLast === true ? inTurn(3) : undefined)
  }

  /** Bytes written so far. */
  get offset(): number {
    return this.written
  }

  /** Resolves when the sink has taken everything. */
  async flush(): Promise<void> {
    await this.release()
    await this.pending
  }

  /** From now until `flush` small records go to the sink together: many of them behind each other cost as much as one. */
  gather(): void {
    this.gathered ??= []
  }

  private async put(chunk: Uint8Array): Promise<void> {
    if (this.gathered === undefined) return this.send(chunk)
    if (chunk.length <= SMALL) {
      this.gathered.push(chunk)
      return
    }
    await this.release()
    this.gathered = []
    await this.send(chunk)
  }

  /** Sends what was gathered. */
  private async release(): Promise<void> {
    const { gathered } = this
    this.gathered = undefined
    if (gathered !== undefined && gathered.length > 0) await this.send(joinBytes(gathered))
  }

  private async send(chunk: Uint8Array): Promise<void> {
    await this.pending
    this.written += chunk.length
    this.pending = Promise.resolve(this.sink.write(chunk))
    // Whoever waits for it next hears of it.
    this.pending.catch(() => undefined)
  }

  /** The header of an xl file, with the configuration as libxl's JSON. */
  async writeXlHeader(config: string): Promise<void> {
    const text = new TextEncoder().encode(`${config}\0`)
    const out = new ByteWriter(64 + text.length).bytes(new TextEncoder().encode(XL_MAGIC))
    out.u32(XL_BYTE_ORDER).u32(XL_MANDATORY.CONFIG_IS_JSON | XL_MANDATORY.STREAM_V2).u32(0)
    out.u32(4 + text.length).u32(text.length).bytes(text)
    await this.put(out.finish())
  }

  /** The header of the libxl container. */
  async writeContainerHeader(): Promise<void> {
    const view = new DataView(new ArrayBuffer(16))
    view.setBigUint64(0, LIBXL_IDENT, false)
    view.setUint32(8, LIBXL_VERSION, false)
    await this.put(new Uint8Array(view.buffer))
  }

  /** One record of the container. */
  async writeContainerRecord(record: LibxlRecord): Promise<void> {
    await this.writeRecord(encodeLibxlRecord(record))
  }

  /** The headers of the libxc image of a domain, `xen` being the version that it ran under. */
  async writeImageHeader(xen: { readonly major: number; readonly minor: number }, kind: ImageKind): Promise<void> {
    const view = new DataView(new ArrayBuffer(40))
    view.setBigUint64(0, IMAGE_MARKER, false)
    view.setUint32(8, IMAGE_IDENT, false)
    view.setUint32(12, IMAGE_VERSION, false)
    view.setUint32(24, IMAGE_DOMAIN[kind], true)
    view.setUint16(28, 12, true)
    view.setUint32(32, xen.major, true)
    view.setUint32(36, xen.minor, true)
    await this.put(new Uint8Array(view.buffer))
  }

  /** One record of the image. */
  async writeImageRecord(record: ImageRecord): Promise<void> {
    await this.writeRecord(encodeImageRecord(record, this.allocate))
  }

  /** A record of pages. They are copied before this returns, so that all of them are of one moment. */
  writePages(pages: PageSource): Promise<void> {
    return this.putPages((size) => encodePageSource(pages, size))
  }

  /** The same for pages that are only named. */
  writeNamedPages(pfns: Uint32Array): Promise<void> {
    return this.putPages((allocate) => encodeNamedPages(pfns, allocate))
  }

  /** Header and body in one piece; page data needs no padding. */
  private putPages(encode: (allocate: Allocate) => Uint8Array): Promise<void> {
    const allocate = this.allocate ?? ((size: number): Uint8Array => new Uint8Array(size))
    const body = encode((size) => allocate(HEADER_SIZE + size).subarray(HEADER_SIZE))
    const view = new DataView(body.buffer, body.byteOffset - HEADER_SIZE, HEADER_SIZE)
    view.setUint32(0, IMAGE_RECORD.PAGE_DATA, true)
    view.setUint32(4, body.length, true)
    return this.put(new Uint8Array(body.buffer, body.byteOffset - HEADER_SIZE, HEADER_SIZE + body.length))
  }

  private async writeRecord({ type, body }: RawRecord): Promise<void> {
    const padding = (HEADER_SIZE - (body.length % HEADER_SIZE)) % HEADER_SIZE
    const head = new ByteWriter(HEADER_SIZE).u32(type).u32(body.length)
    if (body.length <= SMALL) return this.put(head.bytes(body).bytes(new Uint8Array(padding)).finish())
    await this.put(head.finish())
    await this.put(body)
    if (padding > 0) await this.put(new Uint8Array(padding))
  }
}
