/**
 * Event channels of a guest: who hears which port. A port has a handler, or it is latched for whoever awaits it, so
 * that an event between two awaits is not lost. Several events on one port may arrive as one, as on any Xen.
 *
 * Reference: public/event_channel.h.
 */
import type { DomId, EventPort, Mfn, StateOf } from '../util/index.ts'
import { badState, shape, XenError } from '../util/index.ts'
import { ERRNO, EVTCHN_2L_NR_CHANNELS, type HypercallPort } from '../abi/index.ts'
import type { PendingEvents } from './pending-events.ts'

/** Called for each event on a port. */
export type EventHandler = () => void

interface Listener {
  handler: EventHandler | undefined
  /** An event came while nobody had asked for it. */
  latched: boolean
  readonly waiting: (() => void)[]
  /** Whoever listens can do so again after a load. */
  kept: boolean
}

/** The ports that are open, and whether an event waits for whoever asks. */
export const portsState = /* @__PURE__ */ shape.list(/* @__PURE__ */ shape.record({
  port: /* @__PURE__ */ shape.whole(1, 2 ** 17), latched: shape.flag,
}), 2 ** 17)

/** Saved ports. */
export type PortsState = StateOf<typeof portsState>

/** Turns a negative error number of a hypercall into HYPERCALL_FAILED. */
export function checked(result: number, operation: string, details: Readonly<Record<string, unknown>> = {}): number {
  if (result < 0) {
    throw new XenError('HYPERCALL_FAILED', `${operation} failed with error ${-result}`, {
      details: { operation, errno: -result, ...details },
    })
  }
  return result
}

/** The hypercalls that event channels need. */
export type EventCalls = Pick<HypercallPort,
  'allocUnbound' | 'bindInterdomain' | 'bindVirq' | 'bindIpi' | 'closePort' | 'sendEvent' | 'unmaskPort' | 'initControl' | 'expandArray'>

/** What event channels have of their kernel. */
export interface EventServices {
  readonly pending: PendingEvents
  /** A promise of {@link EventChannels.next} was resolved. */
  resolved(): void
  /** A page of the guest's for the bits of more ports. Throws OUT_OF_MEMORY. */
  allocate(): Mfn
}

/** Opens, closes and signals ports, and finds the handler of one that is pending. */
export class EventChannels {
  private readonly hypercalls: EventCalls
  private readonly services: EventServices
  private readonly listeners = new Map<number, Listener>()

  constructor(hypercalls: EventCalls, services: EventServices) {
    this.hypercalls = hypercalls
    this.services = services
  }

  /** Ports that are open. */
  get open(): number {
    return this.listeners.size
  }

  /** Opens a port that domain `remote` may bind to. */
  allocateUnbound(own: DomId, remote: DomId, handler?: EventHandler): EventPort {
    return this.opened(() => this.hypercalls.allocUnbound(own, remote), 'allocUnbound', { remote, handler })
  }

  /** Binds to the port that domain `remote` has opened for us. */
  bindInterdomain(remote: DomId, remotePort: EventPort, handler?: EventHandler): EventPort {
    return this.opened(() => this.hypercalls.bindInterdomain(remote, remotePort), 'bindInterdomain', { remote, remotePort, handler })
  }

  /** Binds a virtual interrupt to a port on vCPU 0. */
  bindVirq(virq: number, handler?: EventHandler): EventPort {
    return this.opened(() => this.hypercalls.bindVirq(virq, 0), 'bindVirq', { virq, handler })
  }

  /** Opens a port by which the guest wakes itself. */
  bindIpi(handler?: EventHandler): EventPort {
    return this.opened(() => this.hypercalls.bindIpi(0), 'bindIpi', { handler })
  }

  /** Opens a port by a hypercall; one that lacks a number is made again once there are more. */
  private opened(
    call: () => number, operation: string, { handler, ...details }: { readonly handler: EventHandler | undefined } & Readonly<Record<string, unknown>>,
  ): EventPort {
    const first = call()
    const result = first === -ERRNO.ENOSPC && this.cover(EVTCHN_2L_NR_CHANNELS) ? call() : first
    const port = checked(result, operation, details) as EventPort
    if (this.cover(port)) return this.listen(port, handler)
    this.hypercalls.closePort(port)
    throw new XenError('OUT_OF_MEMORY', `the guest has no room for the bits of port ${port}`, { details: { port } })
  }

