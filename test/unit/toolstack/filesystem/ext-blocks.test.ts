/** Trees of blocks that are made to cost work: each leads to itself, or to the same blocks over and over. */
import { describe, expect, test } from 'vitest'
import { fileBlocks, readRuns, type Inode, type Volume } from '../../../../src/toolstack/filesystem/ext-blocks.ts'
import { DiskImageReader } from '../../../../src/toolstack/filesystem/image-reader.ts'

const BLOCK = 1024

/** A volume of so many blocks, filled by numbers of 32 bits, and the number of times that it was read. */
function volumeOf(blocks: number, fill: (words: Uint32Array, block: number) => void): Volume {
  const bytes = new Uint8Array(blocks * BLOCK)
  for (let block = 0; block < blocks; block += 1) fill(new Uint32Array(bytes.buffer, block * BLOCK, BLOCK / 4), block)
  const source = { size: bytes.length, read: (offset: number, target: Uint8Array) => target.set(bytes.subarray(offset, offset + target.length)) }
  return { image: DiskImageReader.over(source), blockSize: BLOCK }
}

/** A node of extents of so many entries, all of which lead to one block. */
function extents(words: Uint32Array, depth: number, entries: number, block: number): void {
  words.set([0xf30a | (entries << 16), entries | (depth << 16), 0])
  for (let i = 0; i < entries; i += 1) words.set(depth > 0 ? [0, block, 0] : [0, 100 | (0 << 16), block], 3 + i * 3)
}

const inode = (flags: number, words: readonly number[]): Inode => {
  const blocks = new Uint8Array(60)
  new Uint32Array(blocks.buffer).set(words)
  return { number: 12, bytes: new Uint8Array(128), mode: 0x81a4, flags, size: 2 ** 27, blocks }
}
const EXTENTS = 0x80000
const LENGTH = 2 ** 27

describe('blocks of a hostile file', () => {
  test('a tree of extents whose branches all lead to the same blocks is given up', async () => {
    const volume = volumeOf(8, (words, block) => extents(words, block, 80, block - 1))
    const root = new Uint32Array(15)
    extents(root, 4, 4, 3)
    await expect(fileBlocks(volume, inode(EXTENTS, [...root]), LENGTH)).rejects.toMatchObject({ code: 'INVALID_IMAGE' })
  })

  test.each<[string, readonly number[], string]>([
    ['a depth that does not become less', [0xf30a | (1 << 16), 1 | (3 << 16), 0, 0, 3, 0], 'extent depth'],
    ['a depth beyond all', [0xf30a | (1 << 16), 1 | (6 << 16), 0, 0, 3, 0], 'extent depth'],
    ['no header', [1, 2, 3], 'extent header'],
    ['more entries than there is room for', [0xf30a | (5 << 16), 5, 0], 'extents'],
    ['a branch out of the image', [0xf30a | (1 << 16), 1 | (1 << 16), 0, 0, 99, 0], 'offset'],
  ])('%s is refused', async (_what, words, field) => {
    const volume = volumeOf(8, (block) => extents(block, 3, 1, 3))
    await expect(fileBlocks(volume, inode(EXTENTS, words), LENGTH)).rejects.toMatchObject({ code: 'INVALID_IMAGE', details: { field } })
  })

  test('extents that lie over each other cannot be read for ever', async () => {
    const volume = volumeOf(200, (words, block) => extents(words, 0, block === 0 ? 80 : 0, 2))
    const runs = await fileBlocks(volume, inode(EXTENTS, [0xf30a | (4 << 16), 4 | (1 << 16), 0, ...Array.from({ length: 4 }, () => [0, 0, 0]).flat()]), LENGTH)
    expect(runs).toHaveLength(320)
    expect(await readRuns(volume, runs, 4096)).toHaveLength(4096)
    const long = Array.from({ length: 20_000 }, () => ({ logical: 0, physical: 2, count: 100 }))
    await expect(readRuns(volume, long, LENGTH)).rejects.toMatchObject({ code: 'INVALID_IMAGE', details: { field: 'effort' } })
  })

  test('blocks of block numbers that lead to themselves end with the file', async () => {
    const volume = volumeOf(4, (words) => words.fill(2))
    const runs = await fileBlocks(volume, inode(0, Array.from({ length: 15 }, () => 2)), LENGTH)
    expect(runs.length).toBe(LENGTH / BLOCK)
    await expect(fileBlocks(volume, inode(0, Array.from({ length: 15 }, () => 9)), LENGTH)).rejects.toMatchObject({ code: 'INVALID_IMAGE' })
  })
})
