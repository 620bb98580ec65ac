/**
 * A decompressor out of the optional packages. Both are plain JavaScript and WebAssembly, no native add-ons.
 * Not here: gzip, which every platform has.
 *
 * What is packed may be meant to fill the memory: unpacking stops at the caller's limit. The archiver's own memory (its
 * dictionaries) is a WebAssembly memory of 2 GiB of addresses at most, of which as much is used as has been unpacked.
 * Reference: Linux scripts/Makefile.lib (how payloads are packed), lib/decompress_unlz4.c (the legacy lz4 container).
 */
import type { Decompressor } from '../toolstack/index.ts'
import { callable, checkOptions, having, XenError } from '../util/index.ts'

/** A file in the archiver's memory. */
interface MemoryFile {
  contents: Uint8Array | null | undefined
  readonly usedBytes: number
}

/** How the archiver's memory gets room for a file. */
interface MemoryFiles {
  expandFileStorage?: (file: MemoryFile, bytes: number) => void
  resizeFileStorage?: (file: MemoryFile, bytes: number) => void
}

/** What is used of an archiver that 7z-wasm makes. */
interface SevenZip {
  readonly FS: {
    readonly filesystems?: { readonly MEMFS?: MemoryFiles }
    writeFile(path: string, data: Uint8Array): void
    readFile(path: string): Uint8Array
    lookupPath(path: string): { readonly node: MemoryFile }
    readdir(path: string): string[]
    unlink(path: string): void
  }
  callMain(args: string[]): number
}

/** The package 7z-wasm: makes an archiver. */
export type SevenZipFactory = (options: { readonly print: (text: string) => void; readonly printErr: (text: string) => void }) => Promise<object>

/** What is used of the package lz4js. */
export interface Lz4 {
  /** Unpacks a block; gives how many bytes it is. */
  decompressBlock(source: Uint8Array, target: Uint8Array, start: number, length: number, targetStart: number): number
}

/** File name endings by which 7-Zip knows a format. */
const ENDINGS: Readonly<Record<string, string>> = { xz: 'xz', lzma: 'lzma', bzip2: 'bz2', zstd: 'zst' }
/** Each block of the legacy lz4 container unpacks to at most this. */
const LZ4_BLOCK = 8 << 20
const LZ4_LEGACY_MAGIC = 0x184c2102

/** Loads a package by name; the name is a variable so that bundlers leave it alone. */
async function load<T>(name: string): Promise<T> {
  try {
    const module = (await import(/* @vite-ignore */ name)) as { default?: T }
    return module.default ?? (module as T)
  } catch (cause) {
    throw new XenError('NOT_SUPPORTED', `this kernel's compression needs the package ${name}: npm install ${name}`, {
      details: { package: name }, cause,
    })
  }
}

const tooLarge = (compression: string, limit: number): XenError =>
  new XenError('INVALID_IMAGE', `kernel image: its ${compression} data unpacks to more than ${limit} bytes`, {
    details: { field: 'unpacked size', compression, limit },
  })

const damaged = (compression: string, details: Record<string, unknown> = {}): XenError =>
  new XenError('INVALID_IMAGE', `kernel image: its ${compression} data is damaged`, { details: { compression, ...details } })

/** The archiver's errno for a full disk; thrown like this it is the answer to its write, and it ends as after any other. */
const NO_SPACE = { name: 'ErrnoError', errno: 51 } as const

/** A limit of so many times the packed size is taken for the unpacked size itself. */
const USUAL_RATIO = 16

/**
 * Lets files double as they grow from `first` bytes up to `limit`: by an eighth, as is usual there, a kernel is copied ten
 * times on the way. The answer tells whether a file was to grow beyond the limit.
 */
function limitFiles(archiver: SevenZip, first: number, limit: number): () => boolean {
  const memory = archiver.FS.filesystems?.MEMFS
  let exceeded = false
  if (memory?.expandFileStorage === undefined || memory.resizeFileStorage === undefined) {
    throw new XenError('NOT_SUPPORTED', 'this version of 7z-wasm does not let its memory be limited', { details: { package: '7z-wasm' } })
  }
  const check = (bytes: number): void => {
    if (bytes <= limit) return
    exceeded = true
    throw NO_SPACE
  }
  memory.expandFileStorage = (file, bytes) => {
    const { contents } = file
    const room = contents?.length ?? 0
    if (room >= bytes) return
    check(bytes)
    const larger = new Uint8Array(Math.min(limit, Math.max(bytes, room * 2, first)))
    if (contents) larger.set(contents.subarray(0, file.usedBytes))
    file.contents = larger
  }
  const resize = memory.resizeFileStorage.bind(memory)
  memory.resizeFileStorage = (file, bytes) => {
    check(bytes)
    resize(file, bytes)
  }
  return () => exceeded
}

/** What is to be unpacked. */
interface Packed {
  readonly compression: string
  readonly data: Uint8Array
  /** Bytes that it may unpack to. */
  readonly limit: number
}

/** Runs the archiver; its status, or what it threw: exceptions of C++ come as numbers. */
function run(archiver: SevenZip, words: string[]): unknown {
  try {
    return archiver.callMain(words)
  } catch (error) {
    return error
  }
}

