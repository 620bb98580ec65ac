/**
 * The table of device kinds, and what a domain has of each. A kind is a folder beside this file and a row here: the two
 * lists' types and the entry of the table, which the compiler holds together. A host may be given further kinds, which
 * stand under `devices` in configurations, by their names.
 */
import { nearestWord, shown, XenError, type Check, named } from '../../util/index.ts'
import { CHANNEL } from './channel/channel.ts'
import type { ChannelConfig, ChannelDescription } from './channel/channel-specification.ts'
import { FOLDER } from './folder/folder.ts'
import type { FolderConfig, FolderDescription } from './folder/folder-specification.ts'
import { FRAMEBUFFER } from './framebuffer/framebuffer.ts'
import type { FramebufferConfig, FramebufferDescription } from './framebuffer/framebuffer-specification.ts'
import { KEYBOARD, withKeyboards } from './keyboard/keyboard.ts'
import type { KeyboardConfig, KeyboardDescription } from './keyboard/keyboard-specification.ts'
import { DISK } from './disk/disk.ts'
import type { DiskDescription } from './disk/disk-description.ts'
import type { DiskConfig } from './disk/disk-specification.ts'
import { NIC } from './nic/nic.ts'
import type { NicDescription } from './nic/nic-description.ts'
import type { NicConfig } from './nic/nic-specification.ts'
import type { DescribedDevice, DeviceConfiguration, WantedDevice } from './described-device.ts'

/** What may be said about a domain's devices. */
export interface DeviceDescriptions {
  /** Disk specifications as text or as objects, such as `{ vdev: 'xvda', target: 'disk.img' }`. */
  readonly disks?: readonly (string | DiskDescription)[] | undefined
  /** NIC specifications as text or as objects, such as `{ bridge: 'xenbr1' }`. */
  readonly nics?: readonly (string | NicDescription)[] | undefined
  /** Channels, which are byte pipes by name, as text or as objects, such as `{ name: 'org.example.agent' }`. */
  readonly channels?: readonly (string | ChannelDescription)[] | undefined
  /** Folders that the guest mounts by 9P, as text or as objects, such as `{ tag: 'shared', path: '/srv/shared' }`. */
  readonly folders?: readonly (string | FolderDescription)[] | undefined
  /** Framebuffers, as text or as objects, such as `{ password: 'secret' }` or `{ vnc: false }`. */
  readonly framebuffers?: readonly (string | FramebufferDescription)[] | undefined
  /** Keyboards with their pointers, as text or as objects. Default: one for each framebuffer. */
  readonly keyboards?: readonly (string | KeyboardDescription)[] | undefined
  /** Devices of the kinds that the host was booted with beside its own, by the kind's name in XenStore. */
  readonly devices?: Readonly<Record<string, readonly (string | object)[]>> | undefined
}

/** A domain's devices by the options that describe them. */
export interface DeviceLists {
  readonly disks: readonly DiskConfig[]
  readonly nics: readonly NicConfig[]
  readonly channels: readonly ChannelConfig[]
  readonly folders: readonly FolderConfig[]
  readonly framebuffers: readonly FramebufferConfig[]
  readonly keyboards: readonly KeyboardConfig[]
}

/** A domain's devices, each with its defaults. */
export interface DomainDevices extends DeviceLists {
  /** Devices of further kinds, by the kind's name; absent on a host that has none. */
  readonly devices?: Readonly<Record<string, readonly DeviceConfiguration[]>> | undefined
}

/** Descriptions of which only each kind knows whether they are any. */
export type UncheckedDescriptions = { readonly [O in keyof DeviceLists]?: readonly (string | object)[] | undefined }
  & { readonly devices?: Readonly<Record<string, readonly (string | object)[] | undefined>> | undefined }

/** Kinds that every host has, by the option that describes their devices. */
export const DEVICE_KINDS = { disks: DISK, nics: NIC, channels: CHANNEL, folders: FOLDER, framebuffers: FRAMEBUFFER, keyboards: KEYBOARD } satisfies { readonly [O in keyof DeviceLists]: DescribedDevice<DeviceLists[O][number]> }

