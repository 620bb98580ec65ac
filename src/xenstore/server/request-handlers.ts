/**
 * What each operation of the protocol does: a table from operation to handler, in front of the session's operations.
 *
 * Reference: xen/docs/misc/xenstore.txt; behaviour of tools/xenstored/core.c and domain.c.
 */
import { DOMID, XENSTORE } from '../../abi/index.ts'
import { runControl } from './control.ts'
import { STORE_FEATURES, type DomainRecord } from '../store/domains.ts'
import type { RequestOp, StoreRequest } from '../protocol/messages.ts'
import { formatPermission } from '../tree/permissions.ts'
import { QUOTA_WIRE_NAMES, type QuotaName } from '../store/quota.ts'
import type { RequestCause, ServerConnection } from './server-connection.ts'
import { isStoreErrorName, type StoreErrorName } from '../protocol/store-error.ts'
import type { StoreCore } from '../store/store-core.ts'
import { putRawText } from '../tree/text.ts'
import type { Watch } from '../store/watches.ts'

/** What handlers can do beyond the store: connecting domains is the server's. */
export interface HandlerHost {
  readonly store: StoreCore
  /** Connects a domain by its page; an error's name when that cannot be done. */
  introduce(domid: number, frame: number, port: number): StoreErrorName | undefined
  /** True when the domain is connected. */
  isConnected(domid: number): boolean
  release(domid: number): void
}

/** One message at work. */
export interface Exchange {
  readonly host: HandlerHost
  readonly connection: ServerConnection
  /** The transaction that the message names. */
  readonly transaction: number
  /** For counting unanswered requests; undefined for privileged clients. */
  readonly cause: RequestCause | undefined
}

/** The request with this operation. */
type RequestOf<Op extends RequestOp> = Extract<StoreRequest, { readonly op: Op }>
type Handler<Op extends RequestOp> = (exchange: Exchange, request: RequestOf<Op>) => void

const DONE = 'OK\0'

function finish({ connection, cause }: Exchange, error: StoreErrorName | undefined): void {
  if (error === undefined) connection.replyText(DONE, cause)
  else connection.replyError(error, cause)
}

const text = ({ connection, cause }: Exchange, answer: string): void => connection.replyText(`${answer}\0`, cause)

function bytes({ connection, cause }: Exchange, answer: Uint8Array | StoreErrorName): void {
  if (isStoreErrorName(answer)) connection.replyError(answer, cause)
  else connection.replyBytes(answer, cause)
}

function directory(exchange: Exchange, { path }: { readonly path: string }): void {
  const node = exchange.connection.session.directory(exchange.transaction, path)
  if (isStoreErrorName(node)) return finish(exchange, node)
  // The list may be huge and is not built just to be refused.
  if (node.children.nameBytes > XENSTORE.PAYLOAD_MAX) return finish(exchange, 'E2BIG')
  return bytes(exchange, node.children.listing())
}

/** A part of a long list: the generation, whole names from `offset` on, and an empty one at the end of the list. */
function directoryPart(exchange: Exchange, { path, offset }: RequestOf<'directory-part'>): void {
  const node = exchange.connection.session.directory(exchange.transaction, path)
  if (isStoreErrorName(node)) return finish(exchange, node)
  const listing = node.children.listing()
  const generation = `${node.generation}\0`
  const start = Math.min(offset, listing.length)
  const limit = XENSTORE.PAYLOAD_MAX - generation.length - 1
  let end = start
  while (end < listing.length) {
    const next = listing.indexOf(0, end) + 1
    if (next - start > limit) break
    end = next
  }
  const answer = new Uint8Array(generation.length + end - start + (end === listing.length ? 1 : 0))
  putRawText(generation, answer, 0)
  answer.set(listing.subarray(start, end), generation.length)
  return bytes(exchange, answer)
}

function getPermissions(exchange: Exchange, { path }: { readonly path: string }): void {
  const list = exchange.connection.session.getPermissions(exchange.transaction, path)
  if (isStoreErrorName(list)) finish(exchange, list)
  else text(exchange, list.map(formatPermission).join('\0'))
}

function watch(exchange: Exchange, { path, token, depth }: RequestOf<'watch'>): void {
  const { session } = exchange.connection
  if (depth !== undefined && !exchange.host.store.offers(session.record, 'WATCH_DEPTH')) {
    return finish(exchange, 'EINVAL')
  }
  const result: Watch | StoreErrorName = session.watch(path, token, depth ?? -1)
  if (isStoreErrorName(result)) return finish(exchange, result)
  finish(exchange, undefined)
  // The first event comes behind the reply and is nobody's doing.
  return session.deliver(result, result.path, undefined)
}

function transactionStart(exchange: Exchange): void {
  const result = exchange.connection.session.transactionStart(exchange.transaction)
  if (isStoreErrorName(result)) finish(exchange, result)
  else text(exchange, String(result.id))
}

/** The connected domain that a request of the toolstack is about. */
function connected({ host }: Exchange, id: number): DomainRecord | StoreErrorName {
  const domain = host.store.domains.get(id)
  if (domain === undefined || !domain.introduced) return 'ENOENT'
  return host.isConnected(id) ? domain : 'EINVAL'
}

