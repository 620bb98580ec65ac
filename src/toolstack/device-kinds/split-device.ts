/**
 * What is particular about one kind of split device: how it is described and saved, how it is named and numbered, what the
 * toolstack writes about it in XenStore, and the back-end that serves it in dom0. What all kinds share, attaching and
 * detaching, is in ../devices; the kinds themselves are in device-kinds.ts.
 *
 * Methods are called with what the same kind has made: a table holds kinds of different configurations side by side.
 */
import type * as z from 'zod'
import type { BackendDriver, GuestKernel } from '../../guest/index.ts'
import type { DomId, Part, Random } from '../../util/index.ts'
import type { TellFailure } from '../run/callback-failures.ts'
import type { Inputs } from '../run/inputs.ts'
import type { DiskOpener, DiskOrigin } from './device-sources.ts'

/** Longest specification of one device: it is gone through more than once. */
export const MAX_SPECIFICATION = 8192

/** What the configuration of every device says. */
export interface DeviceConfiguration {
  /** Domain that serves it, by name or number. */
  readonly backend: string
}

/** A node: name and value. */
export type DeviceRow = readonly [name: string, value: string]

/** What a kind of device has in its two directories, besides what all devices have. */
export interface DeviceRows {
  /** Between `frontend` and `frontend-id`. */
  readonly backendHead: readonly DeviceRow[]
  /** Between `online` and `state`. */
  readonly backendMiddle: readonly DeviceRow[]
  /** After `state`. */
  readonly backendTail: readonly DeviceRow[]
  readonly frontend: readonly DeviceRow[]
}

/** Where a real host has its hotplug scripts. */
export const SCRIPTS = '/etc/xen/scripts'

/** Scripts that stand for what the back-ends here do anyway. */
const USUAL_SCRIPTS: readonly (string | undefined)[] = ['block', 'vif-bridge']

/** A script that a stream may name only where its receiver allows it; undefined for the usual ones. */
export const unusualScript = (script: string | undefined): string | undefined =>
  (USUAL_SCRIPTS.includes(script) ? undefined : script)

/** What of a host a device's configuration names, by the word of `trust` that allows it. */
export type HostNames = { readonly [K in 'scripts' | 'disks' | 'bridges' | 'files']?: string | undefined }

/** What JSON can hold; a field that is undefined is left out. */
export type Json = string | number | readonly Json[] | { readonly [key: string]: Json | undefined }

/** How devices of a kind are described in files. */
export interface DeviceWords<C> {
  /** The option, a list of specifications: `disk`. */
  readonly option: string
  /** Reads one specification; `onIgnored` is told of what xl passes over, which is refused without it. Throws INVALID_CONFIG. */
  parse(specification: string, options: { readonly onIgnored?: (message: string) => void }): C
  /** The specification of a configuration. Throws INVALID_CONFIG for what none can say. */
  format(config: C): string
}

/** How devices of a kind stand at the head of a saved domain. */
export interface DeviceSaved<C> {
  /** The list's place in libxl's JSON: `disks`. */
  readonly key: string
  /** One entry as it comes in. */
  readonly schema: z.ZodType
  /** `index` counts the domain's devices of the kind. */
  write(config: C, index: number): Json
  /** Takes what the schema let in. Throws INVALID_CONFIG. */
  read(saved: unknown): C
}

/** Where a device is to be attached. */
export interface DeviceSite {
  /** True while the domain has no device of the kind with this number. */
  isFree(id: number): boolean
  readonly random: Random
  /** What came with the device: a disk's contents. */
  readonly resource: unknown
}

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
  /** Code of the host's owner has failed. */
  readonly onCallbackFailed: TellFailure
  /** The host's door: by it comes in what a back-end takes from outside. */
  readonly inputs: Inputs
  /** The device of a domain with this number. */
  find(domid: DomId, id: number): AttachedDevice<C> | undefined
}

/** The back-end of a kind, as far as the toolstack asks it. */
export interface DeviceService {
  /** To be registered with dom0's bus. */
  readonly driver: BackendDriver
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

/** One kind of split device. */
export interface SplitDevice<C extends DeviceConfiguration = DeviceConfiguration, S extends DeviceService = DeviceService> {
  /** As XenStore's paths have it: `vbd`. */
  readonly name: string
  /** As people call one: `disk`. */
  readonly title: string
  /** What its option gives a domain, for the documentation. */
  readonly about: string
  /** Undefined for a kind that description files do not know. */
  readonly words?: DeviceWords<C>
  readonly saved: DeviceSaved<C>
  /** A configuration out of a text or an object, which may be one that is complete, with its defaults. Throws INVALID_CONFIG. */
  resolve(description: string | object): C
  /** Throws INVALID_CONFIG where devices of one domain do not go together. */
  checkTogether?(configs: readonly C[]): void
  /** What a refusal calls the device: `disk xvda`. */
  label(config: C): string
  /** What a configuration names of the host that receives it by a stream. */
  hostNames(config: C): HostNames
  /** Chooses what a configuration leaves open, the number within the domain among it. Throws NOT_SUPPORTED. */
  settle(config: C, site: DeviceSite): { readonly id: number; readonly config: C }
  /** The device's name in lists: `xvda`, an address. */
  nameOf(config: C, id: number): string
  /** The number that a text stands for; NaN where it stands for a name at most. Throws INVALID_CONFIG for what can be neither. */
  numberOf(text: string): number
  /** A name in the spelling of {@link SplitDevice.nameOf}. */
  spelled(text: string): string
  /** What XenStore says about a device that was settled. */
  rows(config: C, id: number): DeviceRows
  /** The back-end opens something and says in `hotplug-status` when it has: attaching waits for that. */
  readonly isOpened: boolean
  /** Taken away in the end also from a front-end that keeps it, as by `xl network-detach`. */
  readonly leavesAnyway: boolean
  /** Makes the back-end. */
  serve(host: BackendHost<C>): S
}

/** A device that is wanted. `device` makes it, and sees to it that the two belong together. */
export interface WantedDevice {
  readonly kind: SplitDevice
  readonly config: DeviceConfiguration
}

/** A configuration with its kind. */
export const device = <C extends DeviceConfiguration>(kind: SplitDevice<C>, config: C): WantedDevice => ({ kind, config })