function checkFurther(further: readonly DescribedDevice[]): void {
  const taken = new Set(Object.values<DescribedDevice>(DEVICE_KINDS).map(({ name }) => name))
  for (const { name } of further) {
    if (taken.has(name)) {
      throw new XenError('INVALID_CONFIG', `there are two kinds of devices called ${name}`, { details: { key: 'deviceKinds', name } })
    }
    taken.add(name)
  }
}

/** Kinds of devices, as a check of what a call was given. */
export const areKinds: Check = (value) => (value instanceof DeviceKinds ? undefined : `must be DeviceKinds, got ${shown(value)}`)

/** The kinds of one host: those of the table, and those that it was given. */
export class DeviceKinds {
  /** In the order in which a domain's devices are attached and saved. */
  readonly all: readonly DescribedDevice[]
  /** Kinds beyond the table. */
  readonly further: readonly DescribedDevice[]

  /** Throws INVALID_CONFIG when two kinds have one name. */
  constructor(further: readonly DescribedDevice[] = []) {
    checkFurther(further)
    this.further = further
    this.all = [...Object.values<DescribedDevice>(DEVICE_KINDS), ...further]
  }

  /** The kind of a name. Throws INVALID_ARGUMENT. */
  named(name: string): DescribedDevice {
    const found = this.all.find((kind) => kind.name === name)
    if (found !== undefined) return found
    const names = this.all.map((kind) => kind.name)
    throw new XenError('INVALID_ARGUMENT', `there is no kind of device called ${named(name)}: this host knows ${names.join(', ')}`, {
      details: { kind: name, nearest: nearestWord(named(name), names) },
    })
  }

  /** True for the option by which description files describe devices of a further kind. */
  hasWord(option: string): boolean {
    return this.further.some(({ words }) => words?.option === option)
  }

  /** What descriptions come to, each with its defaults. Throws INVALID_CONFIG. */
  resolved(descriptions: UncheckedDescriptions): DomainDevices {
    const { devices = {}, ...given } = descriptions
    const own = { ...given, keyboards: given.keyboards ?? withKeyboards(given.framebuffers?.length ?? 0) }
    const wanted = [...Object.entries(DEVICE_KINDS).map(([option, kind]) => [kind, own[option as keyof DeviceLists]] as const),
      ...this.further.map((kind) => [kind, devices[kind.name]] as const)]
    return this.collected(wanted.flatMap(([kind, list = []]: readonly [DescribedDevice, UncheckedDescriptions['disks']]) => {
      const configs = list.map((description) => kind.resolve(description))
      kind.checkTogether?.(configs)
      return configs.map((config) => ({ kind, config }))
    }))
  }

  /** A domain's devices, one after the other. */
  listed(devices: DomainDevices): readonly WantedDevice[] {
    const own = Object.entries<DescribedDevice>(DEVICE_KINDS).flatMap(([option, kind]) =>
      devices[option as keyof DeviceLists].map((config): WantedDevice => ({ kind, config })))
    const further = this.further.flatMap((kind) => (devices.devices?.[kind.name] ?? []).map((config): WantedDevice => ({ kind, config })))
    return [...own, ...further]
  }

  /** The same devices as a configuration has them. */
  collected(devices: readonly WantedDevice[]): DomainDevices {
    const of = (kind: DescribedDevice): readonly DeviceConfiguration[] =>
      devices.filter((wanted) => wanted.kind === kind).map(({ config }) => config)
    // Each list holds what its own kind has made.
    const own = Object.fromEntries(Object.entries<DescribedDevice>(DEVICE_KINDS).map(([option, kind]) => [option, of(kind)])) as unknown as DeviceLists
    if (this.further.length === 0) return own
    return { ...own, devices: Object.fromEntries(this.further.map((kind) => [kind.name, of(kind)])) }
  }
}

/** The kinds of a host that was given none. */
export const USUAL_KINDS = /* @__PURE__ */ new DeviceKinds()
