/** What a trace of a host consists of: everything that hypervisor, store and toolstack tell, in one order, by category. Types and the filter. */
import type { HypervisorEvent } from '../../hypervisor/index.ts'
import type { HostEvent } from '../../toolstack/index.ts'
import type { EventStamp } from '../../util/index.ts'

/** What can be traced. */
export const TRACE_CATEGORIES = ['hypercall', 'exit', 'schedule', 'event', 'grant', 'memory', 'domain', 'device', 'store'] as const
/** One of them. */
export type TraceCategory = (typeof TRACE_CATEGORIES)[number]

/** Which category each of the hypervisor's events is of; `console` and the like are of none. */
export const HYPERVISOR_CATEGORIES: Readonly<Partial<Record<HypervisorEvent['type'], TraceCategory>>> = {
  hypercall: 'hypercall', 'trap-bounced': 'exit', upcall: 'exit', schedule: 'schedule', 'event-channel': 'event', grant: 'grant', reservation: 'memory', 'page-table': 'memory',
  'domain-created': 'domain', 'domain-paused': 'domain', 'domain-unpaused': 'domain', 'domain-shutdown': 'domain', 'domain-resumed': 'domain', 'domain-crashed': 'domain',
  'domain-destroyed': 'domain', 'vcpu-online': 'domain', 'access-denied': 'domain',
}

/** Which category those of the toolstack are of. */
export const HOST_CATEGORIES: Readonly<Partial<Record<HostEvent['type'], TraceCategory>>> = {
  'device-state': 'device', 'device-added': 'device', 'device-removed': 'device', 'disk-medium': 'device',
}

/** One thing that happened. */
export interface TraceEvent {
  readonly type: TraceCategory
  /** `sched_op block`, `trap 14`, `block`, `evtchn send`, `store write`. */
  readonly name: string
  /** The domain that did it, or to which it happened; dom0 is 0. */
  readonly domid: number
  /** The vCPU, where it was one. */
  readonly vcpu: number | undefined
  /** The device that it is about: `vbd 51712`. */
  readonly device: string | undefined
  /** More about it, by name. */
  readonly details: Readonly<Record<string, string | number | bigint | boolean>>
}

/** The same with its number and its host time. */
export type TraceRecord = TraceEvent & EventStamp

/** What of it is wanted: all that passes every filter that is given. */
export interface TraceFilter {
  /** Default: all. */
  readonly categories?: readonly TraceCategory[] | undefined
  /** Domains by number. Default: all. */
  readonly domains?: readonly number[] | undefined
  /** Names of records, as `sched_op block`, or their beginnings, as `sched_op`. Default: all. */
  readonly names?: readonly string[] | undefined
  /** Those that it takes. */
  readonly accept?: ((event: TraceEvent) => boolean) | undefined
}

/** Whether a record is wanted. */
export function passes(record: TraceEvent, { categories, domains, names, accept }: TraceFilter): boolean {
  if (categories !== undefined && !categories.includes(record.type)) return false
  if (domains !== undefined && !domains.includes(record.domid)) return false
  if (names !== undefined && !names.some((name) => record.name === name || record.name.startsWith(`${name} `))) return false
  return accept === undefined || accept(record)
}
