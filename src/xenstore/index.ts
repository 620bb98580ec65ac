/**
 * XenStore: the store itself, its protocol, a server and a client.
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
export { DEFAULT_QUOTA } from './quota.ts'
export type { QuotaLimits, QuotaName, QuotaUsage } from './quota.ts'
