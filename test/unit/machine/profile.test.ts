import { describe, expect, test } from 'vitest'
import { speedscopeProfile } from '../../../src/machine/index.ts'
import type { Machine } from '../../../src/machine/index.ts'
import * as machineLayer from '../../../src/machine/index.ts'
import { CODE, CpuBench } from '../../support/cpu.ts'

/** A bench whose machine compiles early. */
const bench = (): { b: CpuBench; machine: Machine } => {
  class Eager extends machineLayer.Machine {
    constructor(options: machineLayer.MachineOptions) {
      super({ ...options, compiler: { samples: 2, slice: 100, batch: 1 } })
    }
  }
  const b = new CpuBench({ library: { Machine: Eager } })
  return { b, machine: b.machine }
}

describe('a profile', () => {
  test('tells where samples found the interpreter, and where regions', () => {
    const { b, machine } = bench()
    b.run('1: add %rcx,%rax; dec %rcx; jmp 1b', 10_000)
    const { slice, samples } = b.cpu.profile()
    expect(slice).toBe(100)
    const sum = (pick: (one: { interpreted: number; compiled: number }) => number): number => samples.reduce((all, one) => all + pick(one), 0)
    expect(sum(({ interpreted }) => interpreted)).toBeGreaterThan(1)
    expect(sum(({ compiled }) => compiled)).toBeGreaterThan(50)
    expect(samples[0]!.compiled).toBeGreaterThan(0)
    const [region] = machine.regions()
    expect(region).toMatchObject({ entry: CODE, instructions: 3 })
    expect(region!.samples).toBeGreaterThan(50)
  })

  test('is empty where nothing is compiled', () => {
    const machine = new machineLayer.Machine({ memoryBytes: 1 << 20, compiler: 'off' })
    expect(machine.createProcessor({ mode: 'hosted' }).profile()).toEqual({ slice: 0, samples: [] })
    expect(machine.regions()).toEqual([])
  })

  test('becomes a file for speedscope, by symbols where they are known', () => {
    const file = speedscopeProfile({
      slice: 10, samples: [{ address: 0x1000, interpreted: 1, compiled: 4 }, { address: -4096, interpreted: 2, compiled: 0 }, { address: -1, interpreted: 1, compiled: 0 }],
    }, { name: 'vcpu 0', symbol: (address) => (address === 0x1000 ? 'hot_loop' : undefined) })
    const { frames } = file.shared
    const [profile] = file.profiles
    expect(profile!.samples.map((stack) => stack.map((index) => frames[index]!.name))).toEqual([
      ['hot_loop', '0x1000', 'interpreted'], ['hot_loop', '0x1000', 'compiled'],
      ['(unknown)', '0xfffffffffffff000', 'interpreted'], ['elsewhere', 'interpreted'],
    ])
    expect([profile!.weights, profile!.endValue, profile!.unit]).toEqual([[10, 40, 20, 10], 80, 'none'])
  })
})
