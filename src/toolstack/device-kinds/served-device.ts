/**
 * What is particular about one kind of split device, as far as dom0 serves it: the back-end, what it counts, what of it is
 * saved with a host. The half that describes the kind is in described-device.ts.
 */
import type { BackendDriver, GuestKernel } from '../../guest/index.ts'
import type { FileTime } from '../../drivers/index.ts'
import type { DomId, Part } from '../../util/index.ts'
import type { TellFailure } from '../run/callback-failures.ts'
import type { HostInterference } from '../run/host-interference.ts'
import type { Inputs } from '../run/inputs.ts'
import type { DescribedDevice, DeviceConfiguration } from './described-device.ts'
import type { DiskOpener, DiskOrigin, FolderOpener, Networks } from './device-sources.ts'

/** A device that is attached, as its kind's back-end sees it. */
export interface AttachedDevice<C = DeviceConfiguration> {
  readonly config: C
  readonly origin: DiskOrigin
  /** What came with the device, while it is being attached. */
  readonly resource: unknown
  /** What serving it has failed with last. */
  lastError: unknown
}

/** What back-ends need of their host. */
export interface BackendHost<C> {
  /** Dom0's kernel, in which they run. */
  readonly kernel: GuestKernel
  readonly openDisk: DiskOpener | undefined
  readonly openFolder: FolderOpener | undefined
  /** Calendar time as the host's guests have it, in UTC. */
  calendar(): FileTime
  /** User-mode networks by the names of their bridges. */
  readonly networks?: Networks | undefined
  /** Code of the host's owner has failed. */
  readonly onCallbackFailed: TellFailure
  /** What comes between back-ends and what they serve, for tests. */
  readonly interference?: HostInterference | undefined
  /** The host's door: by it comes in what a back-end takes from outside. */
  readonly inputs: Inputs
  /** The device of a domain with this number. */
  find(domid: DomId, id: number): AttachedDevice<C> | undefined
}

/** The back-end of a kind, as far as the toolstack asks it. */
export interface DeviceService {
  /** To be registered with dom0's bus. */
  readonly driver: BackendDriver
  /** Opens what stands from the boot of the host on; absent for a kind that has nothing of the kind. */
  open?(): void
  /** Lets go of what lies outside, as the host is at its end. */
  close?(): void
  /** True while somebody outside may say something in his own time, which host time is not to overtake. */
  isPaced?(): boolean
  /** What from outside has not answered; absent for a kind that asks nothing outside. */
  awaited?(): string | undefined
  /** From now on what lies outside of the host stays as it is, and changes are kept above it; absent for a kind that never has any. */
  holdOutside?(): void
  /** What lies outside of the host, by its own identity. */
  outside?(): readonly unknown[]
  /** What its contents are known by, for each device with contents outside that tell, by how it is opened. */
  stamps?(): ReadonlyMap<string, string>
  /** Lets go of what lies outside and is not `inUse`, where the host goes on with it opened anew. */
  releaseOutside?(inUse: ReadonlySet<unknown>): Promise<void>
  /** True while a device has an instance of the driver. */
  isServed(domid: DomId, id: number): boolean
  /** What has been done for a device, by name; undefined while nothing is counted. */
  statistics(domid: DomId, id: number): Readonly<Record<string, number>> | undefined
  /** What is saved with a host beside the driver's devices. Absent in a kind whose devices cannot be saved. */
  readonly state?: ServiceState | undefined
}

/** How a back-end is saved with its host. */
export interface ServiceState {
  /** What lies outside of the devices: the contents of disks, bridges. Loaded before them. */
  part(): Part
  /** Opens what a saved part needs from outside, before it is loaded. Rejects when that cannot be had. */
  reopen?(saved: unknown): Promise<void>
  /** What keeps it from being saved, in the part itself or in a device that `hasOwn` resource; undefined when nothing does. */
  underWay(hasOwn: (domid: DomId, id: number) => boolean): string | undefined
  /** Throws INVALID_STATE when something of a loaded part is nobody's. */
  checkAttached?(): void
}

/** One kind of split device, as it is served. */
export interface ServedDevice<C extends DeviceConfiguration = DeviceConfiguration, S extends DeviceService = DeviceService> {
  /** The kind's name: `vbd`. */
  readonly name: string
  /** Makes the back-end. */
  serve(host: BackendHost<C>): S
}

/** A kind with both its halves, as a host is given one. */
export interface SplitDevice<C extends DeviceConfiguration = DeviceConfiguration, S extends DeviceService = DeviceService>
  extends DescribedDevice<C>, ServedDevice<C, S> {}
