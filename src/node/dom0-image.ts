/**
 * Debian's Linux as dom0: an initial RAM disk with Xen's own tools, made of Debian's packages, which are unpacked and never
 * installed. Its /init mounts what Linux needs, loads the modules, makes the bridge xenbr0 (192.168.1.1/24), starts xenstored and
 * xenconsoled, and gives a shell on the console. With `services=host` on the command line the host serves in their place, and Linux is a
 * driver domain: interfaces of others join the bridges that XenStore names for them.
 * Reference: xen-utils-common, /etc/init.d/xen.
 */
import { existsSync, lstatSync, readFileSync, readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { writeCpio, type CpioEntry } from '../testing/index.ts'
import { XenError } from '../util/index.ts'
import { DOM0_PARTS } from './dom0-packages.ts'

/** Modules of the kernel, each after those that it needs. */
const MODULES = [
  'xen-evtchn', 'xen-gntdev', 'xen-gntalloc', 'xen-privcmd', 'xenfs', 'xen-blkback', 'xen-netback', 'loop', 'bridge',
] as const

const INIT = `#!/bin/busybox sh
export PATH=/usr/lib/xen-4.17/bin:/usr/sbin:/usr/bin HOME=/root TERM=vt100 PYTHONPATH=/usr/lib/xen-4.17/lib/python
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
/bin/busybox --install -s /usr/bin 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
ln -s /proc/self/fd /dev/fd
for name in 0:stdin 1:stdout 2:stderr; do ln -s fd/${'$'}{name%:*} /dev/${'$'}{name#*:}; done
hostname dom0
ip link set lo up
while read module; do insmod /usr/lib/modules/$module.ko; done </etc/modules
mount -t xenfs xenfs /proc/xen
brctl addbr xenbr0
ip addr add 192.168.1.1/24 dev xenbr0
ip link set xenbr0 up
case " $(cat /proc/cmdline) " in
*" services=host "*)
  xenstore-watch backend/vif | while IFS=/ read -r root kind domain device node; do
    vif=vif$domain.$device
    [ "$node" = hotplug-status ] && [ -e /sys/class/net/$vif ] && [ ! -e /sys/class/net/$vif/master ] || continue
    brctl addif $(xenstore-read backend/vif/$domain/$device/bridge) $vif
    ip link set $vif up
  done &
  ;;
*)
  xenstored --pid-file /run/xen/xenstored.pid
  xen-init-dom0
  xenconsoled --pid-file=/run/xen/xenconsoled.pid
  ;;
esac
cd /root
export PS1='dom0# '
echo "dom0: ready"
exec setsid cttyhack bash --norc --noediting
`

/** Folders that are empty at first. */
const FOLDERS = [
  'dev', 'proc', 'sys', 'tmp', 'root', 'run/xen', 'run/xenstored', 'run/lock', 'var/log/xen', 'var/lib/xen', 'var/lib/xenstored', 'mnt', 'usr/sbin',
] as const

/** Paths of the merged layout, for what is looked for in the older one. */
const LINKS: Readonly<Record<string, string>> = {
  bin: 'usr/bin', sbin: 'usr/sbin', lib: 'usr/lib', lib64: 'usr/lib64', 'var/run': '../run', 'var/lock': '../run/lock',
  'usr/bin/python3': 'python3.11', 'usr/lib/xen': 'xen-4.17',
}

/** A power-off that asks nobody: init is a script. */
const endBy = (command: string): string => `#!/bin/sh\nexec /bin/busybox ${command} -f\n`

function missing(what: string): never {
  throw new XenError('IO', `${what} is not there: fetch it by \`npx paravirt guests dom0\``, { details: { what } })
}

/** Paths of all files and links below a folder. */
function filesBelow(folder: string, prefix = ''): string[] {
  return readdirSync(join(folder, prefix), { withFileTypes: true }).flatMap((entry) => {
    const path = prefix === '' ? entry.name : `${prefix}/${entry.name}`
    return entry.isDirectory() ? filesBelow(folder, path) : [path]
  })
}

/** Where a path of a package is in the disk. */
const merged = (path: string): string => path.replace(/^(?=(?:bin|sbin|lib|lib64)\/)/, 'usr/')

function partOf(folder: string, name: string, wanted: RegExp): CpioEntry[] {
  const root = join(folder, name)
  if (!existsSync(root)) missing(`the package ${name}`)
  return filesBelow(root).filter((path) => wanted.test(merged(path))).map((path): CpioEntry => {
    const from = join(root, path)
    const status = lstatSync(from)
    return status.isSymbolicLink()
      ? { kind: 'link', path: merged(path), target: readlinkSync(from) }
      : { kind: 'file', path: merged(path), contents: readFileSync(from), mode: status.mode & 0o777 }
  })
}

/** The names of the modules that a module says it needs. */
function needsOf(module: Uint8Array): string[] {
  const [, names = ''] = /\0depends=([^\0]*)\0/.exec(Buffer.from(module.buffer, module.byteOffset, module.length).toString('latin1')) ?? []
  return names === '' ? [] : names.split(',')
}

/** The modules and all that they need, in the order in which they are loaded. */
function modulesOf(folder: string): Map<string, Uint8Array> {
  const files = new Map(filesBelow(folder).filter((path) => path.endsWith('.ko')).map((path) =>
    [path.slice(path.lastIndexOf('/') + 1, -3).replaceAll('_', '-'), path] as const))
  const found = new Map<string, Uint8Array>()
  const take = (name: string): void => {
    if (found.has(name)) return
    const path = files.get(name.replaceAll('_', '-')) ?? missing(`the module ${name}`)
    const bytes = readFileSync(join(folder, path))
    for (const needed of needsOf(bytes)) take(needed.replaceAll('_', '-'))
    found.set(name, bytes)
  }
  for (const name of MODULES) take(name)
  return found
}

/** Every folder above the entries, each once and before what is in it. */
function foldersOf(entries: readonly CpioEntry[]): CpioEntry[] {
  const paths = new Set<string>()
  const add = (path: string): void => {
    if (path === '' || paths.has(path)) return
    add(path.split('/').slice(0, -1).join('/'))
    paths.add(path)
  }
  for (const { path } of entries) add(path.split('/').slice(0, -1).join('/'))
  for (const path of FOLDERS) add(path)
  return [...paths].map((path) => ({ kind: 'folder', path }))
}

/** Makes dom0's disk of unpacked packages in `folder`, with further files by path. Throws IO where one is missing. */
export function dom0Ramdisk(folder: string, files: Readonly<Record<string, Uint8Array | string>> = {}): Uint8Array {
  const modules = modulesOf(join(folder, 'linux-image-amd64', 'lib', 'modules'))
  const file = (path: string, contents: Uint8Array | string, mode = 0o755): CpioEntry => ({ kind: 'file', path, contents, mode })
  const entries: CpioEntry[] = [
    ...Object.entries(DOM0_PARTS).flatMap(([name, wanted]) => partOf(folder, name, wanted)),
    ...Object.entries(LINKS).map(([path, target]): CpioEntry => ({ kind: 'link', path, target })),
    ...[...modules].map(([name, bytes]) => file(`usr/lib/modules/${name}.ko`, bytes, 0o644)),
    file('etc/modules', [...modules.keys()].map((name) => `${name}\n`).join(''), 0o644),
    file('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\n', 0o644), file('etc/group', 'root:x:0:\ntty:x:5:\n', 0o644),
    file('usr/sbin/poweroff', endBy('poweroff')), file('usr/sbin/reboot', endBy('reboot')), file('init', INIT),
    { kind: 'device', path: 'dev/console', major: 5, minor: 1 },
    ...Object.entries(files).map(([path, contents]) => file(path, contents)),
  ]
  return writeCpio([...foldersOf(entries), ...entries])
}
