/** What a host tells its observers about domains, and what it warns about. */
import { EventHub, type EventNames } from '../../util/index.ts'
import type { HostParts } from '../boot/boot-host.ts'
import type { Action } from '../config/actions.ts'
import type { ConfigWarning } from '../config/description-file.ts'
import { CONTROL_EVENTS, type ControlEvent } from '../control/control-events.ts'
import type { DomainCrash } from '../crash/domain-crash.ts'
import type { DeviceStateChange } from '../devices/device-states.ts'
import type { BootWarning } from '../grub/xen-options.ts'
import type { DestructionReason, ShutdownReasonName } from '../domains/shutdown-reason.ts'
import type { CallbackFailure } from '../run/callback-failures.ts'
import { OPERATION_EVENTS, type OperationEvent } from '../run/operation-events.ts'

/** Every event of a host, by `type`. */
export type HostEvent =
  | { readonly type: 'warning'; readonly warning: ConfigWarning | BootWarning }
  | { readonly type: 'domain-created'; readonly domid: number; readonly name: string }
  /** It runs for the first time: it was created, restored or received without being left paused. */
  | { readonly type: 'domain-started'; readonly domid: number }
  /** Its console can be read and written; `tty` is what stands in XenStore. */
  | { readonly type: 'console-available'; readonly domid: number; readonly tty: string }
  | { readonly type: 'domain-paused'; readonly domid: number }
  | { readonly type: 'domain-unpaused'; readonly domid: number }
  /** It was suspended, and goes on where it is. */
  | { readonly type: 'domain-resumed'; readonly domid: number }
  /** Its balloon, or the toolstack, has changed what it owns. Told, and kept, only while somebody listens for it. */
  | { readonly type: 'domain-ballooned'; readonly domid: number; readonly pages: number }
  /** A vCPU came online, or went offline. Told, and kept, only while somebody listens for it. */
  | { readonly type: 'vcpu-online'; readonly domid: number; readonly vcpu: number; readonly online: boolean }
  /** The guest has ended itself, or crashed. `action` follows, unless the toolstack itself asked for a suspend. */
  | {
      readonly type: 'domain-shutdown'
      readonly domid: number
      readonly reason: ShutdownReasonName
      readonly action: Action | undefined
    }
  /** It has crashed, by its own account or by the hypervisor's: `crash.text` explains it. `domain-shutdown` follows. */
  | { readonly type: 'domain-crashed'; readonly domid: number; readonly name: string; readonly crash: DomainCrash }
  /**
   * The domain is gone, and its name is free. With the reason `failed` it never came to `domain-created`, but the list of
   * domains has shown it; `error` is what its creation, restore or reception has failed with, ABORTED included.
   */
  | {
      readonly type: 'domain-destroyed'
      readonly domid: number
      readonly name: string
      readonly reason: DestructionReason
      readonly error?: unknown
    }
  /** It goes on behind its end with its memory, and all else anew: its guest has asked for a soft reset. */
  | { readonly type: 'domain-reset'; readonly domid: number }
  /** The same configuration runs again under another number. */
  | { readonly type: 'domain-restarted'; readonly domid: number; readonly newDomid: number; readonly name: string }
  /** The action on the end of a domain failed. */
  | { readonly type: 'action-failed'; readonly domid: number; readonly action: Action; readonly error: unknown }
  /** A guest written in TypeScript threw; the domain crashes. */
  | { readonly type: 'guest-error'; readonly domid: number; readonly error: unknown }
  | { readonly type: 'memory-target'; readonly domid: number; readonly mebibytes: number }
  | { readonly type: 'memory-maximum'; readonly domid: number; readonly mebibytes: number }
  | { readonly type: 'vcpu-target'; readonly domid: number; readonly vcpus: number }
  /** The front-end or the back-end of a disk or network interface of domain `domid` went into another state. */
  | ({ readonly type: 'device-state'; readonly domid: number } & DeviceStateChange)
  /** A device is served: `name` is a disk's name, an interface's address. */
  | { readonly type: 'device-added' | 'device-removed'; readonly domid: number; readonly kind: string; readonly device: number; readonly name: string }
  /** A removable disk has another medium; without `target` none. */
  | { readonly type: 'disk-medium'; readonly domid: number; readonly device: number; readonly name: string; readonly target: string | undefined }
  /** A domain met a limit of XenStore's: what it asked for was refused, or is put off. */
  | { readonly type: 'quota-hit'; readonly domid: number; readonly quota: string; readonly value: number }
  /** The host's policy has refused what domain `domid`, or without one the toolstack, has asked for; `target` is whom it was about. */
  | { readonly type: 'access-denied'; readonly domid?: number | undefined; readonly asked: string; readonly target: number | undefined }
  /** A moment of the host was taken, it was brought back to one, or it ends: the last event of all. */
  | { readonly type: 'host-checkpoint' | 'host-reset'; readonly label: string | undefined }
  /** A dom0 with a kernel of its own has powered off, rebooted or crashed: nothing on the host runs any more. */
  | { readonly type: 'dom0-shutdown'; readonly reason: ShutdownReasonName; readonly crash: DomainCrash | undefined }
  | { readonly type: 'host-shutdown' }
  | ControlEvent
  | OperationEvent
  /** Code of the host's owner has thrown or rejected while it was called for a guest; nothing else is harmed. */
  | ({ readonly type: 'callback-failed' } & CallbackFailure)

/** Names of the events of a host. */
export const HOST_EVENTS: EventNames<HostEvent> = {
  warning: true, 'domain-created': true, 'domain-paused': true, 'domain-unpaused': true, 'domain-shutdown': true,
  'domain-crashed': true, 'domain-destroyed': true, 'domain-restarted': true, 'domain-reset': true, 'action-failed': true,
  'guest-error': true, 'memory-target': true, 'memory-maximum': true, 'vcpu-target': true, 'device-state': true,
  'callback-failed': true, 'domain-started': true, 'console-available': true, 'domain-resumed': true, 'domain-ballooned': true,
  'vcpu-online': true, 'device-added': true, 'device-removed': true, 'disk-medium': true, 'quota-hit': true, 'access-denied': true, 'host-checkpoint': true, 'host-reset': true,
  'host-shutdown': true, 'dom0-shutdown': true, ...CONTROL_EVENTS, ...OPERATION_EVENTS,
}

/** Events that a host keeps for readers that come later, or come again. */
const KEPT_EVENTS = 1024

/** Makes the hub of a host's events; `now` stamps them. */
export const hostEvents = (now: () => number): EventHub<HostEvent> => new EventHub<HostEvent>(now, undefined, { names: HOST_EVENTS, keep: KEPT_EVENTS })

/** Tells on what the parts of a host tell, as far as it concerns a host; what comes often only while somebody listens for it. */
export function tellOn(hub: EventHub<HostEvent>, { control, xenstore }: Pick<HostParts, 'control' | 'xenstore'>): void {
  hub.endFeeds()
  xenstore.events.on('quota-hit', ({ domid, quota, value }) => hub.emit({ type: 'quota-hit', domid, quota, value }))
  control.events.on('access-denied', ({ domid, asked, target }) => hub.emit({ type: 'access-denied', domid, asked, target }))
  hub.feed(['domain-ballooned'], () => control.events.on('reservation', ({ domid, pages }) => hub.emit({ type: 'domain-ballooned', domid, pages })))
  hub.feed(['vcpu-online'], () => control.events.on('vcpu-online', ({ domid, vcpu, online }) => hub.emit({ type: 'vcpu-online', domid, vcpu, online })))
}
