/**
 * What is recorded in the trace buffers: which vCPUs run and wait, what CPUs change to, domains that come and go, hypercalls. Each is made
 * of what the hypervisor tells its observers, while tracing is on and at no other time; a hypercall is recorded when it has returned.
 * Reference: xen/common/sched/core.c, trace_runstate_change; xen/common/trace.c, __trace_hypercall.
 */
import { DOMID, HYPERVISOR, TRC } from '../../abi/index.ts'
import type { EventSource } from '../../util/index.ts'
import type { HypervisorEvent, VcpuName } from '../hypervisor-events.ts'

/** Where records come from and go to. */
export interface RecordParts {
  readonly hub: EventSource<HypervisorEvent>
  /** The CPU whose turn it is. */
  cpu(): number
  record(cpu: number, event: number, words: readonly number[]): void
}

/** Arguments that the record of a hypercall has, by their places, beside its number. */
const ARGUMENTS: Readonly<Record<number, readonly number[]>> = {
  [HYPERVISOR.mmu_update]: [1], [HYPERVISOR.multicall]: [1], [HYPERVISOR.grant_table_op]: [0, 2], [HYPERVISOR.vcpu_op]: [0, 1],
  [HYPERVISOR.mmuext_op]: [1], [HYPERVISOR.sched_op]: [0],
}

/** In a hypercall's first word: an argument of 32 bits is there. */
const argument32 = (place: number): number => 1 << (20 + 2 * place)

const SCHEDULE: Readonly<Record<string, number>> = { wake: TRC.SCHED_WAKE, yield: TRC.SCHED_YIELD, block: TRC.SCHED_BLOCK }

/** Records from now on; what is returned ends it. */
export function recordEvents({ hub, cpu, record }: RecordParts): () => void {
  const nameOf = (vcpu: VcpuName | undefined, idle: number): number[] => (vcpu === undefined ? [DOMID.IDLE, idle] : [vcpu.domid, vcpu.vcpu])
  const ends = [
    hub.on('runstate', ({ domid, vcpu, from, to }) => record(cpu(), TRC.SCHED_RUNSTATE_CHANGE | from << 8 | to << 4, [vcpu | domid << 16])),
    hub.on('cpu-switch', ({ cpu: id, from, to }) => record(id, TRC.SCHED_SWITCH, [...nameOf(from, id), ...nameOf(to, id)])),
    hub.on('schedule', ({ domid, vcpu, action }) => {
      const event = SCHEDULE[action]
      if (event !== undefined) record(cpu(), event, [domid, vcpu])
    }),
    hub.on('domain-created', ({ domid }) => record(cpu(), TRC.DOM0_DOM_ADD, [domid])),
    hub.on('domain-destroyed', ({ domid }) => record(cpu(), TRC.DOM0_DOM_REM, [domid])),
    hub.on('hypercall', ({ number, args }) => {
      const places = ARGUMENTS[number] ?? []
      const words = places.map((place) => Number(BigInt.asUintN(32, args[place] ?? 0n)))
      record(cpu(), TRC.PV_HYPERCALL_V2, [places.reduce((bits, place) => bits | argument32(place), number), ...words])
    }),
  ]
  return () => { for (const end of ends) end() }
}
