/** A moment at a URL: fetched and unpacked once, and kept as it is in memory for later visits. */
import type { FixtureCache } from '../../testing/index.ts'
import { Host, type LoadMomentOptions, type Moment } from '../../toolstack/index.ts'
import { callable, checkArgument, flag, thrownMessage, whole, XenError } from '../../util/index.ts'
import { privateMoments } from './private-moments.ts'

/** How a moment is fetched. */
export interface FetchMomentOptions extends LoadMomentOptions {
  /** Whether it is kept in the private file system. Default: where there is one, which takes a dedicated worker. */
  readonly keep?: boolean | undefined
  /** Bytes that all moments there may have together; those used least recently go first. Default: 2 GiB. */
  readonly most?: number | undefined
  /** Hears how many bytes have come, and of how many where the server says so. */
  readonly onProgress?: ((received: number, total: number | undefined) => void) | undefined
}

/** A moment, and where it came from. */
export interface FetchedMoment {
  readonly moment: Moment<Host>
  /** True where it was there already, and nothing was fetched. */
  readonly wasKept: boolean
  /** Resolves when it is kept for the next visit, with false where it cannot be. */
  readonly kept: Promise<boolean>
}

const failed = (url: string, why: string, cause?: unknown): XenError => new XenError('IO', `${url}: ${why}`, { details: { url }, ...(cause === undefined ? {} : { cause }) })

/** Where a moment is kept, and what by. */
interface Place {
  readonly key: string
  readonly cache: FixtureCache
}

/** The place of the moment of this address and version; undefined where the server does not tell versions apart. Other versions of it are old as soon as this one is kept. */
function placeOf(url: string, { headers }: Response, most: number | undefined): Place | undefined {
  const version = headers.get('etag') ?? headers.get('last-modified')
  if (version === null) return undefined
  const address = `${new Request(url).url} `
  return { key: address + version, cache: privateMoments({ most }, (other) => other.startsWith(address)) }
}

/** The bytes as they come. */
async function* bytesOf(url: string, { body, headers }: Response, onProgress: FetchMomentOptions['onProgress']): AsyncGenerator<Uint8Array> {
  if (body === null) throw failed(url, 'the server sends nothing')
  const length = headers.get('content-encoding') === null ? Number(headers.get('content-length') ?? Number.NaN) : Number.NaN
  const total = Number.isSafeInteger(length) ? length : undefined
  let received = 0
  const reader = body.getReader()
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((cause: unknown) => { throw failed(url, thrownMessage(cause), cause) })
      if (done) return
      received += value.length
      onProgress?.(received, total)
      yield value
    }
  } finally {
    // Where reading was given up, fetching is.
    await reader.cancel().catch(() => undefined)
  }
}

/** What was kept; undefined where nothing was, or what cannot be used any more. */
async function fromCache({ key, cache }: Place, loading: LoadMomentOptions): Promise<Moment<Host> | undefined> {
  try {
    const file = await cache.read(key)
    return file === undefined ? undefined : await Host.loadMoment(file, { ...loading, trusted: true })
  } catch {
    // It is fetched anew: whoever is told of a fault of the cache could do nothing else.
    return undefined
  }
}

async function keepIn({ key, cache }: Place, moment: Moment<Host>): Promise<boolean> {
  try {
    await cache.write(key, (target) => moment.save(target, { compression: cache.compression }))
    return true
  } catch {
    return false
  }
}

/**
 * Fetches a moment that `moment.save` has written and a server offers, or takes the one that was kept when it was fetched before: the
 * server says by ETag or Last-Modified whether it is the same, and one that is kept takes the place of those that the address had before. Rejects with IO where the server does not answer, and as `Host.loadMoment`.
 *
 * @example
 * const { moment } = await fetchMoment('/debian.moment')
 * const host = await moment.branch({ clock: 'realtime' })
 */
export async function fetchMoment(url: string | URL, options: FetchMomentOptions = {}): Promise<FetchedMoment> {
  const { keep = true, most, onProgress, ...loading } = options
  checkArgument('fetchMoment\'s keep', keep, flag)
  if (most !== undefined) checkArgument('fetchMoment\'s most', most, whole(0, Number.MAX_SAFE_INTEGER))
  if (onProgress !== undefined) checkArgument('fetchMoment\'s onProgress', onProgress, callable)
  const address = String(url)
  const response = await fetch(address).catch((cause: unknown) => { throw failed(address, thrownMessage(cause), cause) })
  if (!response.ok) {
    await response.body?.cancel()
    throw failed(address, `the server answers ${response.status}`)
  }
  const place = keep ? placeOf(address, response, most) : undefined
  const known = place === undefined ? undefined : await fromCache(place, loading)
  if (known !== undefined) {
    await response.body?.cancel().catch(() => undefined)
    return { moment: known, wasKept: true, kept: Promise.resolve(true) }
  }
  const moment = await Host.loadMoment(bytesOf(address, response, onProgress), loading)
  return { moment, wasKept: false, kept: place === undefined ? Promise.resolve(false) : keepIn(place, moment) }
}
