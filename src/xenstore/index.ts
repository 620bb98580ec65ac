/**
 * XenStore: the store itself, its protocol, a server and a client. In process a {@link LocalStore} is the shortest way
 * in; over a shared page, a socket or a pipe in memory it is a {@link XenStoreClient} and a {@link XenStoreServer}.
 *
 * @module
 */
export { INTRODUCE_DOMAIN, RELEASE_DOMAIN, XenStore } from './store.ts'
export type { XenStoreOptions } from './store.ts'
export { LocalOperations, LocalStore, isMissingNode } from './local-store.ts'
export type { PermissionsLike, WatchListener } from './local-store.ts'
export { storeErrorName } from './store-error.ts'
export type { StoreErrorName } from './store-error.ts'
export type { StoreActor, StoreEvent, StoreOperation } from './store-events.ts'
export { ACCESS, DOMAIN_ANY, formatPermission, parsePermission } from './permissions.ts'
export type { Permission, Permissions } from './permissions.ts'
export type { StoreDomain } from './domains.ts'
export { DEFAULT_QUOTA } from './quota.ts'
export type { QuotaLimits, QuotaName, QuotaUsage } from './quota.ts'
export { XenStoreServer } from './server.ts'
export type { ConnectionOptions, IntroduceOptions, RestoreOptions, XenStoreServerOptions } from './server.ts'
export type {
  SavedAccess, SavedConnection, SavedCopy, SavedDomain, SavedMarker, SavedNode, SavedServer, SavedSession, SavedStore,
  SavedTransaction, SavedWatch,
} from './saved-state.ts'
export { StoreConnection } from './server-connection.ts'
export type { ConnectionState } from './server-connection.ts'
export { RingTransport } from './ring-transport.ts'
export type { StoreRing } from './ring-transport.ts'
export { MemoryTransport } from './transport.ts'
export type { StoreTransport, TransportFault, TransportListener, TransportState } from './transport.ts'
export { XenStoreClient } from './client.ts'
export type { WatchOptions } from './client.ts'
export { ClientOperations } from './client-operations.ts'
export { ClientDomains } from './client-domains.ts'
export { CHANGE_LIMIT } from './change-queue.ts'
export type { WatchEvent } from './client-watch.ts'
export { PacketParser } from './packet-parser.ts'
export type { ParserState } from './packet-parser.ts'
export type { StoreRequest } from './messages.ts'
