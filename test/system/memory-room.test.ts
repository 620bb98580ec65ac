/** Memory of a host that is short of it: dom0 makes room, claims keep others out, targets are written as xl takes them. */
import { afterEach, expect, test, vi } from 'vitest'
import { Host, type GuestProgram, type HostOptions } from '../../src/index.ts'
import { withoutLeaks } from '../../src/testing/index.ts'

// On a machine that does other things besides.
vi.setConfig({ testTimeout: 30_000 })

const hosts: Host[] = []
async function boot(options: HostOptions = {}): Promise<Host> {
  const host = await Host.boot({ memory: 64, ...options })
  hosts.push(host)
  return host
}
afterEach(async () => { for (const host of hosts.splice(0)) await host.shutdown() })
/** Follows its target for as long as it lives. */
const idle: GuestProgram = async (kernel) => { for await (const line of kernel.console!.lines()) void line }
const error = (code: string) => expect.objectContaining({ code })

test('dom0 gives memory up for a new domain, and keeps what it needs', async () => {
  const host = await boot({ memory: 96, autoballoon: true })
  expect(host.memory(0)).toMatchObject({ current: 48 })
  const free = Math.floor(host.hypervisor.hostInfo().freeFrames / 256)
  const large = await host.createDomain({ name: 'large', memory: free + 8 })
  await large.console.waitFor('mini> ')
  expect(host.memory(0).target).toBeLessThanOrEqual(40)
  expect(host.memory(0).current).toBe(host.memory(0).target)
  await expect(host.createDomain({ name: 'larger', memory: 60 })).rejects.toThrow(error('OUT_OF_MEMORY'))
  expect(host.memory(0).current).toBe(host.memory(0).target)
})

test('a creation that fails behind it gives dom0 its target back', async () => {
  const host = await boot({ memory: 96, autoballoon: true })
  const free = Math.floor(host.hypervisor.hostInfo().freeFrames / 256)
  await expect(host.createDomain({ name: 'wrong', memory: free + 4, disks: ['/nowhere,raw,xvda,w'] })).rejects.toThrow()
  await host.until('dom0 to have its memory again', () => host.memory(0).current === 48, { timeout: '60s' })
})

test('nobody gives anything up where dom0\'s memory was said, or where it is switched off', async () => {
  for (const options of [{ dom0Memory: 32 }, { autoballoon: false }]) {
    const host = await boot(options)
    await withoutLeaks(host, () => expect(host.createDomain({ name: 'large', memory: 40 })).rejects.toThrow(error('OUT_OF_MEMORY')))
  }
})

test('what a domain has claimed nobody else gets', async () => {
  const host = await boot({ dom0Memory: 16 })
  const domain = await host.createDomain({ name: 'claimer', memory: 8, maxMemory: 32, kernel: idle })
  await host.settled()
  const before = host.hypervisor.hostInfo()
  domain.claimMemory(30)
  expect(host.claims()).toMatchObject([{ name: 'claimer', id: domain.id, memory: 8, claimed: 22 }])
  expect(host.hypervisor.hostInfo()).toMatchObject({ freeFrames: before.freeFrames, outstandingFrames: 22 * 256 })
  await expect(host.createDomain({ name: 'late', memory: 20 })).rejects.toThrow(error('OUT_OF_MEMORY'))
  expect(() => domain.claimMemory(31)).toThrow(error('INVALID_ARGUMENT'))
  await domain.setMemTarget(30)
  expect([host.claims(), domain.memory()]).toMatchObject([[], { current: 30, target: 30, maximum: 32, claimed: 0 }])
  await domain.setMemTarget('-20')
  await domain.setMaxMem(32)
  domain.claimMemory(20)
  domain.claimMemory(0)
  expect(host.claims()).toEqual([])
  domain.claimMemory(20)
  await domain.destroy()
  expect(host.hypervisor.hostInfo().outstandingFrames).toBe(0)
})

test('targets and maxima are MiB, texts with a unit, or more and less than there is', async () => {
  const host = await boot({ dom0Memory: 16 })
  const domain = await host.createDomain({ name: 'd', memory: 8, maxMemory: 16, kernel: idle })
  await host.settled()
  await domain.setMemTarget('+4')
  expect(domain.memory().current).toBe(12)
  await domain.setMemTarget('-2048k')
  expect(domain.memory().target).toBe(10)
  await domain.setMaxMem('20M')
  await domain.setMemTarget('20m')
  await host.setMemTarget(0, '-4')
  expect([domain.memory(), host.memory(0).current]).toMatchObject([{ current: 20, maximum: 20 }, 12])
  for (const amount of ['lots', '+', '', '1.5', '-100M']) await expect(domain.setMemTarget(amount)).rejects.toThrow(error('INVALID_ARGUMENT'))
})
