/** What a stream that somebody else wrote may name of the host that receives it: only what the receiver has listed. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { MemoryBlockStore } from '../../src/drivers/index.ts'
import { Host, transportPair, type DiskOpenRequest, type DomainOptions, type HostOptions, type KernelSource, type StreamTrust } from '../../src/index.ts'
import { deniedFileWarnings } from '../../src/toolstack/config/stream-trust.ts'
import { nodeDisks, nodeFiles } from '../../src/node/index.ts'
import { ByteCollector } from '../support/byte-collector.ts'

const idle = (): void => undefined
const hosts: Host[] = []

/** A host that notes what it is asked to open and to read. */
async function boot(options: HostOptions = {}): Promise<{ host: Host; opened: DiskOpenRequest[]; read: string[] }> {
  const opened: DiskOpenRequest[] = []
  const read: string[] = []
  const host = await Host.boot({
    memory: 64, dom0Memory: 16,
    openDisk: (request) => { opened.push(request); return new MemoryBlockStore(4096) },
    files: { read: async (path) => { read.push(path); return new TextEncoder().encode(`contents of ${path}`) } },
    ...options,
  })
  hosts.push(host)
  return { host, opened, read }
}
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

/** A saved domain as a stranger makes it: on a host of his own, where every name is good. */
async function foreign(options: Partial<DomainOptions<KernelSource>>): Promise<Uint8Array> {
  const { host } = await boot()
  const domain = await host.createDomain({ name: 'innocent', memory: 4, kernel: idle, ...options })
  const file = new ByteCollector()
  await domain.save(file)
  return file.bytes()
}

const NAMES: readonly [string, Partial<DomainOptions<KernelSource>>, string, StreamTrust][] = [
  ['a disk, to be written', { disks: ['/etc/passwd,raw,xvda,w'] }, 'disk xvda names "/etc/passwd"', { disks: ['/etc/passwd'] }],
  ['a disk, to be read', { disks: ['../secret,raw,xvdb,r'] }, 'disk xvdb names "../secret"', { disks: ({ target }) => target === '../secret' }],
  ['a CD', { disks: ['/dev/sr0,raw,hdc:cdrom,r'] }, 'disk hdc names "/dev/sr0"', { disks: ['/dev/sr0'] }],
  ['a network', { nics: ['bridge=management'] }, 'network interface names "management"', { bridges: ['management'] }],
  ['the usual network', { nics: [''] }, 'network interface names "xenbr0"', { bridges: ['xenbr0'] }],
]

