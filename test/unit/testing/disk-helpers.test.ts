/** Disks for tests: file systems out of trees of files, read back by our reader and by Debian's tools; stores that note requests. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { MemoryBlockStore } from '../../../src/drivers/index.ts'
import { RequestRecorder, diskImage, diskOf, expectSector, type FileTree } from '../../../src/testing/index.ts'

const folder = mkdtempSync(join(tmpdir(), 'paravirt-disk-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const hasTools = ['e2fsck', 'debugfs'].every((tool) => spawnSync(tool, ['-V']).error === undefined)

/** What Debian's tools say of an image. */
function tool(image: Uint8Array, name: string, ...words: string[]): string {
  const file = join(folder, 'image')
  writeFileSync(file, image)
  const { stdout, stderr, status } = spawnSync(name, words.map((word) => (word === '@' ? file : word)), { encoding: 'utf8' })
  if (name === 'e2fsck' && status !== 0) throw new Error(`${stdout}${stderr}`)
  return stdout
}

const tree: FileTree = {
  'etc/hostname': 'box\n', etc: { motd: { contents: 'hello', mode: 0o600 }, empty: {} },
  'bin/tool': { contents: Uint8Array.of(1, 2, 3), mode: 0o755 }, 'usr/bin': { link: '../bin' }, long: { link: 'x'.repeat(100) },
  'var/large': new Uint8Array(6_000_000).fill(0x61), zero: '',
}

describe('an image from a tree of files', () => {
  test('is the same for the same tree, and grows with it', () => {
    expect(Buffer.compare(diskImage(tree), diskImage(tree))).toBe(0)
    expect(diskImage({}).length).toBe(64 * 4096)
    expect(diskImage(tree).length).toBeGreaterThan(6_000_000)
    expect(diskImage({ a: 'b' }, { size: 1 << 20 }).length).toBe(1 << 20)
    expect(diskImage({ a: 'b' }, { partitioned: true }).length).toBe((2048 * 512) + 64 * 4096)
  })

  test.skipIf(!hasTools)(`is a file system to Debian's tools${hasTools ? '' : ' (SKIPPED: no e2fsprogs)'}`, () => {
    const many: FileTree = Object.fromEntries(Array.from({ length: 600 }, (_, place) => [`dir/file-with-a-long-name-${place}`, `${place}`]))
    for (const each of [{}, tree, many]) tool(diskImage(each), 'e2fsck', '-fn', '@')
    tool(diskImage(tree, { size: 140 << 20, label: 'two groups' }), 'e2fsck', '-fn', '@')
    const image = diskImage(tree)
    expect(tool(image, 'debugfs', '-R', 'cat /etc/hostname', '@')).toBe('box\n')
    expect(tool(image, 'debugfs', '-R', 'stat /etc/motd', '@')).toMatch(/Mode:\s+0600/)
    expect(tool(image, 'debugfs', '-R', 'stat /usr/bin', '@')).toContain('Fast link dest: "../bin"')
    expect(tool(image, 'debugfs', '-R', 'stat /var/large', '@')).toMatch(/Size: 6000000/)
    expect(tool(diskImage(many), 'debugfs', '-R', 'cat /dir/file-with-a-long-name-599', '@')).toBe('599')
  })

  test.each<[string, FileTree]>([
    ['a name that goes up', { '../x': 'y' }], ['an empty name', { '/': 'y' }], ['a file twice', { 'a/b': 'x', a: { b: 'y' } }],
    ['a file below a file', { a: 'x', 'a/b': 'y' }], ['a mode that is none', { a: { contents: '', mode: -1 } }], ['a number', { a: 7 as never }],
    ['a name that is too long', { ['n'.repeat(256)]: '' }],
  ])('refuses %s', (_name, files) => {
    expect(() => diskImage(files)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })

  test('refuses a size that does not hold it', () => {
    expect(() => diskImage({ a: new Uint8Array(1 << 20) }, { size: 1 << 20 })).toThrow(expect.objectContaining({ code: 'OUT_OF_RESOURCES' }))
  })
})

describe('a store that notes requests', () => {
  test('passes them on, and tells them', async () => {
    const disk = new MemoryBlockStore(8192)
    const recorder = new RequestRecorder(disk)
    recorder.write(512, new Uint8Array(1024).fill(7))
    recorder.read(0, new Uint8Array(512))
    recorder.flush()
    recorder.discard?.(0, 4096)
    expect(recorder.text()).toBe('write 1+2\nread 0+1\nflush\ndiscard 0+8')
    expect(disk.bytes[600]).toBe(0)
    expect(() => new RequestRecorder({} as never)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })

  test('what stands on a disk is held against bytes, a text, a condition', async () => {
    const disk = diskOf({ a: 'b' })
    disk.write(512 * 3, new TextEncoder().encode('hello'.padEnd(512)))
    await expectSector(disk, 3, 'hello')
    await expectSector(disk, 3, Uint8Array.of(0x68, 0x65))
    await expectSector(disk, 3, (bytes) => bytes[0] === 0x68)
    await expect(expectSector(disk, 3, 'help')).rejects.toMatchObject({ code: 'INVALID_STATE', message: expect.stringContaining('byte 3 of sector 3') })
    await expect(expectSector(disk, 3, () => false)).rejects.toMatchObject({ code: 'INVALID_STATE' })
    await expect(expectSector(disk, 3, 7 as never)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})
