/**
 * event_channel_op: takes the arguments of each operation from guest memory, hands them to the event channels, and
 * writes answers back.
 * Reference: public/event_channel.h; xen/common/event_channel.c, do_event_channel_op.
 */
import {
  ERRNO, EVTCHNOP, EVTCHNSTAT, EVTCHN_FIFO, EvtchnAllocUnbound, EvtchnBindInterdomain, EvtchnBindIpi, EvtchnBindPirq,
  EvtchnBindVcpu, EvtchnBindVirq, EvtchnClose, EvtchnExpandArray, EvtchnInitControl, EvtchnOp, EvtchnReset, EvtchnSend,
  EvtchnSetPriority, EvtchnStatus, EvtchnUnmask,
} from '../../abi/index.ts'
import type { DomId, EventHub } from '../../util/index.ts'
import type { HypercallHandler, HypercallRow, Support } from '../domains/hypercall.ts'
import type { DomainRegistry } from '../domains/registry.ts'
import type { Vcpu } from '../domains/domain.ts'
import type { EventChannels } from '../events/index.ts'
import type { HypervisorEvent } from '../hypervisor-events.ts'
import { Scratch } from '../memory/guest-access.ts'
import { FULL, type Operations, byNumber, listed, refusalNumber, refused } from '../domains/hypercall-rows.ts'

/** What event_channel_op works on. */
export interface EventOpParts {
  readonly events: EventChannels
  readonly domains: DomainRegistry
  readonly hub: EventHub<HypervisorEvent>
}

/** An operation on an argument that has been copied. 0, or a negative error number: a failed one changes nothing. */
type Run = (caller: Vcpu, view: DataView) => number

/** One operation. */
interface EventOperation {
  readonly support: Support
  readonly run: Run
  readonly name: string
  /** Whether the argument is written back. */
  readonly answers: boolean
  /** Where its argument is copied to. */
  readonly argument: Uint8Array
}

/** Largest argument structure. */
const MAX_ARGUMENT = 24

/** Puts a port, or passes an error on. */
function answered(port: number, field: { set(view: DataView, base: number, value: number): void }, view: DataView): number {
  if (port < 0) return port
  field.set(view, 0, port)
  return 0
}

function status(events: EventChannels, id: DomId, view: DataView): number {
  const found = events.status(id, EvtchnStatus.dom.get(view, 0), EvtchnStatus.port.get(view, 0))
  if (typeof found === 'number') return found
  EvtchnStatus.status.set(view, 0, found.status)
  EvtchnStatus.vcpu.set(view, 0, found.vcpu)
  if (found.status === EVTCHNSTAT.virq) EvtchnStatus.virq.set(view, 0, found.virq ?? 0)
  if (found.domid !== undefined) EvtchnStatus.unboundDom.set(view, 0, found.domid)
  if (found.port !== undefined) EvtchnStatus.interdomainPort.set(view, 0, found.port)
  return 0
}

/** Operations that make a port or tell of one: their argument is written back. */
function binding(events: EventChannels): Pick<Record<keyof typeof EVTCHNOP, Run>,
  'bind_interdomain' | 'bind_virq' | 'alloc_unbound' | 'bind_ipi' | 'status' | 'init_control'> {
  return {
    bind_interdomain: ({ domid }, view) => {
      const op = EvtchnBindInterdomain
      return answered(events.bindInterdomain(domid, op.remoteDom.get(view, 0), op.remotePort.get(view, 0)), op.localPort, view)
    },
    bind_virq: ({ domid }, view) => {
      const op = EvtchnBindVirq
      return answered(events.bindVirq(domid, op.virq.get(view, 0), op.vcpu.get(view, 0)), op.port, view)
    },
    alloc_unbound: ({ domid }, view) => {
      const op = EvtchnAllocUnbound
      return answered(events.allocUnbound(domid, op.dom.get(view, 0), op.remoteDom.get(view, 0)), op.port, view)
    },
    bind_ipi: ({ domid }, view) =>
      answered(events.bindIpi(domid, EvtchnBindIpi.vcpu.get(view, 0)), EvtchnBindIpi.port, view),
    status: ({ domid }, view) => status(events, domid, view),
    init_control: ({ domid }, view) => {
      const op = EvtchnInitControl
      const result = events.initControl(
        domid, op.vcpu.get(view, 0), op.controlGfn.number(view, 0), op.offset.get(view, 0),
      )
      if (result === 0) op.linkBits.set(view, 0, EVTCHN_FIFO.LINK_BITS)
      return result
    },
  }
}

