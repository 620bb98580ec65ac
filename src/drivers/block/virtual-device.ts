/**
 * Names of virtual disks and the numbers that XenStore and guests use for them.
 * Reference: xen-vbd-interface(7).
 */
import { XenError } from '../../util/index.ts'

/** A virtual disk or one partition of it. */
export interface VirtualDevice {
  /** As written: `xvda`, `sda1`, `d0p1`. */
  readonly name: string
  /** Key of the device in XenStore. */
  readonly number: number
}

/** Largest disk and partition of the extended numbering. */
const MAX_DISK = 0xfffff
const MAX_PARTITION = 255

const wrong = (name: string, why: string): XenError =>
  new XenError('INVALID_CONFIG', `virtual device \`${name}\` ${why}`, { details: { vdev: name } })

/** a -> 0, z -> 25, aa -> 26: disks count like columns of a spreadsheet. */
function diskFromLetters(letters: string): number {
  let disk = 0
  for (const letter of letters) disk = disk * 26 + (letter.charCodeAt(0) - 96)
  return disk - 1
}

function xenNumber(name: string, disk: number, partition: number): number {
  if (disk > MAX_DISK || partition > MAX_PARTITION)
    throw wrong(name, `is beyond disk ${MAX_DISK}, partition ${MAX_PARTITION}`)
  if (disk < 16 && partition < 16) return (202 << 8) | (disk << 4) | partition
  return (1 << 28) | (disk << 8) | partition
}

/** The number of a device name: xvd*, hd*, sd*, d<disk>[p<partition>], or a number as such. Throws INVALID_CONFIG. */
export function parseVirtualDevice(name: string): VirtualDevice {
  if (/^(0x[0-9a-f]{1,7}|[1-9][0-9]{0,8})$/i.test(name)) return { name, number: Number(name) }
  const numbered = /^d([0-9]{1,7})(?:p([0-9]{1,4}))?$/.exec(name)
  if (numbered !== null) {
    return { name, number: xenNumber(name, Number(numbered[1]), Number(numbered[2] ?? 0)) }
  }
  const [, family, letters, digits] = /^(xvd|hd|sd)([a-z]{1,5})([0-9]{0,4})$/.exec(name) ?? []
  if (family === undefined || letters === undefined)
    throw wrong(name, 'is not a device name such as xvda, hda1 or sda1')
  const disk = diskFromLetters(letters)
  const partition = digits === undefined || digits === '' ? 0 : Number(digits)
  if (digits?.startsWith('0')) throw wrong(name, 'has a partition number that starts with 0')
  if (family === 'xvd') return { name, number: xenNumber(name, disk, partition) }
  const [disks, partitions] = family === 'hd' ? [4, 64] : [16, 16]
  if (disk >= disks || partition >= partitions)
    throw wrong(name, `is beyond ${family}'s ${disks} disks of ${partitions - 1} partitions`)
  if (family === 'sd') return { name, number: (8 << 8) | (disk << 4) | partition }
  return { name, number: ((disk < 2 ? 3 : 22) << 8) | ((disk & 1) << 6) | partition }
}
