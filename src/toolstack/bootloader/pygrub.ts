/**
 * pygrub: finds kernel, ramdisk and command line in a guest's own disk, by the boot loader file that stands in it. Nobody is
 * asked which entry is meant, and nothing of the guest runs. Images are hostile: see filesystem/image-reader.ts.
 * Reference: tools/pygrub/src/pygrub.
 */
import { XenError } from '../../util/index.ts'
import type { FileSystem } from '../filesystem/file-system.ts'
import { openFileSystem } from '../filesystem/open-file-system.ts'
import { DiskImageReader, imageFault, type ImageSource } from '../filesystem/image-reader.ts'
import { fileSystemStarts } from '../filesystem/partitions.ts'
import { readExtLinux, readGrub2, readLegacy, type BootConfig, type BootImage } from './boot-configs.ts'

/** Where pygrub looks, in this order, and how it reads what it finds. */
const CONFIGS: readonly (readonly [string, (text: string) => BootConfig])[] = [
  ...['/boot/grub/grub.cfg', '/grub/grub.cfg', '/boot/grub2/grub.cfg', '/grub2/grub.cfg'].map((path) => [path, readGrub2] as const),
  ...['/boot/isolinux/isolinux.cfg', '/boot/extlinux/extlinux.conf', '/boot/extlinux.conf', '/extlinux/extlinux.conf', '/extlinux.conf']
    .map((path) => [path, readExtLinux] as const),
  ...['/boot/grub/menu.lst', '/boot/grub/grub.conf', '/grub/menu.lst', '/grub/grub.conf'].map((path) => [path, readLegacy] as const),
]
/** Longest boot loader file, and largest kernel or ramdisk, as for pygrub. */
const MAX_CONFIG = 2 ** 20
const MAX_FILE = 128 * 2 ** 20

/** What is looked for. */
export interface PygrubRequest {
  /** Arguments as for the program: `--entry=`, `--kernel=`, `--ramdisk=`, `--args=`, `--offset=`; others are about its screen. */
  readonly args: readonly string[]
  /** Stops it between two partitions: rejects with ABORTED. */
  readonly signal?: AbortSignal | undefined
}

/** What was found. */
export interface GuestBoot {
  /** Path of the kernel in the guest's file system. */
  readonly path: string
  readonly kernel: Uint8Array
  readonly ramdisk: { readonly path: string; readonly bytes: Uint8Array } | undefined
  readonly commandLine: string
}

interface Options {
  readonly entry?: string
  readonly kernel?: string
  readonly ramdisk?: string
  readonly args: string
  readonly offset?: number
}

const NAMES = new Set(['entry', 'kernel', 'ramdisk', 'args', 'offset'])
/** Options about pygrub's screen, its output and its rights; those in the second list take a value. */
const IGNORED = new Set(['-q', '--quiet', '-i', '--interactive', '--debug'])
const IGNORED_WITH_VALUE = new Set(['output', 'output-format', 'output-directory', 'runas'])

/** Reads the arguments. Throws INVALID_CONFIG for one that pygrub does not have. */
function readOptions(args: readonly string[]): Options {
  const given = new Map<string, string>()
  const words = [...args]
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    if (IGNORED.has(word)) continue
    const [, name = '', value] = /^--([a-z-]+)(?:=([^]*))?$/.exec(word) ?? []
    if (!NAMES.has(name) && !IGNORED_WITH_VALUE.has(name)) {
      throw new XenError('INVALID_CONFIG', `pygrub has no argument \`${word}\``, { details: { key: 'bootloaderArgs', value: word } })
    }
    given.set(name, value ?? words.shift() ?? '')
  }
  const offset = given.get('offset')
  if (offset !== undefined && !/^\d{1,15}$/.test(offset)) {
    throw new XenError('INVALID_CONFIG', `pygrub: offset \`${offset}\` is no number`, { details: { key: 'bootloaderArgs', value: offset } })
  }
  return { ...Object.fromEntries(given), args: given.get('args') ?? '', ...(offset === undefined ? {} : { offset: Number(offset) }) } as Options
}

