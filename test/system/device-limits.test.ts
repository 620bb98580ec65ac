/** How fast devices may be used: rates of network interfaces and limits of disks, counted in virtual time; cables that are pulled. */
import { afterEach, expect, test, vi } from 'vitest'
import { BlockBackend, BlockFrontend, Bridge, MemoryBlockStore, NetBackend, NetFrontend, type Nic } from '../../src/drivers/index.ts'
import { BackendBus, FrontendBus, type GuestKernel, type GuestProgram } from '../../src/guest/index.ts'
import { Host, type Domain, type DomainOptions, type HostOptions, type KernelSource } from '../../src/index.ts'

// On a machine that does other things besides.
vi.setConfig({ testTimeout: 30_000 })

const OPTIONS: HostOptions = { memory: 64, dom0Memory: 16, openDisk: () => new MemoryBlockStore(8 << 20) }
const hosts: Host[] = []
afterEach(async () => { for (const host of hosts.splice(0)) await host.shutdown() })
const error = (code: string) => expect.objectContaining({ code })

/** A guest in TypeScript whose devices the test uses. */
async function guest(options: Partial<DomainOptions<KernelSource>>): Promise<{ host: Host; domain: Domain; kernel: GuestKernel; disks: BlockFrontend; nics: NetFrontend }> {
  const host = await Host.boot(OPTIONS)
  hosts.push(host)
  const [disks, nics] = [new BlockFrontend(), new NetFrontend()]
  let made: GuestKernel | undefined
  const program: GuestProgram = async (kernel) => {
    made = kernel
    const bus = new FrontendBus(kernel)
    await bus.register(disks)
    await bus.register(nics)
    kernel.console!.log('up')
    for await (const line of kernel.console!.lines()) void line
  }
  const domain = await host.createDomain({ name: 'user', memory: 8, kernel: program, ...options })
  await domain.console.waitFor('up')
  return { host, domain, kernel: made!, disks, nics }
}

/** Sends as much as the interface takes for so many milliseconds of host time; bytes that came out at the bridge. */
async function sent({ host, kernel }: { host: Host; kernel: GuestKernel }, nic: Nic, milliseconds: number): Promise<number> {
  const frame = new Uint8Array(1000).fill(0xff)
  let bytes = 0
  const port = host.bridge().open({ onFrame: (each) => { bytes += each.length } })
  const end = host.now() + milliseconds * 1e6
  const pump = (): void => {
    if (kernel.now() >= end) return
    while (nic.send(frame));
    kernel.after(100_000, pump)
  }
  kernel.post(pump)
  await host.until('time to pass', () => false, { timeout: { milliseconds } }).catch(() => undefined)
  port.close()
  return bytes
}

test('a rate in the description is what a guest sends, and it can be changed and taken away while it runs', async () => {
  const made = await guest({ nics: ['rate=8Mb/s'] })
  const { domain, nics } = made
  const nic = await nics.nic(0)
  expect(domain.nic(0).facts).toMatchObject({ bridge: 'xenbr0', bytesPerInterval: 50_000, intervalMicroseconds: 50_000 })
  // A million bytes a second: 0.2 s, and what was there at first.
  expect(await sent(made, nic, 200) / 1e3).toBeGreaterThan(180)
  expect(await sent(made, nic, 200) / 1e3).toBeLessThan(260)
  domain.setNicRate(0, '2MB/s@10ms')
  const faster = await sent(made, nic, 200) / 1e3
  expect(faster).toBeGreaterThan(300)
  expect(faster).toBeLessThan(460)
  expect(made.host.store.read(`${domain.nic(0).backendPath}/rate`)).toBe('20000,10000')
  domain.setNicRate(0, undefined)
  expect(await sent(made, nic, 50) / 1e3).toBeGreaterThan(1000)
  for (const rate of ['fast', '', 7 as never]) expect(() => domain.setNicRate(0, rate)).toThrow(error('INVALID_ARGUMENT'))
  expect(() => domain.setNicRate(3, '1Mb/s')).toThrow(error('DEVICE_NOT_FOUND'))
})

test('an interface offers as much as its description says, whether as a text or as an object, and no nonsense', async () => {
  const { domain, nics, host } = await guest({ nics: ['queues=2,gso=0', { queues: 8 }, ''] })
  const offered = (id: number): unknown[] => ['multi-queue-max-queues', 'feature-gso-tcpv4', 'feature-gso-tcpv6', 'feature-multicast-control'].map((name) => host.store.tryRead(`${domain.nic(id).backendPath}/${name}`))
  const found = await Promise.all([0, 1, 2].map(async (id) => (await nics.nic(id)).features))
  expect([0, 1, 2].map(offered)).toEqual([['2', undefined, undefined, '1'], ['8', '1', '1', '1'], ['4', '1', '1', '1']])
  expect(found.map(({ queues, large }) => [queues, large])).toEqual([[1, false], [1, true], [1, true]])
  expect(domain.currentConfig().nics.map(({ queues, gso }) => [queues, gso])).toEqual([[2, false], [8, undefined], [undefined, undefined]])
  for (const wrong of [{ queues: 0 }, { queues: 9 }, { queues: 2.5 }, { gso: 1 as never }, 'queues=many', 'gso=on']) await expect(domain.attachNic(wrong)).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
})

