/** A device of a domain as the toolstack keeps it, and what it tells of it. */
import type { XenbusStateName } from '../../abi/index.ts'
import type { BlockStore } from '../../drivers/index.ts'
import type { DomId } from '../../util/index.ts'
import type { LocalStore } from '../../xenstore/index.ts'
import type { DiskOrigin } from '../device-kinds/device-sources.ts'
import type { DescribedDevice, DeviceConfiguration, DeviceFacts, DeviceRow } from '../device-kinds/described-device.ts'
import type { AttachedDevice } from '../device-kinds/served-device.ts'
import type { RunLoop } from '../run/run-loop.ts'
import type { DeviceKind, DevicePlace } from './device-nodes.ts'

/** Progress of attaching or detaching a device. */
export interface DeviceProgress {
  readonly type: 'device-state'
  readonly kind: DeviceKind
  readonly device: number
  /** XENBUS_STATE of the back-end. */
  readonly state: number
}

/** A device as `xl block-list` and `xl network-list` show it. */
export interface DeviceInfo {
  readonly kind: DeviceKind
  /** Number of the device in its domain. */
  readonly device: number
  /** Name of a disk as it was given (`xvda`), address of a network interface. */
  readonly name: string
  readonly backend: DomId
  /** XENBUS_STATE of the back-end, and of the front-end; undefined when a half is gone. */
  readonly backendState: number | undefined
  readonly frontendState: number | undefined
  /** The same by name: `Connected`. */
  readonly backendStateName: XenbusStateName | undefined
  readonly frontendStateName: XenbusStateName | undefined
  /** Directories of the halves in XenStore. */
  readonly backendPath: string
  readonly frontendPath: string
  /** What the kind tells of it: of a disk `vdev`, `target`, `access`; of an interface `mac`, `bridge`, `rate`. */
  readonly facts: DeviceFacts
  /** Port and grants of the rings, as the front-end has named them; undefined while it has not. */
  readonly eventChannel: number | undefined
  readonly rings: readonly number[]
  /** What the contents of a disk have failed with last: the error of their own behind a request that the guest saw fail. */
  readonly lastError: unknown
  /** What dom0's back-end has done for it, by name: requests, bytes, errors; undefined while nothing is counted. */
  readonly statistics: Readonly<Record<string, number>> | undefined
}

/** What dom0's back-end has done for a device. */
export interface DeviceCounters {
  readonly kind: DeviceKind
  readonly device: number
  readonly name: string
  /** Requests, bytes, errors, by name; empty while nothing is counted. */
  readonly counters: Readonly<Record<string, number>>
}

/** What attaching and detaching need besides the device. */
export interface DeviceOptions {
  /** Contents of a disk; without it the host's opener is asked for the target. */
  readonly store?: BlockStore | undefined
  /** Contents that the host's opener has opened for it before: as if it were asked now. */
  readonly opened?: BlockStore | undefined
  /** Who asks; default: `attach`. */
  readonly origin?: DiskOrigin | undefined
  readonly signal?: AbortSignal | undefined
  /** Takes a device away whose front-end does not let it go; what the guest is doing with it fails then. */
  readonly force?: boolean | undefined
  readonly onProgress?: ((event: DeviceProgress) => void) | undefined
  /** Called between steps; throws when it should not go on. */
  readonly check?: (() => void) | undefined
  /** Called when the guest lets a device go: from then on there is no way back. */
  readonly onReleased?: (() => void) | undefined
}

/** A device that is there, or on its way. */
export interface Attached extends AttachedDevice {
  readonly kind: DescribedDevice
  config: DeviceConfiguration
  readonly place: DevicePlace
  resource: unknown
  /** Its contents came with it: they cannot be opened again by its target. */
  hasOwnResource: boolean
  /** What is being done to it; undefined while it is just there. */
  doing: 'being attached' | 'being taken away' | 'having its medium changed' | 'having its size changed' | undefined
  /** What its back-end is told in place of hotplug scripts, once it has answered; undefined where it tells it itself. */
  readonly hotplugged?: readonly DeviceRow[] | undefined
  /** Ends telling its states. */
  unwatch?: () => void
  /** Done when nothing is left of it. */
  leaving?: Promise<void>
}

/** What waiting for a device needs. */
export interface WaitHost {
  readonly store: LocalStore
  readonly loop: RunLoop
}

/** How a device is called in messages. */
export const called = ({ kind, domid, id }: DevicePlace): string => `${kind} ${id} of domain ${domid}`
