/** Calls of a pool as JSON-RPC, versions 1.0 and 2.0: a text in, a text out. */
import { XapiFailure } from './database.ts'
import type { XapiPool } from './xapi-pool.ts'

/** JSON as XAPI writes it: dates as texts. */
const toText = (value: unknown): unknown => (value instanceof Date ? value.toISOString().replace(/[-:]/g, (mark) => (mark === '-' ? '' : mark)).replace(/\.\d+/, '') : value)

function plain(value: unknown): unknown {
  if (value instanceof Date) return toText(value)
  if (Array.isArray(value)) return value.map(plain)
  return typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value).map(([key, field]) => [key, plain(field)])) : value
}

/** Answers one request; what is none is answered with an error of JSON-RPC. */
export async function jsonRpc(pool: XapiPool, body: string): Promise<string> {
  let request: { readonly id?: unknown; readonly method?: unknown; readonly params?: unknown }
  try {
    request = JSON.parse(body) as typeof request
  } catch {
    return JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: -32700, message: 'Parse error' } })
  }
  const { id = null, method, params = [] } = request ?? {}
  if (typeof method !== 'string' || !Array.isArray(params)) return JSON.stringify({ jsonrpc: '2.0', id, error: { code: -32600, message: 'Invalid Request' } })
  try {
    return JSON.stringify({ jsonrpc: '2.0', id, result: plain(await pool.call(method, params as unknown[])) })
  } catch (error) {
    const [message = 'INTERNAL_ERROR', ...data] = error instanceof XapiFailure ? error.description : ['INTERNAL_ERROR', String(error)]
    return JSON.stringify({ jsonrpc: '2.0', id, error: { code: 1, message, data } })
  }
}
