/**
 * sched_op: yield, block, poll, shutdown, watchdog.
 * Reference: public/sched.h; xen/common/sched/core.c, do_sched_op.
 */
import {
  ERRNO, type GuestAbi, SCHEDOP, SHUTDOWN, SchedPinOverride, SchedPoll, SchedRemoteShutdown, SchedShutdown, SchedWatchdog,
} from '../../abi/index.ts'
import { signedFromParts } from '../../util/index.ts'
import type { DomainRegistry } from '../domains/registry.ts'
import { Scratch, readInto } from '../memory/guest-access.ts'
import type { HostClock } from '../time/host-clock.ts'
import type { Vcpu } from '../domains/domain.ts'
import type { VcpuExecution } from '../execution/vcpu-execution.ts'
import type { HypercallHandler, HypercallRow } from '../domains/hypercall.ts'
import { FULL, type Operation, type Operations, byFirstArgument, listed } from '../domains/hypercall-rows.ts'

/** Most ports that one poll may name: a limit of Xen's, it bounds the work of one call. */
const MAX_POLL_PORTS = 128

/** What sched_op works on. */
export interface SchedParts {
  readonly execution: VcpuExecution
  readonly domains: DomainRegistry
  readonly clock: HostClock
}

/** Yielding and blocking, which the form of 2004 has as well. */
function waiting(execution: SchedParts['execution']): Record<'yield' | 'block', Operation> {
  return {
    yield: {
      support: FULL,
      run: (caller) => {
        execution.yield(caller)
        return 0
      },
    },
    block: {
      support: FULL,
      run: (caller) => {
        execution.block(caller)
        return 0
      },
    },
  }
}

/** The operations, by the names of their numbers. */
function operations(parts: SchedParts, abi: GuestAbi): Operations<typeof SCHEDOP, Operation> {
  const { execution } = parts
  const polling = abi.of(SchedPoll)
  const scratch = new Scratch(SchedPoll.size)
  /** An operation on the structure that the second argument points to. */
  const withArgument = (size: number, run: HypercallHandler): Operation => ({
    support: FULL,
    run: (caller, args) => (readInto(caller.access, args.address(1), scratch, size) ? run(caller, args) : -ERRNO.EFAULT),
  })
  const pin = withArgument(SchedPinOverride.size, (caller) =>
    execution.pinOverride(caller, SchedPinOverride.pcpu.get(scratch.view, 0)))
  return {
    ...waiting(execution),
    shutdown: withArgument(SchedShutdown.size, (caller, args) =>
      shutDown(execution, caller, { reason: SchedShutdown.reason.get(scratch.view, 0), frame: args.number(2) })),
    poll: withArgument(polling.size, poller(execution, polling, scratch.view)),
    remote_shutdown: withArgument(SchedRemoteShutdown.size, (caller) => remoteShutdown(parts, caller, scratch)),
    shutdown_code: withArgument(SchedShutdown.size, ({ owner }) => {
      if (owner.shutdownCode < 0) owner.shutdownCode = SchedShutdown.reason.get(scratch.view, 0) & 0xff
      return 0
    }),
    watchdog: withArgument(SchedWatchdog.size, ({ owner }) => owner.watchdogs.operate(
      SchedWatchdog.id.get(scratch.view, 0), SchedWatchdog.timeout.get(scratch.view, 0), parts.clock.now(),
    )),
    pin_override: {
      support: FULL,
      run: (caller, args) => (caller.owner.privileged ? pin.run(caller, args) : -ERRNO.EPERM),
    },
  }
}

/** Makes the row of sched_op for callers of one ABI. */
export function schedOp(parts: SchedParts, abi: GuestAbi): HypercallRow {
  const rows = operations(parts, abi)
  return {
    name: 'sched_op', handler: byFirstArgument(SCHEDOP, rows), source: 'public/sched.h; do_sched_op',
    operations: [listed('SCHEDOP_', SCHEDOP, rows)],
  }
}

/** Makes the row of sched_op_compat: the form of 2004 with the reason as argument. */
export function schedOpCompat(parts: SchedParts): HypercallRow {
  const { execution } = parts
  const known = { yield: SCHEDOP.yield, block: SCHEDOP.block, shutdown: SCHEDOP.shutdown } as const
  const rows: Operations<typeof known, Operation> = {
    ...waiting(execution),
    shutdown: { support: FULL, run: (caller, args) => shutDown(execution, caller, { reason: args.u32(1), frame: args.number(2) }) },
  }
  return {
    name: 'sched_op_compat', handler: byFirstArgument(known, rows), source: 'public/sched.h; do_sched_op_compat',
    support: FULL,
  }
}

/** A suspend names the start_info frame in the third argument. */
function shutDown(
  execution: VcpuExecution, caller: Vcpu, { reason, frame }: { readonly reason: number; readonly frame: number },
): number {
  caller.owner.suspendFrame = (reason & 0xff) === SHUTDOWN.suspend ? frame : -1
  execution.shutdown(caller.owner, reason & 0xff, caller)
  return 0
}

/** Waits for ports: their structure has been copied into `view`. */
function poller(execution: VcpuExecution, layout: Pick<typeof SchedPoll, 'ports' | 'nrPorts' | 'timeout'>, view: DataView): HypercallHandler {
  const ports = new Scratch(MAX_POLL_PORTS * 4)
  return (caller) => {
    const count = layout.nrPorts.get(view, 0)
    if (count > MAX_POLL_PORTS) return -ERRNO.EINVAL
    const list = signedFromParts(layout.ports.low(view, 0), layout.ports.high(view, 0))
    const deadline = layout.timeout.number(view, 0)
    if (execution.hasUpcall(caller)) return 0
    if (count > 0 && !readInto(caller.access, list, ports, count * 4)) return -ERRNO.EFAULT
    return execution.poll(caller, Array.from({ length: count }, (_, i) => ports.view.getUint32(i * 4, true)), deadline)
  }
}

function remoteShutdown(parts: SchedParts, caller: Vcpu, scratch: Scratch): number {
  const target = parts.domains.get(SchedRemoteShutdown.domainId.get(scratch.view, 0))
  if (target === undefined) return -ERRNO.ESRCH
  if (!parts.domains.mayControl(caller.domid, target.id, 'sched_op.remote_shutdown')) return -ERRNO.EPERM
  parts.execution.shutdown(target, SchedRemoteShutdown.reason.get(scratch.view, 0) & 0xff)
  return 0
}
