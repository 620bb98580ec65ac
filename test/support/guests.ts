/**
 * The guests and tools that tests run but this repository does not hold: Debian packages, unpacked by
 * test/guests/fetch.ts (`npm run guests`) into the ignored folder `.guests/`, one folder a package.
 */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DOM0_PACKAGES } from '../../src/node/dom0-packages.ts'

/** Where packages are unpacked. */
export const GUESTS_FOLDER = fileURLToPath(new URL('../../.guests', import.meta.url))

/** Packages that are fetched together. */
export const GUEST_SETS = {
  grub: ['grub-xen-host'],
  busybox: ['busybox-static'],
  linux: ['linux-image-amd64'],
  tools: ['xen-utils-4.17', 'grub-common', 'grub-xen-bin'],
  kernels: ['linux-image-cloud-amd64', 'linux-image-6.12-amd64', 'linux-image-rt-amd64'],
  mach: ['gnumach-image-1.8-xen-486'],
  programs: [
    'libc6', 'libc-bin', 'libgcc-s1', 'bash', 'libtinfo6', 'coreutils', 'libacl1', 'libattr1', 'libgmp10', 'libselinux1',
    'libpcre2-8-0', 'sed', 'diffutils', 'perl-base', 'libcrypt1', 'python3.11-minimal', 'libpython3.11-minimal', 'libpython3.11-stdlib',
    'libexpat1', 'zlib1g', 'libssl3', 'libbz2-1.0', 'liblzma5', 'libsqlite3-0', 'libffi8', 'libuuid1',
  ],
  installer: ['debian-installer-12-netboot-amd64'],
  acpi: ['acpica-tools'],
  shim: ['xen-utils-4.17'],
  xen: ['xen-hypervisor-4.17-amd64'],
  unikernel: ['ocaml', 'musl-dev', 'libcstruct-ocaml-dev', 'libeqaf-ocaml-dev', 'libmirage-crypto-ocaml-dev'],
  metrics: ['prometheus'],
  dom0: DOM0_PACKAGES,
  etcd: ['etcd-server'],
  vnc: ['vncsnapshot', 'libjpeg62-turbo', 'libjpeg-turbo-progs', 'novnc'],
  afl: ['afl++', 'libpython3.11'],
  arm64: ['libgcc-s1-arm64-cross', 'libstdc++6-arm64-cross', 'libatomic1-arm64-cross', 'libc6-arm64-cross', 'qemu-user-static'],
} as const satisfies Record<string, readonly string[]>

/** A set of packages. */
export type GuestSet = keyof typeof GUEST_SETS

/** Where a file is in its package. A pattern stands for the one name in its folder that matches. */
interface Place {
  readonly set: GuestSet
  readonly package: string
  readonly folder: string
  readonly name: string | RegExp
}

/** Where Debian's installer is in its package. */
const INSTALLER = 'usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64'

