/**
 * The messages of the protocol: requests as a discriminated union, each operation's number, and how both look as
 * bytes. Whether a request may be made is not decided here.
 *
 * Reference: xen/docs/misc/xenstore.txt, section "Communication with xenstore"; numbers above 22 are those of
 * newer Xen than 4.17.
 */
import { XS } from '../../abi/index.ts'
import { pathOfBytes } from '../tree/known-paths.ts'
import { parsePermissions, formatPermission, type Permissions } from '../tree/permissions.ts'
import type { StoreErrorName } from './store-error.ts'
import { copyOf, rawText } from '../tree/text.ts'

/** A request of a client. */
export type StoreRequest =
  | { readonly op: 'control'; readonly words: readonly string[] }
  | { readonly op: 'directory' | 'read' | 'get-permissions' | 'mkdir' | 'rm'; readonly path: string }
  | { readonly op: 'watch'; readonly path: string; readonly token: string; readonly depth: number | undefined }
  | { readonly op: 'unwatch'; readonly path: string; readonly token: string }
  | { readonly op: 'transaction-start' | 'reset-watches' }
  | { readonly op: 'transaction-end'; readonly outcome: 'commit' | 'abort' }
  | { readonly op: 'introduce'; readonly domid: number; readonly frame: number; readonly port: number }
  | {
    readonly op: 'release' | 'resume' | 'get-domain-path' | 'is-domain-introduced'
    readonly domid: number
  }
  | { readonly op: 'write'; readonly path: string; readonly value: Uint8Array }
  | { readonly op: 'set-permissions'; readonly path: string; readonly permissions: Permissions }
  | { readonly op: 'set-target'; readonly domid: number; readonly target: number }
  | { readonly op: 'directory-part'; readonly path: string; readonly offset: number }
  | { readonly op: 'get-feature'; readonly domid: number | undefined }
  | { readonly op: 'set-feature'; readonly domid: number; readonly features: number }
  | { readonly op: 'get-quota'; readonly domid: number | undefined; readonly quota: string | undefined }
  | {
    readonly op: 'set-quota'
    readonly domid: number | undefined
    readonly quota: string
    readonly value: number
  }

/** Name of an operation. */
export type RequestOp = StoreRequest['op']

/** A message's body in place. */
export interface Body {
  readonly body: Uint8Array
  readonly start: number
  readonly end: number
}

/** One operation of the protocol. */
export interface OperationRow {
  readonly number: number
  readonly op: RequestOp
  /** Only for privileged connections; others get EACCES. */
  readonly privileged?: boolean
  /** The transaction number of the message does not count. */
  readonly outside?: boolean
  /** Reads the body; undefined when it is malformed. */
  readonly decode: (body: Body) => StoreRequest | undefined
}

/** Where the first terminator is, or -1. */
function terminator({ body, end }: Body, start: number): number {
  for (let at = start; at < end; at += 1) if (body[at] === 0) return at
  return -1
}

/** The only string of a body: exactly one terminator, at the end. */
function only(body: Body): string | undefined {
  const { start, end } = body
  if (end === start || terminator(body, start) !== end - 1) return undefined
  return pathOfBytes(body.body, start, end - 1)
}

/** All terminated strings; what follows the last terminator is left out. */
function strings(body: Body): readonly string[] {
  const found: string[] = []
  for (let at = body.start; at < body.end;) {
    const nul = terminator(body, at)
    if (nul < 0) break
    found.push(rawText(body.body, at, nul))
    at = nul + 1
  }
  return found
}

/** A whole number in decimal digits, at most `limit`. */
function wholeNumber(text: string | undefined, limit: number): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined
  const value = Number(text)
  return value <= limit ? value : undefined
}

const domidOf = (text: string | undefined): number | undefined => wholeNumber(text, 0xffff)
const U32 = 0xffffffff

const onPath = (op: 'directory' | 'read' | 'get-permissions' | 'mkdir' | 'rm') => (body: Body) => {
  const path = only(body)
  return path === undefined ? undefined : ({ op, path } as const)
}

const onDomain = (op: 'release' | 'resume' | 'get-domain-path' | 'is-domain-introduced') => (body: Body) => {
  const domid = domidOf(only(body))
  return domid === undefined ? undefined : ({ op, domid } as const)
}

function decodeWatch(body: Body): StoreRequest | undefined {
  const [path, token, level, ...rest] = strings(body)
  if (path === undefined || token === undefined || rest.length > 0) return undefined
  const depth = level === undefined ? undefined : wholeNumber(level, 0x7fffffff)
  return level !== undefined && depth === undefined ? undefined : { op: 'watch', path, token, depth }
}

