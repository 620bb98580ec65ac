/** What a domain can run, and how it is found. */
import type { GuestProgram } from '../../guest/index.ts'
import { XenError } from '../../util/index.ts'
import { embeddedKernel } from '../image/embedded-kernel.ts'
import { parseKernelImage, type KernelImage } from '../image/kernel-image.ts'
import { parsePvhImage, type PvhImage } from '../image/pvh-image.ts'
import { unpackRamdisk, type Decompressor } from '../image/unpack.ts'
import type { UnpackedKernels } from '../image/unpacked-kernels.ts'
import { SymbolTable } from '../symbols/symbol-table.ts'
import type { FileReader } from '../config/files.ts'
import type { GuestType } from '../config/option-values.ts'

/** A kernel image as a file name or bytes, or a guest written in TypeScript. */
export type KernelSource = string | Uint8Array | GuestProgram

/** A kernel that is ready to be built into a domain. */
export type LoadedKernel =
  | { readonly kind: 'pv' | 'pv32'; readonly name: string; readonly size: number; readonly image: KernelImage; readonly symbols: SymbolTable | undefined }
  | { readonly kind: 'pvh'; readonly name: string; readonly size: number; readonly image: PvhImage; readonly symbols: SymbolTable | undefined }
  | { readonly kind: 'typescript'; readonly name: string; readonly size: number; readonly program: GuestProgram }

/** What a saved configuration calls a ramdisk. */
export const ramdiskName = (source: string | Uint8Array | undefined): string | undefined =>
  typeof source === 'object' ? 'bytes' : source

/** True for the name of a kernel that is a guest in TypeScript. */
export const isTypeScriptName = (name: string | undefined): boolean => name?.startsWith('typescript:') === true

/** What a saved configuration calls a kernel; undefined for the embedded one. */
export const kernelName = (source: KernelSource | undefined): string | undefined => {
  if (typeof source === 'string' || source === undefined) return source
  return typeof source === 'function' ? `typescript:${source.name === '' ? 'anonymous' : source.name}` : 'bytes'
}

/** What XenStore shows as the kernel's name. */
export const shownKernelName = (source: KernelSource | undefined): string => kernelName(source) ?? 'embedded'

/**
 * GRUB as a kernel, by the names that xl and Debian give it, and where it is looked for: under its own name among the host's
 * files, then where Debian's packages grub-xen-host and grub-xen-bin put it.
 */
const GRUB: ReadonlyMap<string, string> = /* @__PURE__ */ new Map(
  [
    ...[['pvgrub64', 'grub-x86_64-xen.bin'], ['pvgrub32', 'grub-i386-xen.bin']].flatMap(([name = '', file = '']) =>
      [[name, file], [`${name}.bin`, file], [file, file]] as const),
    ['grub-i386-xen_pvh.bin', 'grub-i386-xen_pvh.bin'],
  ],
)
const GRUB_FOLDERS = ['', '/usr/lib/grub-xen/', '/usr/lib/grub/x86_64-xen/', '/usr/lib/grub/i386-xen_pvh/', '/usr/lib/xen-4.17/boot/', '/usr/lib/xen/boot/']

/** Reads GRUB's image from the first place that has it. Rejects with IO where none has. */
async function readGrub(name: string, file: string, files: FileReader): Promise<Uint8Array> {
  const places = [...new Set([name, ...GRUB_FOLDERS.map((folder) => `${folder}${file}`)])]
  let cause: unknown
  for (const place of places) {
    try {
      return await files.read(place)
    } catch (error) {
      if (!XenError.is(error, 'IO')) throw error
      cause = error.cause ?? cause ?? error
    }
  }
  throw new XenError('IO', `kernel ${name}: no file of this host is GRUB for Xen (${places.join(', ')}); Debian has it in the package grub-xen-host`, {
    details: { path: name, places }, cause,
  })
}

/** The bytes of a kernel that is named. */
function readKernel(name: string, files: FileReader): Promise<Uint8Array> {
  const grub = GRUB.get(name)
  return grub === undefined ? files.read(name) : readGrub(name, grub, files)
}

/** Where kernels come from. */
export interface KernelPlaces {
  readonly files: FileReader
  readonly decompress: Decompressor | undefined
  /** Those that have been unpacked before. */
  readonly kernels: UnpackedKernels
}

/** A kernel that is to start as a guest of a type. */
export interface WantedKernel {
  readonly type: GuestType
  readonly kernel: KernelSource | undefined
}

/** Finds and reads a kernel. Throws INVALID_IMAGE, IO or INVALID_CONFIG. */
export async function loadKernel({ type, kernel: source }: WantedKernel, { files, decompress, kernels }: KernelPlaces): Promise<LoadedKernel> {
  const name = shownKernelName(source)
  if (typeof source === 'function') {
    if (type === 'pv') return { kind: 'typescript', name, size: 0, program: source }
    throw new XenError('INVALID_CONFIG', `type "${type}" is for binary kernels: a guest in TypeScript is of type "pv"`, { details: { key: 'type' } })
  }
  if (source !== undefined && typeof source !== 'string' && !(source instanceof Uint8Array)) {
    throw new XenError('INVALID_CONFIG', 'kernel must be a path, bytes, or a function', { details: { key: 'kernel' } })
  }
  const file = source === undefined ? embeddedKernel(type) : typeof source === 'string' ? await readKernel(source, files) : source
  const unpacked = await kernels.unpack(file, decompress)
  const facts = { name, size: file.length, symbols: SymbolTable.of(unpacked) }
  if (type === 'pvh') return { ...facts, kind: type, image: parsePvhImage(unpacked) }
  const image = parseKernelImage(unpacked)
  return { ...facts, kind: image.bits === 32 ? 'pv32' : 'pv', image }
}

/** Reads the symbols that a user gives for a kernel that has none of its own. Throws INVALID_IMAGE or IO. */
export const loadSymbols = async (source: string | Uint8Array, files: FileReader): Promise<SymbolTable> =>
  SymbolTable.required(typeof source === 'string' ? await files.read(source) : source)

/** Finds, reads and unpacks a ramdisk. */
export async function loadRamdisk(
  source: string | Uint8Array | undefined,
  files: FileReader,
): Promise<Uint8Array | undefined> {
  if (source === undefined) return undefined
  return unpackRamdisk(typeof source === 'string' ? await files.read(source) : source)
}
