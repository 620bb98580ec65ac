/** What the parts of a host tell is taken to its guests, its observers and its loop. */
import { XenError, type DomId, type EventHub } from '../../util/index.ts'
import type { HostParts } from '../boot/boot-host.ts'
import { idleDomains, idleError } from '../domains/idle-report.ts'
import { hardwareDomainOf } from '../initial-domain/hardware-domain.ts'
import { failureTeller } from '../run/callback-failures.ts'
import { followHardwareDomain } from './boot-hardware-domain.ts'
import type { Guests } from './guests.ts'
import { tellOn, type HostEvent } from './host-events.ts'

/** Follows the parts that a host was booted or stood up with. */
export function followParts(hub: EventHub<HostEvent>, parts: HostParts, guests: Guests): void {
  const { crashes, lifecycle } = guests
  const { loop, control } = parts
  loop.belongTo({
    idlePatience: parts.options.idle, wall: parts.wall, isPaced: () => parts.wall === undefined && guests.devices.isPaced(), noteRun: (input) => parts.inputs.noteRun(input),
    checkDomain: (domid, what) => crashes.check(domid, what),
    idleError: (waits) => idleError(waits, idleDomains(control, ({ domid }) => guests.nameOf(domid))),
  })
  parts.onDomainException.current = () => lifecycle.check()
  // Nothing on the host runs any more, and all of it can be looked at.
  parts.onDom0Shutdown.current = (reason) => {
    hub.emit({ type: 'dom0-shutdown', reason, crash: crashes.of(hardwareDomainOf(parts.options) ?? (0 as DomId)) })
    loop.stop(new XenError('CLOSED', `dom0 has ended (${reason}), and the host with it`, { details: { reason } }))
  }
  followHardwareDomain(parts)
  parts.onCallbackFailed.current = failureTeller(
    (failure) => hub.emit({ type: 'callback-failed', ...failure }), () => hub.wants('callback-failed'))
  tellOn(hub, parts)
  parts.inputs.onArrival(() => loop.present())
  parts.wall?.follow()
}