test('nothing passes while the cable is pulled', async () => {
  const made = await guest({ nics: [''] })
  const { domain, nics, host } = made
  const nic = await nics.nic(0)
  domain.setNicLink(0, 'down')
  expect(await sent(made, nic, 5)).toBe(0)
  expect(domain.nic(0).statistics!['dropped']).toBeGreaterThan(0)
  domain.setNicLink(0, 'up')
  expect(await sent(made, nic, 5)).toBeGreaterThan(0)
  expect(() => domain.setNicLink(0, 'sideways' as never)).toThrow(error('INVALID_ARGUMENT'))
  expect(host.hypervisor.checkInvariants()).toEqual([])
})

test('a disk does as many requests and bytes in a second as it may', async () => {
  const { host, domain, disks } = await guest({ disks: ['a,raw,xvda,w'] })
  const disk = await disks.disk(51712)
  /** Milliseconds of host time that so many reads of 32 KiB take, eight at a time. */
  const time = async (count: number): Promise<number> => {
    const start = host.now()
    let left = count
    const worker = async (): Promise<void> => {
      for (; left > 0;) {
        left -= 1
        await disk.read(0, 64)
      }
    }
    await Promise.all(Array.from({ length: 8 }, worker))
    return (host.now() - start) / 1e6
  }
  expect(await time(40)).toBeLessThan(20)
  domain.setDiskLimits('xvda', { requestsPerSecond: 200 })
  const slow = await time(40)
  expect([slow > 140, slow < 260]).toEqual([true, true])
  domain.setDiskLimits('xvda', { bytesPerSecond: 4 << 20 })
  const narrow = await time(32)
  expect([narrow > 190, narrow < 320]).toEqual([true, true])
  domain.setDiskLimits('xvda', {})
  expect(await time(40)).toBeLessThan(20)
  expect(domain.disk('xvda')).toMatchObject({ backendStateName: 'Connected', frontendStateName: 'Connected', facts: { vdev: 'xvda', target: 'a', access: 'w' } })
  for (const limits of [{ bytesPerSecond: 0 }, { iops: 3 }, { requestsPerSecond: 1.5 }]) expect(() => domain.setDiskLimits('xvda', limits as never)).toThrow(error('INVALID_ARGUMENT'))
  expect(() => domain.setDiskLimits('xvdb', {})).toThrow(error('DEVICE_NOT_FOUND'))
})

test('a driver domain is told of a rate in XenStore, and what has no node there is refused', async () => {
  const host = await Host.boot(OPTIONS)
  hosts.push(host)
  let driver: NetBackend | undefined
  const serve: GuestProgram = async (kernel) => {
    const bridge = new Bridge({ name: 'inner', now: () => kernel.now(), post: (task) => kernel.post(task), turn: () => kernel.turn() })
    driver = new NetBackend({ bridge: () => bridge })
    const bus = new BackendBus(kernel)
    await bus.register(driver)
    await bus.register(new BlockBackend({ open: () => new MemoryBlockStore(1 << 16) }))
    kernel.console!.log('serving')
  }
  const { id } = await host.createDomain({ name: 'driver', memory: 8, kernel: serve })
  await host.domain('driver').console.waitFor('serving')
  const user = await host.createDomain({ name: 'user', memory: 8, kernel: (kernel) => kernel.console!.log('up') })
  await user.attachNic('backend=driver,rate=8Mb/s')
  await user.attachDisk({ target: 'a', vdev: 'xvda', backend: 'driver' })
  await host.settled()
  const rate = () => driver!.nic(user.id, 0)!.rate
  expect(rate()).toEqual({ amount: 50_000, interval: 50_000_000 })
  user.setNicRate(0, '2MB/s@10ms')
  await host.settled()
  expect([rate(), host.store.read(`/local/domain/${id}/backend/vif/${user.id}/0/rate`)]).toEqual([{ amount: 20_000, interval: 10_000_000 }, '20000,10000'])
  expect(user.currentConfig().nics[0]).toMatchObject({ rate: { bytesPerInterval: 20_000 } })
  user.setNicRate(0, undefined)
  await host.settled()
  expect(rate()).toBeUndefined()
  for (const refused of [() => user.setNicLink(0, 'down'), () => user.setDiskLimits('xvda', {})]) expect(refused).toThrow(error('NOT_SUPPORTED'))
  await expect(user.resizeDisk('xvda', 512)).rejects.toMatchObject({ code: 'NOT_SUPPORTED' })
})
