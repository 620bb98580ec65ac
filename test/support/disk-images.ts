/**
 * Disk images made on the spot by Debian's own tools, none of which needs root for it: ext file systems by mke2fs, and
 * partition tables around them by sfdisk.
 */
import { execFileSync } from 'node:child_process'
import {
  closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync, writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { whyNoProgram } from './programs.ts'

/** Why no image can be made here; undefined where one can. Where `CI` is `true` nothing may be skipped, so there it throws. */
export const whyNoImages = (): string | undefined => whyNoProgram('mke2fs', '-V') ?? whyNoProgram('sfdisk', '--version')

/** A file's contents, a link to another name, or a file of so many bytes of which only the given ones are written. */
export type ImageFile = string | Uint8Array | { readonly link: string } | { readonly size: number; readonly at: Readonly<Record<number, string>> }

/** How a file system is made. */
export interface ExtOptions {
  readonly kibibytes: number
  readonly files: Readonly<Record<string, ImageFile>>
  /** Arguments of mke2fs. Default: an ext4 as it makes one by itself. */
  readonly make?: readonly string[]
  /** Commands of debugfs that follow, and files that they may name. */
  readonly debugfs?: readonly string[]
  readonly extra?: Readonly<Record<string, Uint8Array>>
}

/** Works in a folder that is gone afterwards. */
export function inFolder<T>(work: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'paravirt-image-'))
  try {
    return work(folder)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function writeFiles(root: string, files: ExtOptions['files']): void {
  mkdirSync(root)
  for (const [path, contents] of Object.entries(files)) {
    const place = join(root, path)
    mkdirSync(join(place, '..'), { recursive: true })
    if (typeof contents === 'string' || contents instanceof Uint8Array) writeFileSync(place, contents)
    else if ('link' in contents) symlinkSync(contents.link, place)
    else {
      writeFileSync(place, '')
      truncateSync(place, contents.size)
      const file = openSync(place, 'r+')
      for (const [offset, text] of Object.entries(contents.at)) writeSync(file, text, Number(offset))
      closeSync(file)
    }
  }
}

/** An ext file system with the given files; folders above them are made. */
export const extImage = ({ kibibytes, files, make = ['-t', 'ext4'], debugfs = [], extra = {} }: ExtOptions): Uint8Array => inFolder((folder) => {
  writeFiles(join(folder, 'root'), files)
  const image = join(folder, 'image')
  execFileSync('mke2fs', ['-q', '-F', ...make, '-d', join(folder, 'root'), image, `${kibibytes}k`], { stdio: ['ignore', 'ignore', 'ignore'], env: { ...process.env, MKE2FS_SKIP_PROGRESS: '1' } })
  for (const [name, bytes] of Object.entries(extra)) writeFileSync(join(folder, name), bytes)
  if (debugfs.length > 0) execFileSync('debugfs', ['-w', '-f', '-', image], { cwd: folder, input: debugfs.join('\n'), stdio: ['pipe', 'ignore', 'ignore'] })
  return new Uint8Array(readFileSync(image))
})

/** Something for a partition to hold, and where it begins. */
export interface PartitionContents {
  /** In sectors of 512 bytes. */
  readonly start: number
  readonly contents: Uint8Array
  /** sfdisk's word for its kind. Default `linux`. */
  readonly type?: string
  readonly bootable?: boolean
}

/** A disk with a partition table of the given kind. */
export const partitionedDisk = (label: 'dos' | 'gpt', partitions: readonly PartitionContents[]): Uint8Array => inFolder((folder) => {
  const end = Math.max(...partitions.map(({ start, contents }) => start + Math.ceil(contents.length / 512)))
  const image = join(folder, 'disk')
  writeFileSync(image, '')
  truncateSync(image, (end + 2048) * 512)
  const lines = partitions.map(({ start, contents, type = 'linux', bootable }) =>
    `start=${start}, size=${Math.ceil(contents.length / 512)}, type=${type}${bootable ? ', bootable' : ''}`)
  execFileSync('sfdisk', ['-q', image], { input: `label: ${label}\n${lines.join('\n')}\n`, stdio: ['pipe', 'ignore', 'ignore'] })
  const disk = new Uint8Array(readFileSync(image))
  for (const { start, contents } of partitions) disk.set(contents, start * 512)
  return disk
})