describe('a stream from outside that names', () => {
  test.each(NAMES)('%s of this host is refused unless the receiver lists it', async (_what, options, message, trust) => {
    const file = await foreign(options)
    const { host, opened } = await boot()
    const refused = { code: 'PERMISSION_DENIED', message: expect.stringContaining(message) as string }
    await expect(host.restore(file, { kernel: idle })).rejects.toMatchObject(refused)
    await expect(host.restore(file, { kernel: idle, trust: {} })).rejects.toMatchObject(refused)
    const other: StreamTrust = { disks: ['/other'], bridges: ['other'], files: ['/etc/passwd', 'management'], backends: ['0'] }
    await expect(host.restore(file, { kernel: idle, trust: other })).rejects.toMatchObject(refused)
    expect([opened, host.domains(), host.hypervisor.listDomains().length]).toEqual([[], [], 1])
    for (const enough of [trust, 'all'] as const) {
      const domain = await host.restore(file, { kernel: idle, trust: enough })
      expect(domain.devices()).toHaveLength(1)
      await domain.destroy()
    }
    for (const request of opened) expect(request.origin).toBe('stream')
  })

  test.each(NAMES.slice(0, 4))('%s of this host is refused as a migration, too, and stays where it was', async (_what, options, message, trust) => {
    const from = await boot()
    const to = await boot()
    const domain = await from.host.createDomain({ name: 'innocent', memory: 4, kernel: idle, ...options })
    const move = async (allowed: StreamTrust | undefined): Promise<readonly PromiseSettledResult<unknown>[]> => {
      const { ends } = transportPair()
      return Promise.allSettled([
        domain.migrate(ends[0]), to.host.receiveMigration(ends[1], { kernel: idle, trust: allowed }),
      ])
    }
    const [sent, received] = await move(undefined)
    expect(received).toMatchObject({ status: 'rejected', reason: { code: 'PERMISSION_DENIED', message: expect.stringContaining(message) as string } })
    expect([sent!.status, to.opened, to.host.domains()]).toEqual(['rejected', [], []])
    expect(from.host.domains()).toContain(domain)
    expect((await move(trust)).map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled'])
  }, 60_000)

  test('a driver domain or a script of this host is refused unless the receiver lists it', async () => {
    const { host } = await boot()
    const own = await host.createDomain({ name: 'driver', memory: 4, kernel: idle })
    const text = new TextDecoder('latin1').decode(await foreign({ nics: ['bridge=b'] }))
    const allowed = { bridges: ['b'] }
    for (const [key, value, message] of [
      ['backend_domname', 'driver', 'network interface names "driver"'], ['backend_domname', String(own.id), `names "${own.id}"`],
      ['script', '/tmp/evil', 'network interface names "/tmp/evil"'],
    ] as const) {
      // The field stands in front of another whose text it takes the place of, so that the length stays.
      const spoiled = text.replace(/"bridge": "b",/, `"bridge": "b", "${key}": "${value}",`)
      const grown = spoiled.length - text.length
      const bytes = Uint8Array.from(spoiled, (letter) => letter.charCodeAt(0))
      const view = new DataView(bytes.buffer)
      for (const at of [44, 48]) view.setUint32(at, view.getUint32(at, true) + grown, true)
      await expect(host.restore(bytes, { kernel: idle, trust: allowed }))
        .rejects.toMatchObject({ code: 'PERMISSION_DENIED', message: expect.stringContaining(message) as string })
    }
    expect(host.domains()).toEqual([own])
  })
})

describe('a domain that came by a stream', () => {
  /** The embedded kernel, whose stream names a ramdisk; it starts anew when it is asked to. */
  async function arrive(trust: StreamTrust | undefined, kernel?: KernelSource) {
    const other = await boot()
    const domain = await other.host.createDomain({ name: 'innocent', memory: 8, ramdisk: '/etc/shadow' })
    await domain.console.waitFor('mini> ')
    const file = new ByteCollector()
    await domain.save(file)
    const { host, read } = await boot()
    const arrived = await host.restore(file.bytes(), { trust, kernel })
    const failed: unknown[] = []
    host.events.on('action-failed', ({ error }) => failed.push(error))
    const ended = host.events.once('domain-destroyed')
    await arrived.console.waitFor('restored')
    await arrived.console.write('reboot\r')
    await ended
    await host.until('what follows', () => failed.length > 0 || host.domains().length > 0, { timeout: 60e9 })
    return { host, read, failed, warnings: host.warnings.map(({ message }) => message) }
  }

  test('starts anew without reading what the stream named, and a warning says so from the beginning', async () => {
    const { host, read, failed, warnings } = await arrive(undefined)
    expect(failed).toMatchObject([{ code: 'PERMISSION_DENIED', details: { resource: 'files', name: '/etc/shadow', option: 'trust.files' } }])
    expect([read, host.domains()]).toEqual([[], []])
    expect(warnings).toEqual([expect.stringContaining('ramdisk names "/etc/shadow" of this host')])
  }, 60_000)

  test('has the files read that the receiver has listed', async () => {
    const { read, failed, warnings } = await arrive({ files: ['/etc/shadow'] })
    expect([read, failed, warnings]).toEqual([['/etc/shadow'], [], []])
  }, 60_000)
})

test.each([
  ['pygrub', { bootloader: 'pygrub', kernel: '/boot/vmlinuz', ramdisk: '/initrd' }, []],
  ['no boot loader', { bootloader: undefined, kernel: '/boot/vmlinuz', ramdisk: '/initrd' }, ['kernel', 'ramdisk']],
  ['a kernel of the receiver\'s own, given as bytes', { bootloader: undefined, kernel: new Uint8Array(9), ramdisk: undefined }, []],
])('with %s what is refused are files of this host, not those of the guest\'s own disk', (_what, config, denied) => {
  expect(deniedFileWarnings({ name: 'x', trust: {}, ...config }).map(({ option }) => option)).toEqual(denied)
  expect(deniedFileWarnings({ name: 'x', trust: 'all', ...config })).toEqual([])
  expect(deniedFileWarnings({ name: 'x', trust: undefined, ...config })).toEqual([])
})

test('an opener of disks hears who asks', async () => {
  const { host, opened } = await boot()
  const domain = await host.createDomain({ name: 'user', memory: 4, kernel: idle, disks: ['/a,raw,xvda,w'] })
  await domain.attachDisk('/b,raw,xvdb,w')
  expect(opened.map(({ params, origin }) => [params, origin])).toEqual([['/a', 'configuration'], ['/b', 'attach']])
})

describe('files that are confined to a folder', () => {
  let top: string
  let folder: string
  beforeAll(() => {
    top = mkdtempSync(join(tmpdir(), 'paravirt-confined-'))
    folder = join(top, 'images')
    mkdirSync(join(folder, 'sub'), { recursive: true })
    for (const name of ['secret', 'images/a', 'images/sub/b', 'images-other']) writeFileSync(join(top, name), new Uint8Array(512))
    symlinkSync(join(top, 'secret'), join(folder, 'link'))
    symlinkSync(top, join(folder, 'up'))
    symlinkSync('a', join(folder, 'alias'))
  })
  afterAll(() => rmSync(top, { recursive: true, force: true }))

  test.each([
    ['a', 'opened'], ['./sub/b', 'opened'], ['sub/../a', 'opened'], ['alias', 'opened'], ['none', 'IO'],
    ['../secret', 'PERMISSION_DENIED'], ['sub/../../secret', 'PERMISSION_DENIED'], ['link', 'PERMISSION_DENIED'],
    ['up/secret', 'PERMISSION_DENIED'], ['/etc/hostname', 'PERMISSION_DENIED'], ['../images-other', 'PERMISSION_DENIED'],
    ['../nosuch', 'PERMISSION_DENIED'], ['', 'PERMISSION_DENIED'], ['.', 'PERMISSION_DENIED'], ['a\0b', 'PERMISSION_DENIED'],
  ])('%j: %s', async (name, outcome) => {
    const request = { domid: 1, device: '51712', params: name, type: 'file', readOnly: true, format: 'raw', name: 'xvda', origin: 'stream' } as const
    const open = async (): Promise<void> => (await nodeDisks(folder, { confined: true })(request as never)).close()
    const read = async (): Promise<unknown> => nodeFiles(folder, { confined: true }).read(name)
    for (const attempt of [open, read]) {
      expect(await attempt().then(() => 'opened', (error: { code: string }) => error.code)).toBe(outcome)
    }
  })

  test('one inside by an absolute path is opened, and one outside as ever where nothing is confined', async () => {
    expect((await nodeFiles(folder, { confined: true }).read(join(folder, 'a'))).length).toBe(512)
    expect((await nodeFiles(folder).read('../secret')).length).toBe(512)
  })
})
