/** A folder of a browser as a store of files, over handles that are made here as the standard has them: writing goes to a copy that is put in place when it is closed. */
import { describe, expect, test } from 'vitest'
import { DirectoryFileStore, type DirectoryHandleLike, type FileHandleLike } from '../../../src/browser/index.ts'
import { errnoOf, type FileTree } from '../../../src/drivers/index.ts'
import { describeFileStore } from '../../support/file-store-contract.ts'

const refusal = (name: string): Error => new DOMException(name, name)

class FakeFile implements FileHandleLike {
  readonly kind = 'file'
  readonly name: string
  bytes: Uint8Array
  /** Writers that are open. */
  open = 0

  constructor(name: string, bytes: Uint8Array) {
    this.name = name
    this.bytes = bytes
  }

  async getFile() {
    const { bytes } = this
    return { size: bytes.length, lastModified: 1_000_000_000_000, slice: (start: number, end: number) => ({ arrayBuffer: async () => bytes.slice(start, end).buffer as ArrayBuffer }) }
  }

  async createWritable() {
    let copy = this.bytes.slice()
    this.open += 1
    const grow = (size: number): void => {
      const larger = new Uint8Array(size)
      larger.set(copy.subarray(0, size))
      copy = larger
    }
    return {
      write: async ({ position, data }: { readonly position: number; readonly data: Uint8Array }) => {
        if (position > copy.length) throw refusal('InvalidStateError')
        if (position + data.length > copy.length) grow(position + data.length)
        copy.set(data, position)
      },
      truncate: async (size: number) => grow(size),
      close: async () => {
        this.open -= 1
        this.bytes = copy
      },
    }
  }
}

class FakeFolder implements DirectoryHandleLike {
  readonly kind = 'directory'
  readonly name: string
  readonly entries = new Map<string, FakeFile | FakeFolder>()

  constructor(name: string) {
    this.name = name
  }

  async getDirectoryHandle(name: string, { create = false } = {}): Promise<FakeFolder> {
    const found = this.entries.get(name) ?? (create ? new FakeFolder(name) : undefined)
    if (found === undefined) throw refusal('NotFoundError')
    if (found.kind === 'file') throw refusal('TypeMismatchError')
    this.entries.set(name, found)
    return found
  }

  async getFileHandle(name: string, { create = false } = {}): Promise<FakeFile> {
    const found = this.entries.get(name) ?? (create ? new FakeFile(name, new Uint8Array()) : undefined)
    if (found === undefined) throw refusal('NotFoundError')
    if (found.kind === 'directory') throw refusal('TypeMismatchError')
    this.entries.set(name, found)
    return found
  }

  async removeEntry(name: string): Promise<void> {
    const found = this.entries.get(name)
    if (found === undefined) throw refusal('NotFoundError')
    if (found.kind === 'directory' && found.entries.size > 0) throw refusal('InvalidModificationError')
    this.entries.delete(name)
  }

  async* values(): AsyncGenerator<FakeFile | FakeFolder> {
    yield* this.entries.values()
  }
}

async function planted(tree: FileTree): Promise<FakeFolder> {
  const root = new FakeFolder('')
  for (const [path, contents] of Object.entries(tree)) {
    let at = root
    const names = path.split('/')
    for (const name of names.slice(0, -1)) at = await at.getDirectoryHandle(name, { create: true })
    ;(await at.getFileHandle(names.at(-1)!, { create: true })).bytes = new TextEncoder().encode(contents as string)
  }
  return root
}

describeFileStore('a folder of a browser', { make: async (tree) => new DirectoryFileStore(await planted(tree)), isWhole: false })

describe('a folder of a browser', () => {
  const WRITE = { read: true, write: true, append: false, truncate: false }

  test('says how long a file is while it is written, to whoever asks, and leaves no writer open', async () => {
    const root = await planted({ f: 'abc' })
    const store = new DirectoryFileStore(root)
    const [one, other] = [await store.open(['f'], WRITE), await store.open(['f'], { ...WRITE, append: true })]
    await one.write(0, new Uint8Array(10))
    expect([(await store.stat(['f'])).size, (await root.getFileHandle('f')).bytes.length]).toEqual([10, 3])
    await other.write(0, new Uint8Array(2))
    expect((await store.stat(['f'])).size).toBe(12)
    await one.close()
    await other.close()
    const file = await root.getFileHandle('f')
    expect([file.bytes.length, file.open]).toEqual([12, 0])
  })

  test('has no links, and tells what its browser refuses by a number', async () => {
    const root = await planted({ f: 'x' })
    const store = new DirectoryFileStore(root)
    for (const call of [() => store.symlink(), () => store.link()]) expect(() => call()).toThrow(expect.objectContaining({ details: { errno: 'EPERM' } }))
    root.getFileHandle = () => Promise.reject(refusal('NotAllowedError'))
    expect(errnoOf(await Promise.resolve(store.stat(['f'])).catch((error: unknown) => error))).toBe('EACCES')
    expect(() => new DirectoryFileStore({} as never)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})
