/** Debian's Linux with Xen's own vchan library and a program that uses it: both out of packages, the program compiled when it is asked for. */
import { readFileSync, readdirSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { debianGuests } from '../../src/node/index.ts'
import type { Domain, Host } from '../../src/index.ts'
import { GUESTS_FOLDER } from './guests.ts'
import { createLinux, type LinuxGuest } from './linux.ts'
import { buildNative } from './native-build.ts'

/** Modules for grants and ports of processes, and what libxenctrl opens. */
const MODULES = ['xen-evtchn', 'xen-gntdev', 'xen-gntalloc', 'xen-privcmd'] as const
/** Packages with the libraries that are linked, and the names of these. */
const PACKAGES = [
  'libc6', 'libgcc-s1', 'libxenmisc4.17', 'libxenstore4', 'libxenevtchn1', 'libxengnttab1', 'libxentoolcore1', 'libxentoollog1', 'libxencall1', 'libxendevicemodel1', 'libxenforeignmemory1',
]
const LIBRARIES = /^(?:ld-linux-x86-64|libc|libgcc_s|libxen(?:vchan|store|ctrl|evtchn|gnttab|toolcore|toollog|call|devicemodel|foreignmemory))\.so\.[\d.]+$/
const FOLDERS = ['lib/x86_64-linux-gnu', 'usr/lib/x86_64-linux-gnu', 'lib64', 'usr/lib64']

/** The program, or why there is none. */
export const vchanPeer = () => buildNative(join(import.meta.dirname, '../guests/vchan-peer.c'), ['-O1', '-Wl,--no-as-needed', '-lxenvchan', '-lxenevtchn', '-lxengnttab'])

/** Why there is no such guest here: Debian's headers are asked for, as the layouts are judged by them too. */
export function whyNoVchanLibrary(): string | undefined {
  const reason = existsSync('/usr/include/libxenvchan.h') ? vchanPeer().reason : 'no libxenvchan.h: install libxen-dev'
  if (reason !== undefined && process.env['CI'] === 'true') throw new Error(`a test cannot run here: ${reason}`)
  return reason === undefined ? undefined : ` (SKIPPED: ${reason})`
}

/** The libraries, where Linux looks for them. */
function libraries(): Record<string, Uint8Array> {
  const found = PACKAGES.flatMap((name) => FOLDERS.flatMap((folder) => {
    const path = join(GUESTS_FOLDER, name, folder)
    return existsSync(path) ? readdirSync(path).filter((file) => LIBRARIES.test(file)).map((file) => [file, readFileSync(join(path, file))] as const) : []
  }))
  return Object.fromEntries(found.map(([file, bytes]) => [file.startsWith('ld-') ? `lib64/${file}` : `lib/${file}`, bytes]))
}

/** A Linux with `vchan-peer` and Debian's `vchan-socket-proxy` on its path. */
export async function createVchanLinux(host: Host, name: string, type: 'pv' | 'pvh' = 'pv'): Promise<LinuxGuest> {
  const guests = debianGuests(GUESTS_FOLDER)
  const shell = await createLinux(host, {
    domain: { name, type, memory: 192 },
    files: {
      ...libraries(), ...Object.fromEntries(MODULES.map((module) => [`m/${module}.ko`, guests.module(module)])),
      'bin/vchan-peer': readFileSync(vchanPeer().path!), 'bin/vchan-socket-proxy': readFileSync(join(GUESTS_FOLDER, 'xen-utils-4.17/usr/lib/xen-4.17/bin/vchan-socket-proxy')),
    },
  })
  await shell.ready()
  await shell.run(MODULES.map((module) => `insmod /m/${module}.ko`).join(' && '))
  await shell.run('ls /dev/xen/evtchn /dev/xen/gntdev /dev/xen/gntalloc /dev/xen/xenbus')
  return shell
}

/** A domain's path of a vchan. */
export const vchanPath = (domain: Domain, name: string): string => `/local/domain/${domain.id}/data/vchan/${name}`
