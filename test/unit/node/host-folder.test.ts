/** A folder of this machine: what every store of files does, and that no path, link or race leads out of it. */
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { errnoOf, type FileTree } from '../../../src/drivers/index.ts'
import { HostFolderStore, nodeFolders } from '../../../src/node/index.ts'
import { describeFileStore } from '../../support/file-store-contract.ts'

const tops: string[] = []
const stores: HostFolderStore[] = []
const newFolder = (): string => {
  const top = mkdtempSync(join(tmpdir(), 'paravirt-files-'))
  tops.push(top)
  return top
}
const cleanUp = (): void => {
  for (const store of stores.splice(0)) store.close()
  for (const top of tops.splice(0)) rmSync(top, { recursive: true })
}

function plant(folder: string, tree: FileTree): void {
  for (const [path, contents] of Object.entries(tree)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true })
    writeFileSync(join(folder, path), contents as string)
  }
}

function open(folder: string): HostFolderStore {
  const store = new HostFolderStore(folder)
  stores.push(store)
  return store
}

describeFileStore('a folder of this machine', {
  make: (tree) => {
    const folder = newFolder()
    plant(folder, tree)
    return open(folder)
  },
  isWhole: true, cleanUp,
})

const READ = { read: true, write: false, append: false, truncate: false }
const WRITE = { ...READ, write: true }
const FACTS = { mode: 0o666, uid: 0, gid: 0 }
const errno = (call: () => unknown): string | undefined => {
  try {
    call()
    return undefined
  } catch (error) {
    return errnoOf(error)
  }
}

describe('a folder of this machine', () => {
  afterEach(cleanUp)

  test('is not left over links that lie in it, whatever is asked of them', () => {
    const top = newFolder()
    plant(top, { secret: 'secret', 'in/f': 'x', 'outside/g': 'y' })
    symlinkSync('../secret', join(top, 'in/file'))
    symlinkSync('../outside', join(top, 'in/folder'))
    const store = open(join(top, 'in'))
    const calls: (() => unknown)[] = [
      () => store.open(['file'], READ), () => store.open(['file'], { ...WRITE, truncate: true }), () => store.change(['file'], { size: 0 }),
      () => store.open(['folder', 'g'], READ), () => store.list(['folder']), () => store.create(['folder', 'new'], WRITE, FACTS), () => store.makeFolder(['folder', 'new'], FACTS),
      () => store.remove(['folder', 'g'], 'file'), () => store.rename(['f'], ['folder', 'f']), () => store.link(['f'], ['folder', 'f']), () => store.symlink(['folder', 'l'], 'x'),
      () => store.change(['folder', 'g'], { mode: 0 }), () => store.stat(['folder', 'g']), () => store.create(['file'], WRITE, FACTS), () => store.change(['file'], { mode: 0o777 }),
    ]
    for (const call of calls) expect(['ELOOP', 'ENOTDIR', 'EEXIST', 'EOPNOTSUPP']).toContain(errno(call))
    store.change(['file'], { modified: { seconds: 1, nanoseconds: 0 } })
    expect([readFileSync(join(top, 'secret'), 'utf8'), readdirSync(join(top, 'outside')), readFileSync(join(top, 'outside/g'), 'utf8')]).toEqual(['secret', ['g'], 'y'])
    store.remove(['file'], 'file')
    expect(existsSync(join(top, 'secret'))).toBe(true)
  })

  test.skipIf(process.platform !== 'linux')('is not left while somebody swaps a folder in it for a link, again and again', () => {
    const top = newFolder()
    plant(top, { 'in/d/f': 'inside', 'outside/f': 'outside' })
    const store = open(join(top, 'in'))
    let found = 0
    // Between any two calls of the operating system: here between those of one path, from within the walk.
    const swap = (): void => {
      renameSync(join(top, 'in/d'), join(top, 'in/kept'))
      symlinkSync('../outside', join(top, 'in/d'))
    }
    for (let round = 0; round < 20; round += 1) {
      swap()
      expect(['ELOOP', 'ENOTDIR']).toContain(errno(() => store.open(['d', 'f'], READ)))
      unlinkSync(join(top, 'in/d'))
      renameSync(join(top, 'in/kept'), join(top, 'in/d'))
      const file = store.open(['d', 'f'], READ)
      found += new TextDecoder().decode(file.read(0, 10) as Uint8Array) === 'inside' ? 1 : 0
      void file.close()
    }
    expect(found).toBe(20)
  })

  test('lists pipes and opens none, sets no set-user-id bits, changes no owners', () => {
    const folder = newFolder()
    execFileSync('mkfifo', [join(folder, 'pipe')])
    const store = open(folder)
    expect(store.list([])).toMatchObject([{ name: 'pipe', kind: 'other' }])
    expect(errno(() => store.open(['pipe'], WRITE))).toBe('EACCES')
    void store.create(['f'], WRITE, { ...FACTS, mode: 0o6777 }).close()
    expect(store.stat(['f']).mode).toBe(0o777)
    store.change(['f'], { mode: 0o4711 })
    expect(store.stat(['f']).mode).toBe(0o711)
    expect(errno(() => store.change(['f'], { uid: store.stat(['f']).uid + 1 }))).toBe('EPERM')
  })

  test('closes all that it opens, however a call ends', () => {
    const folder = newFolder()
    plant(folder, { 'a/b/c/d': 'x' })
    const store = open(folder)
    const count = (): number => readdirSync('/proc/self/fd').length
    const before = count()
    for (let round = 0; round < 50; round += 1) {
      store.stat(['a', 'b', 'c', 'd'])
      store.list(['a', 'b'])
      errno(() => store.open(['a', 'b', 'none', 'd'], READ))
      errno(() => store.rename(['a', 'b', 'c', 'd'], ['none', 'x']))
      errno(() => store.create(['a', 'b', 'c', 'd'], WRITE, FACTS))
      void store.open(['a', 'b', 'c', 'd'], WRITE).close()
    }
    expect(count()).toBe(before)
    store.close()
    expect(errno(() => store.stat([]))).toBe('EIO')
  })

  test('is opened for a host below the folder that was named, and nowhere else where that is wanted', () => {
    const top = newFolder()
    plant(top, { 'srv/shared/f': 'x', 'other/f': 'y' })
    const opener = nodeFolders(join(top, 'srv'), { confined: true })
    const ask = (path: string) => opener({ domid: 1 as never, device: '0', tag: 't', path, origin: 'configuration' })
    const store = ask('shared') as HostFolderStore
    stores.push(store)
    expect(store.list([]).map(({ name }) => name)).toEqual(['f'])
    expect(() => ask('../other')).toThrow(expect.objectContaining({ code: 'PERMISSION_DENIED' }))
    expect(() => new HostFolderStore(join(top, 'none'))).toThrow(expect.objectContaining({ code: 'IO' }))
  })
})
