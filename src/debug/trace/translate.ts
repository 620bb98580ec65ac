/** Events of hypervisor, store and toolstack as events of a trace. */
import type { HypervisorEvent } from '../../hypervisor/index.ts'
import type { HostEvent } from '../../toolstack/index.ts'
import { hypercallArguments, hypercallName } from './hypercall-names.ts'
import { HOST_CATEGORIES, HYPERVISOR_CATEGORIES, type TraceEvent } from './trace-events.ts'

type Details = TraceEvent['details']

/** What of an event is told as it is: flat values. */
function detailsOf(event: object, without: readonly string[]): Details {
  const found: Record<string, string | number | bigint | boolean> = {}
  for (const [name, value] of Object.entries(event)) {
    if (without.includes(name)) continue
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean') found[name] = value
  }
  return found
}

const STAMP = ['type', 'seq', 'time', 'domid', 'vcpu']

function nameOf(event: HypervisorEvent): string {
  switch (event.type) {
    case 'hypercall':
      return hypercallName(event.number, event.sub)
    case 'trap-bounced':
      return `trap ${event.vector}`
    case 'schedule':
      return event.action
    case 'event-channel':
      return `evtchn ${event.action}`
    case 'grant':
      return `grant ${event.action}`
    case 'page-table':
      return `page-table ${event.action}`
    default:
      return event.type
  }
}

/** An event of the hypervisor; undefined for one that no trace tells. */
export function ofHypervisor(event: HypervisorEvent): TraceEvent | undefined {
  const type = HYPERVISOR_CATEGORIES[event.type]
  if (type === undefined) return undefined
  const details = event.type === 'hypercall'
    ? { ...hypercallArguments(event.number, event.args), result: event.result }
    : detailsOf(event, event.type === 'domain-crashed' ? [...STAMP, 'report'] : STAMP)
  const { domid = 0, vcpu } = event as { readonly domid?: number; readonly vcpu?: number }
  return { type, name: nameOf(event), domid, vcpu, device: undefined, details }
}

/** One of the toolstack's that is about a device. */
export function ofHost(event: HostEvent): TraceEvent | undefined {
  const type = HOST_CATEGORIES[event.type]
  if (type === undefined) return undefined
  const { domid = 0, kind, device } = event as { readonly domid?: number; readonly kind?: string; readonly device?: number }
  return { type, name: event.type, domid, vcpu: undefined, device: `${kind ?? 'disk'} ${device ?? ''}`.trim(), details: detailsOf(event, STAMP) }
}

/** What the store tells. */
export interface StoreTold {
  readonly type: string
  readonly domid?: number
  readonly operation?: string
}

/** One of the store's. */
export function ofStore(event: StoreTold): TraceEvent {
  const { type, domid = 0, operation } = event
  return { type: 'store', name: `store ${operation ?? type}`, domid, vcpu: undefined, device: undefined, details: detailsOf(event, [...STAMP, 'connection']) }
}
