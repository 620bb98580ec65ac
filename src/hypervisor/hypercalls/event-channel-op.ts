/**
 * event_channel_op: takes the arguments of each operation from guest memory, hands them to the event channels, and
 * writes answers back.
 * Reference: public/event_channel.h; xen/common/event_channel.c, do_event_channel_op.
 */
import {
  ERRNO, EVTCHNOP, EVTCHNSTAT, EvtchnAllocUnbound, EvtchnBindInterdomain, EvtchnBindIpi, EvtchnBindPirq, EvtchnBindVcpu,
  EvtchnBindVirq, EvtchnClose, EvtchnExpandArray, EvtchnInitControl, EvtchnOp, EvtchnReset, EvtchnSend,
  EvtchnSetPriority, EvtchnStatus, EvtchnUnmask,
} from '../../abi/index.ts'
import type { DomId, EventHub } from '../../util/index.ts'
import type { EventChannels } from '../events/index.ts'
import type { DomainRegistry } from '../domains/registry.ts'
import { Scratch } from '../memory/guest-access.ts'
import type { HypervisorEvent } from '../hypervisor-events.ts'
import type { Vcpu } from '../domains/domain.ts'
import type { HypercallHandler } from '../domains/hypercall.ts'

/** What event_channel_op works on. */
export interface EventOpParts {
  readonly events: EventChannels
  readonly domains: DomainRegistry
  readonly hub: EventHub<HypervisorEvent>
}

/** Largest argument structure. */
const MAX_ARGUMENT = 24

/** Size of each operation's argument. */
const SIZES: Readonly<Record<number, number>> = {
  [EVTCHNOP.bind_interdomain]: EvtchnBindInterdomain.size, [EVTCHNOP.bind_virq]: EvtchnBindVirq.size,
  [EVTCHNOP.bind_pirq]: EvtchnBindPirq.size, [EVTCHNOP.close]: EvtchnClose.size, [EVTCHNOP.send]: EvtchnSend.size,
  [EVTCHNOP.status]: EvtchnStatus.size, [EVTCHNOP.alloc_unbound]: EvtchnAllocUnbound.size,
  [EVTCHNOP.bind_ipi]: EvtchnBindIpi.size, [EVTCHNOP.bind_vcpu]: EvtchnBindVcpu.size,
  [EVTCHNOP.unmask]: EvtchnUnmask.size, [EVTCHNOP.reset]: EvtchnReset.size,
  [EVTCHNOP.init_control]: EvtchnInitControl.size, [EVTCHNOP.expand_array]: EvtchnExpandArray.size,
  [EVTCHNOP.set_priority]: EvtchnSetPriority.size,
}

/** Operations that write their argument back. */
const ANSWERS: ReadonlySet<number> = /* @__PURE__ */ new Set<number>([
  EVTCHNOP.bind_interdomain, EVTCHNOP.bind_virq, EVTCHNOP.alloc_unbound, EVTCHNOP.bind_ipi, EVTCHNOP.status,
  EVTCHNOP.init_control,
])

/** One operation on arguments that have been copied; a failed one changes nothing. */
function operate(parts: EventOpParts, caller: Vcpu, command: number, view: DataView): number {
  const { events } = parts
  const id = caller.domid
  switch (command) {
    case EVTCHNOP.send: return events.send(id, EvtchnSend.port.get(view, 0))
    case EVTCHNOP.unmask: return events.unmask(id, EvtchnUnmask.port.get(view, 0))
    case EVTCHNOP.close: return events.close(id, EvtchnClose.port.get(view, 0))
    case EVTCHNOP.alloc_unbound: {
      const remote = EvtchnAllocUnbound.remoteDom.get(view, 0)
      const port = events.allocUnbound(id, EvtchnAllocUnbound.dom.get(view, 0), remote)
      return answered(port, () => EvtchnAllocUnbound.port.set(view, 0, port))
    }
    case EVTCHNOP.bind_interdomain: {
      const remote = EvtchnBindInterdomain.remoteDom.get(view, 0)
      const port = events.bindInterdomain(id, remote, EvtchnBindInterdomain.remotePort.get(view, 0))
      return answered(port, () => EvtchnBindInterdomain.localPort.set(view, 0, port))
    }
    case EVTCHNOP.bind_virq: {
      const port = events.bindVirq(id, EvtchnBindVirq.virq.get(view, 0), EvtchnBindVirq.vcpu.get(view, 0))
      return answered(port, () => EvtchnBindVirq.port.set(view, 0, port))
    }
    case EVTCHNOP.bind_ipi: {
      const port = events.bindIpi(id, EvtchnBindIpi.vcpu.get(view, 0))
      return answered(port, () => EvtchnBindIpi.port.set(view, 0, port))
    }
    // There are no physical interrupts.
    case EVTCHNOP.bind_pirq: return -ERRNO.EINVAL
    case EVTCHNOP.status: return status(events, id, view)
    case EVTCHNOP.bind_vcpu:
      return events.bindVcpu(id, EvtchnBindVcpu.port.get(view, 0), EvtchnBindVcpu.vcpu.get(view, 0))
    case EVTCHNOP.reset: {
      const isPaused = (domain: DomId): boolean => (parts.domains.get(domain)?.pauseCount ?? 0) > 0
      return events.reset(id, EvtchnReset.dom.get(view, 0), isPaused)
    }
    default: return fifo(events, id, command, view)
  }
}

