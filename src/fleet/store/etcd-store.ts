/**
 * A store in etcd, by the JSON gateway that every member has, over `fetch`: no client library. Reads are linearizable. A call that a member does
 * not answer goes to the next one where doing it twice is the same as doing it once; a transaction that may have been done rejects with IO.
 * Reference: etcd 3.4 and 3.5, the guide to the gRPC gateway; rpc.proto.
 */
import { checkOptions, duration, listOf, parseDuration, text, XenError, type Duration, type OptionChecks } from '../../util/index.ts'
import type {
  ClusterStore, StoreBatch, StoreChange, StoreComparison, StoreEntry, StoreLease, StoreOperation, StoreRange, StoreTransaction, StoreWatchOptions,
} from './cluster-store.ts'

/** How etcd is reached. */
export interface EtcdStoreOptions {
  /** URLs of the members' client ports: `['http://127.0.0.1:2379']`. */
  readonly endpoints: readonly string[]
  /** Longest time for an answer. Default 2 s. */
  readonly timeout?: Duration | undefined
  /** What all keys begin with. Default `paravirt/`. */
  readonly prefix?: string | undefined
}

const CHECKS: OptionChecks<EtcdStoreOptions> = { endpoints: /* @__PURE__ */ listOf(text), timeout: /* @__PURE__ */ duration({ least: 1e6 }), prefix: text }

/** Numbers are texts in the gateway's JSON, and zeros are left out. */
type Count = string | undefined
interface KeyValue { readonly key: string; readonly value?: string; readonly create_revision?: Count; readonly mod_revision?: Count; readonly version?: Count; readonly lease?: Count }
interface Header { readonly revision?: Count }
interface WatchResult {
  readonly header?: Header
  readonly canceled?: boolean
  readonly compact_revision?: Count
  readonly cancel_reason?: string
  readonly events?: readonly { readonly type?: 'PUT' | 'DELETE'; readonly kv: KeyValue }[]
}

const encode = (value: string): string => {
  const bytes = new TextEncoder().encode(value)
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''))
}
const decode = (value: string | undefined): string => new TextDecoder().decode(Uint8Array.from(atob(value ?? ''), (char) => char.charCodeAt(0)))
const count = (value: Count): number => Number(value ?? 0)

/** The key behind all keys with a prefix. */
function rangeEnd(prefix: string): string {
  const bytes = new TextEncoder().encode(prefix)
  for (let at = bytes.length - 1; at >= 0; at -= 1) {
    if (bytes[at] === 0xff) continue
    bytes[at]! += 1
    return btoa(String.fromCharCode(...bytes.subarray(0, at + 1)))
  }
  return encode('\0')
}

const TARGETS = { version: 'VERSION', created: 'CREATE', modified: 'MOD', value: 'VALUE' } as const
const FIELDS = { version: 'version', created: 'create_revision', modified: 'mod_revision' } as const
const RESULTS = { 'equal': 'EQUAL', 'not-equal': 'NOT_EQUAL', 'less': 'LESS', 'greater': 'GREATER' } as const

/** An error that a member has answered with. */
class Refused extends Error {
  readonly code: number

  constructor(code: number, message: string) {
    super(message)
    this.code = code
  }
}
/** google.rpc.Code of what is not there. */
const NOT_FOUND = 5

class EtcdStore implements ClusterStore {
  private readonly endpoints: readonly string[]
  private readonly timeout: number
  private readonly prefix: string
  private readonly closing = new AbortController()
  /** The member that is asked first. */
  private first = 0

  constructor({ endpoints, timeout = '2s', prefix = 'paravirt/' }: EtcdStoreOptions) {
    this.endpoints = endpoints.map((endpoint) => endpoint.replace(/\/$/, ''))
    this.timeout = parseDuration(timeout, 'timeout') / 1e6
    this.prefix = prefix
  }

  async get(key: string): Promise<StoreEntry | undefined> {
    const { kvs = [] } = await this.call<{ kvs?: KeyValue[] }>('kv/range', { key: this.key(key) }, 'every')
    return kvs[0] && this.entry(kvs[0])
  }

