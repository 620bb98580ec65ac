/** What is behind a disk changes while a guest uses it: a medium is put in, taken out, a disk gets another size. */
import { afterEach, expect, test, vi } from 'vitest'
import { BlockFrontend, MemoryBlockStore, type BlockStore, type Disk } from '../../src/drivers/index.ts'
import { FrontendBus, type GuestProgram } from '../../src/guest/index.ts'
import { Host, type Domain, type DomainOptions, type HostEvent, type KernelSource } from '../../src/index.ts'

vi.setConfig({ testTimeout: 30_000 })

const hosts: Host[] = []
afterEach(async () => { for (const host of hosts.splice(0)) await host.shutdown() })

/** A store of so many sectors that are all of one byte. */
function filled(sectors: number, byte: number): MemoryBlockStore {
  const store = new MemoryBlockStore(sectors * 512)
  store.bytes.fill(byte)
  return store
}

/** A guest whose disks the test uses, on a host whose opener finds `/1` to `/9`: as many sectors of that byte. */
async function guest(options: Partial<DomainOptions<KernelSource>>): Promise<{ host: Host; domain: Domain; disks: BlockFrontend; open: MemoryBlockStore[]; closed: BlockStore[] }> {
  const [open, closed]: [MemoryBlockStore[], BlockStore[]] = [[], []]
  const host = await Host.boot({ memory: 48, dom0Memory: 16, openDisk: ({ params }) => {
    const number = Number(/^\/([1-9])$/.exec(params)?.[1])
    if (Number.isNaN(number)) throw new Error(`there is no ${params}`)
    const store = filled(number, number)
    store.close = () => void closed.push(store)
    open.push(store)
    return store
  } })
  hosts.push(host)
  const disks = new BlockFrontend()
  const program: GuestProgram = async (kernel) => {
    await new FrontendBus(kernel).register(disks)
    kernel.console!.log('up')
    for await (const line of kernel.console!.lines()) void line
  }
  const domain = await host.createDomain({ name: 'user', memory: 8, kernel: program, ...options })
  await domain.console.waitFor('up')
  return { host, domain, disks, open, closed }
}
/** What a disk shows: its sectors, and the first and last byte. */
async function shown(disk: Disk): Promise<readonly [number, number | undefined, number | undefined]> {
  const sectors = disk.size / 512
  if (sectors === 0) return [0, undefined, undefined]
  return [sectors, (await disk.read(0, 1))[0], (await disk.read(sectors - 1, 1))[511]]
}

