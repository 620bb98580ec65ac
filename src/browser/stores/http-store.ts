/**
 * A disk at a URL, of which only what is asked for is fetched, by range requests: a guest boots from an image of a gigabyte after a few
 * megabytes. Pieces are kept, those that were used longest ago are let go first, and where pieces are read one behind the other the next
 * ones are fetched ahead. Not written: an overlay is for that.
 *
 * Reference: RFC 9110, 14 (range requests) and 13.1.5 (If-Range).
 */
import { checkRange, checkWritable, SECTOR_SIZE, type BlockStore } from '../../drivers/index.ts'
import { callable, checkOptions, thrownMessage, whole, XenError } from '../../util/index.ts'

/** How a disk at a URL is read. */
export interface HttpStoreOptions {
  /** Bytes of a piece, a multiple of 512. Default 128 KiB. */
  readonly pieceSize?: number
  /** Bytes that are kept at most. Default 64 MiB. */
  readonly cacheSize?: number
  /** Pieces that are fetched ahead of a reader. Default 4; 0 for none. */
  readonly prefetch?: number
  /** Fetches; by default the platform's `fetch`. For headers of one's own, and for tests. */
  readonly fetch?: typeof fetch
}

/** What the store was asked for so far. */
export interface HttpStoreFigures {
  /** Requests that were made. */
  readonly requests: number
  /** Bytes that came. */
  readonly bytes: number
  /** Bytes that are kept. */
  readonly kept: number
}

const PIECE = 128 << 10
const CACHE = 64 << 20
const PREFETCH = 4

/** What a server says of the whole. */
export interface RemoteFile {
  /** Bytes. */
  readonly size: number
  /** By which it is known to be the same; undefined where the server has nothing. */
  readonly validator: string | undefined
}

const failed = (url: string, why: string, cause?: unknown): XenError => new XenError('IO', `${url}: ${why}`, { details: { url }, ...(cause === undefined ? {} : { cause }) })

/** The size out of `bytes 0-0/SIZE`. */
const wholeSize = (range: string | null): number => Number(/^bytes \d+-\d+\/(\d+)$/.exec(range ?? '')?.[1] ?? Number.NaN)

/** A strong validator: a weak one says nothing of bytes. */
function validatorOf({ headers }: Response): string | undefined {
  const tag = headers.get('etag')
  return tag !== null && !tag.startsWith('W/') ? tag : headers.get('last-modified') ?? undefined
}

/** A disk at a URL; {@link httpStore} makes one. */
export class HttpBlockStore implements BlockStore {
  readonly size: number
  readonly readOnly = true
  private readonly url: string
  private readonly validator: string | undefined
  private readonly get: typeof fetch
  private readonly pieceSize: number
  private readonly most: number
  private readonly ahead: number
  /** Pieces, or their coming, in the order of their last use. */
  private readonly pieces = new Map<number, Promise<Uint8Array>>()
  private readonly abort = new AbortController()
  private lastPiece = -2
  private readonly counts = { requests: 1, bytes: 0 }

  /** `remote`: what the server has said of the whole. */
  constructor(url: string, remote: RemoteFile, options: HttpStoreOptions) {
    const { pieceSize = PIECE, cacheSize = CACHE, prefetch = PREFETCH } = options
    this.url = url
    this.size = Math.floor(remote.size / SECTOR_SIZE) * SECTOR_SIZE
    this.validator = remote.validator
    this.get = options.fetch ?? fetch
    this.pieceSize = pieceSize
    this.ahead = prefetch
    this.most = Math.max(1 + prefetch, Math.floor(cacheSize / pieceSize))
  }

  /** What was fetched so far. */
  figures(): HttpStoreFigures {
    return { ...this.counts, kept: Math.min(this.size, this.pieces.size * this.pieceSize) }
  }

  /** Rejects with IO where the server does not answer, or has another file meanwhile; what came is not kept then. */
  async read(offset: number, target: Uint8Array): Promise<void> {
    checkRange(this, offset, target.length)
    if (target.length === 0) return
    const { pieceSize } = this
    const [first, last] = [Math.floor(offset / pieceSize), Math.floor((offset + target.length - 1) / pieceSize)]
    const wanted: Promise<void>[] = []
    for (let number = first; number <= last; number += 1) {
      wanted.push(this.piece(number).then((bytes) => {
        const start = Math.max(offset, number * pieceSize)
        const end = Math.min(offset + target.length, number * pieceSize + bytes.length)
        target.set(bytes.subarray(start - number * pieceSize, end - number * pieceSize), start - offset)
      }))
    }
    this.fetchAhead(first, last)
    await Promise.all(wanted)
  }

