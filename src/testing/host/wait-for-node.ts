/** Waiting for what stands in XenStore. */
import type { Host, UntilOptions } from '../../toolstack/index.ts'
import { shown, thrownMessage, XenError } from '../../util/index.ts'

/** What a node is to hold: a value, a pattern, a condition; `null`: that there is no such node; undefined: any value. */
export type NodeWish = string | RegExp | null | undefined | ((value: string) => boolean)

const wishText = (wish: NodeWish): string =>
  wish === undefined ? 'to be there' : wish === null ? 'to go' : typeof wish === 'function' ? 'to hold what a condition takes' : `to hold ${wish instanceof RegExp ? String(wish) : JSON.stringify(wish)}`

function isMet(wish: NodeWish, value: string | undefined): boolean {
  if (wish === null || value === undefined) return wish === null && value === undefined
  if (wish === undefined) return true
  if (typeof wish === 'function') return wish(value)
  return typeof wish === 'string' ? value === wish : new RegExp(wish.source, wish.flags.replace(/[gy]/g, '')).test(value)
}

/** What stands where a node was awaited: its value, or what the nearest directory above it holds. */
function whatStands({ store }: Host, path: string): string {
  const value = store.tryRead(path)
  if (value !== undefined) return `it holds ${JSON.stringify(value)}`
  for (let above = path.slice(0, path.lastIndexOf('/')); above !== ''; above = above.slice(0, above.lastIndexOf('/'))) {
    if (store.exists(above)) return `it is not there; ${above} has ${store.list(above).join(', ') || 'nothing'}`
  }
  return 'it is not there, nor is anything above it'
}

/**
 * Waits until a node of XenStore holds what is wished; resolves with its value. Rejects with TIMED_OUT, whose message says what
 * stands there instead, and as `host.until` does.
 *
 * @example
 * await waitForNode(host, '/local/domain/1/device/vbd/51712/state', '4', { timeout: '5s' })
 */
export async function waitForNode(host: Host, path: string, wish?: NodeWish, options: UntilOptions = {}): Promise<string | undefined> {
  if (typeof path !== 'string' || !path.startsWith('/')) throw new XenError('INVALID_ARGUMENT', `the path of waitForNode must begin with /, got ${shown(path)}`)
  const isWish = wish === undefined || wish === null || typeof wish === 'string' || typeof wish === 'function' || wish instanceof RegExp
  if (!isWish) throw new XenError('INVALID_ARGUMENT', `waitForNode takes a text, a RegExp, a condition or null as the value, got ${shown(wish)}`)
  let value: string | undefined
  const met = (): boolean => isMet(wish, value = host.store.tryRead(path))
  try {
    await host.until(`node ${path} ${wishText(wish)}`, met, options)
  } catch (error) {
    if (!XenError.is(error, 'TIMED_OUT') && !XenError.is(error, 'IDLE')) throw error
    throw new XenError(error.code, `${thrownMessage(error)}: ${whatStands(host, path)}`, { details: { ...error.details, path, value: value ?? null } })
  }
  return value
}
