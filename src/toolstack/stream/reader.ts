/**
 * Reads a saved-domain stream layer by layer. The caller says what it expects next; every header and record is
 * checked, and an error names the record, its number in the stream and its offset.
 * Reference: xen/docs/specs/libxl-migration-stream.pandoc, libxc-migration-stream.pandoc.
 */
import { XenError } from '../../util/index.ts'
import { type ByteInput, ByteSource, type ReadMemory } from './byte-source.ts'
import {
  IMAGE_DOMAIN, IMAGE_IDENT, IMAGE_MARKER, LIBXL_IDENT, LIBXL_OPTION, LIBXL_VERSION, MAX_CONFIG_SIZE, MAX_RECORD_SIZE,
  XL_BYTE_ORDER, XL_HEADER_SIZE, XL_MAGIC, XL_MANDATORY, type ImageKind,
} from './format.ts'
import {
  type BulkRecord, type ImageRecord, type LibxlRecord, type RawRecord,
  decodeBulkRecord, decodeImageRecord, decodeLibxlRecord,
} from './records.ts'

/** What an xl file begins with. */
export interface XlHeader {
  /** The domain's configuration as libxl's JSON. */
  readonly config: string
  readonly optionalFlags: number
}

/** The image's two headers. */
export interface ImageHeader {
  readonly kind: ImageKind
  /** 2 or 3: before 3 there is no STATIC_DATA_END. */
  readonly version: number
  readonly xenMajor: number
  readonly xenMinor: number
}

/** Names of all domain types. The cast says what the table has, which TypeScript does not follow. */
const KINDS = /* @__PURE__ */ Object.keys(IMAGE_DOMAIN) as ImageKind[]

const viewOf = (data: Uint8Array): DataView => new DataView(data.buffer, data.byteOffset, data.byteLength)

/** Reads headers and records in the order in which the caller asks for them. */
export class SaveStreamReader {
  private readonly source: ByteSource
  private records = 0
  /** A record that was looked at, and where it began. */
  private ahead: { readonly record: BulkRecord; readonly offset: number } | undefined

  /**
   * With a signal, a read that waits is given up when it fires. With `reused` memory a record is good until the next
   * read, which is several times as fast for pages.
   */
  constructor(input: ByteInput, signal?: AbortSignal, memory: ReadMemory = 'fresh') {
    this.source = new ByteSource(input, signal, memory)
  }

  /** Bytes read so far; one that was only looked at is not. */
  get offset(): number {
    return this.ahead?.offset ?? this.source.offset
  }

  /** The header of an xl file, with its configuration. */
  async readXlHeader(): Promise<XlHeader> {
    const head = await this.source.read(XL_HEADER_SIZE, 'the xl header')
    const view = viewOf(head)
    const magic = new TextDecoder().decode(head.subarray(0, 32))
    if (magic !== XL_MAGIC) throw this.bad('this is no file of a saved domain (wrong magic)', 0)
    if (view.getUint32(32, true) !== XL_BYTE_ORDER) throw this.bad('the file was written in another byte order', 32)
    const mandatory = view.getUint32(36, true)
    const known = XL_MANDATORY.CONFIG_IS_JSON | XL_MANDATORY.STREAM_V2
    if (mandatory !== known)
      throw this.bad(`mandatory flags 0x${mandatory.toString(16)} are not 0x${known.toString(16)}`, 36)
    return { optionalFlags: view.getUint32(40, true), config: await this.readConfig(view.getUint32(44, true)) }
  }

  private async readConfig(optionalSize: number): Promise<string> {
    if (optionalSize < 4 || optionalSize > MAX_CONFIG_SIZE) throw this.bad(`${optionalSize} bytes of optional data`, 44)
    const data = await this.source.read(optionalSize, 'the configuration')
    const size = viewOf(data).getUint32(0, true)
    if (size > optionalSize - 4)
      throw this.bad(`a configuration of ${size} bytes in ${optionalSize} bytes of data`, XL_HEADER_SIZE)
    const text = new TextDecoder('utf-8').decode(data.subarray(4, 4 + size))
    return text.endsWith('\0') ? text.slice(0, -1) : text
  }

