import { expect, test } from 'vitest'
import { type Domain, Vcpu } from '../../../../src/hypervisor/domains/domain.ts'
import type { VcpuState } from '../../../../src/hypervisor/domains/domain-state.ts'

test('a vCPU that is brought back to a state out of a file has nothing that the state does not name', () => {
  const owner = { id: 1, defaultVcpuInfo: () => 64, dying: false } as unknown as Domain
  const vcpu = new Vcpu(owner, 0, { access: {} as Vcpu['access'], infoAddress: 64, now: 0 })
  Object.assign(vcpu, { timers: { save: () => undefined, load: () => undefined } })
  const before = vcpu.save()
  // Files have no word for what is absent.
  const filed = Object.fromEntries(Object.entries(before).filter(([, value]) => value !== undefined)) as unknown as VcpuState
  Object.assign(vcpu, { polledPorts: [14], pinnedFrom: [0], runstateArea: 4096, timeArea: 8192 })
  vcpu.load(filed)
  expect(vcpu.save()).toEqual(before)
})