  /** Makes room for the bits of ports up to this one; false where there is none, or the hypervisor gives no more. */
  private cover(port: number): boolean {
    const { pending, allocate } = this.services
    try {
      return pending.cover(port, { calls: this.hypercalls, allocate, isOpen: (other) => this.listeners.has(other) }) === 0
    } catch (error) {
      if (XenError.is(error, 'OUT_OF_MEMORY')) return false
      throw error
    }
  }

  /** Hears a port that is open already, such as those of the boot information. */
  listen(port: EventPort, handler?: EventHandler): EventPort {
    this.listeners.set(port, { handler, latched: false, waiting: [], kept: false })
    this.hypercalls.unmaskPort(port)
    return port
  }

  /** Says that whoever listens at a port saves its number, and attaches its handler again after a load. Gives the port. */
  keep(port: EventPort): EventPort {
    const listener = this.listeners.get(port)
    if (listener !== undefined) listener.kept = true
    return port
  }

  /** Gives a port that was loaded its handler again: no hypercall, the guest at the other end sees nothing. */
  attach(port: number, handler: EventHandler): EventPort {
    const listener = this.listeners.get(port)
    if (listener === undefined || listener.handler !== undefined) throw badState(`there is no port ${port} to be attached`)
    listener.handler = handler
    return this.keep(port as EventPort)
  }

  /** Ports that were loaded and that nobody has attached. */
  unattached(): readonly number[] {
    return [...this.listeners].filter(([, { handler }]) => handler === undefined).map(([port]) => port)
  }

  /** A port whose handler nobody would attach again; undefined when there is none. */
  unsavable(): string | undefined {
    for (const [port, { kept }] of this.listeners) if (!kept) return `port ${port} of code that cannot be saved`
    return undefined
  }

  /** The ports that are to be kept, for a save of the kernel. */
  save(): PortsState {
    return [...this.listeners].map(([port, { latched }]) => ({ port, latched }))
  }

  /** Whether it is what a save of it said, so that nothing has to be brought back. */
  isAsSaved(state: PortsState): boolean {
    if (state.length !== this.listeners.size) return false
    let at = 0
    for (const [port, { latched }] of this.listeners) {
      const saved = state[at++]!
      if (saved.port !== port || saved.latched !== latched) return false
    }
    return true
  }

  /** Takes over ports that wait for their handlers. */
  load(state: PortsState): void {
    if (new Set(state.map(({ port }) => port)).size < state.length) throw badState('two ports have one number')
    for (const { port, latched } of state) this.listeners.set(port, { handler: undefined, latched, waiting: [], kept: false })
  }

  /** Wakes the other end. A negative error number when the port is not open. */
  notify(port: EventPort): number {
    return this.hypercalls.sendEvent(port)
  }

  /** Closes a port and forgets its handler. Whoever awaits it waits for ever. */
  close(port: EventPort): void {
    this.services.pending.setMask(port)
    this.services.pending.clearPending(port)
    this.listeners.delete(port)
    this.hypercalls.closePort(port)
  }

  /** Resolves with the next event on a port that has no handler; at once when one has come since the last time. */
  next(port: EventPort): Promise<void> {
    const listener = this.listeners.get(port)
    if (listener === undefined || listener.handler !== undefined) {
      const why = listener === undefined ? 'is not open' : 'has a handler'
      return Promise.reject(new XenError('INVALID_STATE', `port ${port} ${why}`, { details: { port } }))
    }
    if (listener.latched) {
      listener.latched = false
      return Promise.resolve()
    }
    return new Promise((resolve) => listener.waiting.push(resolve))
  }

  /** Delivers one event. */
  deliver(port: number): void {
    const listener = this.listeners.get(port)
    if (listener === undefined) return
    if (listener.handler !== undefined) {
      listener.handler()
      return
    }
    listener.latched = listener.waiting.length === 0
    const waiting = listener.waiting.splice(0)
    if (waiting.length > 0) this.services.resolved()
    for (const resolve of waiting) resolve()
  }
}
