/** Event channels that ask before an event is raised. One that comes later finds its channel as it was, or is lost. */
import type { DomId } from '../../util/index.ts'
import { CHANNEL, EventChannels, type EventHost } from '../events/index.ts'
import type { HypervisorInterference } from '../interference.ts'

/** The event channels of one host. */
export class InterferedEvents extends EventChannels {
  private readonly interference: HypervisorInterference

  constructor(host: EventHost, interference: HypervisorInterference) {
    super(host)
    this.interference = interference
  }

  override send(caller: DomId, port: number): number {
    const { interference } = this
    if (interference.asks === false) return super.send(caller, port)
    const channel = this.of(caller)?.ports.get(port)
    const isPeer = channel?.state === CHANNEL.interdomain
    if (channel === undefined || interference.event === undefined || (!isPeer && channel.state !== CHANNEL.ipi)) return super.send(caller, port)
    const { state, remoteDomain, remotePort } = channel
    const facts = { domid: isPeer ? remoteDomain : caller, port: isPeer ? remotePort : port, from: caller, fromPort: port, virq: -1 }
    interference.event(facts, () => {
      const now = this.of(caller)?.ports.get(port)
      // Meanwhile it may have been closed, and opened as another one.
      if (now?.state === state && now.remoteDomain === remoteDomain && now.remotePort === remotePort) super.send(caller, port)
    })
    return 0
  }

  override raiseVirq(domid: DomId, virq: number, vcpu = 0): void {
    if (this.interference.event === undefined || this.interference.asks === false) return super.raiseVirq(domid, virq, vcpu)
    this.interference.event({ domid, port: -1, from: -1, fromPort: -1, virq }, () => super.raiseVirq(domid, virq, vcpu))
  }
}