const PLACES = {
  /** GRUB as a 64-bit PV kernel. */
  grub64: { set: 'grub', package: 'grub-xen-host', folder: 'usr/lib/grub-xen', name: 'grub-x86_64-xen.bin' },
  /** GRUB as a 32-bit PV kernel. */
  grub32: { set: 'grub', package: 'grub-xen-host', folder: 'usr/lib/grub-xen', name: 'grub-i386-xen.bin' },
  /** GRUB as a PVH kernel. */
  grubPvh: { set: 'grub', package: 'grub-xen-host', folder: 'usr/lib/grub-xen', name: 'grub-i386-xen_pvh.bin' },
  /** Debian's kernel, a bzImage. */
  linux: { set: 'linux', package: 'linux-image-amd64', folder: 'boot', name: /^vmlinuz-/ },
  /** Folder of the kernel's modules. */
  linuxModules: { set: 'linux', package: 'linux-image-amd64', folder: 'lib/modules', name: /./ },
  /** Debian's kernel for clouds, and the one of the next release as this one has it. */
  linuxCloud: { set: 'kernels', package: 'linux-image-cloud-amd64', folder: 'boot', name: /^vmlinuz-/ },
  linux612: { set: 'kernels', package: 'linux-image-6.12-amd64', folder: 'boot', name: /^vmlinuz-/ },
  /** Debian's kernel with real-time preemption. */
  linuxRt: { set: 'kernels', package: 'linux-image-rt-amd64', folder: 'boot', name: /^vmlinuz-/ },
  /** GNU Mach as a PV kernel, whose demands stand in the older `__xen_guest` section. */
  gnumach: { set: 'mach', package: 'gnumach-image-1.8-xen-486', folder: 'boot', name: /^gnumach-.*\.gz$/ },
  /** Debian's installer for the text console: its kernel and its initial RAM disk. */
  installerKernel: { set: 'installer', package: 'debian-installer-12-netboot-amd64', folder: INSTALLER, name: 'linux' },
  installerRamdisk: { set: 'installer', package: 'debian-installer-12-netboot-amd64', folder: INSTALLER, name: 'initrd.gz' },
  /** The last package of a user space whose programs are linked dynamically: all are there when it is. */
  programs: { set: 'programs', package: 'libuuid1', folder: 'usr/share/doc', name: 'libuuid1' },
  /** BusyBox, linked statically: a whole user space in one file. */
  busybox: { set: 'busybox', package: 'busybox-static', folder: 'bin', name: 'busybox' },
  /** Xen itself, for an emulator to run. */
  xen: { set: 'xen', package: 'xen-hypervisor-4.17-amd64', folder: 'boot', name: /^xen-4\.17-amd64\.gz$/ },
  /** Folders of the OCaml compiler's standard library, of the C library of musl, and of MirageOS's libraries. */
  ocaml: { set: 'unikernel', package: 'ocaml', folder: 'usr/lib', name: 'ocaml' },
  musl: { set: 'unikernel', package: 'musl-dev', folder: 'usr/lib', name: 'x86_64-linux-musl' },
  cstruct: { set: 'unikernel', package: 'libcstruct-ocaml-dev', folder: 'usr/lib/ocaml', name: 'cstruct' },
  eqaf: { set: 'unikernel', package: 'libeqaf-ocaml-dev', folder: 'usr/lib/ocaml', name: 'eqaf' },
  mirageCrypto: { set: 'unikernel', package: 'libmirage-crypto-ocaml-dev', folder: 'usr/lib/ocaml', name: 'mirage-crypto' },
  /** The OCaml compiler. */
  ocamlopt: { set: 'unikernel', package: 'ocaml', folder: 'usr/bin', name: 'ocamlopt.opt' },
  /** Prometheus's own reader and checker of metrics. */
  promtool: { set: 'metrics', package: 'prometheus', folder: 'usr/bin', name: 'promtool' },
  /** Xen's own checker of saved images, a Python program. */
  verifyStream: { set: 'tools', package: 'xen-utils-4.17', folder: 'usr/lib/xen-4.17/bin', name: 'verify-stream-v2' },
  /** Xen built to run as a PVH guest around one PV guest. */
  xenShim: { set: 'shim', package: 'xen-utils-4.17', folder: 'usr/lib/xen-4.17/boot', name: 'xen-shim' },
  /** The program that reads description files on a real host. */
  xl: { set: 'tools', package: 'xen-utils-4.17', folder: 'usr/lib/xen-4.17/bin', name: 'xl' },
  /** The boot loader that reads a guest's kernel out of its disk, a Python program. */
  pygrub: { set: 'tools', package: 'xen-utils-4.17', folder: 'usr/lib/xen-4.17/bin', name: 'pygrub' },
  /** GRUB's own checker of scripts. */
  grubScriptCheck: { set: 'tools', package: 'grub-common', folder: 'usr/bin', name: 'grub-script-check' },
  /** What makes kernels of GRUB's modules, and folders of those for Xen. */
  grubMkimage: { set: 'tools', package: 'grub-common', folder: 'usr/bin', name: 'grub-mkimage' },
  grubModules: { set: 'tools', package: 'grub-xen-bin', folder: 'usr/lib', name: 'grub' },
  /** Folder of the scripts that write a grub.cfg. */
  grubGenerators: { set: 'tools', package: 'grub-common', folder: 'etc', name: 'grub.d' },
  /** Folder of what they share. */
  grubShare: { set: 'tools', package: 'grub-common', folder: 'usr/share', name: 'grub' },
  /** Intel's compiler and disassembler of ACPI's definitions. */
  iasl: { set: 'acpi', package: 'acpica-tools', folder: 'usr/bin', name: 'iasl' },
  /** A library of the tools in Linux as dom0: all of its packages are there when the last is. */
  dom0Tools: { set: 'dom0', package: 'libcom-err2', folder: 'usr/share/doc', name: 'libcom-err2' },
  /** A server of the store that fleets are kept in. */
  etcd: { set: 'etcd', package: 'etcd-server', folder: 'usr/bin', name: 'etcd' },
  /** A viewer of screens by VNC that writes a JPEG file, the library that it is linked with, and what reads such files. */
  vncsnapshot: { set: 'vnc', package: 'vncsnapshot', folder: 'usr/bin', name: 'vncsnapshot' },
  jpegLibrary: { set: 'vnc', package: 'libjpeg62-turbo', folder: 'usr/lib/x86_64-linux-gnu', name: /^libjpeg\.so\.62/ },
  /** Folder of a viewer for browsers. */
  novnc: { set: 'vnc', package: 'novnc', folder: 'usr/share', name: 'novnc' },
  djpeg: { set: 'vnc', package: 'libjpeg-turbo-progs', folder: 'usr/bin', name: 'djpeg' },
  /** The fuzzer afl-fuzz, and the folder of the Python that it is linked with. */
  aflFuzz: { set: 'afl', package: 'afl++', folder: 'usr/bin', name: 'afl-fuzz' },
  aflPython: { set: 'afl', package: 'libpython3.11', folder: 'usr/lib', name: 'x86_64-linux-gnu' },
  /** QEMU for programs of 64-bit Arm, and the folder of their C library. */
  qemuArm64: { set: 'arm64', package: 'qemu-user-static', folder: 'usr/bin', name: 'qemu-aarch64-static' },
  armLibc: { set: 'arm64', package: 'libc6-arm64-cross', folder: 'usr', name: 'aarch64-linux-gnu' },
  /** Folder of the Python modules that it needs. */
  xenPython: { set: 'tools', package: 'xen-utils-4.17', folder: 'usr/lib/xen-4.17/lib/python', name: 'xen' },
} as const satisfies Record<string, Place>