  async range(prefix: string): Promise<StoreRange> {
    const { kvs = [], header } = await this.call<{ kvs?: KeyValue[]; header?: Header }>('kv/range', { key: this.key(prefix), range_end: rangeEnd(this.prefix + prefix) }, 'every')
    return { entries: kvs.map((each) => this.entry(each)), revision: count(header?.revision) }
  }

  async txn(compare: readonly StoreComparison[], then: readonly StoreOperation[], otherwise: readonly StoreOperation[] = []): Promise<StoreTransaction> {
    const body = { compare: compare.map((each) => this.comparison(each)), success: then.map((each) => this.operation(each)), failure: otherwise.map((each) => this.operation(each)) }
    const { succeeded = false, header } = await this.call<{ succeeded?: boolean; header?: Header }>('kv/txn', body, 'one')
    return { succeeded, revision: count(header?.revision) }
  }

  async lease(ttl: Duration): Promise<StoreLease> {
    const wanted = Math.ceil(parseDuration(ttl, 'the time of a lease', { least: 1e6 }) / 1e9)
    const granted = await this.call<{ ID: string; TTL: Count }>('lease/grant', { TTL: String(wanted) }, 'every')
    const { ID } = granted
    return {
      id: ID, ttl: count(granted.TTL),
      keepAlive: async () => {
        // Every member is to have been asked before the lease is over, however silent the others are.
        const patience = (count(granted.TTL) * 1000) / (2 * this.endpoints.length)
        const { result } = await this.call<{ result?: { TTL?: Count; header?: Header } }>('lease/keepalive', { ID }, 'every', patience)
        if (count(result?.TTL) <= 0) throw new XenError('LEASE_LOST', `lease ${ID} has ended`, { details: { lease: ID } })
        return count(result?.header?.revision)
      },
      revoke: async () => void await this.call('lease/revoke', { ID }, 'every').catch((error: unknown) => {
        if (!XenError.is(error, 'LEASE_LOST')) throw error
      }),
    }
  }

  async *watch(prefix: string, { from, signal }: StoreWatchOptions = {}): AsyncGenerator<StoreBatch, void> {
    const create_request = { key: this.key(prefix), range_end: rangeEnd(this.prefix + prefix), ...(from === undefined ? {} : { start_revision: String(from) }) }
    const ended = new AbortController()
    const end = (): void => ended.abort()
    for (const each of [signal, this.closing.signal]) {
      if (each?.aborted === true) return
      each?.addEventListener('abort', end)
    }
    try {
      for await (const result of this.results(create_request, ended.signal)) yield* this.batches(result, from)
    } catch (error) {
      if (signal?.aborted !== true) throw XenError.is(error) ? error : this.lost('the watch has ended', error)
    } finally {
      end()
      for (const each of [signal, this.closing.signal]) each?.removeEventListener('abort', end)
    }
  }

  close(): void {
    this.closing.abort()
  }

  private *batches({ canceled, compact_revision, cancel_reason, events = [] }: WatchResult, from: number | undefined): Generator<StoreBatch, void> {
    if (count(compact_revision) > 0) {
      throw new XenError('COMPACTED', `revision ${from ?? 0} is not kept any more`, { details: { revision: from, compacted: count(compact_revision) } })
    }
    if (canceled === true) throw new XenError('IO', `etcd has ended the watch: ${cancel_reason ?? 'no reason given'}`)
    const byRevision = new Map<number, StoreChange[]>()
    for (const { type = 'PUT', kv } of events) {
      const modified = count(kv.mod_revision)
      const change: StoreChange = type === 'DELETE' ? { type: 'delete', key: this.ownKey(kv.key), modified } : { type: 'put', entry: this.entry(kv) }
      byRevision.set(modified, [...byRevision.get(modified) ?? [], change])
    }
    for (const [revision, changes] of byRevision) yield { revision, changes }
  }