/** The operations, by the names of their numbers. */
function operations({ events, domains }: EventOpParts, argument: Uint8Array): Operations<typeof EVTCHNOP, EventOperation> {
  const isPaused = (domid: DomId): boolean => (domains.get(domid)?.pauseCount ?? 0) > 0
  const makes = binding(events)
  const row = (name: keyof typeof EVTCHNOP, layout: { readonly size: number }, run: Run): EventOperation => ({
    support: FULL, run, name, answers: name in makes, argument: argument.subarray(0, layout.size),
  })
  const noInterrupts = refused('EINVAL', 'there are no physical interrupts')
  return {
    bind_interdomain: row('bind_interdomain', EvtchnBindInterdomain, makes.bind_interdomain),
    bind_virq: row('bind_virq', EvtchnBindVirq, makes.bind_virq),
    bind_pirq: {
      ...row('bind_pirq', EvtchnBindPirq, (caller) => refusalNumber(noInterrupts, caller)), support: noInterrupts,
    },
    close: row('close', EvtchnClose, (caller, view) => events.close(caller.domid, EvtchnClose.port.get(view, 0))),
    send: row('send', EvtchnSend, (caller, view) => events.send(caller.domid, EvtchnSend.port.get(view, 0))),
    status: row('status', EvtchnStatus, makes.status),
    alloc_unbound: row('alloc_unbound', EvtchnAllocUnbound, makes.alloc_unbound),
    bind_ipi: row('bind_ipi', EvtchnBindIpi, makes.bind_ipi),
    bind_vcpu: row('bind_vcpu', EvtchnBindVcpu, (caller, view) =>
      events.bindVcpu(caller.domid, EvtchnBindVcpu.port.get(view, 0), EvtchnBindVcpu.vcpu.get(view, 0))),
    unmask: row('unmask', EvtchnUnmask, (caller, view) => events.unmask(caller.domid, EvtchnUnmask.port.get(view, 0))),
    reset: row('reset', EvtchnReset, (caller, view) =>
      events.reset(caller.domid, EvtchnReset.dom.get(view, 0), isPaused)),
    init_control: row('init_control', EvtchnInitControl, makes.init_control),
    expand_array: row('expand_array', EvtchnExpandArray, (caller, view) =>
      events.expandArray(caller.domid, EvtchnExpandArray.arrayGfn.number(view, 0))),
    set_priority: row('set_priority', EvtchnSetPriority, (caller, view) =>
      events.setPriority(caller.domid, EvtchnSetPriority.port.get(view, 0), EvtchnSetPriority.priority.get(view, 0))),
  }
}

/** Makes the row of event_channel_op. */
export function eventChannelOp(parts: EventOpParts): HypercallRow {
  const scratch = new Scratch(MAX_ARGUMENT)
  const rows = operations(parts, scratch.bytes)
  const flat = byNumber(EVTCHNOP, rows)
  const { hub } = parts
  const interest = hub.interest('event-channel')
  const handler: HypercallHandler = (caller, args) => {
    const command = args.low[0]!
    const operation = command < flat.length ? flat[command] : undefined
    if (operation === undefined) return -ERRNO.ENOSYS
    const { argument } = operation
    if (!caller.access.read(args.address(1), argument)) return -ERRNO.EFAULT
    const result = operation.run(caller, scratch.view)
    if (interest.isThere) {
      const port = scratch.view.getUint32(0, true)
      hub.emit({ type: 'event-channel', domid: caller.domid, action: operation.name, port })
    }
    if (result !== 0 || !operation.answers) return result
    // What cannot be told stays as it was done: the guest still finds it by asking for the port's status.
    return caller.access.write(args.address(1), argument) ? 0 : -ERRNO.EFAULT
  }
  return {
    name: 'event_channel_op', handler, source: 'public/event_channel.h; do_event_channel_op',
    operations: [listed('EVTCHNOP_', EVTCHNOP, rows)],
  }
}

/** Makes the row of event_channel_op_compat: command and argument in one structure. */
export function eventChannelOpCompat(parts: EventOpParts): HypercallRow {
  const scratch = new Scratch(EvtchnOp.size)
  const inner = new DataView(scratch.bytes.buffer, EvtchnOp.u.offset)
  const rows = operations(parts, scratch.bytes)
  // Operations that came later than this form are not in it.
  const flat = byNumber(EVTCHNOP, rows).slice(0, EVTCHNOP.unmask + 1)
  const handler: HypercallHandler = (caller, args) => {
    if (!caller.access.read(args.address(0), scratch.bytes)) return -ERRNO.EFAULT
    const command = EvtchnOp.cmd.get(scratch.view, 0)
    const operation = command < flat.length ? flat[command] : undefined
    if (operation === undefined) return -ERRNO.ENOSYS
    const result = operation.run(caller, inner)
    if (result !== 0 || !operation.answers) return result
    return caller.access.write(args.address(0), scratch.bytes) ? 0 : -ERRNO.EFAULT
  }
  return {
    name: 'event_channel_op_compat', handler, source: 'public/event_channel.h, struct evtchn_op; compat/event_channel_op',
    support: FULL,
  }
}