function decodeUnwatch(body: Body): StoreRequest | undefined {
  const [path, token, ...rest] = strings(body)
  return path === undefined || token === undefined || rest.length > 0 ? undefined : { op: 'unwatch', path, token }
}

function decodeEnd(body: Body): StoreRequest | undefined {
  const word = only(body)
  if (word !== 'T' && word !== 'F') return undefined
  return { op: 'transaction-end', outcome: word === 'T' ? 'commit' : 'abort' }
}

function decodeIntroduce(body: Body): StoreRequest | undefined {
  const [domain, frame, port] = strings(body)
  const numbers = { domid: domidOf(domain), frame: Number(frame), port: wholeNumber(port, 0x7fffffff) }
  if (numbers.domid === undefined || numbers.port === undefined || numbers.port === 0) return undefined
  return { op: 'introduce', domid: numbers.domid, frame: numbers.frame, port: numbers.port }
}

function decodeWrite(body: Body): StoreRequest | undefined {
  const nul = terminator(body, body.start)
  if (nul < 0) return undefined
  return { op: 'write', path: pathOfBytes(body.body, body.start, nul), value: copyOf(body.body, nul + 1, body.end) }
}

function decodeSetPermissions(body: Body): StoreRequest | undefined {
  const [path, ...entries] = strings(body)
  const permissions = parsePermissions(entries)
  return path === undefined || permissions === undefined ? undefined : { op: 'set-permissions', path, permissions }
}

function decodeSetTarget(body: Body): StoreRequest | undefined {
  const [first, second] = strings(body)
  const domid = domidOf(first)
  const target = domidOf(second)
  return domid === undefined || target === undefined ? undefined : { op: 'set-target', domid, target }
}

function decodePart(body: Body): StoreRequest | undefined {
  const [path, at, ...rest] = strings(body)
  const offset = wholeNumber(at, U32)
  if (path === undefined || offset === undefined || rest.length > 0) return undefined
  return { op: 'directory-part', path, offset }
}

function decodeGetFeature(body: Body): StoreRequest | undefined {
  const [first, ...rest] = strings(body)
  if (first === undefined) return { op: 'get-feature', domid: undefined }
  const domid = domidOf(first)
  return domid === undefined || rest.length > 0 ? undefined : { op: 'get-feature', domid }
}

function decodeSetFeature(body: Body): StoreRequest | undefined {
  const [first, second, ...rest] = strings(body)
  const domid = domidOf(first)
  const features = wholeNumber(second, U32)
  if (domid === undefined || features === undefined || rest.length > 0) return undefined
  return { op: 'set-feature', domid, features }
}

function decodeGetQuota(body: Body): StoreRequest | undefined {
  const words = strings(body)
  if (words.length > 2) return undefined
  if (words.length < 2) return { op: 'get-quota', domid: undefined, quota: words[0] }
  const domid = domidOf(words[0])
  return domid === undefined ? undefined : { op: 'get-quota', domid, quota: words[1] }
}

function decodeSetQuota(body: Body): StoreRequest | undefined {
  const words = strings(body)
  if (words.length < 2 || words.length > 3) return undefined
  const value = wholeNumber(words[words.length - 1], U32)
  const quota = words[words.length - 2]!
  const domid = words.length === 3 ? domidOf(words[0]) : undefined
  if (value === undefined || (words.length === 3 && domid === undefined)) return undefined
  return { op: 'set-quota', domid, quota, value }
}