function release(exchange: Exchange, { domid }: { readonly domid: number }): void {
  const found = domid === 0 ? 'EINVAL' : connected(exchange, domid)
  if (isStoreErrorName(found)) return finish(exchange, found)
  exchange.host.release(domid)
  return finish(exchange, undefined)
}

function resume(exchange: Exchange, { domid }: { readonly domid: number }): void {
  const found = domid === 0 ? 'EINVAL' : connected(exchange, domid)
  if (isStoreErrorName(found)) return finish(exchange, found)
  exchange.host.store.domainResumed(domid)
  return finish(exchange, undefined)
}

function setTarget(exchange: Exchange, { domid, target }: RequestOf<'set-target'>): void {
  const holder = connected(exchange, domid)
  if (isStoreErrorName(holder)) return finish(exchange, holder)
  const other = connected(exchange, target)
  if (isStoreErrorName(other)) return finish(exchange, other)
  exchange.host.store.domains.setTarget(holder, target)
  return finish(exchange, undefined)
}


function isIntroduced(exchange: Exchange, { domid }: { readonly domid: number }): void {
  const introduced = domid === DOMID.SELF || exchange.host.store.domains.get(domid)?.introduced === true
  text(exchange, introduced ? 'T' : 'F')
}

function getFeature(exchange: Exchange, { domid }: RequestOf<'get-feature'>): void {
  const { session } = exchange.connection
  if (domid === undefined) return text(exchange, String(session.record?.features ?? STORE_FEATURES))
  if (!session.privileged) return finish(exchange, 'EACCES')
  const found = exchange.host.store.domains.find(domid)
  return found === undefined ? finish(exchange, 'ENOENT') : text(exchange, String(found.features))
}

function setFeature(exchange: Exchange, { domid, features }: RequestOf<'set-feature'>): void {
  const found = exchange.host.store.domains.find(domid)
  if (found === undefined) return finish(exchange, 'ENOENT')
  if (found.introduced) return finish(exchange, 'EBUSY')
  if ((features & ~STORE_FEATURES) !== 0) return finish(exchange, 'EINVAL')
  found.features = features
  return finish(exchange, undefined)
}

const quotaName = (wire: string): QuotaName | undefined => QUOTA_WIRE_NAMES.find(([name]) => name === wire)?.[1]

function getQuota(exchange: Exchange, { domid, quota }: RequestOf<'get-quota'>): void {
  if (quota === undefined) return text(exchange, QUOTA_WIRE_NAMES.map(([name]) => name).join(' '))
  const { domains } = exchange.host.store
  const limits = domid === undefined ? domains.defaults : domains.find(domid)?.limits
  if (limits === undefined) return finish(exchange, 'ENOENT')
  const name = quotaName(quota)
  return name === undefined ? finish(exchange, 'EINVAL') : text(exchange, String(limits[name]))
}

function setQuota(exchange: Exchange, { domid, quota, value }: RequestOf<'set-quota'>): void {
  const { domains } = exchange.host.store
  const found = domid === undefined ? undefined : domains.find(domid)
  if (domid !== undefined && found === undefined) return finish(exchange, 'ENOENT')
  const name = quotaName(quota)
  if (name === undefined) return finish(exchange, 'EINVAL')
  if (found !== undefined) found.limits = { ...found.limits, [name]: value }
  else domains.defaults = { ...domains.defaults, [name]: value }
  return finish(exchange, undefined)
}

function control(exchange: Exchange, { words }: RequestOf<'control'>): void {
  const { id, domid } = exchange.connection
  const result = runControl({ store: exchange.host.store, connection: id, domid }, words)
  if (isStoreErrorName(result)) finish(exchange, result)
  else text(exchange, result.text)
}

/** The table. */
export const HANDLERS: { readonly [Op in RequestOp]: Handler<Op> } = {
  control,
  directory,
  read: (exchange, { path }) => bytes(exchange, exchange.connection.session.read(exchange.transaction, path)),
  'get-permissions': getPermissions,
  watch,
  unwatch: (exchange, { path, token }) => finish(exchange, exchange.connection.session.unwatch(path, token)),
  'transaction-start': transactionStart,
  'transaction-end': (exchange, { outcome }) =>
    finish(exchange, exchange.connection.session.transactionEnd(exchange.transaction, outcome)),
  introduce: (exchange, { domid, frame, port }) => finish(exchange, exchange.host.introduce(domid, frame, port)),
  release,
  'get-domain-path': (exchange, { domid }) => text(exchange, `/local/domain/${domid}`),
  write: (exchange, { path, value }) =>
    finish(exchange, exchange.connection.session.write(exchange.transaction, path, value)),
  mkdir: (exchange, { path }) => finish(exchange, exchange.connection.session.mkdir(exchange.transaction, path)),
  rm: (exchange, { path }) => finish(exchange, exchange.connection.session.rm(exchange.transaction, path)),
  'set-permissions': (exchange, { path, permissions }) =>
    finish(exchange, exchange.connection.session.setPermissions(exchange.transaction, path, permissions)),
  'is-domain-introduced': isIntroduced,
  resume,
  'set-target': setTarget,
  'reset-watches': (exchange) => {
    exchange.connection.session.resetWatches()
    finish(exchange, undefined)
  },
  'directory-part': directoryPart,
  'get-feature': getFeature,
  'set-feature': setFeature,
  'get-quota': getQuota,
  'set-quota': setQuota,
}
