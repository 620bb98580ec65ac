/**
 * A guest's hypercalls in their order, by phases, held against a capture from real Xen: what is called, with which result. Left out are
 * calls whose number is chance (events, yields, timers, spinlocks, masks); equal calls in a row are one with a count.
 */
import type { HypervisorEvent } from '../../src/hypervisor/index.ts'
import type { DomId, EventSource } from '../../src/util/index.ts'
import { callName } from './hypercall-census.ts'

/** What is called as often as things happen, on real Xen as here. */
export const CHANCE = [
  'event_channel_op/send', 'event_channel_op/unmask', 'sched_op/yield', 'sched_op/poll', 'vcpu_op/set_singleshot_timer', 'vcpu_op/stop_singleshot_timer',
  'vcpu_op/is_up',
] as const

/** Calls in a row, as text: `memory_op/add_to_physmap = 0 x 2`. */
type Line = string

/** Calls of each phase, and how often each was called in all. */
export interface Capture {
  readonly phases: ReadonlyMap<string, readonly Line[]>
  readonly counts: ReadonlyMap<string, number>
}

/** A call without what depends on how much Xen does at a time. */
const masked = (name: string, result: string): string => (name === 'memory_op/decrease_reservation' || name === 'memory_op/populate_physmap' ? `${name} = n` : `${name} = ${result}`)

/** Joins equal calls in a row; of those whose number depends on Xen's portions, the count is left out. */
function join(calls: readonly (readonly [call: string, count: number])[]): Line[] {
  const joined: [string, number][] = []
  for (const [call, count] of calls) {
    const last = joined.at(-1)
    if (last?.[0] === call) last[1] += count
    else joined.push([call, count])
  }
  return joined.map(([call, count]) => (call.endsWith(' = n') ? call : `${call} x ${count}`))
}

/** Reads a capture: phases in brackets, and under `[counts]` how often each was called. */
export function readCapture(text: string): Capture {
  const phases = new Map<string, (readonly [string, number])[]>()
  const counts = new Map<string, number>()
  let phase = ''
  for (const line of text.split('\n')) {
    const title = /^\[(.*)\]$/.exec(line)
    if (title !== null) phase = title[1]!
    const [, name, result, times = '1'] = /^(\S+\/\S+) = (\S+)(?: x (\d+))?$/.exec(line) ?? []
    if (name !== undefined && !(CHANCE as readonly string[]).includes(name)) phases.set(phase, [...(phases.get(phase) ?? []), [masked(name, result!), Number(times)]])
    const [, counted, count] = /^(\S+\/\S+) (\d+)$/.exec(line) ?? []
    if (counted !== undefined) counts.set(counted, Number(count))
  }
  return { phases: new Map([...phases].map(([name, calls]) => [name, join(calls)])), counts }
}

/** Takes one of a domain that runs here. */
export class CaptureTaker {
  private readonly phases = new Map<string, [string, number][]>()
  private readonly counts = new Map<string, number>()
  private current: [string, number][] = []

  /** Listens to all domains but dom0: a restored one goes on under another number. */
  constructor(events: EventSource<HypervisorEvent>, dom0: DomId) {
    events.on('hypercall', ({ domid, number, sub, result }) => {
      if (domid === dom0) return
      const name = callName(number, sub)
      this.counts.set(name, (this.counts.get(name) ?? 0) + 1)
      if (!(CHANCE as readonly string[]).includes(name)) this.current.push([masked(name, String(result)), 1])
    })
  }

  phase(name: string): void {
    this.current = []
    this.phases.set(name, this.current)
  }

  taken(): Capture {
    return { phases: new Map([...this.phases].map(([name, calls]) => [name, join(calls)])), counts: this.counts }
  }
}
