/** What a host tells its observers about domains, and what it warns about. */
import type { EventNames } from '../../util/index.ts'
import type { Action } from '../config/actions.ts'
import type { ConfigWarning } from '../config/description-file.ts'
import type { DomainCrash } from '../crash/domain-crash.ts'
import type { DeviceStateChange } from '../devices/device-states.ts'
import type { BootWarning } from '../grub/xen-options.ts'
import type { DestructionReason, ShutdownReasonName } from '../domains/shutdown-reason.ts'
import type { CallbackFailure } from '../run/callback-failures.ts'

/** Every event of a host, by `type`. */
export type HostEvent =
  | { readonly type: 'warning'; readonly warning: ConfigWarning | BootWarning }
  | { readonly type: 'domain-created'; readonly id: number; readonly name: string }
  | { readonly type: 'domain-paused'; readonly id: number }
  | { readonly type: 'domain-unpaused'; readonly id: number }
  /** The guest has ended itself, or crashed. `action` follows, unless the toolstack itself asked for a suspend. */
  | {
      readonly type: 'domain-shutdown'
      readonly id: number
      readonly reason: ShutdownReasonName
      readonly action: Action | undefined
    }
  /** It has crashed, by its own account or by the hypervisor's: `crash.text` explains it. `domain-shutdown` follows. */
  | { readonly type: 'domain-crashed'; readonly id: number; readonly name: string; readonly crash: DomainCrash }
  /**
   * The domain is gone, and its name is free. With the reason `failed` it never came to `domain-created`, but the list of
   * domains has shown it; `error` is what its creation, restore or reception has failed with, ABORTED included.
   */
  | {
      readonly type: 'domain-destroyed'
      readonly id: number
      readonly name: string
      readonly reason: DestructionReason
      readonly error?: unknown
    }
  /** The same configuration runs again under another number. */
  | { readonly type: 'domain-restarted'; readonly id: number; readonly newId: number; readonly name: string }
  /** The action on the end of a domain failed. */
  | { readonly type: 'action-failed'; readonly id: number; readonly action: Action; readonly error: unknown }
  /** A guest written in TypeScript threw; the domain crashes. */
  | { readonly type: 'guest-error'; readonly id: number; readonly error: unknown }
  | { readonly type: 'memory-target'; readonly id: number; readonly mebibytes: number }
  | { readonly type: 'memory-maximum'; readonly id: number; readonly mebibytes: number }
  | { readonly type: 'vcpu-target'; readonly id: number; readonly vcpus: number }
  /** The front-end or the back-end of a disk or network interface of domain `id` went into another state. */
  | ({ readonly type: 'device-state'; readonly id: number } & DeviceStateChange)
  /** Code of the host's owner has thrown or rejected while it was called for a guest; nothing else is harmed. */
  | ({ readonly type: 'callback-failed' } & CallbackFailure)

/** Names of the events of a host. */
export const HOST_EVENTS: EventNames<HostEvent> = {
  warning: true, 'domain-created': true, 'domain-paused': true, 'domain-unpaused': true, 'domain-shutdown': true,
  'domain-crashed': true, 'domain-destroyed': true, 'domain-restarted': true, 'action-failed': true,
  'guest-error': true, 'memory-target': true, 'memory-maximum': true, 'vcpu-target': true, 'device-state': true,
  'callback-failed': true,
}
