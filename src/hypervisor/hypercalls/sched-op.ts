/**
 * sched_op: yield, block, poll, shutdown, watchdog.
 * Reference: public/sched.h; xen/common/sched/core.c, do_sched_op.
 */
import {
  ERRNO, SCHEDOP, SHUTDOWN, SchedPinOverride, SchedPoll, SchedRemoteShutdown, SchedShutdown, SchedWatchdog,
} from '../../abi/index.ts'
import { signedFromParts } from '../../util/index.ts'
import type { DomainRegistry } from '../domains/registry.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import type { HostClock } from '../time/host-clock.ts'
import type { Vcpu } from '../domains/domain.ts'
import type { VcpuExecution } from '../execution/vcpu-execution.ts'
import type { HypercallArguments, HypercallHandler } from '../domains/hypercall.ts'

/** Most ports that one poll may name: a limit of Xen's, it bounds the work of one call. */
const MAX_POLL_PORTS = 128

/** What sched_op works on. */
export interface SchedParts {
  readonly execution: VcpuExecution
  readonly domains: DomainRegistry
  readonly clock: HostClock
}

/** Makes the handler of sched_op. */
export function schedOp(parts: SchedParts): HypercallHandler {
  const scratch = new Scratch(SchedPoll.size)
  const ports = new Scratch(MAX_POLL_PORTS * 4)
  const { execution } = parts
  return (caller, args) => {
    const address = args.address(1)
    const read = (size: number): boolean => readInto(caller.access, address, scratch, size)
    switch (args.u32(0)) {
      case SCHEDOP.yield:
        execution.yield(caller)
        return 0
      case SCHEDOP.block:
        execution.block(caller)
        return 0
      case SCHEDOP.shutdown:
        if (!read(SchedShutdown.size)) return -ERRNO.EFAULT
        return shutDown(execution, caller, args, SchedShutdown.reason.get(scratch.view, 0))
      case SCHEDOP.shutdown_code:
        if (!read(SchedShutdown.size)) return -ERRNO.EFAULT
        if (caller.owner.shutdownCode < 0) caller.owner.shutdownCode = SchedShutdown.reason.get(scratch.view, 0) & 0xff
        return 0
      case SCHEDOP.poll:
        return read(SchedPoll.size) ? poll(execution, caller, scratch, ports) : -ERRNO.EFAULT
      case SCHEDOP.remote_shutdown:
        return read(SchedRemoteShutdown.size) ? remoteShutdown(parts, caller, scratch) : -ERRNO.EFAULT
      case SCHEDOP.watchdog:
        if (!read(SchedWatchdog.size)) return -ERRNO.EFAULT
        return caller.owner.watchdogs.operate(
          SchedWatchdog.id.get(scratch.view, 0), SchedWatchdog.timeout.get(scratch.view, 0), parts.clock.now(),
        )
      case SCHEDOP.pin_override:
        return caller.owner.privileged ? pinOverride(parts, caller, address) : -ERRNO.EPERM
      default:
        return -ERRNO.ENOSYS
    }
  }
}

/** sched_op_compat: the form of 2004 with the reason as argument. */
export function schedOpCompat(parts: SchedParts): HypercallHandler {
  const { execution } = parts
  return (caller, args) => {
    switch (args.u32(0)) {
      case SCHEDOP.yield:
        execution.yield(caller)
        return 0
      case SCHEDOP.block:
        execution.block(caller)
        return 0
      case SCHEDOP.shutdown:
        return shutDown(execution, caller, args, args.u32(1))
      default:
        return -ERRNO.ENOSYS
    }
  }
}

/** A suspend names the start_info frame in the third argument. */
function shutDown(execution: VcpuExecution, caller: Vcpu, args: HypercallArguments, reason: number): number {
  caller.owner.suspendFrame = (reason & 0xff) === SHUTDOWN.suspend ? args.number(2) : -1
  execution.shutdown(caller.owner, reason & 0xff, caller)
  return 0
}

function poll(execution: VcpuExecution, caller: Vcpu, scratch: Scratch, ports: Scratch): number {
  const count = SchedPoll.nrPorts.get(scratch.view, 0)
  if (count > MAX_POLL_PORTS) return -ERRNO.EINVAL
  const list = signedFromParts(SchedPoll.ports.low(scratch.view, 0), SchedPoll.ports.high(scratch.view, 0))
  const deadline = SchedPoll.timeout.number(scratch.view, 0)
  if (execution.hasUpcall(caller)) return 0
  if (count > 0 && !readInto(caller.access, list, ports, count * 4)) return -ERRNO.EFAULT
  return execution.poll(caller, Array.from({ length: count }, (_, i) => ports.view.getUint32(i * 4, true)), deadline)
}

function remoteShutdown(parts: SchedParts, caller: Vcpu, scratch: Scratch): number {
  const target = parts.domains.get(SchedRemoteShutdown.domainId.get(scratch.view, 0))
  if (target === undefined) return -ERRNO.ESRCH
  if (!parts.domains.mayControl(caller.domid, target.id)) return -ERRNO.EPERM
  parts.execution.shutdown(target, SchedRemoteShutdown.reason.get(scratch.view, 0) & 0xff)
  return 0
}

function pinOverride(parts: SchedParts, caller: Vcpu, address: number): number {
  const scratch = new Scratch(SchedPinOverride.size)
  if (!readInto(caller.access, address, scratch, SchedPinOverride.size)) return -ERRNO.EFAULT
  return parts.execution.pinOverride(caller, SchedPinOverride.pcpu.get(scratch.view, 0))
}
