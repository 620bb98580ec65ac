/** Defined domains, in memory and in a folder: the same for both, and what a folder has beside. */
import { mkdirSync, rmSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Catalogue, Host, MemoryCatalogueStore, type CatalogueStore } from '../../../../src/toolstack/index.ts'
import { catalogueFolder } from '../../../../src/node/index.ts'

const error = (code: string) => expect.objectContaining({ code })
let folder: string
beforeAll(async () => { folder = await mkdtemp(join(tmpdir(), 'paravirt-')) })
afterAll(() => rm(folder, { recursive: true }))
let count = 0
const stores: readonly (readonly [string, () => CatalogueStore])[] = [
  ['memory', () => new MemoryCatalogueStore()], ['a folder', () => catalogueFolder(join(folder, String(count += 1)))],
]

/** A host that only remembers what was created. */
const fakeHost = (running: string[] = []) => ({
  running,
  listDomains: () => running.map((name) => ({ name })),
  createDomain: async (config: string) => {
    const [, name = ''] = /name = "?([\w-]+)/.exec(config) ?? []
    if (name === 'bad') throw new Error('no')
    running.push(name)
    return name
  },
})

describe.each(stores)('a catalogue in %s', (_, store) => {
  test('keeps what is defined, whether it was a text or an object', async () => {
    const catalogue = new Catalogue(store())
    expect(await catalogue.list()).toEqual([])
    await catalogue.define('# mine\nname = "web"\nmemory = 64\n')
    await catalogue.define({ name: 'db', memory: 32, vcpus: 2, maxVcpus: 4, cpus: '0-1' })
    expect((await catalogue.list()).map(({ name, file, config }) => [name, file, config?.memory])).toEqual([['db', 'db.cfg', 32], ['web', 'web.cfg', 64]])
    expect((await catalogue.get('web')).text).toBe('# mine\nname = "web"\nmemory = 64\n')
    expect((await catalogue.get('db')).config).toMatchObject({ vcpus: 2, maxVcpus: 4, cpus: '0-1' })
    await catalogue.update('web', 'name = "www"\nmemory = 16\n')
    expect((await catalogue.get('www'))).toMatchObject({ file: 'web.cfg', config: { memory: 16 } })
    await catalogue.undefine('db')
    expect((await catalogue.list()).map(({ name }) => name)).toEqual(['www'])
  })

  test('refuses what is defined already, what is no description, and what is not there', async () => {
    const catalogue = new Catalogue(store())
    await catalogue.define('name = "one"')
    await catalogue.define('name = "two"')
    await expect(catalogue.define('name = "one"')).rejects.toThrow(error('DOMAIN_EXISTS'))
    await expect(catalogue.define('name = "three"', { file: 'one.cfg' })).rejects.toThrow(error('DOMAIN_EXISTS'))
    await expect(catalogue.update('two', 'name = "one"')).rejects.toThrow(error('DOMAIN_EXISTS'))
    await expect(catalogue.define('memory = 4')).rejects.toThrow(error('INVALID_CONFIG'))
    await expect(catalogue.define({ name: 'x', memory: 0 })).rejects.toThrow(error('INVALID_CONFIG'))
    for (const file of ['../x', '.hidden', '', 7]) await expect(catalogue.define('name = "x"', { file: file as string })).rejects.toThrow(error('INVALID_ARGUMENT'))
    await expect(catalogue.define('name = "x"', { autostart: 'a/b' })).rejects.toThrow(error('INVALID_ARGUMENT'))
    for (const call of [() => catalogue.get('x'), () => catalogue.undefine('x'), () => catalogue.update('x', 'name = "y"'), () => catalogue.setAutostart('x', true), () => catalogue.start(fakeHost(), 'x')]) {
      await expect(call()).rejects.toThrow(error('DOMAIN_NOT_FOUND'))
    }
    expect((await catalogue.list()).map(({ name }) => name)).toEqual(['one', 'two'])
  })

  test('starts what is to be started in its order; one that fails stops no other', async () => {
    const catalogue = new Catalogue(store())
    for (const name of ['late', 'bad', 'early', 'never']) await catalogue.define(`name = "${name}"`)
    for (const name of ['late', 'bad']) await catalogue.setAutostart(name, true)
    await catalogue.setAutostart('early', '000')
    const host = fakeHost()
    expect(await catalogue.startAll(host)).toEqual([{ name: 'early', domain: 'early' }, { name: 'late', domain: 'late' }, { name: 'bad', error: new Error('no') }])
    await catalogue.setAutostart('late', false)
    expect((await catalogue.list()).filter(({ autostart }) => autostart !== undefined).map(({ name }) => name)).toEqual(['bad', 'early'])
    expect(await catalogue.start(host, 'never')).toBe('never')
  })

  test('tells of changes, whoever makes them', async () => {
    const kept = store()
    await new Catalogue(kept).define('name = "first"', { autostart: true })
    const { seen, wait, end } = await follow(kept)
    await kept.write('more.cfg', 'name = "more"\n')
    await wait(1)
    await kept.write('more.cfg', 'name = "more"\nmemory = 5\n')
    await wait(2)
    await kept.remove('first.cfg')
    await wait(3)
    expect(seen).toEqual(['defined more', 'updated more', 'undefined first'])
    await end()
  })
})

