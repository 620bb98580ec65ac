import { describe, expect, test } from 'vitest'
import { queryCpuid } from '../../../../src/hypervisor/pv/cpuid.ts'
import { Machine } from '../../../../src/machine/index.ts'
import { CPU_FEATURES } from '../../../../src/x86/index.ts'
import type { CpuFeature } from '../../../../src/x86/index.ts'

const processor = new Machine({ memoryBytes: 1 << 20 }).createProcessor({ mode: 'hosted', topology: { index: 1, count: 2 } })
const subject = { tscKilohertz: 1_000_000, addressBits: 32 }
const query = (leaf: number, subleaf = 0): readonly number[] => queryCpuid({ leaf, subleaf }, subject, processor)

const shows = (feature: CpuFeature): boolean => {
  const { leaf, subleaf, register, bit } = CPU_FEATURES[feature]
  return ((query(leaf, subleaf)[register]! >>> bit) & 1) === 1
}

describe('a PV guest sees the processor through the hypervisor', () => {
  test.each(['sse4_2', 'popcnt', 'cx16', 'rdrand', 'rdseed', 'erms', 'syscall', 'nx', 'lm', 'tsc', 'cmov'] as const)(
    '%s of the processor', (feature) => expect(shows(feature)).toBe(true))
  test.each(['pse', 'pge', 'sep', 'mtrr', 'smep', 'smap', 'avx', 'xsave', 'osxsave', 'vmx', 'svm'] as const)(
    'no %s', (feature) => expect(shows(feature)).toBe(false))
  test.each(['mce', 'mca', 'apic', 'pat', 'hypervisor'] as const)(
    '%s, which Xen provides', (feature) => expect(shows(feature)).toBe(true))

  test('AMD\'s copy of leaf 1 hides and shows the same', () => {
    const [copy, original] = [query(0x8000_0001)[3]!, query(1)[3]!]
    expect((copy ^ original) & 0x0183_f3ff).toBe(0)
  })

  test('its vCPUs are cores of one package', () => {
    expect([query(1)[1]! >>> 24, query(0x8000_0008)[2]]).toEqual([1, 1])
    expect(shows('ht')).toBe(true)
  })

  test.each([
    [0x4000_0000, 0, [0x4000_0005, 0x566e_6558, 0x6558_4d4d, 0x4d4d_566e]],
    [0x4000_0001, 0, [0x0004_0011, 0, 0, 0]],
    [0x4000_0003, 0, [2, 2, 1_000_000, 0]],
    [0x4000_0003, 2, [1_000_000, 0, 0, 0]],
    [0x4000_0005, 0, [0, 32, 0, 0]],
    [0x4000_00ff, 0, [0, 0, 0, 0]],
  ])('leaf 0x%x, subleaf %d is Xen\'s own', (leaf, subleaf, answer) => expect(query(leaf, subleaf)).toEqual(answer))
})
