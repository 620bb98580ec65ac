/**
 * A small Debian user space out of unpacked packages: as entries of an initial RAM disk for the guest, and as a folder in
 * which the processor underneath runs the same programs by `chroot`. What both print is compared.
 */
import { spawnSync } from 'node:child_process'
import {
  chmodSync, existsSync, lstatSync, mkdirSync, readFileSync, readdirSync, readlinkSync, symlinkSync, writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { GUESTS_FOLDER } from './guests.ts'
import type { CpioEntry } from '../../src/testing/index.ts'

/** Parts of packages that no program needs to run. */
const LEFT_OUT = /^(?:usr\/share\/(?:doc|man|info|locale|lintian|bash-completion)|usr\/lib\/x86_64-linux-gnu\/gconv|etc\/|\.version)/

/** Everything in a folder, folders before what is in them. */
function entriesBelow(root: string, path = ''): CpioEntry[] {
  return readdirSync(join(root, path)).sort().flatMap((name): CpioEntry[] => {
    const inside = path === '' ? name : `${path}/${name}`
    if (LEFT_OUT.test(inside)) return []
    const file = join(root, inside)
    const status = lstatSync(file)
    if (status.isSymbolicLink()) return [{ kind: 'link', path: inside, target: readlinkSync(file) }]
    if (status.isDirectory()) return [{ kind: 'folder', path: inside }, ...entriesBelow(root, inside)]
    return [{ kind: 'file', path: inside, contents: readFileSync(file), mode: status.mode & 0o777 }]
  })
}

/** The contents of some packages laid over each other; each path once. */
export function debianRoot(packages: readonly string[]): CpioEntry[] {
  const entries = new Map<string, CpioEntry>()
  for (const name of packages) for (const entry of entriesBelow(join(GUESTS_FOLDER, name))) entries.set(entry.path, entry)
  return [...entries.values()]
}

/** Makes a folder hold these entries; device nodes are left to whoever mounts /dev. */
export function writeRoot(folder: string, entries: readonly CpioEntry[]): void {
  for (const entry of entries) {
    const path = join(folder, entry.path)
    mkdirSync(dirname(path), { recursive: true })
    if (entry.kind === 'folder') mkdirSync(path, { recursive: true })
    else if (entry.kind === 'link') symlinkSync(entry.target, path)
    else if (entry.kind === 'file') {
      writeFileSync(path, entry.contents)
      chmodSync(path, entry.mode ?? 0o644)
    }
  }
  for (const name of ['dev', 'proc', 'sys', 'tmp']) mkdirSync(join(folder, name), { recursive: true })
}

/** A name space of its own in which the folder is the root, with the machine's /dev and /proc in it. */
const ENTER = 'mount --rbind /dev "$0/dev" && mount --rbind /proc "$0/proc" && exec chroot "$0" "$@"'

/** Runs a command of the folder's on the processor underneath. */
export function runNatively(folder: string, command: readonly string[]): { readonly status: number | null; readonly text: string } {
  const options = process.getuid?.() === 0 ? ['-m'] : ['-r', '-m']
  const { status, stdout, stderr } = spawnSync('unshare', [...options, 'sh', '-c', ENTER, folder, ...command], {
    encoding: 'utf8', maxBuffer: 16 * 2 ** 20, input: '',
  })
  return { status, text: stdout + stderr }
}

/** Why programs cannot be run in a folder here; undefined when they can. Where `CI` is `true` it throws instead. */
export function whyNoChroot(folder: string): string | undefined {
  if (!existsSync(folder)) return undefined
  if (runNatively(folder, ['/bin/true']).status === 0) return undefined
  const reason = ' (SKIPPED: no name space with a root of its own can be made on this machine)'
  if (process.env['CI'] === 'true') throw new Error(`a test cannot run here${reason}`)
  return reason
}
