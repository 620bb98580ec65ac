/** What a host offers, and what a configuration that asks for more is told. */
import { afterEach, expect, test } from 'vitest'
import { Host } from '../../../../src/index.ts'
import { capabilitiesOf, checkKernelOffered, checkOffered } from '../../../../src/toolstack/create/capabilities.ts'
import { resolveDomainOptions } from '../../../../src/toolstack/config/domain-config.ts'
import { USUAL_KINDS } from '../../../../src/toolstack/device-kinds/device-kinds.ts'
import { XenError } from '../../../../src/util/index.ts'

const hostOf = (...guestKinds: string[]) => capabilitiesOf({
  hostInfo: () => ({ totalFrames: 1, freeFrames: 1, physicalCpus: 1, access: { policy: 'dummy', enforcing: false, denials: 0 }, outstandingFrames: 0, freeCpus: 0, guestKinds, scheduler: 'credit2', time: 0, tscHertz: 1e9 }),
}, USUAL_KINDS)

const refusal = (options: object, offered = hostOf('pv', 'pvh', 'typescript')): unknown => {
  try {
    checkOffered(resolveDomainOptions({ name: 'x', ...options }), offered)
  } catch (error) {
    if (XenError.is(error, 'NOT_SUPPORTED')) return [error.details['key'], error.message]
    throw error
  }
  return undefined
}

test('a host offers what its kinds of guests can start', () => {
  expect(hostOf('pv', 'pv32', 'pvh', 'typescript')).toEqual({
    xen: '4.17.7',
    types: { pv: { kernelBits: [32, 64], maxMemory: 4096, maxVcpus: 128 }, pvh: { kernelBits: [32, 64], maxMemory: 3840, maxVcpus: 128 } },
    programs: true,
    devices: ['vbd', 'vif', 'console', '9pfs', 'vfb', 'vkbd'],
  })
  expect(hostOf('pv')).toMatchObject({ types: { pv: { kernelBits: [64] } }, programs: false })
  expect(Object.keys(hostOf('pv').types)).toEqual(['pv'])
})

test('a configuration that asks for what there is is let pass, and what there is not is refused by its option', () => {
  expect(refusal({ type: 'pvh', memory: 3840, vcpus: 128 })).toBeUndefined()
  expect(refusal({ memory: 4096 })).toBeUndefined()
  expect(refusal({ type: 'pvh', memory: 64, maxMemory: 3841 })).toEqual(['maxMemory', 'a guest of type pvh has at most 3840 MiB of memory, got 3841'])
  expect(refusal({ kernel: () => undefined }, hostOf('pv'))).toEqual(['kernel', 'this host has no guests written in TypeScript'])
  expect(refusal({ type: 'pvh' }, hostOf('pv'))).toEqual(['type', 'this host has no guests of type pvh, only pv'])
})

test('a kernel of a width that the host does not start is refused by name', () => {
  expect(() => checkKernelOffered({ kind: 'pv32' }, 'pv', hostOf('pv', 'pvh'))).toThrow(expect.objectContaining({
    code: 'NOT_SUPPORTED', message: 'this host starts no kernels of 32 bits as guests of type pv, only of 64', details: { key: 'kernel', types: ['pv', 'pvh'] },
  }))
  for (const [kind, type] of [['pv32', 'pv'], ['pv', 'pv'], ['pvh', 'pvh'], ['typescript', 'pv']] as const) checkKernelOffered({ kind }, type, hostOf('pv', 'pv32', 'pvh', 'typescript'))
})

const hosts: Host[] = []
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.shutdown()
})

test('descriptions are held against the host before anything is made, and their authors are told the place', async () => {
  const host = await Host.boot({ memory: 64, dom0Memory: 8 })
  hosts.push(host)
  const refused = (text: string): Promise<unknown> => host.createDomain(`name = "x"\n${text}`, { source: '/etc/xen/x' }).then(
    () => 'created', (error: unknown) => XenError.is(error) && [error.code, error.details['key'], error.message])
  expect(await refused('type = "pvh"\nmemory = 16\nmaxmem = 3900')).toEqual(
    ['NOT_SUPPORTED', 'maxmem', '/etc/xen/x:4:10: maxmem: a guest of type pvh has at most 3840 MiB of memory, got 3900'])
  expect(await refused('memory = 16\ntype = "hvm"')).toEqual(['INVALID_CONFIG', 'type', expect.stringMatching(/^\/etc\/xen\/x:3:8: .*"pvh"/)])
  expect(await refused('memory = 16\nbuilder = "hvm"')).toEqual(['INVALID_CONFIG', 'builder', expect.stringMatching(/^\/etc\/xen\/x:3:11: .*type="pvh"/)])
  expect(host.domains()).toEqual([])
  expect(host.store.list('/local/domain')).toEqual(['0'])
})