test('a medium is put into an empty drive, exchanged for another one and taken out', async () => {
  const { host, domain, disks, open, closed } = await guest({ disks: [',hdc:cdrom,r'] })
  const events: HostEvent[] = []
  host.events.on('disk-medium', (event) => events.push(event))
  const drive = await disks.disk('hdc')
  expect(drive.geometry).toEqual({ sectors: 0, readOnly: true, cdrom: true, removable: true })
  expect(open).toEqual([])
  await domain.insertMedium('hdc', '/3')
  await host.settled()
  expect(await shown(drive)).toEqual([3, 3, 3])
  expect(domain.disk('hdc').facts['target']).toBe('/3')
  expect(host.store.read(`/local/domain/0/backend/vbd/${domain.id}/5632/params`)).toBe('/3')
  expect(host.store.read(`/libxl/${domain.id}/device/vbd/5632/params`)).toBe('/3')
  await domain.insertMedium('hdc', 'own', { store: filled(7, 9) })
  await host.settled()
  expect([await shown(drive), closed]).toEqual([[7, 9, 9], [open[0]]])
  await domain.ejectMedium('hdc')
  await host.settled()
  expect([await shown(drive), domain.disk('hdc').facts['target']]).toEqual([[0, undefined, undefined], undefined])
  expect(host.store.read(`/local/domain/0/backend/vbd/${domain.id}/5632/sectors`)).toBe('0')
  await expect(drive.read(0, 1)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect(events.map((event) => event.type === 'disk-medium' && [event.name, event.target])).toEqual([['hdc', '/3'], ['hdc', 'own'], ['hdc', undefined]])
  expect(host.hypervisor.checkInvariants()).toEqual([])
})

test('a drive that is saved or brought back has the medium that was in it then', async () => {
  const { host } = await guest({})
  const domain = await host.createDomain({ name: 'mini', memory: 8, disks: ['/2,raw,hdc:cdrom,r'] }, { paused: true })
  await domain.insertMedium('hdc', '/5')
  expect(domain.currentConfig().disks[0]).toMatchObject({ target: '/5', type: 'cdrom' })
  await host.domain('user').destroy()
  const moment = await host.checkpoint()
  await domain.ejectMedium('hdc')
  await host.reset(moment)
  expect(host.domain('mini').disk('hdc').facts['target']).toBe('/5')
})

test('what cannot be opened, is no drive, or is taken away meanwhile leaves everything as it was', async () => {
  const { host, domain, disks, closed } = await guest({ disks: ['/2,raw,hdc:cdrom,r', '/4,raw,xvda,w'] })
  const drive = await disks.disk('hdc')
  await expect(domain.insertMedium('hdc', '/nosuch')).rejects.toMatchObject({ code: 'IO', message: expect.stringContaining('there is no /nosuch'), details: { disk: 'hdc', target: '/nosuch' } })
  await expect(domain.insertMedium('xvda', '/1')).rejects.toMatchObject({ code: 'INVALID_STATE' })
  await expect(domain.insertMedium('xvdz', '/1')).rejects.toMatchObject({ code: 'DEVICE_NOT_FOUND' })
  await expect(domain.insertMedium('hdc', '')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  for (const bytes of [-512, 100, Number.NaN]) await expect(domain.resizeDisk('xvda', bytes)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect([await shown(drive), domain.disk('hdc').facts['target'], closed]).toEqual([[2, 2, 2], '/2', []])
  const both = await Promise.allSettled([domain.insertMedium('hdc', '/6'), domain.ejectMedium('hdc')])
  expect(both.map((one) => (one.status === 'rejected' ? (one.reason as { code: string }).code : one.status))).toEqual(['fulfilled', 'BUSY'])
  await host.settled()
  expect(await shown(drive)).toEqual([6, 6, 6])
})

test('requests that wait in the ring are served by the medium that comes', async () => {
  const { host, domain, disks } = await guest({ disks: ['/2,raw,hdc:cdrom,r'] })
  const drive = await disks.disk('hdc')
  domain.setDiskLimits('hdc', { requestsPerSecond: 20 })
  const first = await drive.read(1, 1)
  const reads = Promise.all([first, ...Array.from({ length: 6 }, () => drive.read(1, 1))])
  await domain.insertMedium('hdc', '/8')
  const bytes = (await reads).map((read) => read[0])
  expect([bytes[0], bytes.at(-1), bytes.every((byte) => byte === 2 || byte === 8)]).toEqual([2, 8, true])
  expect(host.hypervisor.checkInvariants()).toEqual([])
})

test('a disk is given another size, and the guest is told', async () => {
  const { host, domain, disks, open } = await guest({ disks: ['/4,raw,xvda,w'] })
  const disk = await disks.disk('xvda')
  await domain.resizeDisk('xvda', 9 * 512)
  await host.settled()
  expect(await shown(disk)).toEqual([9, 4, 0])
  await disk.write(8, new Uint8Array(512).fill(1))
  expect([open[0]!.bytes[8 * 512], host.store.read(`/local/domain/0/backend/vbd/${domain.id}/51712/sectors`)]).toEqual([1, '9'])
  await domain.resizeDisk('xvda', 512)
  await host.settled()
  expect(await shown(disk)).toEqual([1, 4, 4])
  const fixed: BlockStore = { size: 512, readOnly: false, read: () => undefined, write: () => undefined, flush: () => undefined, close: () => undefined }
  await domain.attachDisk('/x,raw,xvdb,w', { store: fixed })
  await expect(domain.resizeDisk('xvdb', 1024)).rejects.toMatchObject({ code: 'NOT_SUPPORTED' })
})
