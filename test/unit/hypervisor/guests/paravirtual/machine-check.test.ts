import { describe, expect, test } from 'vitest'
import { readMsr, writeMsr } from '../../../../../src/hypervisor/guests/paravirtual/msr.ts'
import type { Vcpu } from '../../../../../src/hypervisor/domains/domain.ts'
import type { PvVcpu } from '../../../../../src/hypervisor/guests/pv/pv-vcpu.ts'

const host = { hasLongMode: true, timestamp: () => ({ low: 0, high: 0 }), writeHypercallPage: () => false }
/** Machine-check registers touch nothing of the vCPU. */
const pv = { processor: { registers: {} } } as unknown as PvVcpu

/** Nor of its domain. */
const vcpu0 = { vcpu: 0 } as Vcpu

const read = (register: number): readonly number[] | undefined => {
  const out = new Uint32Array(2)
  return readMsr(host, pv, { register, vcpu: vcpu0 }, out) ? [...out] : undefined
}

describe('machine-check registers of a PV guest', () => {
  // Linux panics at boot when it is offered machine checks and these fault.
  test.each([
    ['MCG_CAP says two banks', 0x179, [2, 0]],
    ['MCG_STATUS says nothing happened', 0x17a, [0, 0]],
    ['a bank\'s control has all reports enabled', 0x400, [0xffff_ffff, 0xffff_ffff]],
    ['a bank\'s status is empty', 0x405, [0, 0]],
    ['a third bank does not exist', 0x408, undefined],
    ['MCG_CTL does not exist', 0x17b, undefined],
  ])('%s', (_, register, value) => expect(read(register)).toEqual(value))

  test.each([[0x17a, true], [0x401, true], [0x179, false], [0x409, false]])('writing 0x%x is taken: %s', (register, taken) => {
    expect(writeMsr(host, pv, { register, domid: 1 }, { low: 0, high: 0 })).toBe(taken)
  })
})
