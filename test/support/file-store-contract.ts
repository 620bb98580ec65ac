/** What every store of files does, whatever is behind it: declared for one kind of store at a time. */
import { afterEach, describe, expect, test } from 'vitest'
import { errnoOf, type FileErrorName, type FileStore, type FileTree, type OpenHow } from '../../src/drivers/index.ts'

/** How a kind of store is made, and what it has beside files and folders. */
export interface FileStoreMaker {
  /** A writable store with these files; no links in them. */
  make(tree: FileTree): FileStore | Promise<FileStore>
  /** Links of both kinds, modes, times. */
  readonly isWhole: boolean
  cleanUp?(): void
}

const READ: OpenHow = { read: true, write: false, append: false, truncate: false }
const WRITE: OpenHow = { read: true, write: true, append: false, truncate: false }
const FACTS = { mode: 0o644, uid: 0, gid: 0 }
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text)
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

/** The error number that a call ends with. */
async function refused(call: () => unknown): Promise<FileErrorName | undefined> {
  try {
    await call()
    return undefined
  } catch (error) {
    return errnoOf(error) ?? (() => { throw error })()
  }
}

async function contentsOf(store: FileStore, ...path: string[]): Promise<string> {
  const file = await store.open(path, READ)
  const bytes = (await file.read(0, 1 << 20)).slice()
  await file.close()
  return text(bytes)
}

async function put(store: FileStore, contents: string, ...path: string[]): Promise<void> {
  const file = await store.create(path, WRITE, FACTS)
  await file.write(0, bytesOf(contents))
  await file.close()
}

