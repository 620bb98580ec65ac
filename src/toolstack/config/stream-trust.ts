/**
 * What a saved domain or a migration's sender may name of the host that receives it. A stream's configuration comes from
 * whoever wrote the stream: without this check it would choose which files of this host are opened as disks, for writing,
 * which are read as kernel and ramdisk at the domain's next start, and which networks and driver domains it is put on.
 * The receiver lists what it allows; what it does not list is refused by name, before anything is made or opened.
 */
import { XenError } from '../../util/index.ts'
import type { DiskConfig } from '../device-kinds/disk/disk-specification.ts'
import type { DeviceConfiguration, WantedDevice } from '../device-kinds/described-device.ts'

/** What of this host a stream may name. What is left out allows nothing. */
export interface StreamPermissions {
  /** Targets of disks, as the stream spells them, for the access that it asks for; or a function that decides. */
  readonly disks?: readonly string[] | ((disk: DiskConfig) => boolean) | undefined
  /** Bridges that its network interfaces are put on. */
  readonly bridges?: readonly string[] | undefined
  /** Files that are read as kernel or ramdisk when the domain starts anew. */
  readonly files?: readonly string[] | undefined
  /** Domains other than dom0 that serve its devices, by name or number as the stream spells them. */
  readonly backends?: readonly string[] | undefined
  /** Addresses other than the loopback's at which its screens are offered. */
  readonly addresses?: readonly string[] | undefined
  /** Hotplug scripts other than the usual ones. */
  readonly scripts?: readonly string[] | undefined
}

/** `'all'` for a stream of one's own, or what of this host it may name. */
export type StreamTrust = 'all' | StreamPermissions

const DOM0: readonly string[] = ['0', 'Domain-0']

interface Named {
  /** As it is called in the error: "disk xvda". */
  readonly who: string
  readonly key: keyof StreamPermissions
  readonly name: string
}

const refusal = ({ who, key, name }: Named): string =>
  `the stream's ${who} names ${JSON.stringify(name)} of this host; allow it by \`trust: { ${key}: [${JSON.stringify(name)}] }\`,`
  + ' or give `trust: \'all\'` for a stream of your own'

function refuse(named: Named): never {
  const { key, name } = named
  throw new XenError('PERMISSION_DENIED', refusal(named), { details: { resource: key, name, option: `trust.${key}` } })
}

/** Whether a stream may name something: a list of what it may, or for disks a function that decides. */
function isAllowed(listed: StreamPermissions[keyof StreamPermissions], name: string, config: DeviceConfiguration): boolean {
  // Only disks are decided on, and only a disk's kind names disks.
  return typeof listed === 'function' ? listed(config as DiskConfig) === true : listed?.includes(name) === true
}

function checkDevice({ kind, config }: WantedDevice, trust: StreamPermissions): void {
  const who = kind.label(config)
  const backends = DOM0.includes(config.backend) ? undefined : config.backend
  for (const [key, name] of Object.entries({ backends, ...kind.hostNames(config) })) {
    const permission = key as keyof StreamPermissions
    if (name !== undefined && !isAllowed(trust[permission], name, config)) refuse({ who, key: permission, name })
  }
}

/** Throws PERMISSION_DENIED, naming it and the option that allows it, when a stream's device names what it may not. */
export function checkStreamDevices(devices: readonly WantedDevice[], trust: StreamTrust): void {
  if (trust === 'all') return
  for (const device of devices) checkDevice(device, trust)
}

/** A domain's files, and what it may name when it came by a stream. */
interface FileUser {
  readonly kernel: unknown
  readonly ramdisk: string | Uint8Array | undefined
  readonly bootloader: string | undefined
  readonly trust?: StreamTrust | undefined
}

/** What the stream named that would be read at the domain's next start and may not be. */
function deniedFiles({ kernel, ramdisk, bootloader, trust }: FileUser): Named[] {
  // A boot loader looks for both in the domain's own disk, which it was allowed or has not got.
  if (trust === undefined || trust === 'all' || bootloader !== undefined) return []
  return ([['kernel', kernel], ['ramdisk', ramdisk]] as const).flatMap(([who, name]) =>
    (typeof name !== 'string' || trust.files?.includes(name) === true ? [] : [{ who, key: 'files' as const, name }]))
}

/** Throws PERMISSION_DENIED when a domain that came by a stream would have a file read that the stream named. */
export function checkStreamFiles(config: FileUser): void {
  const [denied] = deniedFiles(config)
  if (denied !== undefined) refuse(denied)
}

/** Why a domain that came by a stream cannot start anew: one sentence for each file that would have to be read. */
export const deniedFileWarnings = (config: FileUser & { readonly name: string }): readonly { readonly option: string; readonly message: string }[] =>
  deniedFiles(config).map((denied) => ({
    option: denied.who, message: `domain ${config.name} cannot start anew: ${refusal(denied)}`,
  }))

/** What remains allowed at the domain's next starts; a kernel that the receiver itself named may be read then. */
export function trustWithKernel(trust: StreamTrust, kernel: unknown): StreamTrust {
  if (trust === 'all' || typeof kernel !== 'string') return trust
  return { ...trust, files: [...(trust.files ?? []), kernel] }
}
