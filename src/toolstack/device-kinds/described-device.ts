/**
 * What is particular about one kind of split device, as far as it is described: how files and objects give it, how it is
 * saved, named and numbered, what the toolstack writes about it in XenStore. Who only reads and writes descriptions needs
 * no more; the back-end that serves the kind in dom0 is its other half (served-device.ts). What all kinds share, attaching
 * and detaching, is in ../devices; the kinds themselves are in device-kinds.ts.
 *
 * Methods are called with what the same kind has made: a table holds kinds of different configurations side by side.
 */
import type * as z from 'zod/mini'
import type { Random } from '../../util/index.ts'

/** Longest specification of one device: it is gone through more than once. */
export const MAX_SPECIFICATION = 8192

/** What the configuration of every device says. */
export interface DeviceConfiguration {
  /** Domain that serves it, by name or number. */
  readonly backend: string
}

/** Facts of a device for lists, by name. */
export type DeviceFacts = Readonly<Record<string, string | number | boolean | undefined>>

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
  /** Of the front-end, what its guest only reads; none unless given. */
  readonly frontendReadOnly?: readonly DeviceRow[] | undefined
}

/** Where a real host has its hotplug scripts. */
export const SCRIPTS = '/etc/xen/scripts'

/** Scripts that stand for what the back-ends here do anyway. */
const USUAL_SCRIPTS: readonly (string | undefined)[] = ['block', 'vif-bridge']

/** A script that a stream may name only where its receiver allows it; undefined for the usual ones. */
export const unusualScript = (script: string | undefined): string | undefined =>
  (USUAL_SCRIPTS.includes(script) ? undefined : script)

/** What of a host a device's configuration names, by the word of `trust` that allows it. */
export type HostNames = { readonly [K in 'scripts' | 'disks' | 'bridges' | 'files' | 'addresses']?: string | undefined }

/** What JSON can hold; a field that is undefined is left out. */
export type Json = string | number | boolean | readonly Json[] | { readonly [key: string]: Json | undefined }

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
  readonly schema: z.core.$ZodType
  /** `index` counts the domain's devices of the kind. */
  write(config: C, index: number): Json
  /** Takes what the schema let in. Throws INVALID_CONFIG. */
  read(saved: unknown): C
}

/** Where a device is to be attached. */
export interface DeviceSite {
  /** True while the domain has no device of the kind with this number. */
  isFree(id: number): boolean
  /** True where it has one of the kind by this name. */
  hasName(name: string): boolean
  readonly random: Random
  /** What came with the device: a disk's contents. */
  readonly resource: unknown
}

/** One kind of split device, as it is described. */
export interface DescribedDevice<C extends DeviceConfiguration = DeviceConfiguration> {
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
  /** Chooses what a configuration leaves open, the number within the domain among it. Throws NOT_SUPPORTED, DEVICE_EXISTS. */
  settle(config: C, site: DeviceSite): { readonly id: number; readonly config: C }
  /** The device's name in lists: `xvda`, an address. */
  nameOf(config: C, id: number): string
  /** What lists tell of the device beside its name. */
  facts?(config: C, id: number): DeviceFacts
  /** The number that a text stands for; NaN where it stands for a name at most. Throws INVALID_CONFIG for what can be neither. */
  numberOf(text: string): number
  /** A name in the spelling of {@link DescribedDevice.nameOf}. */
  spelled(text: string): string
  /** What XenStore says about a device that was settled. */
  rows(config: C, id: number): DeviceRows
  /**
   * What its back-end in a driver domain is told in `hotplug` nodes, in place of the scripts that would run there. Absent where a back-end
   * waits for nothing. Throws NOT_SUPPORTED for what no node can say.
   */
  hotplugged?(config: C): readonly DeviceRow[]
  /** The back-end opens something and says in `hotplug-status` when it has: attaching waits for that. */
  readonly isOpened: boolean
  /** Taken away in the end also from a front-end that keeps it, as by `xl network-detach`. */
  readonly leavesAnyway: boolean
}

/** A device that is wanted. `device` makes it, and sees to it that the two belong together. */
export interface WantedDevice {
  readonly kind: DescribedDevice
  readonly config: DeviceConfiguration
}

/** A configuration with its kind. */
export const device = <C extends DeviceConfiguration>(kind: DescribedDevice<C>, config: C): WantedDevice => ({ kind, config })