  write(): void {
    checkWritable(this)
  }

  flush(): void {}

  /** Gives up what is under way. */
  close(): void {
    this.abort.abort()
    this.pieces.clear()
  }

  private fetchAhead(first: number, last: number): void {
    const goesOn = first === this.lastPiece || first === this.lastPiece + 1
    this.lastPiece = last
    if (!goesOn) return
    const end = Math.min(last + this.ahead, Math.ceil(this.size / this.pieceSize) - 1)
    for (let number = last + 1; number <= end; number += 1) this.piece(number).catch(() => undefined)
  }

  private piece(number: number): Promise<Uint8Array> {
    const known = this.pieces.get(number)
    const piece = known ?? this.fetchPiece(number)
    this.pieces.delete(number)
    this.pieces.set(number, piece)
    if (known === undefined) {
      // What has not come is not kept: the next reader asks again.
      piece.catch(() => { if (this.pieces.get(number) === piece) this.pieces.delete(number) })
      for (const [oldest] of this.pieces) {
        if (this.pieces.size <= this.most) break
        this.pieces.delete(oldest)
      }
    }
    return piece
  }

  private async fetchPiece(number: number): Promise<Uint8Array> {
    const start = number * this.pieceSize
    const end = Math.min(start + this.pieceSize, this.size)
    this.counts.requests += 1
    const headers = { 'range': `bytes=${start}-${end - 1}`, ...(this.validator === undefined ? {} : { 'if-range': this.validator }) }
    const response = await this.ask(headers)
    if (response.status !== 206) {
      await response.body?.cancel()
      throw failed(this.url, response.status === 200 ? 'the file is another one than when it was opened' : `the server answers ${response.status}`)
    }
    const bytes = await response.arrayBuffer().then((buffer) => new Uint8Array(buffer), (cause: unknown) => { throw failed(this.url, thrownMessage(cause), cause) })
    if (bytes.length !== end - start) throw failed(this.url, `the server sends ${bytes.length} bytes for ${end - start}`)
    this.counts.bytes += bytes.length
    return bytes
  }

  private async ask(headers: Readonly<Record<string, string>>): Promise<Response> {
    try {
      // `fetch` of the platform is no method of anything.
      const { get } = this
      return await get(this.url, { headers, signal: this.abort.signal })
    } catch (cause) {
      throw failed(this.url, thrownMessage(cause), cause)
    }
  }
}

/**
 * Opens a disk at a URL. Rejects with IO where the server does not answer or knows no ranges.
 *
 * @example
 * const disk = new OverlayBlockStore(await httpStore('/images/debian.img'))
 * const host = await Host.boot({ openDisk: () => disk })
 */
export async function httpStore(url: string | URL, options: HttpStoreOptions = {}): Promise<HttpBlockStore> {
  checkOptions('httpStore', options, {
    pieceSize: whole(SECTOR_SIZE, 1 << 24), cacheSize: whole(0, 2 ** 32), prefetch: whole(0, 64), fetch: callable,
  })
  const { pieceSize = PIECE, fetch: get = fetch } = options
  if (pieceSize % SECTOR_SIZE !== 0) throw new XenError('INVALID_ARGUMENT', `a piece of ${pieceSize} bytes is not a whole number of sectors`, { details: { pieceSize } })
  const address = String(url)
  const response = await get(address, { headers: { range: 'bytes=0-0' } }).catch((cause: unknown) => { throw failed(address, thrownMessage(cause), cause) })
  await response.body?.cancel()
  if (response.status !== 206) throw failed(address, response.status === 200 ? 'the server knows no range requests' : `the server answers ${response.status}`)
  const size = wholeSize(response.headers.get('content-range'))
  if (!Number.isSafeInteger(size)) throw failed(address, 'the server does not say how large the file is')
  return new HttpBlockStore(address, { size, validator: validatorOf(response) }, options)
}
