import { describe, expect, test } from 'vitest'
import { mergeProfiles, speedscopeProfile } from '../../../src/machine/index.ts'
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
    expect(machine.createProcessor({ mode: 'hosted' }).profile()).toEqual({ slice: 0, samples: [], exits: {} })
    expect(machine.regions()).toEqual([])
  })

  test('becomes a file for speedscope, by symbols where they are known', () => {
    const profiled = {
      slice: 10, exits: {}, samples: [{ address: 0x1000, interpreted: 1, compiled: 4 }, { address: -4096, interpreted: 2, compiled: 0 }, { address: -1, interpreted: 1, compiled: 0 }],
    }
    const file = speedscopeProfile([
      { name: 'vcpu 0', profile: profiled, symbol: (address) => (address === 0x1000 ? 'hot_loop' : undefined) }, { name: 'vcpu 1', profile: { ...profiled, samples: [] } },
    ])
    const { frames } = file.shared
    const [profile] = file.profiles
    expect(file.profiles.map(({ name }) => name)).toEqual(['vcpu 0', 'vcpu 1'])
    expect(profile!.samples.map((stack) => stack.map((index) => frames[index]!.name))).toEqual([
      ['hot_loop', '0x1000', 'interpreted'], ['hot_loop', '0x1000', 'compiled'],
      ['(unknown)', '0xfffffffffffff000', 'interpreted'], ['elsewhere', 'interpreted'],
    ])
    expect([profile!.weights, profile!.endValue, profile!.unit]).toEqual([[10, 40, 20, 10], 80, 'none'])
  })

  test('of several processors is their sum', () => {
    const one = { slice: 10, samples: [{ address: 1, interpreted: 1, compiled: 0 }, { address: 2, interpreted: 1, compiled: 1 }], exits: { syscall: 3, budget: 1 } }
    const other = { slice: 10, samples: [{ address: 1, interpreted: 1, compiled: 4 }, { address: -1, interpreted: 1, compiled: 0 }], exits: { 'in 0x42': 9, budget: 1 } }
    expect(mergeProfiles([one, other])).toEqual({
      slice: 10, exits: { 'in 0x42': 9, syscall: 3, budget: 2 },
      samples: [{ address: 1, interpreted: 2, compiled: 4 }, { address: 2, interpreted: 1, compiled: 1 }, { address: -1, interpreted: 1, compiled: 0 }],
    })
    expect(mergeProfiles([])).toEqual({ slice: 0, samples: [], exits: {} })
  })

  test('counts why runs ended: by vector, and by port of instructions that are the host\'s', () => {
    const { b } = bench()
    b.run('1: dec %ecx; jmp 1b', 100)
    b.run('syscall')
    b.run('int $0x80')
    b.run('ud2')
    for (let i = 0; i < 3; i += 1) b.run('in $0x42,%al')
    expect(b.cpu.profile().exits).toEqual({ 'in 0x42': 3, budget: 1, syscall: 1, 'exception 6': 1, 'interrupt 128': 1 })
    // Of very many ports those that come late are counted together.
    for (let i = 0; i < 300; i += 1) {
      b.set('rdx', i)
      b.run('out %al,%dx')
    }
    expect(b.cpu.profile().exits).toMatchObject({ 'out other ports': 44, 'out 0x0': 1 })
  })
})