/** A file that tests may need. */
export type GuestFile = keyof typeof PLACES

/** Every file that tests may need. */
export const GUEST_FILES = Object.keys(PLACES) as readonly GuestFile[]

/** The set of packages that a file comes with. */
export const setOf = (file: GuestFile): GuestSet => PLACES[file].set

/** Where a file is on this machine; undefined when it has not been fetched. */
export function guestFile(file: GuestFile): string | undefined {
  const place: Place = PLACES[file]
  const folder = join(GUESTS_FOLDER, place.package, place.folder)
  if (!existsSync(folder)) return undefined
  const { name } = place
  const found = typeof name === 'string' ? name : readdirSync(folder).find((entry) => name.test(entry))
  return found !== undefined && existsSync(join(folder, found)) ? join(folder, found) : undefined
}

/**
 * Why a test that needs these files has to be skipped; undefined when all are there. Where `CI` is `true` nothing may
 * be skipped, so there it throws.
 *
 * @example
 * const missing = whyMissing('grub64')
 * describe.skipIf(missing)(`GRUB${missing ?? ''}`, () => { const image = readFileSync(guestFile('grub64')!) })
 */
export function whyMissing(...files: readonly GuestFile[]): string | undefined {
  const missing = files.filter((file) => guestFile(file) === undefined)
  if (missing.length === 0) return undefined
  const sets = [...new Set(missing.map(setOf))].join(' ')
  const reason = ` (SKIPPED: ${missing.join(', ')} missing: npm run guests -- ${sets})`
  if (process.env['CI'] === 'true') throw new Error(`a test cannot run here${reason}`)
  return reason
}
