/** A host whose dom0 has a kernel of somebody's own, as far as a small kernel shows it. Debian's Linux as dom0 is in test/debian. */
import { expect, test } from 'vitest'
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
