/**
 * The hypercalls that no kind of guest owns, one row each.
 */
import type { Vcpu } from '../domains/domain.ts'
import type { HypercallRow } from '../domains/hypercall.ts'
import type { HypervisorConsole } from '../console/console.ts'
import type { GrantTables } from '../grants/index.ts'
import { consoleIo } from './console-io.ts'
import { type EventOpParts, eventChannelOp, eventChannelOpCompat } from './event-channel-op.ts'
import { grantTableOp } from './grant-table-op.ts'
import { type MemoryOpParts, memoryOp } from './memory-op.ts'
import { type PhysdevParts, physdevOp, physdevOpCompat } from './physdev-op.ts'
import { refusedHypercalls } from './refused.ts'
import { type SchedParts, schedOp, schedOpCompat } from './sched-op.ts'
import { setTimerOp } from './set-timer-op.ts'
import { type VcpuOpParts, vcpuOp } from './vcpu-op.ts'
import { vmAssist } from './vm-assist.ts'
import { xenVersion } from './xen-version.ts'

/** What the hypercalls of all kinds of guests work on. */
export interface CoreHypercallParts extends EventOpParts, MemoryOpParts, SchedParts, VcpuOpParts, PhysdevParts {
  readonly grants: GrantTables<Vcpu>
  readonly console: HypervisorConsole
  /** The hypervisor's own command line. */
  readonly commandLine: string
}

/** Makes their rows. */
export function coreHypercalls(parts: CoreHypercallParts): HypercallRow[] {
  const physdev = physdevOp(parts)
  return [
    memoryOp(parts), setTimerOp(parts.clock), xenVersion(parts.commandLine), consoleIo(parts.console, parts.meter),
    grantTableOp(parts.grants, parts.meter), vmAssist(), vcpuOp(parts), schedOp(parts), schedOpCompat(parts),
    eventChannelOp(parts), eventChannelOpCompat(parts), physdev, physdevOpCompat(physdev), ...refusedHypercalls(),
  ]
}
