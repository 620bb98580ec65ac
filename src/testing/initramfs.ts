/**
 * Initial RAM disks for Linux guests: a cpio archive in the "newc" form, and one with BusyBox and a start script.
 *
 * newc: each entry is a header of 110 ASCII characters (magic 070701 and 13 numbers of 8 hexadecimal digits), the name
 * with a zero, padding to 4, the contents, padding to 4; the entry TRAILER!!! ends the archive.
 * Reference: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
 */

/** One entry of an archive; paths are without a leading slash, folders come before what is in them. */
export type CpioEntry =
  | { readonly kind: 'folder'; readonly path: string }
  | { readonly kind: 'file'; readonly path: string; readonly contents: Uint8Array | string; readonly mode?: number }
  | { readonly kind: 'link'; readonly path: string; readonly target: string }
  | { readonly kind: 'device'; readonly path: string; readonly major: number; readonly minor: number }

const TYPE = { folder: 0o040_000, file: 0o100_000, link: 0o120_000, device: 0o020_000 } as const

const encoder = new TextEncoder()

const asBytes = (contents: Uint8Array | string): Uint8Array =>
  typeof contents === 'string' ? encoder.encode(contents) : contents

const padded = (length: number): number => (length + 3) & ~3

function contentsOf(entry: CpioEntry): Uint8Array {
  if (entry.kind === 'file') return asBytes(entry.contents)
  return entry.kind === 'link' ? encoder.encode(entry.target) : new Uint8Array()
}

function modeOf(entry: CpioEntry): number {
  if (entry.kind === 'file') return TYPE.file | (entry.mode ?? 0o644)
  return TYPE[entry.kind] | { folder: 0o755, link: 0o777, device: 0o600 }[entry.kind]
}

/** One entry's bytes, padded. */
function encodeEntry(path: string, contents: Uint8Array, numbers: Readonly<Record<string, number>>): Uint8Array {
  const name = encoder.encode(`${path}\0`)
  const { inode = 0, mode = 0, links = 1, major = 0, minor = 0 } = numbers
  const fields = [inode, mode, 0, 0, links, 0, contents.length, 0, 0, major, minor, name.length, 0]
  const header = encoder.encode(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`)
  const contentsAt = padded(header.length + name.length)
  const bytes = new Uint8Array(contentsAt + padded(contents.length))
  bytes.set(header)
  bytes.set(name, header.length)
  bytes.set(contents, contentsAt)
  return bytes
}

/** Writes an archive; the same entries give the same bytes. */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const parts = entries.map((entry, index) =>
    encodeEntry(entry.path, contentsOf(entry), {
      inode: index + 1, mode: modeOf(entry), links: entry.kind === 'folder' ? 2 : 1,
      ...(entry.kind === 'device' ? { major: entry.major, minor: entry.minor } : {}),
    }))
  parts.push(encodeEntry('TRAILER!!!', new Uint8Array(), {}))
  const archive = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    archive.set(part, at)
    at += part.length
  }
  return archive
}

/** What goes into a BusyBox disk besides BusyBox. */
export interface BusyboxDisk {
  /** The file `busybox`, linked statically. */
  readonly busybox: Uint8Array
  /** Shell commands that run once the file systems are mounted; by default a shell on the console. */
  readonly script?: string
  /** Further files; the folders that they are in are made. */
  readonly files?: Readonly<Record<string, Uint8Array | string>>
}

const START = `#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s /bin
export PATH=/bin HOME=/ TERM=vt100
`

const SHELL = `echo "initramfs: ready"
exec setsid cttyhack sh
`

/** What Linux starts when it is asked from outside to end: BusyBox alone would ask an init that is only a script. */
const endBy = (command: string): string => `#!/bin/busybox sh\nexec /bin/busybox ${command} -f\n`

/** Every folder above these paths, each once and before what is in it. */
function foldersAbove(paths: readonly string[]): string[] {
  const folders = paths.flatMap((path) => {
    const parts = path.split('/').slice(0, -1)
    return parts.map((_, depth) => parts.slice(0, depth + 1).join('/'))
  })
  return [...new Set(folders)].sort()
}

/** A disk whose init mounts /proc, /sys and /dev, gives BusyBox's commands their names, and runs the script. */
export function busyboxInitramfs(disk: BusyboxDisk): Uint8Array {
  const files = Object.entries({
    'sbin/poweroff': endBy('poweroff'), 'sbin/reboot': endBy('reboot'), ...disk.files,
  })
  const folders = foldersAbove(['bin/busybox', 'dev/console', ...files.map(([path]) => path)])
  return writeCpio([
    ...folders.map((path): CpioEntry => ({ kind: 'folder', path })),
    { kind: 'device', path: 'dev/console', major: 5, minor: 1 },
    { kind: 'file', path: 'bin/busybox', contents: disk.busybox, mode: 0o755 },
    { kind: 'file', path: 'init', contents: START + (disk.script ?? SHELL), mode: 0o755 },
    ...files.map(([path, contents]): CpioEntry => ({ kind: 'file', path, contents, mode: 0o755 })),
  ])
}
