/** A host whose dom0 has a kernel of somebody's own, as far as a small kernel shows it. Debian's Linux as dom0 is in test/debian. */
import { describe, expect, test } from 'vitest'
import { SHUTDOWN } from '../../src/abi/index.ts'
import { embeddedKernel, Host, XenError } from '../../src/index.ts'
import { MemoryFiles } from '../../src/toolstack/index.ts'

const GRUB = 'title Xen\n\tkernel /xen.gz dom0_mem=16M\n\tmodule /vmlinuz ro quiet\n\tmodule /initrd\n'

test('dom0 is built as the initial domain, and its end is told and ends the host, of which all can be looked at', async () => {
  const host = await Host.boot({ memory: 64, dom0: { kernel: embeddedKernel('pv'), memory: 16, commandLine: 'hello' } })
  const ends: unknown[] = []
  host.events.on('dom0-shutdown', ({ reason, crash }) => ends.push(reason, crash?.id))
  await host.until('its first steps', () => host.now() > 1e6)
  host.hypervisor.shutdownDomain(0 as never, SHUTDOWN.crash)
  await expect(host.until('nothing', () => false, { timeout: '10s' })).rejects.toMatchObject({ code: 'CLOSED' })
  expect(ends).toEqual(['crash', 0])
  expect(host.listDomains()).toMatchObject([{ id: 0, name: 'Domain-0', memory: 16, vcpus: 1 }])
  expect(host.hypervisor.getVcpuContext(0 as never, 0)).toBeDefined()
})

test('a host with such a dom0 goes on from a moment, and a crash of dom0 there is told there alone', async () => {
  const host = await Host.boot({ memory: 64, dom0: { kernel: embeddedKernel('pv'), memory: 16, commandLine: 'hello' } })
  await host.until('its first steps', () => host.now() > 1e6)
  const ends: unknown[] = []
  const moment = await host.checkpoint({ label: 'begun' })
  const other = await moment.branch()
  host.events.on('dom0-shutdown', () => ends.push('here'))
  other.events.on('dom0-shutdown', ({ reason }) => ends.push(reason))
  other.hypervisor.shutdownDomain(0 as never, SHUTDOWN.crash)
  await expect(other.until('nothing', () => false, { timeout: '10s' })).rejects.toMatchObject({ code: 'CLOSED' })
  expect(ends).toEqual(['crash'])
  const now = host.now()
  await host.until('a while', () => host.now() > now + 1e6, { timeout: '10s' })
  await host.shutdown()
})

test('what this library would serve is refused by name, and changes nothing', async () => {
  const host = await Host.boot({ memory: 64, dom0: { kernel: embeddedKernel('pv'), memory: 16 } })
  const refused = async (call: () => unknown): Promise<unknown> => {
    try {
      return await call()
    } catch (error) {
      return XenError.is(error) ? error.code : error
    }
  }
  const calls = [
    () => host.createDomain({ name: 'a', memory: 16 }), () => host.restore(new Uint8Array(0)), () => host.dom0, () => host.bridge(), () => host.setMemTarget(0, 32),
  ]
  expect(await Promise.all(calls.map(refused))).toEqual(calls.map(() => 'NOT_SUPPORTED'))
  await host.shutdown()
})

test.each([
  ['no kernel', { dom0: {} }, 'INVALID_CONFIG'],
  ['a kernel that is none', { dom0: { kernel: new Uint8Array(100) } }, 'INVALID_IMAGE'],
  ['a kernel that is not there', { dom0: { kernel: '/nothing' } }, 'IO'],
  ['a word that is not known', { dom0: { kernel: '/nothing', initrd: '/nothing' } }, 'INVALID_CONFIG'],
  ['no vCPUs', { dom0: { kernel: '/nothing', vcpus: 0 } }, 'INVALID_CONFIG'],
  ['more memory than the host has', { memory: 64, dom0: { kernel: '/nothing', memory: 65 } }, 'OUT_OF_MEMORY'],
])('%s is refused', async (_what, options, code) => {
  // The types would refuse some.
  await expect(Host.boot(options as Parameters<typeof Host.boot>[0])).rejects.toMatchObject({ code })
})