  /** What a watch is told, a line of JSON each. */
  private async *results(create_request: object, signal: AbortSignal): AsyncGenerator<WatchResult, void> {
    const member = this.first
    const failed = (why: string, cause: unknown): XenError => {
      this.leave(member)
      return this.lost(why, cause)
    }
    const response = await fetch(`${this.endpoints[member]}/v3/watch`, { method: 'POST', body: JSON.stringify({ create_request }), signal }).catch((cause: unknown) => { throw failed('it cannot be watched', cause) })
    if (response.body === null) throw failed('it cannot be watched', response.status)
    const reader = response.body.getReader()
    const decoder = new TextDecoder()
    let waiting = ''
    for (;;) {
      const { done, value } = await reader.read()
      if (done) throw failed('the watch has ended', undefined)
      waiting += decoder.decode(value, { stream: true })
      const lines = waiting.split('\n')
      waiting = lines.pop() ?? ''
      for (const line of lines.filter((each) => each.trim() !== '')) {
        const { result, error } = JSON.parse(line) as { result?: WatchResult; error?: { message?: string } }
        if (result === undefined) throw failed(error?.message ?? 'the watch has failed', error)
        yield result
      }
    }
  }

  /** Asks one member, or one after the other until one answers. */
  private async call<T>(path: string, body: object, members: 'one' | 'every', patience = this.timeout): Promise<T> {
    let failure: unknown
    for (let tries = members === 'one' ? 1 : this.endpoints.length; tries > 0; tries -= 1) {
      const asked = this.first
      try {
        return await this.ask<T>(`${this.endpoints[asked]}/v3/${path}`, body, Math.min(patience, this.timeout))
      } catch (error) {
        if (error instanceof Refused && error.code === NOT_FOUND) throw new XenError('LEASE_LOST', error.message, { cause: error })
        failure = error
        this.leave(asked)
      }
    }
    throw this.lost(path, failure)
  }

  private async ask<T>(url: string, body: object, patience: number): Promise<T> {
    const signal = AbortSignal.any([this.closing.signal, AbortSignal.timeout(Math.ceil(patience))])
    const response = await fetch(url, { method: 'POST', body: JSON.stringify(body), signal })
    const answer = await response.json() as T & { code?: number; error?: string | { grpc_code?: number; message?: string }; message?: string }
    if (response.ok && answer.error === undefined) return answer
    const detail = typeof answer.error === 'object' ? answer.error : { grpc_code: answer.code, message: answer.message ?? answer.error }
    throw new Refused(detail.grpc_code ?? -1, detail.message ?? `status ${response.status}`)
  }

  /** The next member is asked first from now on; calls that have failed at one together leave it once. */
  private leave(member: number): void {
    if (this.first === member) this.first = (member + 1) % this.endpoints.length
  }

  private lost(what: string, cause: unknown): XenError {
    return new XenError('IO', `etcd: ${what}: ${cause instanceof Error ? cause.message : 'it does not answer'}`, { cause })
  }

  private key(key: string): string {
    return encode(this.prefix + key)
  }

  private ownKey(key: string): string {
    return decode(key).slice(this.prefix.length)
  }

  private entry({ key, value, create_revision, mod_revision, version, lease }: KeyValue): StoreEntry {
    return {
      key: this.ownKey(key), value: decode(value), created: count(create_revision), modified: count(mod_revision), version: count(version),
      lease: count(lease) === 0 ? undefined : lease,
    }
  }

  private comparison({ key, target, result, value }: StoreComparison): object {
    const given = target === 'value' ? { value: encode(value) } : { [FIELDS[target]]: String(value) }
    return { key: this.key(key), target: TARGETS[target], result: RESULTS[result], ...given }
  }

  private operation(operation: StoreOperation): object {
    const key = this.key(operation.key)
    if (operation.type === 'delete') return { request_delete_range: { key } }
    return { request_put: { key, value: encode(operation.value), ...(operation.lease === undefined ? {} : { lease: operation.lease }) } }
  }
}

/**
 * A store in etcd 3.4 or newer. Throws INVALID_ARGUMENT.
 *
 * @example
 * const store = etcdStore({ endpoints: ['http://127.0.0.1:2379', 'http://127.0.0.1:3379'] })
 */
export function etcdStore(options: EtcdStoreOptions): ClusterStore {
  checkOptions('etcdStore', options, CHECKS)
  if (!Array.isArray(options.endpoints) || options.endpoints.length === 0) throw new XenError('INVALID_ARGUMENT', 'etcdStore: endpoints must name a member')
  return new EtcdStore(options)
}
