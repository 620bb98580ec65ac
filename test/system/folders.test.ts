/** Folders of a host's domains: from description files, attached and detached, counted, saved, and in moments. */
import { describe, expect, test } from 'vitest'
import { FolderBackend, FolderFrontend, MemoryFileStore, NINEPFS_TYPE, type FileStore } from '../../src/drivers/index.ts'
import { BackendBus, FrontendBus, type GuestProgram } from '../../src/guest/index.ts'
import { resourceSnapshot } from '../../src/testing/index.ts'
import { XenError, type Domain, type Host, type HostOptions } from '../../src/index.ts'
import { FOLDER } from '../../src/toolstack/device-kinds/folder/folder.ts'
import { hostsOfTests } from '../support/mini.ts'

const boot = hostsOfTests({ memory: 96, dom0Memory: 16 })
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

/** Does by its folders what is typed: `read TAG PATH`, `write TAG PATH TEXT`. */
const user: GuestProgram = async (kernel) => {
  const folders = new FolderFrontend()
  await new FrontendBus(kernel).register(folders)
  kernel.console!.onInput((bytes) => kernel.spawn(async () => {
    const [what, tag = '', path = '', ...words] = text(bytes).trim().split(' ')
    const folder = await folders.folder(tag)
    const done = what === 'read' ? folder.readFile(path).then(text) : folder.writeFile(path, new TextEncoder().encode(words.join(' '))).then(() => 'written')
    kernel.console!.log(`answer: ${await done.catch((error: XenError) => String(error.details['errno'] ?? error.code))}`)
  }))
  kernel.console!.log('ready')
}

async function ask(domain: Domain, line: string): Promise<string> {
  await domain.console.write(`${line}\n`)
  return (await domain.console.waitFor(/answer: (.*)\n/))[1]!
}

async function start(stores: Readonly<Record<string, FileStore>>, options: HostOptions = {}): Promise<{ readonly host: Host; readonly domain: Domain }> {
  const host = await boot({ openFolder: ({ path }) => stores[path] ?? (() => { throw new Error(`there is no ${path}`) })(), ...options })
  const domain = await host.createDomain('name = "one"\nmemory = 8\np9 = [ "tag=shared,path=a,security_model=none", "tag=other,path=b,security_model=none" ]', { kernel: user })
  await domain.console.waitFor('ready')
  return { host, domain }
}