/** A file's bytes: its own where it fills its memory, a copy otherwise. */
function contentsOf({ FS }: SevenZip, path: string): Uint8Array {
  const { contents, usedBytes } = FS.lookupPath(path).node
  return contents instanceof Uint8Array && contents.length === usedBytes ? contents : FS.readFile(path)
}

async function unpackSevenZip(create: SevenZipFactory, { compression, data, limit }: Packed): Promise<Uint8Array> {
  const silent = (): void => undefined
  const archiver = await create({ print: silent, printErr: silent }) as SevenZip
  const file = `kernel.${ENDINGS[compression]}`
  archiver.FS.writeFile(file, data)
  const exceeded = limitFiles(archiver, limit <= data.length * USUAL_RATIO ? limit : 1 << 20, limit)
  const status = run(archiver, ['x', file, '-y', '-oout'])
  if (exceeded()) throw tooLarge(compression, limit)
  if (status !== 0) throw damaged(compression, { status })
  const [name] = archiver.FS.readdir('out').filter((entry) => !entry.startsWith('.'))
  if (name === undefined) throw damaged(compression)
  const unpacked = contentsOf(archiver, `out/${name}`)
  // The archiver may outlive this call; its copies, ten times the kernel file, need not.
  archiver.FS.unlink(file)
  archiver.FS.unlink(`out/${name}`)
  // The first piece of a file is taken as it comes.
  if (unpacked.length > limit) throw tooLarge(compression, limit)
  return unpacked
}

/** Unpacks the legacy container: a magic number, then blocks, each behind its packed length. */
async function unpackLz4({ decompressBlock }: Lz4, { data, limit }: Packed): Promise<Uint8Array> {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  // All blocks are unpacked into the same memory, and of each only what it holds is kept.
  const block = new Uint8Array(LZ4_BLOCK)
  const parts: Uint8Array[] = []
  let total = 0
  let at = 4
  while (at + 4 <= data.length) {
    const size = view.getUint32(at, true)
    at += 4
    if (size === LZ4_LEGACY_MAGIC) continue
    if (size === 0 || size > data.length - at) throw damaged('lz4', { offset: at - 4, size })
    const length = decompressBlock(data, block, at, size, 0)
    if (length > LZ4_BLOCK) throw damaged('lz4', { offset: at, length })
    total += length
    if (total > limit) throw tooLarge('lz4', limit)
    if (length > 0) parts.push(block.slice(0, length))
    at += size
  }
  const out = new Uint8Array(total)
  parts.reduce((place, part) => {
    out.set(part, place)
    return place + part.length
  }, 0)
  return out
}

/** The packages, as their user has imported them, or bundled them. */
export interface DecompressorPackages {
  /** The default export of 7z-wasm: for xz, zstd, bzip2 and lzma. */
  readonly sevenZip?: SevenZipFactory | undefined
  /** The package lz4js: for lz4. */
  readonly lz4?: Lz4 | undefined
}

/** How packages are come by. */
interface PackageSource {
  sevenZip(): Promise<SevenZipFactory>
  lz4(): Promise<Lz4>
}

const unpackBy = (source: PackageSource): Decompressor => async (compression, data, limit) => {
  const packed = { compression, data, limit }
  if (compression === 'lz4') return unpackLz4(await source.lz4(), packed)
  if (Object.hasOwn(ENDINGS, compression)) return unpackSevenZip(await source.sevenZip(), packed)
  throw new XenError('NOT_SUPPORTED', `kernel image: compression ${compression} is not supported`, { details: { compression } })
}

/**
 * Unpacks xz, zstd, bzip2, lzma and lz4, to at most `limit` bytes. Throws NOT_SUPPORTED when the package that a format needs
 * is not installed, or for another format, and INVALID_IMAGE when the data is damaged or unpacks to more. Bundlers do not see the
 * packages: {@link decompressorWith} is for bundles.
 *
 * @example
 * const host = await Host.boot({ memory: '1G', decompress: optionalDecompressor })
 */
export const optionalDecompressor: Decompressor = /* @__PURE__ */ unpackBy({ sevenZip: () => load<SevenZipFactory>('7z-wasm'), lz4: () => load<Lz4>('lz4js') })

function given<T>(found: T | undefined, name: string): Promise<T> {
  if (found !== undefined) return Promise.resolve(found)
  return Promise.reject(new XenError('NOT_SUPPORTED', `this kernel's compression needs the package ${name}, which was not given`, { details: { package: name } }))
}

/**
 * The same by packages that are given, so that bundlers find them.
 *
 * @example
 * import SevenZip from '7z-wasm'
 * import wasm from '7z-wasm/7zz.wasm?url'
 * const decompress = decompressorWith({ sevenZip: (options) => SevenZip({ ...options, locateFile: () => wasm }) })
 */
export function decompressorWith(packages: DecompressorPackages): Decompressor {
  checkOptions('decompressorWith', packages, { sevenZip: callable, lz4: having('decompressBlock') })
  const { sevenZip, lz4 } = packages
  return unpackBy({ sevenZip: () => given(sevenZip, '7z-wasm'), lz4: () => given(lz4, 'lz4js') })
}
