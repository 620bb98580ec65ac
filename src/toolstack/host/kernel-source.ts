/** What a domain can run, and how it is found. */
import type { GuestProgram } from '../../guest/index.ts'
import { XenError } from '../../util/index.ts'
import { embeddedKernel } from '../embedded-kernel.ts'
import { parseKernelImage, type KernelImage } from '../image/kernel-image.ts'
import { unpackKernel, unpackRamdisk, type Decompressor } from '../image/unpack.ts'
import { SymbolTable } from '../crash/symbols.ts'
import type { FileReader } from './files.ts'

/** A kernel image as a file name or bytes, or a guest written in TypeScript. */
export type KernelSource = string | Uint8Array | GuestProgram

/** A kernel that is ready to be built into a domain. */
export type LoadedKernel =
  | { readonly kind: 'pv'; readonly name: string; readonly size: number; readonly image: KernelImage; readonly symbols: SymbolTable | undefined }
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

/** Finds and reads a kernel. Throws INVALID_IMAGE, IO or INVALID_CONFIG. */
export async function loadKernel(
  source: KernelSource | undefined,
  files: FileReader,
  decompress?: Decompressor,
): Promise<LoadedKernel> {
  const name = shownKernelName(source)
  if (typeof source === 'function') return { kind: 'typescript', name, size: 0, program: source }
  if (source !== undefined && typeof source !== 'string' && !(source instanceof Uint8Array)) {
    throw new XenError('INVALID_CONFIG', 'kernel must be a path, bytes, or a function', { details: { key: 'kernel' } })
  }
  const file = source === undefined ? embeddedKernel() : typeof source === 'string' ? await files.read(source) : source
  const unpacked = await unpackKernel(file, decompress)
  const image = parseKernelImage(unpacked)
  return { kind: 'pv', name, size: file.length, image, symbols: SymbolTable.of(unpacked) }
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
