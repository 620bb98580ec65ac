/**
 * What a domain's `bootloader` means: pygrub, by its name or a path that ends in it, is the one that exists here. It is run
 * anew at each start of the domain, so that a guest that has a new kernel gets it.
 */
import { XenError } from '../../util/index.ts'
import type { DiskConfig } from '../device-kinds/disk/disk-specification.ts'
import type { DomainConfig } from '../config/domain-config.ts'
import type { ImageSource } from '../filesystem/image-reader.ts'
import { pygrub, type GuestBoot } from './pygrub.ts'

/** A disk that has been opened to be read. */
export interface OpenImage extends ImageSource {
  close(): void | Promise<void>
}

/** What running a boot loader needs. */
export interface BootloaderHost {
  /** Opens a disk of the domain's for reading. */
  openDisk(disk: DiskConfig): OpenImage | Promise<OpenImage>
  readonly signal?: AbortSignal | undefined
}

const wrong = (message: string, details: Readonly<Record<string, unknown>>): XenError =>
  new XenError('INVALID_CONFIG', message, { details: { key: 'bootloader', ...details } })

/** The arguments that libxl puts in front of those of the description: kernel and ramdisk are names within the image. */
function argumentsFor(config: DomainConfig<unknown>): readonly string[] {
  const { kernel, ramdisk, commandLine, bootloaderArgs } = config
  for (const [key, value] of [['kernel', kernel], ['ramdisk', ramdisk]] as const) {
    if (value === undefined || typeof value === 'string') continue
    throw wrong(`${key} must be a path in the domain's own disk where a boot loader is to find it`, { key })
  }
  return [
    ...(kernel === undefined ? [] : [`--kernel=${String(kernel)}`]),
    ...(ramdisk === undefined ? [] : [`--ramdisk=${String(ramdisk)}`]),
    ...(commandLine === '' ? [] : [`--args=${commandLine}`]),
    ...bootloaderArgs,
  ]
}

/**
 * Runs a domain's boot loader over its first disk; undefined where it has none. Rejects with INVALID_CONFIG,
 * NOT_SUPPORTED for another boot loader, INVALID_IMAGE, or what opening the disk rejects with.
 */
export async function runBootloader(config: DomainConfig<unknown>, host: BootloaderHost): Promise<GuestBoot | undefined> {
  const { bootloader, disks } = config
  if (bootloader === undefined) return undefined
  if (!/(?:^|\/)pygrub$/.test(bootloader)) {
    const why = 'is not supported, only pygrub is; for GRUB itself as kernel give kernel = "pvgrub64"'
    throw new XenError('NOT_SUPPORTED', `boot loader \`${bootloader}\` ${why}`, { details: { key: 'bootloader', value: bootloader } })
  }
  const args = argumentsFor(config)
  const [disk] = disks
  if (disk?.target === undefined) {
    const state = disk === undefined ? 'not there' : 'empty'
    throw wrong(`boot loader ${bootloader} needs a disk to read, and the domain's first one is ${state}`, { value: bootloader })
  }
  const image = await host.openDisk(disk)
  try {
    return await pygrub(image, { args, signal: host.signal })
  } finally {
    await image.close()
  }
}
