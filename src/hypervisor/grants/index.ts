/** Grant tables: mapping, copying and transferring what domains grant each other. */
export { GrantTables } from './grant-tables.ts'
export type { CacheFlushRequest } from './grant-tables.ts'
export { grantShape } from './grant-state.ts'
export type { DomainGrantState, GrantState } from './grant-state.ts'
export { GrantTable } from './grant-table.ts'
export { grantRecords } from './grant-records.ts'
export type { GrantRecord } from './grant-records.ts'
export type { ActiveEntry } from './pins.ts'
export type { Mapping } from './maptrack.ts'
export type {
  CopyRequest, CopySide, GrantCaller, GrantDomain, GrantFrames, GrantHost, InstallRequest, MapRequest, MapResult,
  MappingHost, RemoveRequest, TransferRequest, UnmapRequest,
} from './types.ts'