/** Every operation that a client may ask for. */
export const OPERATIONS: readonly OperationRow[] = [
  { number: XS.CONTROL, op: 'control', privileged: true, decode: (body) => ({ op: 'control', words: strings(body) }) },
  { number: XS.DIRECTORY, op: 'directory', decode: onPath('directory') },
  { number: XS.READ, op: 'read', decode: onPath('read') },
  { number: XS.GET_PERMS, op: 'get-permissions', decode: onPath('get-permissions') },
  { number: XS.WATCH, op: 'watch', outside: true, decode: decodeWatch },
  { number: XS.UNWATCH, op: 'unwatch', outside: true, decode: decodeUnwatch },
  { number: XS.TRANSACTION_START, op: 'transaction-start', decode: () => ({ op: 'transaction-start' }) },
  { number: XS.TRANSACTION_END, op: 'transaction-end', decode: decodeEnd },
  { number: XS.INTRODUCE, op: 'introduce', privileged: true, decode: decodeIntroduce },
  { number: XS.RELEASE, op: 'release', privileged: true, decode: onDomain('release') },
  { number: XS.GET_DOMAIN_PATH, op: 'get-domain-path', decode: onDomain('get-domain-path') },
  { number: XS.WRITE, op: 'write', decode: decodeWrite },
  { number: XS.MKDIR, op: 'mkdir', decode: onPath('mkdir') },
  { number: XS.RM, op: 'rm', decode: onPath('rm') },
  { number: XS.SET_PERMS, op: 'set-permissions', decode: decodeSetPermissions },
  {
    number: XS.IS_DOMAIN_INTRODUCED, op: 'is-domain-introduced', privileged: true,
    decode: onDomain('is-domain-introduced'),
  },
  { number: XS.RESUME, op: 'resume', privileged: true, decode: onDomain('resume') },
  { number: XS.SET_TARGET, op: 'set-target', privileged: true, decode: decodeSetTarget },
  { number: XS.RESET_WATCHES, op: 'reset-watches', decode: () => ({ op: 'reset-watches' }) },
  { number: XS.DIRECTORY_PART, op: 'directory-part', decode: decodePart },
  { number: 23, op: 'get-feature', decode: decodeGetFeature },
  { number: 24, op: 'set-feature', privileged: true, decode: decodeSetFeature },
  { number: 25, op: 'get-quota', privileged: true, decode: decodeGetQuota },
  { number: 26, op: 'set-quota', privileged: true, decode: decodeSetQuota },
]

/** The operations by number; unknown numbers have none. */
export const OPERATION_BY_NUMBER: readonly (OperationRow | undefined)[] = /* @__PURE__ */ Array.from(
  { length: 27 },
  (_, number) => OPERATIONS.find((row) => row.number === number),
)

/** The number of an operation. */
export const operationNumber = (op: RequestOp): number => OPERATIONS.find((row) => row.op === op)!.number

/** The strings of a request's body, in order, each of which gets a terminator. */
export function requestStrings(request: StoreRequest): readonly (string | number)[] {
  switch (request.op) {
    case 'control': return request.words
    case 'watch': {
      const { path, token, depth } = request
      return depth === undefined ? [path, token] : [path, token, depth]
    }
    case 'unwatch': return [request.path, request.token]
    case 'transaction-start':
    case 'reset-watches': return ['']
    case 'transaction-end': return [request.outcome === 'commit' ? 'T' : 'F']
    case 'introduce': return [request.domid, request.frame, request.port]
    case 'release':
    case 'resume':
    case 'get-domain-path':
    case 'is-domain-introduced': return [request.domid]
    case 'set-permissions': return [request.path, ...request.permissions.map(formatPermission)]
    case 'set-target': return [request.domid, request.target]
    case 'directory-part': return [request.path, request.offset]
    case 'get-feature': return request.domid === undefined ? [] : [request.domid]
    case 'set-feature': return [request.domid, request.features]
    case 'get-quota': return [request.domid, request.quota].filter((word) => word !== undefined)
    case 'set-quota': return [request.domid, request.quota, request.value].filter((word) => word !== undefined)
    default: return [request.path]
  }
}

/** A request's body: its strings as one text, and the raw bytes behind them. */
export function requestBody(request: StoreRequest): { readonly text: string; readonly value: Uint8Array | undefined } {
  const text = requestStrings(request).map((word) => `${word}\0`).join('')
  return { text, value: request.op === 'write' ? request.value : undefined }
}

/** What a server says: an answer to a request, or an event on its own account. */
export type StoreResponse =
  | { readonly kind: 'done' }
  | { readonly kind: 'error'; readonly error: StoreErrorName }
  | { readonly kind: 'bytes'; readonly value: Uint8Array }
  /** One or more strings with their terminators. */
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'event'; readonly path: string; readonly token: string }

/** What a client is told. */
export type ServerMessage =
  | { readonly kind: 'reply'; readonly type: number; readonly value: Uint8Array }
  | { readonly kind: 'error'; readonly name: string }
  | { readonly kind: 'event'; readonly path: string; readonly token: string }
  | { readonly kind: 'unknown' }

/** Reads a message of the server. The value is a copy. */
export function decodeServerMessage(type: number, { body, start, end }: Body): ServerMessage {
  if (type === XS.ERROR) return { kind: 'error', name: only({ body, start, end }) ?? '' }
  if (type === XS.WATCH_EVENT) {
    const [path, token] = strings({ body, start, end })
    return path === undefined || token === undefined ? { kind: 'unknown' } : { kind: 'event', path, token }
  }
  return { kind: 'reply', type, value: copyOf(body, start, end) }
}

/** The terminated strings of a reply. */
export const replyStrings = (value: Uint8Array): readonly string[] =>
  strings({ body: value, start: 0, end: value.length })