function fifo(events: EventChannels, id: DomId, command: number, view: DataView): number {
  switch (command) {
    case EVTCHNOP.init_control: {
      const gfn = EvtchnInitControl.controlGfn.number(view, 0)
      const offset = EvtchnInitControl.offset.get(view, 0)
      const result = events.initControl(id, EvtchnInitControl.vcpu.get(view, 0), gfn, offset)
      return answered(result, () => EvtchnInitControl.linkBits.set(view, 0, 17))
    }
    case EVTCHNOP.expand_array: return events.expandArray(id, EvtchnExpandArray.arrayGfn.number(view, 0))
    case EVTCHNOP.set_priority:
      return events.setPriority(id, EvtchnSetPriority.port.get(view, 0), EvtchnSetPriority.priority.get(view, 0))
    default: return -ERRNO.ENOSYS
  }
}

/** Puts a positive result into the argument; the hypercall itself answers 0. */
function answered(result: number, put: () => void): number {
  if (result < 0) return result
  put()
  return 0
}

function status(events: EventChannels, id: DomId, view: DataView): number {
  const found = events.status(id, EvtchnStatus.dom.get(view, 0), EvtchnStatus.port.get(view, 0))
  if (typeof found === 'number') return found
  EvtchnStatus.status.set(view, 0, found.status)
  EvtchnStatus.vcpu.set(view, 0, found.vcpu)
  if (found.status === EVTCHNSTAT.virq) EvtchnStatus.virq.set(view, 0, found.virq ?? 0)
  if (found.domain !== undefined) EvtchnStatus.unboundDom.set(view, 0, found.domain)
  if (found.port !== undefined) EvtchnStatus.interdomainPort.set(view, 0, found.port)
  return 0
}

/** Makes the handler of event_channel_op. */
export function eventChannelOp(parts: EventOpParts): HypercallHandler {
  const scratch = new Scratch(MAX_ARGUMENT)
  const views = new Map<number, Uint8Array>()
  for (const size of Object.values(SIZES)) views.set(size, scratch.bytes.subarray(0, size))
  return (caller, args) => {
    const command = args.u32(0)
    const size = SIZES[command]
    if (size === undefined) return -ERRNO.ENOSYS
    const bytes = views.get(size)!
    if (!caller.access.read(args.address(1), bytes)) return -ERRNO.EFAULT
    const result = operate(parts, caller, command, scratch.view)
    if (parts.hub.wants('event-channel')) {
      const port = scratch.view.getUint32(0, true)
      parts.hub.emit({ type: 'event-channel', domid: caller.domid, action: nameOf(command), port })
    }
    if (result !== 0 || !ANSWERS.has(command)) return result
    // What cannot be told stays as it was done: the guest still finds it by asking for the port's status.
    return caller.access.write(args.address(1), bytes) ? 0 : -ERRNO.EFAULT
  }
}

/** Makes the handler of event_channel_op_compat: command and argument in one structure. */
export function eventChannelOpCompat(parts: EventOpParts): HypercallHandler {
  const scratch = new Scratch(EvtchnOp.size)
  const inner = new DataView(scratch.bytes.buffer, 4)
  return (caller, args) => {
    if (!caller.access.read(args.address(0), scratch.bytes)) return -ERRNO.EFAULT
    const command = EvtchnOp.cmd.get(scratch.view, 0)
    // Operations that came later than this form are not in it.
    if (command > EVTCHNOP.unmask) return -ERRNO.ENOSYS
    const result = operate(parts, caller, command, inner)
    if (result !== 0 || !ANSWERS.has(command)) return result
    return caller.access.write(args.address(0), scratch.bytes) ? 0 : -ERRNO.EFAULT
  }
}

function nameOf(command: number): string {
  return Object.entries(EVTCHNOP).find(([, number]) => number === command)?.[0] ?? String(command)
}