/** Declares the suite. */
export function describeFileStore(name: string, { make, isWhole, cleanUp }: FileStoreMaker): void {
  describe(`${name}, as a store of files`, () => {
    afterEach(() => cleanUp?.())

    test('tells what there is, and in folders by name', async () => {
      const store = await make({ 'a/b': 'text', c: 'more' })
      expect((await store.list([])).map(({ name: each, kind }) => [each, kind])).toEqual([['a', 'folder'], ['c', 'file']])
      expect([(await store.stat([])).kind, (await store.stat(['a'])).kind, (await store.stat(['a', 'b'])).size]).toEqual(['folder', 'folder', 4])
      const [one, other] = [await store.stat(['c']), await store.stat(['a', 'b'])]
      expect(one.identity).not.toBe(other.identity)
      expect((await store.list([])).find((entry) => entry.name === 'c')!.identity).toBe(one.identity)
    })

    test('reads and writes at any place, with zeros in holes, and nothing behind the end', async () => {
      const store = await make({ f: 'abc' })
      const file = await store.open(['f'], WRITE)
      expect(await file.write(5, bytesOf('xy'))).toBe(2)
      expect(text((await file.read(0, 100)).slice())).toBe('abc\0\0xy')
      expect([(await file.read(7, 4)).length, (await file.read(1000, 4)).length]).toEqual([0, 0])
      await file.change({ size: 2 })
      await file.change({ size: 4 })
      await file.sync()
      expect([text((await file.read(0, 9)).slice()), (await file.stat()).size]).toEqual(['ab\0\0', 4])
      await file.close()
      const end = await store.open(['f'], { ...WRITE, append: true })
      await end.write(0, bytesOf('!'))
      await end.close()
      expect(await contentsOf(store, 'f')).toBe('ab\0\0!')
      await (await store.open(['f'], { ...WRITE, truncate: true })).close()
      expect((await store.stat(['f'])).size).toBe(0)
    })

    test('makes, moves and removes files and folders', async () => {
      const store = await make({})
      await store.makeFolder(['d'], { ...FACTS, mode: 0o755 })
      await put(store, 'text', 'd', 'f')
      const moved = await refused(() => store.rename(['d', 'f'], ['g']))
      // Who cannot move says so, and nothing has happened.
      expect([undefined, 'EXDEV']).toContain(moved)
      if (moved === undefined) expect(await contentsOf(store, 'g')).toBe('text')
      await store.remove(moved === undefined ? ['g'] : ['d', 'f'], 'file')
      await store.remove(['d'], 'folder')
      expect(await store.list([])).toEqual([])
    })

    test('says by numbers what cannot be done', async () => {
      const store = await make({ 'd/f': 'x', g: 'y' })
      expect(await Promise.all([
        refused(() => store.stat(['none'])), refused(() => store.stat(['g', 'under'])), refused(() => store.open(['none'], READ)), refused(() => store.open(['d'], READ)),
        refused(() => store.list(['g'])), refused(() => store.create(['g'], WRITE, FACTS)), refused(() => store.makeFolder(['d'], FACTS)), refused(() => store.remove(['d'], 'folder')),
        refused(() => store.remove(['none'], 'file')), refused(() => store.remove(['g'], 'folder')), refused(() => store.remove([], 'folder')),
      ])).toEqual(['ENOENT', 'ENOTDIR', 'ENOENT', 'EISDIR', 'ENOTDIR', 'EEXIST', 'EEXIST', 'ENOTEMPTY', 'ENOENT', 'ENOTDIR', 'EBUSY'])
      expect(['EISDIR', 'EPERM']).toContain(await refused(() => store.remove(['d'], 'file')))
      expect(await contentsOf(store, 'd', 'f')).toBe('x')
    })

    test('says how much room there is', async () => {
      const { blockSize, blocks, freeBlocks } = await (await make({})).space()
      expect([blockSize > 0, blocks > 0, freeBlocks <= blocks]).toEqual([true, true, true])
    })

    describe.skipIf(!isWhole)(`with links, modes and times${isWhole ? '' : ' (SKIPPED: this kind has none)'}`, () => {
      test('keeps what a link says and follows none, at no step', async () => {
        const store = await make({ 'd/f': 'x' })
        await store.symlink(['l'], 'd', FACTS)
        await store.symlink(['m'], '/etc/passwd', FACTS)
        expect([await store.readLink(['l']), await store.readLink(['m']), (await store.stat(['l'])).kind]).toEqual(['d', '/etc/passwd', 'link'])
        expect(await refused(() => store.open(['m'], READ))).toBe('ELOOP')
        for (const call of [() => store.stat(['l', 'f']), () => store.open(['l', 'f'], READ), () => store.create(['l', 'g'], WRITE, FACTS), () => store.list(['l']), () => store.remove(['l', 'f'], 'file'), () => store.rename(['d', 'f'], ['l', 'f'])]) {
          expect(['ENOTDIR', 'ELOOP']).toContain(await refused(call))
        }
        expect(await refused(() => store.readLink(['d', 'f']))).toBe('EINVAL')
        expect(await contentsOf(store, 'd', 'f')).toBe('x')
      })

      test('gives a file a second name, and keeps it while it is open though both go', async () => {
        const store = await make({ f: 'x' })
        await store.link(['f'], ['g'])
        const [one, other] = [await store.stat(['f']), await store.stat(['g'])]
        expect([one.identity, one.links]).toEqual([other.identity, 2])
        const file = await store.open(['g'], WRITE)
        await store.remove(['f'], 'file')
        await store.remove(['g'], 'file')
        await file.write(1, bytesOf('yz'))
        expect(text((await file.read(0, 9)).slice())).toBe('xyz')
        await file.close()
        expect(await store.list([])).toEqual([])
      })

      test('replaces by renaming what rename(2) replaces, and nothing else', async () => {
        const store = await make({ f: 'new', g: 'old', 'd/x': '1', 'e/y': '2' })
        await store.rename(['f'], ['g'])
        expect(await contentsOf(store, 'g')).toBe('new')
        expect(['ENOTEMPTY', 'EEXIST']).toContain(await refused(() => store.rename(['d'], ['e'])))
        expect(await refused(() => store.rename(['g'], ['e']))).toBe('EISDIR')
        expect(await refused(() => store.rename(['e'], ['g']))).toBe('ENOTDIR')
        expect(await refused(() => store.rename(['d'], ['d', 'into', 'itself'].slice(0, 2)))).toBe('EINVAL')
        await store.remove(['e', 'y'], 'file')
        await store.rename(['d'], ['e'])
        expect(await contentsOf(store, 'e', 'x')).toBe('1')
      })

      test('takes modes and times', async () => {
        const store = await make({ f: 'x' })
        await store.change(['f'], { mode: 0o640, accessed: { seconds: 1_000_000_000, nanoseconds: 0 }, modified: { seconds: 1_100_000_000, nanoseconds: 0 } })
        expect(await store.stat(['f'])).toMatchObject({ mode: 0o640, accessed: { seconds: 1_000_000_000 }, modified: { seconds: 1_100_000_000 } })
        await store.change(['f'], { size: 3 })
        expect((await store.stat(['f'])).size).toBe(3)
      })
    })
  })
}
