/**
 * A disk described as an object: every field but its name has the default that it has in a specification, and each is
 * checked as it is there.
 */
import { parseVirtualDevice, type VirtualDevice } from '../../../drivers/index.ts'
import { checkConfig, flag, oneOf, text, XenError, type Check, type OptionChecks } from '../../../util/index.ts'
import { parseDisk, type DiskConfig, type DiskFormat } from './disk-specification.ts'

/** A disk as an object; what is left out is as in a text that does not say it. */
export interface DiskDescription {
  readonly target?: string | undefined
  /** `xvda`, `d0`, 51712, or what `parseVirtualDevice` gives. */
  readonly vdev: string | number | VirtualDevice
  /** Default `raw`. */
  readonly format?: DiskFormat | undefined
  /** Default `w`, and `r` for a CD. */
  readonly access?: 'r' | 'w' | undefined
  /** Default `disk`. */
  readonly type?: 'disk' | 'cdrom' | undefined
  /** Domain that serves it, by name or number. Default dom0. */
  readonly backend?: string | undefined
  readonly backendType?: DiskConfig['backendType'] | undefined
  readonly script?: string | undefined
  readonly directIoSafe?: boolean | undefined
  /** Default true, as is `trusted`. */
  readonly discard?: boolean | undefined
  readonly trusted?: boolean | undefined
}

const virtualDevice: Check = (value) => {
  const name = typeof value === 'object' && value !== null ? (value as Partial<VirtualDevice>).name : value
  if (typeof name !== 'string' && typeof name !== 'number') return 'must be a name such as xvda, a number, or a parsed one'
  try {
    parseVirtualDevice(String(name))
    return undefined
  } catch (error) {
    return `is wrong: ${(error as Error).message}`
  }
}

const DISK_CHECKS: OptionChecks<DiskDescription> = {
  target: text, vdev: virtualDevice, format: /* @__PURE__ */ oneOf('raw', 'qcow', 'qcow2', 'vhd', 'qed'),
  access: /* @__PURE__ */ oneOf('r', 'w'), type: /* @__PURE__ */ oneOf('disk', 'cdrom'), backend: text,
  backendType: /* @__PURE__ */ oneOf('phy', 'qdisk', 'standalone', 'tap'), script: text, directIoSafe: flag, discard: flag,
  trusted: flag,
}

/** A disk out of a text or an object, with its defaults. Throws INVALID_CONFIG. */
export function resolveDisk(disk: string | DiskDescription): DiskConfig {
  if (typeof disk === 'string') return parseDisk(disk)
  checkConfig('disk', disk, DISK_CHECKS)
  const { target, vdev, backendType, script, type = 'disk', ...rest } = disk
  if (vdev === undefined) throw new XenError('INVALID_CONFIG', 'disk: vdev is missing', { details: { key: 'vdev' } })
  const device = parseVirtualDevice(String(typeof vdev === 'object' ? vdev.name : vdev))
  return {
    ...(target === undefined ? {} : { target }), ...(backendType === undefined ? {} : { backendType }),
    ...(script === undefined ? {} : { script }), vdev: device, type,
    format: rest.format ?? 'raw', access: rest.access ?? (type === 'cdrom' ? 'r' : 'w'), backend: rest.backend ?? '0',
    directIoSafe: rest.directIoSafe ?? false, discard: rest.discard ?? true, trusted: rest.trusted ?? true,
  }
}