describe('folders of a domain', () => {
  test('are of the kind that their driver serves', () => {
    expect(FOLDER.name).toBe(NINEPFS_TYPE)
  })

  test('are served, listed and counted, each by its tag, and read-only ones stay as they are', async () => {
    const stores = { a: new MemoryFileStore({ f: 'from a' }), b: new MemoryFileStore({ f: 'from b' }, { readOnly: true }) }
    const { host, domain } = await start(stores)
    expect([await ask(domain, 'read shared f'), await ask(domain, 'read other f'), await ask(domain, 'write shared g new'), await ask(domain, 'write other g new')])
      .toEqual(['from a', 'from b', 'written', 'EROFS'])
    expect([text(stores.a.contents(['g'])), stores.b.list([]).length]).toEqual(['new', 1])
    const { mtime } = { mtime: stores.a.stat(['g']).modified }
    // Calendar time of a host with a virtual clock.
    expect(new Date(mtime.seconds * 1000).toISOString()).toMatch(/^2005-10-24T/)
    expect(domain.devices()).toMatchObject([
      { kind: '9pfs', device: 0, name: 'shared', facts: { tag: 'shared', path: 'a' }, backendState: 4, frontendState: 4, statistics: { writes: 1, bytesWritten: 3, errors: 0, openFiles: 0 } },
      { kind: '9pfs', device: 1, name: 'other', backendState: 4, statistics: { reads: 2, bytesRead: 6, errors: 1 } },
    ])
    expect(host.statistics().domains.at(-1)!.devices.map(({ kind, name }) => [kind, name])).toEqual([['9pfs', 'shared'], ['9pfs', 'other']])
    expect(host.store.read(`/local/domain/0/backend/9pfs/${domain.id}/0/security_model`)).toBe('none')
    expect(host.store.read(`/local/domain/${domain.id}/device/9pfs/1/tag`)).toBe('other')
    expect(host.warnings).toEqual([])
  })

  test('are served by a driver domain, whose store it is', async () => {
    const host = await boot()
    const store = new MemoryFileStore({ f: 'of the driver domain' })
    await host.createDomain({ name: 'driver', memory: 4, kernel: async (kernel) => {
      await new BackendBus(kernel).register(new FolderBackend({ open: ({ path }) => {
        if (path !== 'a') throw new Error(`there is no ${path}`)
        return store
      } }))
      kernel.console!.log('serving')
    } }).then((driver) => driver.console.waitFor('serving'))
    const domain = await host.createDomain({ name: 'one', memory: 8, kernel: user, folders: ['tag=shared,path=a,security_model=none,backend=driver'] })
    await domain.console.waitFor('ready')
    expect([await ask(domain, 'read shared f'), await ask(domain, 'write shared g new')]).toEqual(['of the driver domain', 'written'])
    await host.settled()
    expect([text(store.contents(['g'])), domain.devices()]).toMatchObject(['new', [{ kind: '9pfs', backend: 1, backendState: 4, frontendState: 4 }]])
    await domain.detachDevice('9pfs', 'shared')
    await host.settled()
    expect([domain.devices(), host.hypervisor.checkInvariants()]).toEqual([[], []])
  })

  test('come and go while it runs, and leave nothing', async () => {
    const { host, domain } = await start({ a: new MemoryFileStore(), b: new MemoryFileStore(), c: new MemoryFileStore({ f: 'later' }) })
    expect(await ask(domain, 'read shared f')).toBe('ENOENT')
    await host.settled()
    const before = resourceSnapshot(host)
    expect(await domain.attachDevice('9pfs', { tag: 'more', path: 'c' })).toBe(2)
    expect(await ask(domain, 'read more f')).toBe('later')
    await expect(domain.attachDevice('9pfs', { tag: 'more', path: 'c' })).rejects.toMatchObject({ code: 'DEVICE_EXISTS' })
    await expect(domain.attachDevice('9pfs', { tag: 'none', path: 'd' })).rejects.toMatchObject({ code: 'IO', message: expect.stringContaining('there is no d') })
    await domain.detachDevice('9pfs', 'more')
    await host.settled()
    const own = (snapshot: typeof before): string[] => snapshot.storeNodes.filter((path) => /9pfs/.test(path))
    expect(own(resourceSnapshot(host))).toEqual(own(before))
    expect(host.hypervisor.checkInvariants()).toEqual([])
    await domain.destroy()
    expect(own(resourceSnapshot(host))).toEqual([])
  })

  test.each([
    ['p9 = [ "tag=a,path=b" ]', 'security_model is missing'], ['p9 = [ "tag=a,path=b,security_model=mapped" ]', 'is not a value for security_model'],
    ['p9 = [ "tag=a,path=b,security_model=none,tga=c" ]', 'did you mean `tag=`'], ['p9 = [ "tag=,path=b,security_model=none" ]', 'it has no tag'],
    ['p9 = [ "tag=a,path=b,security_model=none", "tag=a,path=c,security_model=none" ]', 'two folders with the tag a'],
  ])('are refused by name where the description says %s', async (line, message) => {
    const host = await boot({ openFolder: () => new MemoryFileStore() })
    await expect(host.createDomain(`name = "x"\nmemory = 4\n${line}`)).rejects.toMatchObject({ code: 'INVALID_CONFIG', message: expect.stringContaining(message) })
    expect(host.domains()).toEqual([])
  })

  test('are refused by a host that opens none, and by one whose opener answers what is no store', async () => {
    for (const [options, message] of [[{}, 'booted without openFolder'], [{ openFolder: () => ({ stat: () => undefined }) as never }, 'no method list'], [{ openFolder: () => null as never }, 'null is no store of files']] as const) {
      const host = await boot(options)
      await expect(host.createDomain({ name: 'x', memory: 4, folders: [{ tag: 'a', path: 'b' }] })).rejects.toMatchObject({ code: 'IO', message: expect.stringContaining(message) })
      expect([host.domains(), host.hypervisor.checkInvariants()]).toEqual([[], []])
    }
  })

  test('answer late where their store does, while virtual time stands still', async () => {
    const made = (): FileStore => new MemoryFileStore({ f: 'slow' })
    const late = new Proxy(made(), {
      get: (target, name) => {
        const value = Reflect.get(target, name, target) as unknown
        if (typeof value !== 'function' || name === 'useClock') return value
        return (...all: unknown[]) => new Promise((resolve, reject) => setTimeout(() => {
          try { resolve(value.apply(target, all)) } catch (error) { reject(error as Error) }
        }, 1))
      },
    })
    const times: number[] = []
    for (const a of [made(), late]) {
      const { host, domain } = await start({ a, b: new MemoryFileStore() })
      expect([await ask(domain, 'read shared f'), await ask(domain, 'write shared g new'), await ask(domain, 'read shared none')]).toEqual(['slow', 'written', 'ENOENT'])
      times.push(host.now())
    }
    // What is left is what waking costs.
    expect(Math.abs(times[1]! - times[0]!)).toBeLessThan(1e6)
  })

  test('are saved with a domain by their descriptions, and opened where the receiver lists their paths', async () => {
    const { domain } = await start({ a: new MemoryFileStore({ f: 'here' }), b: new MemoryFileStore() })
    const target = await boot({ seed: 2, openFolder: ({ path, origin }) => new MemoryFileStore({ f: `${path} there, by a ${origin}` }) })
    const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>(undefined, { highWaterMark: 1 << 20 })
    void domain.save(writable)
    const [stream, copy] = readable.tee()
    await expect(target.restore(copy, { kernel: user })).rejects.toMatchObject({ code: 'PERMISSION_DENIED' })
    const restored = await target.restore(stream, { kernel: user, trust: { files: ['a', 'b'] } })
    await restored.console.waitFor('ready')
    expect(await ask(restored, 'read shared f')).toBe('a there, by a stream')
  })
})

