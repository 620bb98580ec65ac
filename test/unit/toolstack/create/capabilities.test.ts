/** What a host offers, and what a configuration that asks for more is told. */
import { expect, test } from 'vitest'
import { capabilitiesOf, checkOffered } from '../../../../src/toolstack/create/capabilities.ts'
import { resolveDomainOptions } from '../../../../src/toolstack/config/domain-config.ts'
import { USUAL_KINDS } from '../../../../src/toolstack/device-kinds/device-kinds.ts'
import { XenError } from '../../../../src/util/index.ts'

const hostOf = (...guestKinds: string[]) => capabilitiesOf({
  hostInfo: () => ({ totalFrames: 1, freeFrames: 1, physicalCpus: 1, guestKinds, scheduler: 'credit2', time: 0, tscHertz: 1e9 }),
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
    devices: ['vbd', 'vif'],
  })
  expect(hostOf('pv')).toMatchObject({ types: { pv: { kernelBits: [64] } }, programs: false })
  expect(Object.keys(hostOf('pv').types)).toEqual(['pv'])
})

test('a configuration that asks for what there is is let pass, and what there is not is refused by its option', () => {
  expect(refusal({ type: 'pvh', memory: 3840, vcpus: 128 })).toBeUndefined()
  expect(refusal({ memory: 4096 })).toBeUndefined()
  expect(refusal({ type: 'pvh', memory: 64, maxMemory: 3841 })).toEqual(['maxMemory', 'a guest of type pvh has at most 3840 MiB of memory, got 3841'])
  expect(refusal({ type: 'pvh' }, hostOf('pv'))).toEqual(['type', 'this host has no guests of type pvh, only pv'])
})
