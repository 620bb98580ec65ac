import { describe, expect, test } from 'vitest'
import type { FileSystem } from '../../../../src/toolstack/filesystem/file-system.ts'
import { openFileSystem } from '../../../../src/toolstack/filesystem/open-file-system.ts'
import { DiskImageReader, type ImageSource } from '../../../../src/toolstack/filesystem/image-reader.ts'
import { SeededRandom, XenError, fillRandom } from '../../../../src/util/index.ts'
import { extImage, whyNoImages, type ImageFile } from '../../../support/disk-images.ts'

const missing = whyNoImages()

/** An image that counts how often it is read. */
class CountingSource implements ImageSource {
  reads = 0
  readonly size: number
  private readonly bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
    this.size = bytes.length
  }

  read(offset: number, target: Uint8Array): void {
    this.reads += 1
    target.set(this.bytes.subarray(offset, offset + target.length))
  }
}

const open = (bytes: Uint8Array): Promise<FileSystem> => openFileSystem(DiskImageReader.over(new CountingSource(bytes)))

function noise(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length)
  fillRandom(new SeededRandom(seed), bytes)
  return bytes
}

const many = (count: number): Record<string, ImageFile> =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`many/${'a file with a rather long name, '.repeat(3)}number ${i}`, `contents of ${i}`]))

const FILES: Readonly<Record<string, ImageFile>> = {
  empty: '', 'boot/small': 'sixty bytes or less', 'boot/grub/medium': 'x'.repeat(130), 'boot/one-block': noise(1024, 1), 'boot/odd': noise(5001, 2),
  'boot/kernel': noise(400_001, 3), 'with é and blanks': 'ä', sparse: { size: 600_000, at: { 0: 'start', 300_000: 'middle', 599_997: 'end' } },
  'deep/1/2/3/4/5/6/7/8/9/file': 'deep', ...many(60),
}
const LINKS: Readonly<Record<string, ImageFile>> = {
  'link': { link: 'boot/small' }, 'absolute': { link: '/boot/small' }, 'deep/1/up': { link: '../../boot/./small' }, 'long-link': { link: `${'boot/../'.repeat(30)}boot/small` },
  'folder': { link: 'boot' }, 'chain': { link: 'link' }, 'above': { link: '../../../boot/small' },
  'dangling': { link: 'nothing' }, 'loop': { link: 'pool' }, 'pool': { link: 'loop' },
}

/** What a file of an image reads as. */
function expected(file: ImageFile): Uint8Array {
  if (typeof file === 'string') return new TextEncoder().encode(file)
  if (file instanceof Uint8Array) return file
  if (!('size' in file)) throw new Error('a link has no contents of its own')
  const bytes = new Uint8Array(file.size)
  for (const [offset, text] of Object.entries(file.at)) bytes.set(new TextEncoder().encode(text), Number(offset))
  return bytes
}

/** Ways to make a file system; what differs between them is where everything is. */
const KINDS: readonly (readonly [string, readonly string[]])[] = [
  ['ext2, 1 KiB blocks', ['-t', 'ext2', '-b', '1024']],
  ['ext2, 4 KiB blocks, inodes of 128 bytes', ['-t', 'ext2', '-b', '4096', '-I', '128']],
  ['ext2 of the first revision', ['-t', 'ext2', '-r', '0', '-b', '1024', '-O', 'none']],
  ['ext3', ['-t', 'ext3', '-b', '1024']],
  ['ext4 as mke2fs makes it', ['-t', 'ext4']],
  ['ext4, 1 KiB blocks, 64bit', ['-t', 'ext4', '-b', '1024', '-O', '64bit']],
  ['ext4 without 64bit, flex_bg and extents', ['-t', 'ext4', '-O', '^64bit,^flex_bg,^extent,^metadata_csum']],
  ['ext4, meta_bg', ['-t', 'ext4', '-b', '1024', '-O', 'meta_bg,^resize_inode,64bit', '-g', '1024']],
  ['ext4, meta_bg, small groups, no sparse_super', ['-t', 'ext4', '-b', '1024', '-O', 'meta_bg,^resize_inode,^sparse_super', '-g', '512']],
  ['ext4, sparse_super2', ['-t', 'ext4', '-b', '1024', '-O', 'sparse_super2,^resize_inode,meta_bg', '-g', '1024']],
  ['ext4, inline data', ['-t', 'ext4', '-O', 'inline_data', '-I', '256']],
  ['ext4, inline data, inodes of 1 KiB', ['-t', 'ext4', '-b', '4096', '-O', 'inline_data', '-I', '1024']],
  ['ext4, bigalloc', ['-t', 'ext4', '-b', '1024', '-O', 'bigalloc', '-C', '4096']],
  ['ext4, ea_inode, large_dir, mmp, quota', ['-t', 'ext4', '-O', 'ea_inode,large_dir,mmp,quota,project']],
  ['ext4, casefold and encryption allowed', ['-t', 'ext4', '-O', 'casefold,encrypt']],
  ['ext4, 64 KiB blocks', ['-t', 'ext4', '-b', '65536']],
]

