/**
 * X86_TSC_INFO: a domain's time-stamp counter as a stream tells of it, and as the hypervisor does.
 * Reference: xen/docs/specs/libxc-migration-stream.pandoc, X86_TSC_INFO.
 */
import type { TscInfo } from '../../hypervisor/index.ts'
import type { ImageRecord } from '../stream/index.ts'

/** The record. */
export type TscRecord = Extract<ImageRecord, { readonly type: 'tsc-info' }>

/** The record of a counter. */
export const tscRecord = ({ mode, kilohertz, nanoseconds, incarnation }: TscInfo): TscRecord =>
  ({ type: 'tsc-info', mode, khz: kilohertz, nanoseconds, incarnation })

/** The counter of a record. */
export const tscOf = ({ mode, khz, nanoseconds, incarnation }: TscRecord): TscInfo => ({ mode, kilohertz: khz, nanoseconds, incarnation })
