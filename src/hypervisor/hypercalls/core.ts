/**
 * The hypercalls that no kind of guest owns, one row each.
 */
import type { CpuPools } from '../scheduler/index.ts'
import type { Vcpu } from '../domains/domain.ts'
import type { GuestAbi } from '../../abi/index.ts'
import type { HypercallRow } from '../domains/hypercall.ts'
import type { HypervisorConsole } from '../console/console.ts'
import { consoleIo } from './console-io.ts'
import { type EventOpParts, eventChannelOp, eventChannelOpCompat } from './event-channel-op.ts'
import { type GrantOpParts, grantTableOp } from './grant-table-op.ts'
import { type McaParts, mca } from './mca.ts'
import { type HvmToolParts, hvmToolOp } from './hvm-op.ts'
import { type HypfsParts, hypfsOp } from './hypfs-op.ts'
import { type MemoryOpParts, memoryOp } from './memory-op.ts'
import { type PhysdevParts, physdevOp, physdevOpCompat } from './physdev-op.ts'
import { type PlatformParts, platformOp } from './platform-op.ts'
import { refusedHypercalls } from './refused.ts'
import { type SchedParts, schedOp, schedOpCompat } from './sched-op.ts'
import { setTimerOp } from './set-timer-op.ts'
import { type VcpuOpParts, vcpuOp } from './vcpu-op.ts'
import { vmAssist } from './vm-assist.ts'
import { xenVersion } from './xen-version.ts'

/** What the hypercalls of all kinds of guests work on. */
export interface CoreHypercallParts extends EventOpParts, GrantOpParts, HvmToolParts, HypfsParts, MemoryOpParts, SchedParts, VcpuOpParts, PhysdevParts, PlatformParts, McaParts {
  readonly console: HypervisorConsole
  readonly scheduler: CpuPools<Vcpu>
  /** The hypervisor's own command line. */
  readonly commandLine: string
}

/** Makes their rows for callers of one ABI. */
export function coreHypercalls(parts: CoreHypercallParts, abi: GuestAbi): HypercallRow[] {
  const physdev = physdevOp(parts, abi)
  return [
    memoryOp(parts, abi), setTimerOp(parts.clock, abi), xenVersion(parts.commandLine, abi), consoleIo(parts.console, parts.meter),
    grantTableOp(parts, abi), vmAssist(abi), vcpuOp(parts, abi), schedOp(parts, abi), schedOpCompat(parts),
    eventChannelOp(parts), eventChannelOpCompat(parts), hvmToolOp(parts), hypfsOp(parts), physdev, physdevOpCompat(physdev, abi), platformOp(parts, abi), mca(parts, abi), ...refusedHypercalls(),
  ]
}
