/**
 * Traces of a host: hypercalls with their arguments, exits that guests see, scheduling, events, grants, devices and what they have been asked for, XenStore. It listens to
 * what the host's parts tell, which costs nothing while nobody does. It goes on when the host is brought back to a moment.
 */
import type { EventHub as Hub } from '../../util/index.ts'
import { callable, checkArgument, checkOptions, EventHub, having, listOf, oneOf, text, whole, type EventSource } from '../../util/index.ts'
import type { DomainStatistics, Host } from '../../toolstack/index.ts'
import { perfettoTrace } from './perfetto.ts'
import { passes, TRACE_CATEGORIES, type TraceCategory, type TraceEvent, type TraceFilter, type TraceRecord } from './trace-events.ts'
import { ofHost, ofHypervisor, ofStore, type StoreTold } from './translate.ts'

/** How a host is traced. */
export interface TraceOptions extends TraceFilter {
  /** Records that are kept for the file; of more the last. Default 1,000,000. */
  readonly keep?: number | undefined
}

/** A trace under way. */
export interface HostTrace {
  /** Live: `for await (const record of trace.events.stream())`; `events-lost` tells a reader that was too slow. */
  readonly events: EventSource<TraceEvent>
  /** What has been kept, oldest first. */
  records(): readonly TraceRecord[]
  /** Records that are gone since there were more than are kept. */
  readonly dropped: number
  /** A file for ui.perfetto.dev: a track for each vCPU, device and domain. */
  toPerfetto(): Uint8Array
  /** Ends it; what has been kept stays. */
  stop(): void
}

const NAMES: Readonly<Record<TraceCategory, true>> = {
  hypercall: true, exit: true, schedule: true, event: true, grant: true, memory: true, domain: true, device: true, store: true,
}
const CHECKS = {
  categories: /* @__PURE__ */ listOf(/* @__PURE__ */ oneOf(...TRACE_CATEGORIES)), domains: /* @__PURE__ */ listOf(/* @__PURE__ */ whole(0, 0x7fff)), names: /* @__PURE__ */ listOf(text),
  accept: callable, keep: /* @__PURE__ */ whole(1, 1e8),
}
/** Nanoseconds of host time between two looks at what devices have been asked for. */
const LOOK = 1e6

/** Tells what devices have been asked for since the last look, while something happens. */
class DeviceLooks {
  private readonly host: Host
  private next = 0
  private readonly seen = new Map<string, number>()

  constructor(host: Host) {
    this.host = host
  }

  /** What there is to tell at a host time. */
  * at(time: number): Generator<TraceEvent> {
    if (time < this.next && time > this.next - 2 * LOOK) return
    this.next = time + LOOK
    for (const { id, devices } of this.host.statistics().domains) for (const device of devices) yield* this.of(id, device)
  }

  private* of(domid: number, { kind, device, counters }: DomainStatistics['devices'][number]): Generator<TraceEvent> {
    for (const [name, value] of Object.entries(counters)) {
      const key = `${domid} ${kind} ${device} ${name}`
      if ((this.seen.get(key) ?? 0) === value) continue
      this.seen.set(key, value)
      yield { type: 'device', name, domid, vcpu: undefined, device: `${kind} ${device}`, details: { value } }
    }
  }
}

/** What is listened to of a host, and again when it is another one behind a reset. */
function listen(host: Host, { categories = TRACE_CATEGORIES }: TraceFilter, tell: (event: TraceEvent | undefined) => void): () => void {
  const wants = (category: TraceCategory): boolean => categories.includes(category)
  const inside = (): (() => void)[] => {
    const ends: (() => void)[] = []
    if (categories.some((category) => category !== 'store' && category !== 'device')) ends.push(host.hypervisor.events.onAny((event) => tell(ofHypervisor(event))))
    if (wants('store')) ends.push(host.xenstore.events.onAny((event) => tell(ofStore(event as StoreTold))))
    return ends
  }
  let ends = inside()
  const control = { known: host.hypervisor }
  const follow = host.events.on('host-reset', () => {
    if (host.hypervisor === control.known) return
    control.known = host.hypervisor
    for (const end of ends) end()
    ends = inside()
  })
  const devices = wants('device') ? host.events.onAny((event) => tell(ofHost(event))) : undefined
  return () => { for (const end of [...ends, follow, ...(devices === undefined ? [] : [devices])]) end() }
}

/**
 * Traces a host from now on, as far as the filter wants it. Throws INVALID_ARGUMENT.
 *
 * @example
 * const trace = traceHost(host, { categories: ['hypercall', 'schedule'], domains: [1] })
 * await domain.console.write('work\n')
 * trace.stop()
 * writeFileSync('host.perfetto-trace', trace.toPerfetto())
 */
export function traceHost(host: Host, options: TraceOptions = {}): HostTrace {
  checkArgument('the host of traceHost', host, having('hold', 'statistics'))
  checkOptions('traceHost', options, CHECKS)
  const { keep = 1_000_000 } = options
  const hub: Hub<TraceEvent> = new EventHub<TraceEvent>(() => host.now(), undefined, { names: NAMES })
  const kept: TraceRecord[] = []
  let dropped = 0
  const looks = options.categories === undefined || options.categories.includes('device') ? new DeviceLooks(host) : undefined
  const emit = (event: TraceEvent): void => {
    if (!passes(event, options)) return
    hub.emit(event)
  }
  const ends = [hub.onAny((record) => {
    kept.push(record)
    if (kept.length <= keep * 2) return
    dropped += kept.splice(0, kept.length - keep).length
  }), listen(host, options, (event) => {
    if (event === undefined) return
    emit(event)
    if (looks !== undefined) for (const look of looks.at(host.now())) emit(look)
  })]
  const records = (): readonly TraceRecord[] => kept.slice(-keep)
  return {
    events: hub, records,
    get dropped() {
      return dropped + Math.max(0, kept.length - keep)
    },
    toPerfetto: () => perfettoTrace(records(), (domid) => host.listDomains().find(({ id }) => id === domid)?.name ?? `domain ${domid}`),
    stop: () => { for (const end of ends.splice(0).reverse()) end() },
  }
}