  /** The header of the libxl container. */
  async readContainerHeader(): Promise<void> {
    const start = this.offset
    const view = viewOf(await this.source.read(16, 'the container header'))
    if (view.getBigUint64(0, false) !== LIBXL_IDENT) throw this.bad('wrong identifier of the libxl container', start)
    const version = view.getUint32(8, false)
    if (version !== LIBXL_VERSION) throw this.bad(`container version ${version} is not ${LIBXL_VERSION}`, start + 8)
    const options = view.getUint32(12, false)
    if ((options & LIBXL_OPTION.BIG_ENDIAN) !== 0) throw this.bad('the container is big-endian', start + 12)
    if (options !== 0) throw this.bad(`container options 0x${options.toString(16)} are not supported`, start + 12)
  }

  /** The next record of the container. */
  readContainerRecord(): Promise<LibxlRecord> {
    return this.readRecord('libxl', decodeLibxlRecord)
  }

  /** The headers of the libxc image. */
  async readImageHeader(): Promise<ImageHeader> {
    const start = this.offset
    const view = viewOf(await this.source.read(40, 'the image headers'))
    if (view.getBigUint64(0, false) !== IMAGE_MARKER) throw this.bad('the image does not begin with its marker', start)
    if (view.getUint32(8, false) !== IMAGE_IDENT) throw this.bad('wrong identifier of the libxc image', start + 8)
    const version = view.getUint32(12, false)
    if (version !== 2 && version !== 3) throw this.bad(`image version ${version} is not 2 or 3`, start + 12)
    const options = view.getUint16(16, false)
    if (options !== 0) throw this.bad(`image options 0x${options.toString(16)}: big-endian or unknown`, start + 16)
    const type = view.getUint32(24, true)
    const kind = KINDS.find((one) => IMAGE_DOMAIN[one] === type)
    if (kind === undefined) throw this.bad(`domain type ${type} is neither PV nor HVM`, start + 24)
    const pageShift = view.getUint16(28, true)
    if (pageShift !== 12) throw this.bad(`page shift ${pageShift} is not 12`, start + 28)
    return { kind, version, xenMajor: view.getUint32(32, true), xenMinor: view.getUint32(36, true) }
  }

  /** Bytes that belong to no record: what two hosts say to each other around a stream. */
  readBytes(size: number, what: string): Promise<Uint8Array> {
    return this.source.read(size, what)
  }

  /** The next record of the image. */
  readImageRecord(): Promise<ImageRecord> {
    return this.readRecord('image', decodeImageRecord)
  }

  /** The next record of the image, with pages in bulk. */
  readBulkRecord(): Promise<BulkRecord> {
    const { ahead } = this
    this.ahead = undefined
    return ahead === undefined ? this.readRecord('image', decodeBulkRecord) : Promise.resolve(ahead.record)
  }

  /** The same record, which {@link SaveStreamReader.readBulkRecord} reads once more: it comes before anything else is read. */
  async peekBulkRecord(): Promise<BulkRecord> {
    const { offset } = this
    this.ahead ??= { record: await this.readBulkRecord(), offset }
    return this.ahead.record
  }

  /** Tells the source that nothing more will be read. */
  close(): Promise<void> {
    return this.source.close()
  }

  private async readRecord<T>(layer: string, decode: (record: RawRecord) => T): Promise<T> {
    const start = this.offset
    const index = this.records
    this.records += 1
    try {
      const head = viewOf(await this.source.read(8, `${layer} record ${index}`))
      const type = head.getUint32(0, true)
      const size = head.getUint32(4, true)
      if (size > MAX_RECORD_SIZE) throw this.bad(`a body of ${size} bytes, ${MAX_RECORD_SIZE} are allowed`, start + 4)
      const padded = Math.ceil(size / 8) * 8
      const body = await this.source.read(padded, `the body of ${layer} record ${index}`)
      if (body.subarray(size).some((byte) => byte !== 0)) throw this.bad('padding is not zero', start + 8 + size)
      return decode({ type, body: body.subarray(0, size) })
    } catch (error) {
      if (!XenError.is(error, 'INVALID_STREAM')) throw error
      throw new XenError('INVALID_STREAM', `${layer} record ${index} at offset ${start}: ${error.message}`, {
        details: { ...error.details, layer, record: index, offset: start }, cause: error,
      })
    }
  }

  private bad(what: string, offset: number): XenError {
    return new XenError('INVALID_STREAM', `${what} (offset ${offset})`, { details: { offset } })
  }
}
