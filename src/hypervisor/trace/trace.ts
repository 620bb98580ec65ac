/** The trace buffers with who makes their records: while tracing is on, of what the hypervisor tells its observers. */
import { DOMID } from '../../abi/index.ts'
import type { EventSource } from '../../util/index.ts'
import type { HypervisorEvent, VcpuName } from '../hypervisor-events.ts'
import type { TscScale } from '../time/index.ts'
import { TraceBuffers, type TraceParts } from './trace-buffers.ts'
import { recordEvents } from './trace-records.ts'

/** What both work on. */
export interface TracedParts extends Pick<TraceParts, 'memory' | 'frames' | 'domainMemory' | 'filled'> {
  readonly hub: EventSource<HypervisorEvent>
  readonly clock: { now(): number }
  readonly tsc: Pick<TscScale, 'ticksAt'>
  readonly console: { log(lines: readonly string[]): void }
  readonly cpus: {
    readonly count: number
    readonly executing: number
    /** What runs on one; undefined while it is idle. */
    running(cpu: number): VcpuName | undefined
  }
}

/** Makes the trace buffers of a host. */
export function makeTrace({ hub, clock, tsc, console, cpus, ...parts }: TracedParts): TraceBuffers {
  const buffers = new TraceBuffers({
    ...parts, count: cpus.count, ticks: () => tsc.ticksAt(clock.now()), log: (lines) => console.log(lines),
    current: (cpu) => cpus.running(cpu) ?? { domid: DOMID.IDLE, vcpu: cpu },
  })
  let end: () => void = () => undefined
  buffers.connect((isOn) => {
    end()
    end = isOn ? recordEvents({ hub, cpu: () => cpus.executing, record: (cpu, event, words) => buffers.record(cpu, event, words) }) : () => undefined
  })
  return buffers
}