/** The same, by a kernel whose state is plain data: a moment has it. */
const lasting: GuestProgram = async (kernel) => {
  kernel.control.saveState(() => ({}))
  if (kernel.isLoaded) return
  kernel.console!.log('ready')
}

describe('folders in moments', () => {
  test('that lie outside keep a host from being saved, by name', async () => {
    const inner = new MemoryFileStore()
    const host = await boot({ openFolder: () => new Proxy(inner, { getPrototypeOf: () => Object.prototype }) })
    await host.createDomain({ name: 'one', memory: 8, kernel: lasting, folders: [{ tag: 'a', path: 'a' }] })
    await expect(host.checkpoint()).rejects.toMatchObject({ code: 'BUSY', message: expect.stringContaining('the folder a of domain 1') })
  })

  test('in memory are brought back, and each branch has its own', async () => {
    const store = new MemoryFileStore({ f: 'before' })
    const host = await boot({ openFolder: () => store })
    await host.createDomain({ name: 'one', memory: 8, kernel: lasting, folders: [{ tag: 'a', path: 'a' }] })
    const moment = await host.checkpoint()
    const hash = await host.stateHash()
    store.create(['g'], { read: true, write: true, append: false, truncate: false }, { mode: 0o644, uid: 0, gid: 0 }).close()
    expect(await host.stateHash()).not.toEqual(hash)
    const branch = await moment.branch()
    expect(await branch.stateHash()).toEqual(hash)
    await host.reset(moment)
    expect(await host.stateHash()).toEqual(hash)
    await branch.shutdown()
    await moment.dispose()
  })
})
