/** A moment at a URL: fetched and unpacked once, and kept as it is in memory for later visits. */
import { Host, type LoadMomentOptions, type Moment } from '../../toolstack/index.ts'
import { callable, flag, thrownMessage, XenError, checkArgument } from '../../util/index.ts'
import { privateCache } from './private-moments.ts'

/** How a moment is fetched. */
export interface FetchMomentOptions extends LoadMomentOptions {
  /** Whether it is kept in the private file system. Default: where there is one, which takes a dedicated worker. */
  readonly keep?: boolean | undefined
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

/** What the moment of this address and version is kept by. */
function keyOf(url: string, { headers }: Response): string | undefined {
  const version = headers.get('etag') ?? headers.get('last-modified')
  return version === null ? undefined : `${url} ${version}`
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
async function fromCache(key: string, loading: LoadMomentOptions): Promise<Moment<Host> | undefined> {
  try {
    const cache = privateCache()
    const bytes = await cache.read(key)
    return bytes === undefined ? undefined : await Host.loadMoment(bytes, { ...loading, trusted: true })
  } catch {
    // It is fetched anew: whoever is told of a fault of the cache could do nothing else.
    return undefined
  }
}

async function keepIn(key: string, moment: Moment<Host>): Promise<boolean> {
  try {
    const cache = privateCache()
    await cache.write(key, (target) => moment.save(target, { compression: cache.compression }))
    return true
  } catch {
    return false
  }
}

/**
 * Fetches a moment that `moment.save` has written and a server offers, or takes the one that was kept when it was fetched before: the
 * server says by ETag or Last-Modified whether it is the same. Rejects with IO where the server does not answer, and as `Host.loadMoment`.
 *
 * @example
 * const { moment } = await fetchMoment('/debian.moment')
 * const host = await moment.branch({ clock: 'realtime' })
 */
export async function fetchMoment(url: string | URL, options: FetchMomentOptions = {}): Promise<FetchedMoment> {
  const { keep = true, onProgress, ...loading } = options
  checkArgument('fetchMoment\'s keep', keep, flag)
  if (onProgress !== undefined) checkArgument('fetchMoment\'s onProgress', onProgress, callable)
  const address = String(url)
  const response = await fetch(address).catch((cause: unknown) => { throw failed(address, thrownMessage(cause), cause) })
  if (!response.ok) {
    await response.body?.cancel()
    throw failed(address, `the server answers ${response.status}`)
  }
  const key = keep ? keyOf(address, response) : undefined
  const known = key === undefined ? undefined : await fromCache(key, loading)
  if (known !== undefined) {
    await response.body?.cancel().catch(() => undefined)
    return { moment: known, wasKept: true, kept: Promise.resolve(true) }
  }
  const moment = await Host.loadMoment(bytesOf(address, response, onProgress), loading)
  return { moment, wasKept: false, kept: key === undefined ? Promise.resolve(false) : keepIn(key, moment) }
}
