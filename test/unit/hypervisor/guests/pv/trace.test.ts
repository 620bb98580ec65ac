import { describe, expect, test } from 'vitest'
import { EXIT } from '../../../../../src/machine/index.ts'
import { VECTOR } from '../../../../../src/x86/index.ts'
import { PvGuest } from '../../../../support/pv-guest.ts'

describe('a vCPU under the eyes of its host', () => {
  test('a trace that stops pauses the domain once; it goes on when unpaused', () => {
    const guest = PvGuest.boot()
    const { hypervisor } = guest.host
    const told: unknown[] = []
    hypervisor.events.onAny(({ type }) => { if (/paused|stopped/.test(type)) told.push(type) })
    let isDone = false
    guest.run(() => ({ reason: EXIT.DEBUG }), () => {
      isDone = true
      return undefined
    })
    expect([hypervisor.domainInfo(guest.domid).paused, isDone, told]).toEqual([true, false, ['domain-paused', 'vcpu-stopped']])
    hypervisor.unpauseDomain(guest.domid)
    guest.run()
    expect([hypervisor.domainInfo(guest.domid).paused, isDone]).toEqual([false, true])
  })

  test('a crash names the instruction pointer and the instruction', () => {
    const guest = PvGuest.boot()
    const told: unknown[] = []
    guest.host.hypervisor.events.on('domain-crashed', ({ rip, instruction }) => told.push([rip, instruction]))
    guest.run((registers) => {
      registers.setRip(0x1234, 0)
      return { reason: EXIT.EXCEPTION, vector: VECTOR.DE }
    })
    expect(told).toEqual([[0x1234, 'ud2']])
  })

  test('only a vCPU with registers can be traced', () => {
    const guest = PvGuest.boot()
    const { hypervisor } = guest.host
    expect(() => hypervisor.traceVcpu(guest.domid, 1, {})).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }))
    expect(() => hypervisor.traceVcpu(guest.domid, 2, {})).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    const hooks = { exception: () => {} }
    hypervisor.traceVcpu(guest.domid, 0, hooks)
    expect(guest.processor.traces).toEqual([hooks])
  })
})
