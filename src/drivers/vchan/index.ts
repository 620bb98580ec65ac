/**
 * Byte channels between two guests, libxenvchan's: no device of the toolstack, but a library of which each guest has an end.
 *
 * @module
 */
export { attachVchan, openVchanClient, openVchanServer } from './open.ts'
export type { VchanClientOptions, VchanOptions, VchanServerOptions } from './open.ts'
export { VCHAN_RING_LIMIT } from './protocol.ts'
export { vchanState } from './saved.ts'
export type { VchanState } from './saved.ts'
export { Vchan } from './vchan.ts'
export type { VchanRole, VchanStanding, VchanStatistics } from './vchan.ts'
