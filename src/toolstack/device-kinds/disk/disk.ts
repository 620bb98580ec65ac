/** Disks: `vbd` devices. Reference: public/io/blkif.h; captures of xl create on Xen 4.17. */
import { parseVirtualDevice } from '../../../drivers/index.ts'
import { XenError } from '../../../util/index.ts'
import { SCRIPTS, unusualScript, type DeviceRows, type DescribedDevice } from '../described-device.ts'
import { resolveDisk, type DiskDescription } from './disk-description.ts'
import { formatDisk } from './disk-format.ts'
import { DISK_SAVED } from './disk-saved.ts'
import { physicalDevice } from './physical-device.ts'
import { parseDisk, type DiskConfig } from './disk-specification.ts'

const flag = (value: boolean): string => (value ? '1' : '0')

const rows = (disk: DiskConfig): DeviceRows => ({
  backendHead: [['params', disk.target ?? ''], ['script', `${SCRIPTS}/${disk.script ?? 'block'}`]],
  backendMiddle: [['removable', flag(disk.type === 'cdrom')], ['bootable', '1']],
  backendTail: [
    ['dev', disk.vdev.name], ['type', 'phy'], ['mode', disk.access], ['device-type', disk.type],
    ['discard-enable', flag(disk.discard)], ['specification', 'xen'],
    // A device model has it in front of `params`.
    ...(disk.format === 'raw' ? [] : [['format', disk.format] as const]),
  ],
  frontend: [
    ['virtual-device', String(disk.vdev.number)], ['device-type', disk.type], ['trusted', flag(disk.trusted)],
    ['protocol', 'x86_64-abi'],
  ],
})

/** Two disks under one name would share one XenStore directory. */
function checkNames(disks: readonly DiskConfig[]): void {
  const seen = new Set<number>()
  for (const { vdev } of disks) {
    if (seen.has(vdev.number)) {
      throw new XenError('INVALID_CONFIG', `two disks are called ${vdev.name}`, { details: { key: 'disks', vdev: vdev.name } })
    }
    seen.add(vdev.number)
  }
}

/** Virtual disks. */
export const DISK = {
  name: 'vbd',
  title: 'disk',
  about: 'Virtual disks (xl-disk-configuration(5)).',
  words: { option: 'disk' as const, parse: parseDisk, format: formatDisk },
  saved: DISK_SAVED,
  resolve: (description) => resolveDisk(description as string | DiskDescription),
  checkTogether: checkNames,
  label: ({ vdev }: DiskConfig) => `disk ${vdev.name}`,
  hostNames: ({ script, target }) => ({ scripts: unusualScript(script), disks: target }),
  settle: (disk, { resource }) => {
    if (disk.format === 'raw' || disk.format === 'qcow2' || resource !== undefined) return { id: disk.vdev.number, config: disk }
    throw new XenError('NOT_SUPPORTED', `disk ${disk.vdev.name}: format ${disk.format} is not supported, only raw and qcow2 are`, {
      details: { vdev: disk.vdev.name, format: disk.format },
    })
  },
  nameOf: ({ vdev }) => vdev.name,
  facts: ({ vdev, target, format, access, type }) => ({ vdev: vdev.name, number: vdev.number, target, format, access, type }),
  numberOf: (text) => parseVirtualDevice(text).number,
  spelled: (text) => text,
  rows,
  hotplugged: (disk) => [['physical-device', physicalDevice(disk)], ['hotplug-status', 'connected']],
  isOpened: true,
  leavesAnyway: false,
} satisfies DescribedDevice<DiskConfig>
