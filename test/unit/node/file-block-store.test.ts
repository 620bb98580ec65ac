import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { FileBlockStore } from '../../../src/node/index.ts'
import { describeBlockStore } from '../../support/block-store-contract.ts'
import { whyNoProgram } from '../../support/programs.ts'

const whyNoFallocate = whyNoProgram('fallocate', '--version')

const folder = mkdtempSync(join(tmpdir(), 'disk-'))
const file = join(folder, 'disk.img')
afterAll(() => rmSync(folder, { recursive: true }))

const image = (size: number): string => {
  writeFileSync(file, new Uint8Array(size))
  return file
}

describeBlockStore('a disk in a file', {
  make: (size) => new FileBlockStore(image(size)), makeReadOnly: (size) => new FileBlockStore(image(size), { readOnly: true }),
})

test('what was written is in the file, and the last half sector is not part of the disk', () => {
  const store = new FileBlockStore(image(1024 + 100))
  expect(store.size).toBe(1024)
  store.write(512, new Uint8Array(512).fill(9))
  store.flush()
  store.close()
  store.close()
  const bytes = readFileSync(file)
  expect([bytes[511], bytes[512], bytes[1023], bytes[1024]]).toEqual([0, 9, 9, 0])
})

test('a discard of a sparse file takes no room on the disk that it lies on, and makes zeros of what was written', () => {
  const size = 64 << 20
  const sparse = join(folder, 'sparse.img')
  writeFileSync(sparse, '')
  truncateSync(sparse, size)
  const store = new FileBlockStore(sparse)
  store.write(1 << 20, new Uint8Array(4096).fill(7))
  store.write((1 << 21) + 512, new Uint8Array(512).fill(7))
  store.flush()
  const before = statSync(sparse).blocks
  store.discard(512, size - 1024)
  store.flush()
  expect([statSync(sparse).size, statSync(sparse).blocks]).toEqual([size, before])
  const bytes = new Uint8Array(4 << 20)
  store.read(0, bytes)
  expect(bytes.every((byte) => byte === 0)).toBe(true)
  store.close()
})

test.skipIf(whyNoFallocate !== undefined)(`what was discarded is given back by util-linux's fallocate once nobody has the file as a disk${whyNoFallocate ?? ''}`, () => {
  const full = join(folder, 'full.img')
  writeFileSync(full, Buffer.alloc(8 << 20, 7))
  const store = new FileBlockStore(full)
  store.discard(1 << 20, 6 << 20)
  store.close()
  const { size, blocks } = statSync(full)
  execFileSync('fallocate', ['--dig-holes', full])
  expect(statSync(full).size).toBe(size)
  expect(blocks - statSync(full).blocks).toBeGreaterThan((5 << 20) / 512)
  expect([...readFileSync(full).subarray((1 << 20) - 2, (1 << 20) + 2), ...readFileSync(full).subarray((7 << 20) - 2, (7 << 20) + 2)]).toEqual([7, 7, 0, 0, 0, 0, 7, 7])
})

test('a file that is not there, or that shrinks meanwhile, is an error of kind IO', () => {
  expect(() => new FileBlockStore(join(folder, 'none'))).toThrow(expect.objectContaining({ code: 'IO' }))
  const store = new FileBlockStore(image(4096))
  truncateSync(file, 1024)
  expect(() => store.read(512, new Uint8Array(2048))).toThrow(expect.objectContaining({ code: 'IO' }))
  store.close()
})