/** The entry that was asked for by number or title, or the default one, or the first. */
function chooseImage({ images, chosen }: BootConfig, entry: string | undefined): BootImage | undefined {
  const number = entry === undefined ? -1 : /^\s*[+-]?\d+\s*$/.test(entry) ? Number(entry) : images.findIndex(({ title }) => title === entry)
  return images[number] ?? images[chosen] ?? images[0]
}

/** What one file system has to boot; undefined where it has no boot loader's file or no kernel in it. */
interface Choice {
  readonly fileSystem: FileSystem
  readonly kernel: string
  readonly ramdisk: string | undefined
  readonly commandLine: string
}

async function chooseIn(fileSystem: FileSystem, options: Options): Promise<Choice | undefined> {
  // Who names the kernel needs no file to find it by.
  if (options.kernel !== undefined) {
    return { fileSystem, kernel: options.kernel, ramdisk: options.ramdisk, commandLine: options.args }
  }
  for (const [path, read] of CONFIGS) {
    if (!(await fileSystem.exists(path))) continue
    const bytes = await fileSystem.readFile(path, MAX_CONFIG)
    const image = chooseImage(read(new TextDecoder().decode(bytes)), options.entry)
    if (image?.kernel === undefined || image.kernel === '') return undefined
    const commandLine = [image.args ?? '', options.args === '' ? '' : ` ${options.args}`].join('')
    return { fileSystem, kernel: image.kernel, ramdisk: image.ramdisk === '' ? undefined : image.ramdisk, commandLine }
  }
  return undefined
}

/** What the file system at an offset has to boot, or why it has nothing. */
async function chooseAt(image: DiskImageReader, offset: number, options: Options): Promise<Choice | { readonly why: string }> {
  try {
    const choice = await chooseIn(await openFileSystem(image.from(offset)), options)
    return choice ?? { why: 'it has no boot loader file that names a kernel' }
  } catch (error) {
    if (!XenError.is(error)) throw error
    return { why: error.message }
  }
}

async function readBoot({ fileSystem, kernel, ramdisk, commandLine }: Choice): Promise<GuestBoot> {
  const read = async (what: string, path: string): Promise<Uint8Array> => {
    const bytes = await fileSystem.readFile(path, MAX_FILE + 1)
    const why = bytes === undefined ? 'is not there' : bytes.length > MAX_FILE ? `is larger than ${MAX_FILE} bytes` : undefined
    if (why === undefined) return bytes!
    throw imageFault(what, path, `that its boot loader file names ${why}`)
  }
  return {
    path: kernel, kernel: await read('kernel', kernel), commandLine,
    ramdisk: ramdisk === undefined ? undefined : { path: ramdisk, bytes: await read('ramdisk', ramdisk) },
  }
}

/**
 * Finds and reads what a guest's disk boots. Rejects with INVALID_IMAGE where there is nothing to boot or the image is
 * damaged, with what was wrong with each partition in `details.partitions`.
 */
export async function pygrub(disk: ImageSource, { args, signal }: PygrubRequest): Promise<GuestBoot> {
  const options = readOptions(args)
  const image = DiskImageReader.over(disk)
  const starts = options.offset === undefined ? await fileSystemStarts(image) : [options.offset]
  const partitions: { readonly offset: number; readonly why: string }[] = []
  for (const offset of starts) {
    if (signal?.aborted === true) throw new XenError('ABORTED', 'looking for a kernel in the disk was aborted', { cause: signal.reason })
    const choice = await chooseAt(image, offset, options)
    // What a partition names and does not have is not looked for in others.
    if ('kernel' in choice) return readBoot(choice)
    partitions.push({ offset, why: choice.why })
  }
  const reasons = partitions.map(({ offset, why }) => `at byte ${offset}: ${why}`).join('; ')
  throw new XenError('INVALID_IMAGE', `pygrub finds no kernel in the disk (${reasons})`, { details: { partitions } })
}