/**
 * Notes the changes of a catalogue from when it has looked at what is there: what was seen, a wait for so many, and the end of it.
 * Nothing here depends on how soon anything is done.
 */
async function follow(store: CatalogueStore): Promise<{ readonly seen: readonly string[]; wait(length: number): Promise<void>; end(): Promise<void> }> {
  let looked: () => void = () => undefined
  const begun = new Promise<void>((resolve) => { looked = resolve })
  const watched: CatalogueStore = {
    list: async () => {
      const entries = await store.list()
      setImmediate(looked)
      return entries
    },
    write: (file, text) => store.write(file, text),
    remove: (file) => store.remove(file),
    setAutostart: (file, order) => store.setAutostart(file, order),
    watch: (changed) => store.watch?.(changed) ?? (() => undefined),
  }
  const abort = new AbortController()
  const seen: string[] = []
  const watching = (async () => {
    for await (const { type, name } of new Catalogue(watched).watch({ signal: abort.signal })) seen.push(`${type} ${name}`)
  })()
  await begun
  return {
    seen,
    wait: async (length) => { while (seen.length < length) await new Promise((resolve) => setTimeout(resolve, 5)) },
    end: () => (abort.abort(), watching),
  }
}

test('a folder that comes and goes is watched wherever it is', async () => {
  const place = join(folder, 'not', 'yet', 'there')
  const catalogue = new Catalogue(catalogueFolder(place))
  const { seen, wait, end } = await follow(catalogueFolder(place))
  await catalogue.define('name = "a"')
  await wait(1)
  // The folder of the links was not there either.
  await catalogue.setAutostart('a', true)
  await wait(2)
  // At once as far as this process can see: else its link may be seen to go before it, as an update.
  rmSync(place, { recursive: true })
  await wait(3)
  await catalogue.define('name = "b"')
  await wait(4)
  await catalogue.setAutostart('b', '5')
  await wait(5)
  expect(seen).toEqual(['defined a', 'updated a', 'undefined a', 'defined b', 'updated b'])
  await end()
})

test('a folder that is removed and made anew before anybody is told goes on being watched, though it has the number of the old one', async () => {
  const place = join(folder, 'again')
  const catalogue = new Catalogue(catalogueFolder(place))
  await catalogue.define('name = "a"')
  const { seen, wait, end } = await follow(catalogueFolder(place))
  rmSync(place, { recursive: true })
  mkdirSync(place)
  await wait(1)
  await catalogue.define('name = "b"')
  await wait(2)
  expect(seen).toEqual(['undefined a', 'defined b'])
  await end()
})

test('a real host starts what is in the folder, in the order of the links, beside what runs already', async () => {
  const catalogue = new Catalogue(catalogueFolder(join(folder, 'real')))
  for (const name of ['one', 'two', 'three']) await catalogue.define({ name, memory: 4 }, { autostart: true })
  await catalogue.setAutostart('three', '005')
  await catalogue.define('name = "broken"\nmemory = 4\nkernel = "/no/such"', { autostart: '007' })
  const host = await Host.boot({ memory: 32, dom0Memory: 8 })
  try {
    await catalogue.start(host, 'one')
    const results = await catalogue.startAll(host)
    expect(results.map(({ name, domain, error: why }) => [name, domain?.id, (why as { code?: string } | undefined)?.code])).toEqual([
      ['three', 2, undefined], ['broken', undefined, 'IO'], ['one', undefined, 'DOMAIN_EXISTS'], ['two', 3, undefined],
    ])
  } finally {
    await host.shutdown()
  }
})

test('a folder is laid out as /etc/xen is, and what is no description there is passed over', async () => {
  const place = join(folder, 'etc-xen')
  await mkdir(join(place, 'scripts'), { recursive: true })
  await mkdir(join(place, 'auto'))
  await writeFile(join(place, 'xl.conf'), 'autoballoon="off"\n')
  await writeFile(join(place, 'fc4'), 'name = "fc4"\nmemory = 64\n')
  await writeFile(join(place, 'broken.cfg'), 'name = "broken\n')
  await symlink('../fc4', join(place, 'auto', '010-fc4'))
  const catalogue = new Catalogue(catalogueFolder(place))
  expect((await catalogue.list()).map(({ name, autostart, error: why }) => [name, autostart, why?.code])).toEqual([
    ['broken.cfg', undefined, 'INVALID_CONFIG'], ['fc4', '010-fc4', undefined],
  ])
  await catalogue.define('name = "web"', { autostart: true })
  expect(await readlink(join(place, 'auto', '020-web.cfg'))).toBe('../web.cfg')
  expect(await readFile(join(place, 'web.cfg'), 'utf8')).toBe('name = "web"')
  await catalogue.undefine('fc4')
  expect((await catalogue.startAll(fakeHost())).map(({ name }) => name)).toEqual(['web'])
  await expect(new Catalogue(catalogueFolder(join(place, 'web.cfg'))).list()).rejects.toThrow(error('IO'))
})
