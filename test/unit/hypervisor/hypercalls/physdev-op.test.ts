import { describe, expect, test } from 'vitest'
import { ERRNO, PHYSDEVOP, SCHEDOP } from '../../../../src/abi/index.ts'
import { TestHost } from '../../../support/hypervisor-host.ts'
import { PvGuest } from '../../../support/pv-guest.ts'

describe('physdev_op_compat', () => {
  test('takes command and argument in one structure', () => {
    const guest = PvGuest.boot()
    const compat = (command: number, argument: number): number => {
      guest.view.setBigUint64(guest.place(1), BigInt(command), true)
      guest.view.setBigUint64(guest.place(1, 8), BigInt(argument), true)
      return guest.call('physdev_op_compat', guest.at(1))
    }
    expect([compat(PHYSDEVOP.set_iopl, 1), compat(PHYSDEVOP.set_iopl, 4), compat(99, 0)]).toEqual([0, -ERRNO.EINVAL, -ERRNO.ENOSYS])
    expect(compat(PHYSDEVOP.irq_status_query, 3)).toBe(0)
    expect(guest.view.getUint32(guest.place(1, 12), true)).not.toBe(0)
    expect(guest.call('physdev_op_compat', guest.at(45))).toBe(-ERRNO.EFAULT)
    expect(guest.call('physdev_op_compat', guest.tableAt(0) - 8 + 4096 * 5)).toBe(-ERRNO.EFAULT)
  })
})

describe('SCHEDOP_pin_override', () => {
  const SPINNER = { executed: 1000, run: () => ({ kind: 'budget' as const }), enter: () => true }

  test('moves a running vCPU at once, once at a time, and lets it go back where it may be', () => {
    const host = new TestHost({ physicalCpus: 4 })
    const { hypervisor } = host
    const guest = host.guest({ privileged: true, runner: SPINNER })
    hypervisor.startVcpu(guest.domid, 0)
    hypervisor.setAffinity(guest.domid, 0, { hard: [0, 1] })
    hypervisor.unpauseDomain(guest.domid)
    hypervisor.run({ instructions: 10_000 })
    const pin = (cpu: number): number => {
      guest.view.setInt32(guest.scratch, cpu, true)
      return guest.call('sched_op', SCHEDOP.pin_override, guest.scratch)
    }
    expect([pin(-1), pin(4)]).toEqual([-ERRNO.EINVAL, -ERRNO.EINVAL])
    expect([pin(3), pin(2)]).toEqual([0, -ERRNO.EBUSY])
    hypervisor.run({ instructions: 10_000 })
    expect(hypervisor.vcpuInfo(guest.domid, 0)).toMatchObject({ running: true, cpu: 3 })
    expect([pin(-1), pin(-1)]).toEqual([0, -ERRNO.EINVAL])
    hypervisor.run({ instructions: 10_000 })
    expect([0, 1]).toContain(hypervisor.vcpuInfo(guest.domid, 0).cpu)
  })
})

test('RTDS has parameters for each vCPU, and for those to come', () => {
  const host = new TestHost({ scheduler: 'rtds', physicalCpus: 2 })
  const { hypervisor } = host
  const { domid } = host.guest({ vcpus: 2 })
  hypervisor.setSchedulerParameters(domid, { period: 20_000, budget: 5000 }, 1)
  expect(hypervisor.schedulerParameters(domid, 1)).toEqual({ period: 20_000, budget: 5000, extratime: 1 })
  expect(hypervisor.schedulerParameters(domid, 0)).toEqual({ period: 10_000, budget: 4000, extratime: 1 })
  expect(hypervisor.schedulerParameters(domid)).toEqual({ period: 10_000, budget: 4000, extratime: 1 })
  expect(() => hypervisor.setSchedulerParameters(domid, { budget: 1 }, 7)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
})
