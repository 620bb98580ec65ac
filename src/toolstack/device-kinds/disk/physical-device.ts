/**
 * What Linux serves a disk from in a driver domain: its block devices by their names, as `physical-device` has them. Not here: files,
 * which only a script in that domain could give a loop device.
 * Reference: Linux, Documentation/admin-guide/devices.txt; drivers/block/xen-blkback/xenbus.c, backend_changed.
 */
import { parseVirtualDevice } from '../../../drivers/index.ts'
import { XenError } from '../../../util/index.ts'
import type { DiskConfig } from './disk-specification.ts'

/** Majors of numbered devices. */
const NUMBERED: Readonly<Record<string, number>> = { ram: 1, loop: 7 }

/** Numbers above have a major that Linux hands out as drivers come. */
const FIRST_DYNAMIC = 1 << 28

/** Major and minor of a name such as `loop0`, `xvdb1`, `sda`; undefined for what Linux gives no fixed number. */
function deviceNumber(name: string): readonly [major: number, minor: number] | undefined {
  const [, kind = '', digits] = /^(ram|loop)([0-9]{1,3})$/.exec(name) ?? []
  const major = NUMBERED[kind]
  if (major !== undefined && Number(digits) < 256) return [major, Number(digits)]
  if (!/^(?:xvd|sd|hd)[a-z]/.test(name)) return undefined
  const { number } = parseVirtualDevice(name)
  return number >= FIRST_DYNAMIC ? undefined : [number >> 8, number & 0xff]
}

/** `physical-device` of a disk whose target is a block device of the driver domain. Throws NOT_SUPPORTED for any other. */
export function physicalDevice({ vdev, target = '', backend }: DiskConfig): string {
  const number = deviceNumber(target.replace(/^\/dev\//, ''))
  if (number !== undefined) return number.map((part) => part.toString(16)).join(':')
  throw new XenError('NOT_SUPPORTED', `disk ${vdev.name}: ${target === '' ? 'an empty drive' : target} is no block device that Linux in ${backend} has a fixed number for, such as loop0 or xvdb`, {
    details: { vdev: vdev.name, target, backend },
  })
}
