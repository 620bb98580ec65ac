/**
 * XenStore: the store itself, its protocol, a server and a client. In process a {@link LocalStore} is the shortest way
 * in; over a shared page, a socket or a pipe in memory it is a {@link XenStoreClient} and a {@link XenStoreServer}.
 *
 * @example
 * import { XenStore } from 'paravirt/xenstore'
 *
 * const tools = new XenStore().local()
 * tools.watch('/local/domain/1', (path) => console.log(path))
 * tools.write('/local/domain/1/name', 'web')
 *
 * @module
 */
export { XenStore } from './store/store.ts'
export { INTRODUCE_DOMAIN, RELEASE_DOMAIN } from './store/store-core.ts'
export type { XenStoreOptions } from './store/store-core.ts'
export { LocalOperations, LocalStore, isMissingNode } from './store/local-store.ts'
export type { PermissionsLike, WatchListener } from './store/local-store.ts'
export type { NodeChange, StoreChanges, StoreDoor } from './store/session-door.ts'
export { storeErrorName } from './protocol/store-error.ts'
export type { StoreErrorName } from './protocol/store-error.ts'
export type { StoreActor, StoreEvent, StoreOperation } from './store/store-events.ts'
export { ACCESS, DOMAIN_ANY, fixedPermissions, formatPermission, parsePermission } from './tree/permissions.ts'
export type { Permission, Permissions } from './tree/permissions.ts'
export type { StoreDomain } from './store/domains.ts'
export { DEFAULT_QUOTA } from './store/quota.ts'
export type { QuotaLimits, QuotaName, QuotaUsage } from './store/quota.ts'
export { XenStoreServer } from './server/server.ts'
export type { StoreInterference, StoreIntervention, StoreRequestFacts } from './server/interference.ts'
export type { ConnectionName, ConnectionOptions, IntroduceOptions, Reconnection, XenStoreServerOptions } from './server/server.ts'
export type { ConnectionState, StoreConnection } from './server/server-connection.ts'
export { RingTransport } from './protocol/ring-transport.ts'
export type { StoreRing } from './protocol/ring-transport.ts'
export { MemoryTransport } from './protocol/transport.ts'
export type { StoreTransport, TransportFault, TransportListener, TransportState } from './protocol/transport.ts'
export { XenStoreClient, clientState } from './client/client.ts'
export type { ClientState, WatchOptions } from './client/client.ts'
export { ClientOperations } from './client/client-operations.ts'
export type { Requester } from './client/client-operations.ts'
export { ClientDomains } from './client/client-domains.ts'
export { CHANGE_LIMIT } from './store/change-queue.ts'
export type { WatchEvent } from './client/client-watch.ts'
export { PacketParser } from './protocol/packet-parser.ts'
export type { ParserState } from './protocol/packet-parser.ts'
export type { StoreRequest } from './protocol/messages.ts'
