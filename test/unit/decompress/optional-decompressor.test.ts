import { execFileSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { optionalDecompressor } from '../../../src/decompress/index.ts'
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

function pack(tool: string, args: readonly string[]): Uint8Array | undefined {
  try {
    return execFileSync(tool, args, { input: original, maxBuffer: 1 << 24, stdio: ['pipe', 'pipe', 'ignore'] })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

describe('the optional decompressor', () => {
  test.each(formats)('unpacks %s', async (name, tool, args) => {
    const packed = pack(tool, args)
    if (packed === undefined) return void console.log(`SKIPPED ${name}: no ${tool} on this machine`)
    expect(Buffer.from(await optionalDecompressor(name, packed)).equals(Buffer.from(original))).toBe(true)
  })

  test.each(formats)('refuses damaged %s with a typed error', async (name, tool, args) => {
    const packed = pack(tool, args)
    if (packed === undefined) return void console.log(`SKIPPED ${name}: no ${tool} on this machine`)
    const cut = packed.slice(0, packed.length >> 1)
    await expect(optionalDecompressor(name, cut)).rejects.toSatisfy((error) => XenError.is(error, 'INVALID_IMAGE'))
  })

  test('refuses a format that it does not know', async () => {
    await expect(optionalDecompressor('lzop', new Uint8Array(4))).rejects.toSatisfy((error) => XenError.is(error, 'NOT_SUPPORTED'))
  })
})
