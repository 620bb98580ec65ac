/**
 * Disk specifications: xl's `target,format,vdev,access,key=value...` and xend's older `file:/path,sda1,w`, checked.
 * How a text is taken apart is in disk-scanner.ts.
 * Reference: xl-disk-configuration(5).
 */
import { MAX_SPECIFICATION } from '../described-device.ts'
import { parseVirtualDevice, type VirtualDevice } from '../../../drivers/index.ts'
import { nearestWord, XenError } from '../../../util/index.ts'
import { DISK_PARAMETERS, scanDisk, type ScannedDisk } from './disk-scanner.ts'

/** Format of what a disk's target holds. */
export type DiskFormat = 'raw' | 'qcow' | 'qcow2' | 'vhd' | 'qed'

/** One virtual disk. */
export interface DiskConfig {
  /** File, device or name that the block script understands; undefined for an empty CD drive. */
  readonly target?: string
  readonly format: DiskFormat
  readonly vdev: VirtualDevice
  readonly access: 'r' | 'w'
  readonly type: 'disk' | 'cdrom'
  /** Domain that serves the disk. */
  readonly backend: string
  readonly backendType?: 'phy' | 'qdisk' | 'standalone' | 'tap'
  readonly script?: string
  readonly directIoSafe: boolean
  readonly discard: boolean
  /** True when the guest trusts its back-end. */
  readonly trusted: boolean
}

/** The parameter that somebody probably meant, for the end of a message. */
function hint(message: string): string {
  const word = /^unknown parameter `([^`]*)`$/.exec(message)?.[1]
  const nearest = word === undefined ? undefined : nearestWord(word, DISK_PARAMETERS)
  return nearest === undefined ? '' : `; did you mean \`${nearest}\`?`
}

function meaning(disk: ScannedDisk, fault: (message: string) => never): DiskConfig {
  const { target, vdev, format, backend, backendType, script, cdrom } = disk
  if (vdev === undefined) fault('the virtual device (vdev) is missing')
  if (disk.specification === 'virtio') fault('specification `virtio` is not supported, only `xen` is')
  // An empty text where a target stands means none: the drive is empty.
  const present = target !== undefined && target !== ''
  if (!present && !cdrom) fault('the target is missing')
  return {
    ...(present ? { target } : {}),
    // libxl keeps `empty` apart from the formats; nothing here asks for the format of what is not there.
    format: format === undefined || format === 'empty' ? 'raw' : (format as DiskFormat),
    vdev: parseVirtualDevice(vdev),
    access: cdrom ? 'r' : disk.access,
    type: cdrom ? 'cdrom' : 'disk',
    backend: [backend, disk.fourthValue].find((name) => name !== undefined && name !== '') ?? '0',
    ...(backendType === undefined ? {} : { backendType: backendType as NonNullable<DiskConfig['backendType']> }),
    ...(script === undefined || script === '' ? {} : { script }),
    directIoSafe: disk.directIoSafe,
    discard: disk.discard ?? true,
    trusted: disk.trusted ?? true,
  }
}

/** Parses one disk specification in either spelling. Throws INVALID_CONFIG naming the specification. */
export function parseDisk(text: string): DiskConfig {
  const fault = (message: string): never => {
    throw new XenError('INVALID_CONFIG', `disk \`${text}\`: ${message}${hint(message)}`, { details: { disk: text } })
  }
  if (text.trim() === '') fault('it is empty')
  if (text.length > MAX_SPECIFICATION) fault(`it has more than ${MAX_SPECIFICATION} characters`)
  return meaning(scanDisk(text, fault), fault)
}
