import { gzipSync } from 'node:zlib'
import { expect, test, vi } from 'vitest'
import { Host } from '../../../../src/index.ts'
import { embeddedKernel } from '../../../../src/toolstack/image/embedded-kernel.ts'
import { type Decompressor, unpackKernel } from '../../../../src/toolstack/image/unpack.ts'
import { UnpackedKernels } from '../../../../src/toolstack/image/unpacked-kernels.ts'
import { XenError } from '../../../../src/util/index.ts'

const MEBIBYTE = 2 ** 20
/** A file that is packed, as far as its first bytes say; `name` makes it another. */
const packed = (name: number): Uint8Array => Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, name)

/** Unpacks to as many MiB as the file's last byte says, and tells how often it was asked. */
function counted() {
  const asked: number[] = []
  const decompress: Decompressor = async (_compression, data) => {
    const name = data[4]!
    asked.push(name)
    return new Uint8Array(name * MEBIBYTE).fill(name)
  }
  return { asked, decompress }
}

test('the same bytes are unpacked once, in whatever array they come, also while they are on their way', async () => {
  const { asked, decompress } = counted()
  const kernels = new UnpackedKernels(8)
  const [first, second] = await Promise.all([kernels.unpack(packed(1), decompress), kernels.unpack(packed(1), decompress)])
  expect(second).toBe(first)
  expect(await kernels.unpack(packed(1), decompress)).toBe(first)
  expect(await kernels.unpack(packed(2), decompress)).toHaveLength(2 * MEBIBYTE)
  expect(asked).toEqual([1, 2])
  expect(kernels.bytes).toBe(3 * MEBIBYTE)
})

test('gzip files are kept like others, and what is not packed is handed on', async () => {
  const kernels = new UnpackedKernels(8)
  const elf = embeddedKernel()
  expect(await kernels.unpack(elf, undefined)).toBe(elf)
  expect(kernels.bytes).toBe(0)
  const unpacked = await kernels.unpack(gzipSync(elf), undefined)
  expect(unpacked).toEqual(elf)
  expect(await kernels.unpack(gzipSync(elf), undefined)).toBe(unpacked)
})

test('those asked for least recently go when all are too many', async () => {
  const { asked, decompress } = counted()
  const kernels = new UnpackedKernels(5)
  for (const name of [1, 2, 1, 3, 1, 2]) await kernels.unpack(packed(name), decompress)
  // The third is one too many, and the second was asked for longest ago.
  expect(asked).toEqual([1, 2, 3, 2])
  expect(kernels.bytes).toBe(3 * MEBIBYTE)
})

test('one that is too large alone is not kept, and takes nothing away from others', async () => {
  const { asked, decompress } = counted()
  const kernels = new UnpackedKernels(2)
  for (const name of [1, 3, 3, 1]) expect(await kernels.unpack(packed(name), decompress)).toHaveLength(name * MEBIBYTE)
  expect(asked).toEqual([1, 3, 3])
  const none = new UnpackedKernels(0)
  for (const name of [1, 1]) await none.unpack(packed(name), decompress)
  expect(asked).toEqual([1, 3, 3, 1, 1])
})

test('memory that a decompressor has taken beyond the kernel counts', async () => {
  const kernels = new UnpackedKernels(2)
  const unpacked = await kernels.unpack(packed(1), async () => new Uint8Array(3 * MEBIBYTE).subarray(0, 10))
  expect([unpacked.length, kernels.bytes]).toEqual([10, 0])
})

test('a failure is not kept: the next one tries again', async () => {
  const kernels = new UnpackedKernels(2)
  const decompress = vi.fn<Decompressor>().mockRejectedValueOnce(new XenError('INVALID_IMAGE', 'damaged')).mockResolvedValue(new Uint8Array(1))
  await expect(kernels.unpack(packed(1), decompress)).rejects.toMatchObject({ code: 'INVALID_IMAGE' })
  expect(await kernels.unpack(packed(1), decompress)).toHaveLength(1)
  expect(decompress).toHaveBeenCalledTimes(2)
})

test('what one decompressor has unpacked is nobody else\'s', async () => {
  const kernels = new UnpackedKernels(2)
  await kernels.unpack(packed(1), counted().decompress)
  await expect(kernels.unpack(packed(1), undefined)).rejects.toMatchObject({ code: 'NOT_SUPPORTED' })
})

test('bytes that change while they are hashed are unpacked as they were', async () => {
  const { decompress } = counted()
  const kernels = new UnpackedKernels(4)
  const file = packed(1)
  const unpacking = kernels.unpack(file, decompress)
  file[4] = 2
  expect((await unpacking)[0]).toBe(1)
  expect((await kernels.unpack(file, decompress))[0]).toBe(2)
})

test('where the platform has no SHA-256 nothing is kept', async () => {
  const { asked, decompress } = counted()
  vi.stubGlobal('crypto', {})
  try {
    const kernels = new UnpackedKernels(4)
    for (const name of [1, 1]) await kernels.unpack(packed(name), decompress)
    expect([asked, kernels.bytes]).toEqual([[1, 1], 0])
  } finally {
    vi.unstubAllGlobals()
  }
})

test('how much is kept is a whole number of MiB', () => {
  for (const mebibytes of [-1, 1.5, NaN, '8' as never]) expect(() => new UnpackedKernels(mebibytes)).toThrow(/whole number/)
})

test('domains of one host, and of several that share what is kept, start from one unpacked kernel that none of them changes', async () => {
  const elf = embeddedKernel()
  const before = elf.slice()
  const decompress = vi.fn<Decompressor>(async () => elf)
  const kernels = new UnpackedKernels(4)
  const hosts = [await Host.boot({ memory: 64, dom0Memory: 8, decompress, kernels }), await Host.boot({ memory: 64, dom0Memory: 8, decompress, kernels })]
  for (const host of hosts) {
    for (const name of ['one', 'two']) {
      const domain = await host.createDomain({ name, memory: 8, kernel: packed(7) })
      await domain.console.waitFor('mini> ')
    }
    await host.shutdown()
  }
  expect(decompress).toHaveBeenCalledTimes(1)
  expect(elf).toEqual(before)
  await expect(Host.boot({ kernels: {} as never })).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
})

test('a bzImage says how much memory it needs: more is damage', async () => {
  const payload = Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 9, 3, 0, 0, 0)
  const file = new Uint8Array(512 * 5 + payload.length)
  const view = new DataView(file.buffer)
  view.setUint32(0x202, 0x5372_6448, true)
  view.setUint16(0x206, 0x20f, true)
  view.setUint32(0x24c, payload.length, true)
  file.set(payload, 512 * 5)
  const limits: number[] = []
  const answer = (bytes: number): Decompressor => async (_compression, data, limit) => {
    limits.push(data.length, limit)
    return new Uint8Array(bytes)
  }
  expect(await unpackKernel(file, answer(3))).toHaveLength(3)
  await expect(unpackKernel(file, answer(4))).rejects.toMatchObject({ code: 'INVALID_IMAGE' })
  expect(limits).toEqual([5, 3, 5, 3])
})
