/**
 * Values of the API as JSON: what JSON has not - bytes, dates, BigInts, numbers that are none, undefined, streams, handles - is an
 * object with the one key `$`. Functions and symbols do not travel, but for a maker of tags that says what stands for a function.
 */
import { XenError } from '../../util/index.ts'

/** What stands for a stream or a handle: the rest of an object with the key `$`. */
export type Tag = { readonly $: string } & Readonly<Record<string, unknown>>

/** Makes tags of what is no data, functions among it; undefined for a value that it does not know. */
export type TagMaker = (value: object) => Tag | undefined
/** Makes what a tag stands for; undefined for a tag that it does not know. */
export type TagReader = (tag: Tag) => unknown

/** How deep a value may be: more than any of the API is. */
const MOST_DEEP = 32
/** Characters of a regular expression that is taken. */
const LONGEST_PATTERN = 4096

const notPlain = (what: string): XenError => new XenError('NOT_SUPPORTED', `${what} cannot go to another process`, { details: { what } })

/** Makes JSON of a value. Throws NOT_SUPPORTED for a function, a symbol, and what is too deep. */
export function toWire(value: unknown, tagOf: TagMaker = () => undefined, depth = 0): unknown {
  if (depth > MOST_DEEP) throw notPlain('a value that is nested so deep')
  switch (typeof value) {
    case 'string': case 'boolean': return value
    case 'number': return Number.isFinite(value) ? value : { $: 'number', text: String(value) }
    case 'undefined': return { $: 'undefined' }
    case 'bigint': return { $: 'bigint', text: String(value) }
    case 'function': return tagOf(value) ?? refused(value)
    case 'symbol': return refused(value)
    default:
  }
  if (value === null) return null
  return objectToWire(value as object, tagOf, depth)
}

const refused = (value: unknown): never => {
  throw notPlain(`a ${typeof value}`)
}

/** What a regular expression has found: its groups, and where; the text that was searched stays at home. */
const matchToWire = (match: RegExpExecArray): Tag =>
  ({ $: 'match', groups: match.map((group: string | undefined) => group ?? null), index: match.index, ...(match.groups === undefined ? {} : { named: { ...match.groups } }) })

function objectToWire(value: object, tagOf: TagMaker, depth: number): unknown {
  if (Array.isArray(value)) return 'index' in value ? matchToWire(value as RegExpExecArray) : value.map((item) => toWire(item, tagOf, depth + 1))
  // First of all: Node's buffers have a method `write`, as sinks have.
  if (ArrayBuffer.isView(value)) {
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
    return { $: 'bytes', base64: toBase64(bytes) }
  }
  const own = tagOf(value)
  if (own !== undefined) return own
  if (value instanceof RegExp) return { $: 'regexp', source: value.source, flags: value.flags }
  if (value instanceof Date) return { $: 'date', time: value.getTime() }
  if (value instanceof Error || XenError.is(value)) return errorToWire(value)
  const fields: Record<string, unknown> = {}
  for (const [key, field] of Object.entries(value)) if (field !== undefined) fields[key] = toWire(field, tagOf, depth + 1)
  return Object.hasOwn(fields, '$') ? { $: 'object', fields } : fields
}

/** An error as it travels: code, message and those of its facts that are data. */
export function errorToWire(error: unknown): Tag {
  if (!XenError.is(error)) return { $: 'error', message: error instanceof Error ? error.message : String(error) }
  const details: Record<string, unknown> = {}
  for (const [name, fact] of Object.entries(error.details)) {
    try {
      details[name] = toWire(fact)
    } catch {
      // What is no data stays at home.
    }
  }
  return { $: 'error', code: error.code, message: error.message, details }
}

/** Makes a value of JSON. Throws INVALID_STREAM for a tag that there is not. */
export function fromWire(value: unknown, read: TagReader = () => undefined, depth = 0): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (depth > MOST_DEEP) throw new XenError('INVALID_STREAM', 'a value of the service is nested too deep', { details: { depth } })
  if (Array.isArray(value)) return value.map((item) => fromWire(item, read, depth + 1))
  if (!Object.hasOwn(value, '$')) return recordFromWire(value, read, depth)
  const tag = value as Tag
  switch (tag.$) {
    case 'undefined': return undefined
    case 'number': return Number(tag['text'])
    case 'bigint': return typeof tag['text'] === 'string' && /^-?\d{1,40}$/.test(tag['text']) ? BigInt(tag['text']) : badTag(tag)
    case 'date': return new Date(Number(tag['time']))
    case 'bytes': return typeof tag['base64'] === 'string' ? fromBase64(tag['base64']) : badTag(tag)
    case 'error': return errorFromWire(tag)
    case 'match': return matchFromWire(tag)
    case 'object': return typeof tag['fields'] === 'object' && tag['fields'] !== null ? recordFromWire(tag['fields'], read, depth) : badTag(tag)
    default: return read(tag) ?? badTag(tag)
  }
}

function matchFromWire(tag: Tag): RegExpExecArray {
  const { groups, index, named } = tag
  if (!Array.isArray(groups) || !Number.isInteger(index)) return badTag(tag)
  const found = (groups as readonly unknown[]).map((group) => (typeof group === 'string' ? group : undefined))
  const byName = typeof named === 'object' && named !== null ? recordFromWire(named, () => undefined, 0) : undefined
  // Groups that took no part are undefined in what `exec` gives as well.
  return Object.assign(found, { index: index as number, input: found[0] ?? '', groups: byName }) as unknown as RegExpExecArray
}

/** The expression of a tag `regexp`. Throws INVALID_STREAM for what is none, and for one that is too long. */
export function regexpFromWire(tag: Tag): RegExp {
  const { source, flags } = tag
  if (typeof source !== 'string' || source.length > LONGEST_PATTERN || typeof flags !== 'string') return badTag(tag)
  try {
    return new RegExp(source, flags)
  } catch {
    return badTag(tag)
  }
}

function recordFromWire(value: object, read: TagReader, depth: number): object {
  const fields: Record<string, unknown> = {}
  for (const key of Object.keys(value)) {
    const field = fromWire((value as Readonly<Record<string, unknown>>)[key], read, depth + 1)
    // A key as any, where assigning it would give the object another prototype.
    if (key === '__proto__') Object.defineProperty(fields, key, { value: field, enumerable: true, configurable: true, writable: true })
    else fields[key] = field
  }
  return fields
}

const badTag = (tag: Tag): never => {
  throw new XenError('INVALID_STREAM', `the service's other end sends a value that is none: ${String(tag.$)}`, { details: { tag: String(tag.$) } })
}

/** The error of a tag: a XenError where it was one. */
export function errorFromWire({ code, message, details }: Tag): Error {
  if (typeof code !== 'string') return new Error(`at the host: ${String(message)}`)
  const facts = typeof details === 'object' && details !== null ? fromWire(details) as Readonly<Record<string, unknown>> : {}
  return new XenError(code as XenError['code'], String(message), { details: facts })
}

const CHUNK = 0x8000

function toBase64(bytes: Uint8Array): string {
  let text = ''
  for (let at = 0; at < bytes.length; at += CHUNK) text += String.fromCharCode(...bytes.subarray(at, at + CHUNK))
  return btoa(text)
}

function fromBase64(base64: string): Uint8Array {
  let text: string
  try {
    text = atob(base64)
  } catch {
    throw new XenError('INVALID_STREAM', 'the service\'s other end sends bytes that are none', { details: { length: base64.length } })
  }
  const bytes = new Uint8Array(text.length)
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = text.charCodeAt(i)
  return bytes
}
