import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { describe, expect, test } from 'vitest'
import SevenZip from '7z-wasm'
import { decompressorWith, optionalDecompressor, type Lz4, type SevenZipFactory } from '../../../src/decompress/index.ts'
import { XenError } from '../../../src/util/index.ts'

/** Something with code-like bytes in it, so that a filter for x86 code has work to do. */
const original = new Uint8Array(300_000).map((_, i) => (i % 5 === 0 ? 0xe8 : (i * 7919) >> 8))

/** How Linux's build packs each format, and the tool that it takes. */
const formats: readonly (readonly [string, string, readonly string[]])[] = [
  ['xz', 'xz', ['-c', '--check=crc32', '--x86', '--lzma2']],
  ['lzma', 'xz', ['-c', '--format=lzma']],
  ['bzip2', 'bzip2', ['-c']],
  ['zstd', 'zstd', ['-c', '-q']],
  ['lz4', 'lz4', ['-l', '-c', '-q']],
]

function pack(tool: string, args: readonly string[], input: Uint8Array = original): Uint8Array | undefined {
  try {
    return execFileSync(tool, args, { input, maxBuffer: 1 << 24, stdio: ['pipe', 'pipe', 'ignore'] })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** Watches the arrays that are made from here on; `end` is the size of the largest. */
function largestBuffer(): { count(size: number): number; end(): number } {
  const plain = globalThis.Uint8Array
  const sizes: number[] = []
  globalThis.Uint8Array = new Proxy(plain, {
    construct(target, args: unknown[]) {
      if (typeof args[0] === 'number') sizes.push(args[0])
      return Reflect.construct(target, args) as object
    },
  })
  return {
    count: (size) => sizes.filter((made) => made === size).length,
    end: () => {
      globalThis.Uint8Array = plain
      return Math.max(0, ...sizes)
    },
  }
}

describe('the optional decompressor', () => {
  test.each(formats)('unpacks %s', async (name, tool, args) => {
    const packed = pack(tool, args)
    if (packed === undefined) return void console.log(`SKIPPED ${name}: no ${tool} on this machine`)
    expect(Buffer.from(await optionalDecompressor(name, packed, original.length)).equals(Buffer.from(original))).toBe(true)
  })

  test.each(formats)('refuses damaged %s with a typed error', async (name, tool, args) => {
    const packed = pack(tool, args)
    if (packed === undefined) return void console.log(`SKIPPED ${name}: no ${tool} on this machine`)
    const cut = packed.slice(0, packed.length >> 1)
    await expect(optionalDecompressor(name, cut, 1 << 24)).rejects.toSatisfy((error) => XenError.is(error, 'INVALID_IMAGE'))
  })

  /** A hundredth of a percent of what it unpacks to, or less. */
  const bomb = new Uint8Array(24 << 20)

  test.each(formats)('stops at the limit of %s, however much there is', async (name, tool, args) => {
    const packed = pack(tool, args, bomb)
    if (packed === undefined) return void console.log(`SKIPPED ${name}: no ${tool} on this machine`)
    const limit = 1 << 20
    const held = largestBuffer()
    await expect(optionalDecompressor(name, packed, limit)).rejects.toMatchObject({
      code: 'INVALID_IMAGE', details: { field: 'unpacked size', compression: name, limit },
    })
    // Not its own fixed memory: that of the WebAssembly module and one block of lz4.
    expect(held.end()).toBeLessThanOrEqual(name === 'lz4' ? 8 << 20 : limit)
    await expect(optionalDecompressor(name, pack(tool, args)!, original.length - 1)).rejects.toMatchObject({ code: 'INVALID_IMAGE' })
  })

  test('keeps of a block of lz4 what it holds, not what it might', async () => {
    const blocks = 1000
    const packed = new Uint8Array(4 + blocks * 6)
    const view = new DataView(packed.buffer)
    view.setUint32(0, 0x184c2102, true)
    for (let i = 0; i < blocks; i += 1) {
      view.setUint32(4 + i * 6, 2, true)
      packed.set([0x10, 0x41], 8 + i * 6)
    }
    const held = largestBuffer()
    expect((await optionalDecompressor('lz4', packed, 1 << 20)).every((byte) => byte === 0x41)).toBe(true)
    expect(held.count(8 << 20)).toBe(1)
    held.end()
  })

  test.each(formats)('unpacks %s by packages that were given, and names the one that was not', async (name, tool, args) => {
    const packed = pack(tool, args)
    if (packed === undefined) return void console.log(`SKIPPED ${name}: no ${tool} on this machine`)
    const sevenZip = SevenZip as unknown as SevenZipFactory
    const lz4 = createRequire(import.meta.url)('lz4js') as Lz4
    expect(Buffer.from(await decompressorWith({ sevenZip, lz4 })(name, packed, original.length)).equals(Buffer.from(original))).toBe(true)
    await expect(decompressorWith({})(name, packed, original.length)).rejects.toMatchObject({
      code: 'NOT_SUPPORTED', details: { package: name === 'lz4' ? 'lz4js' : '7z-wasm' },
    })
  })

  test.each([{ sevenZip: 7 }, { lz4: {} }, { zip: undefined }])('refuses what is no package: %j', (packages) => {
    expect(() => decompressorWith(packages as object)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })

  test('refuses a format that it does not know', async () => {
    await expect(optionalDecompressor('lzop', new Uint8Array(4), 1 << 24)).rejects.toSatisfy((error) => XenError.is(error, 'NOT_SUPPORTED'))
  })
})
