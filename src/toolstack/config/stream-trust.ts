/**
 * What a saved domain or a migration's sender may name of the host that receives it. A stream's configuration comes from
 * whoever wrote the stream: without this check it would choose which files of this host are opened as disks, for writing,
 * which are read as kernel and ramdisk at the domain's next start, and which networks and driver domains it is put on.
 * The receiver lists what it allows; what it does not list is refused by name, before anything is made or opened.
 */
import { XenError } from '../../util/index.ts'
import type { DiskConfig } from './disk-specification.ts'
import type { NicConfig } from './nic-specification.ts'

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
  /** Hotplug scripts other than the usual ones. */
  readonly scripts?: readonly string[] | undefined
}

/** `'all'` for a stream of one's own, or what of this host it may name. */
export type StreamTrust = 'all' | StreamPermissions

/** Scripts that stand for what the back-ends here do anyway. */
const USUAL_SCRIPTS: readonly string[] = ['block', 'vif-bridge']
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

function checkListed(listed: readonly string[] | undefined, named: Named): void {
  if (listed?.includes(named.name) !== true) refuse(named)
}

function checkDisk(disk: DiskConfig, trust: StreamPermissions): void {
  const who = `disk ${disk.vdev.name}`
  const { target, backend, script } = disk
  if (!DOM0.includes(backend)) checkListed(trust.backends, { who, key: 'backends', name: backend })
  if (script !== undefined && !USUAL_SCRIPTS.includes(script)) checkListed(trust.scripts, { who, key: 'scripts', name: script })
  if (target === undefined) return
  const named: Named = { who, key: 'disks', name: target }
  if (typeof trust.disks !== 'function') checkListed(trust.disks, named)
  else if (trust.disks(disk) !== true) refuse(named)
}

function checkNic({ backend, bridge, script }: NicConfig, trust: StreamPermissions): void {
  const who = 'network interface'
  if (!DOM0.includes(backend)) checkListed(trust.backends, { who, key: 'backends', name: backend })
  if (!USUAL_SCRIPTS.includes(script)) checkListed(trust.scripts, { who, key: 'scripts', name: script })
  checkListed(trust.bridges, { who, key: 'bridges', name: bridge })
}

/** A domain's devices. */
interface DeviceUser {
  readonly disks: readonly DiskConfig[]
  readonly nics: readonly NicConfig[]
}

/** Throws PERMISSION_DENIED, naming it and the option that allows it, when a stream's device names what it may not. */
export function checkStreamDevices(config: DeviceUser, trust: StreamTrust): void {
  if (trust === 'all') return
  for (const disk of config.disks) checkDisk(disk, trust)
  for (const nic of config.nics) checkNic(nic, trust)
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