describe.skipIf(missing !== undefined)(`a file system that mke2fs made${missing ?? ''}`, () => {
  test.each(KINDS)('%s: every file reads as it was written', async (_name, make) => {
    const image = extImage({ kibibytes: make.includes('65536') ? 16_384 : 4096, make, files: { ...FILES, ...LINKS } })
    const fileSystem = await open(image)
    for (const [path, file] of Object.entries(FILES)) {
      const bytes = await fileSystem.readFile(`/${path}`, 2 ** 27)
      expect([path, bytes?.length, bytes !== undefined && Buffer.compare(bytes, expected(file))]).toEqual([path, expected(file).length, 0])
    }
    for (const path of ['link', 'absolute', 'deep/1/up', 'long-link', 'folder/small', 'chain', 'above', '/boot//./small', 'boot/../boot/small']) {
      expect([path, new TextDecoder().decode(await fileSystem.readFile(path, 100))]).toEqual([path, 'sixty bytes or less'])
    }
    expect(await fileSystem.exists('/boot')).toBe(true)
    for (const path of ['nothing', 'boot/nothing', 'boot/small/x', 'dangling', 'boot/smal', 'boot/smalll', 'many/']) expect([path, await fileSystem.exists(path)]).toEqual([path, path === 'many/'])
    for (const path of ['nothing', 'boot/nothing', 'dangling']) expect(await fileSystem.readFile(path, 1)).toBeUndefined()
    expect(await fileSystem.readFile('boot/kernel', 10)).toEqual(expected(FILES['boot/kernel']!).subarray(0, 10))
    for (const path of ['boot', 'loop', '', '/']) await expect(fileSystem.readFile(path, 1)).rejects.toMatchObject({ code: 'INVALID_IMAGE' })
  })

  test('a file in many pieces, with a tree of extents or double indirect blocks, reads as it was written', async () => {
    const kernel = noise(1_000_000, 7)
    // Small files that are taken away again leave holes for the large one.
    const holes = Object.fromEntries(Array.from({ length: 400 }, (_, i) => [`h${i}`, 'x']))
    for (const make of [['-t', 'ext4', '-b', '1024', '-N', '600'], ['-t', 'ext2', '-b', '1024', '-N', '600']]) {
      const image = extImage({
        kibibytes: 2048, make: [...make, '-O', '^has_journal'], files: holes, extra: { kernel },
        debugfs: [...Array.from({ length: 200 }, (_, i) => `rm h${i * 2}`), 'write kernel kernel'],
      })
      expect(Buffer.compare((await (await open(image)).readFile('kernel', 2 ** 27))!, kernel)).toBe(0)
    }
  })

  test('a file that is long enough for triple indirect blocks reads as it was written', async () => {
    const file = { size: 68_000_000, at: { 0: 'start', 300_000: 'double', 67_500_000: 'triple' } }
    const fileSystem = await open(extImage({ kibibytes: 1024, make: ['-t', 'ext2', '-b', '1024'], files: { file } }))
    expect(Buffer.compare((await fileSystem.readFile('file', 2 ** 27))!, expected(file))).toBe(0)
  })

  test('what is no ext file system, or has features that nobody here knows, is refused by name', async () => {
    await expect(open(new Uint8Array(100))).rejects.toMatchObject({ code: 'INVALID_IMAGE' })
    await expect(open(noise(1 << 16, 1))).rejects.toMatchObject({ code: 'INVALID_IMAGE' })
    const image = extImage({ kibibytes: 1024, files: { a: 'b' } })
    const unknown = image.slice()
    unknown[1024 + 0x62]! |= 0x80
    await expect(open(unknown)).rejects.toMatchObject({ code: 'NOT_SUPPORTED', message: expect.stringContaining('0x800000') })
  })

  test.each<[string, readonly string[]]>([['extents', ['-t', 'ext4', '-b', '1024']], ['indirect blocks', ['-t', 'ext2', '-b', '1024']], ['inline data', ['-t', 'ext4', '-b', '1024', '-O', 'inline_data', '-I', '256']]])('a damaged image with %s is read, or refused, without much work', async (_name, make) => {
      const image = extImage({ kibibytes: 256, make: [...make, '-N', '64', '-O', '^has_journal'], files: { 'boot/grub/grub.cfg': 'x'.repeat(3000), kernel: noise(60_000, 5), small: 'y'.repeat(100), link: { link: '/kernel' } } })
      const random = new SeededRandom(11)
      // Where something is: flips in the files' own bytes tell nothing.
      const used = Array.from({ length: image.length }, (_, i) => i).filter((i) => image[i] !== 0 && i < 80_000)
      for (let round = 0; round < 250; round += 1) {
        const damaged = image.slice()
        for (let flips = 1 + (random.next() % 4); flips > 0; flips -= 1) {
          const at = random.next() % 3 === 0 ? 1024 + (random.next() % 1024) : used[random.next() % used.length]!
          damaged[at] = random.next() % 2 === 0 ? 0xff : damaged[at]! ^ (1 << (random.next() % 8))
        }
        const source = new CountingSource(damaged)
        try {
          const fileSystem = await openFileSystem(DiskImageReader.over(source))
          for (const path of ['boot/grub/grub.cfg', 'kernel', 'small', 'link', 'nothing']) {
            await fileSystem.readFile(path, 2 ** 22).catch((error: unknown) => {
              if (!XenError.is(error)) throw error
            })
          }
        } catch (error) {
          if (!XenError.is(error)) throw error
          expect(['INVALID_IMAGE', 'NOT_SUPPORTED']).toContain(error.code)
        }
        expect(source.reads).toBeLessThan(20_000)
      }
    })
})