test('a grub.conf\'s modules are dom0 where the host\'s files have them, and are named in one warning where not', async () => {
  const own = await Host.bootFromGrub(GRUB, { memory: 64, files: new MemoryFiles({ '/vmlinuz': embeddedKernel('pv'), '/initrd': new Uint8Array(5000) }) })
  expect([own.hypervisor.domainInfo(0 as never).kind, own.warnings]).toEqual(['pv', []])
  await own.shutdown()
  const ours = await Host.bootFromGrub(GRUB, { memory: 64, files: new MemoryFiles() })
  expect([ours.hypervisor.domainInfo(0 as never).kind, ours.warnings.map(({ message }) => message)]).toEqual([
    'typescript', ['modules /vmlinuz, /initrd are not loaded: dom0 is a kernel of this library, as no file of the host is /vmlinuz'],
  ])
  await ours.shutdown()
  await expect(Host.bootFromGrub(GRUB, { memory: 64, files: new MemoryFiles({ '/vmlinuz': embeddedKernel('pv') }) })).rejects.toMatchObject({ code: 'IO' })
})

describe('a host that serves such a kernel itself', { timeout: 30_000 }, () => {
  const boot = (): Promise<Host> => Host.boot({ memory: 64, dom0Memory: 8, dom0: { kernel: embeddedKernel('pv'), memory: 16, commandLine: 'hello', services: 'host' } })

  test('has it as its hardware domain: privileged, on the hypervisor\'s console, a client of the host\'s XenStore with power over others', async () => {
    await using host = await boot()
    expect(host.listDomains().map(({ id, name, memory }) => [id, name, memory])).toEqual([[0, 'Domain-0', 8], [1, 'dom0', 16]])
    expect(host.hypervisor.domainInfo(1 as never)).toMatchObject({ kind: 'pv', privileged: true })
    expect([host.store.read('/local/domain/1/name'), host.xenstore.domain(1)?.introduced]).toEqual(['dom0', true])
    await host.createDomain({ name: 'guest', memory: 8, kernel: (kernel) => kernel.console!.log('up') })
    expect(host.domains().map(({ name }) => name)).toEqual(['dom0', 'guest'])
    expect(host.console.text()).toMatch(/^\(XEN\) Xen version [^]*\n$/)
  })

  test('ends with it, keeps everything to be looked at, and shuts down', async () => {
    const host = await boot()
    const guest = await host.createDomain({ name: 'guest', memory: 8, disks: [], kernel: (kernel) => kernel.console!.log('up') })
    await guest.console.waitFor('up')
    const ends: unknown[] = []
    host.events.on('dom0-shutdown', ({ reason, crash }) => ends.push(reason, crash?.id))
    host.hypervisor.shutdownDomain(1 as never, SHUTDOWN.crash)
    await expect(host.until('nothing', () => false, { timeout: '10s' })).rejects.toMatchObject({ code: 'CLOSED' })
    expect(ends).toEqual(['crash', 1])
    expect(host.listDomains().map(({ name }) => name)).toEqual(['Domain-0', 'dom0', 'guest'])
    await host.shutdown()
  })

  test('goes on from a moment, console and all', async () => {
    await using host = await boot()
    await host.until('its first steps', () => host.now() > 1e6)
    const moment = await host.checkpoint({ label: 'begun' })
    await using other = await moment.branch()
    await host.reset(moment)
    using held = await host.hold()
    using there = await other.hold()
    const time = Math.max(held.now, there.now) + 1e6
    await Promise.all([held.runTo(time), there.runTo(time)])
    expect(await other.stateHash()).toEqual(await host.stateHash())
    expect(other.store.read('/local/domain/1/name')).toBe('dom0')
  })

  test.each([
    ['a kernel of another kind', { kernel: embeddedKernel('pvh') }, 'INVALID_IMAGE'], ['no kernel', {}, 'INVALID_CONFIG'], ['services of nobody', { kernel: '/nothing', services: 'xl' }, 'INVALID_CONFIG'],
    ['a kernel that is not there', { kernel: '/nothing' }, 'IO'],
  ])('is not booted with %s', async (_what, dom0, code) => {
    await expect(Host.boot({ memory: 64, dom0: { services: 'host', ...dom0 } } as Parameters<typeof Host.boot>[0])).rejects.toMatchObject({ code })
  })
})
