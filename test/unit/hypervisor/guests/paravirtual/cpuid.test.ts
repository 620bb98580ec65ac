import { describe, expect, test } from 'vitest'
import { queryCpuid } from '../../../../../src/hypervisor/guests/processors/cpuid.ts'
import { PV_CPUID } from '../../../../../src/hypervisor/guests/paravirtual/cpuid.ts'
import { Machine } from '../../../../../src/machine/index.ts'
import { SeededRandom } from '../../../../../src/util/index.ts'
import { CPU_FEATURES, hasSubleaves } from '../../../../../src/x86/index.ts'
import type { CpuFeature } from '../../../../../src/x86/index.ts'

const processor = new Machine({ memoryBytes: 1 << 20 }).createProcessor({ mode: 'hosted', topology: { index: 1, count: 2 } })
const subject = { view: PV_CPUID, tscKilohertz: 1_000_000, addressBits: 32 }
const query = (leaf: number, subleaf = 0): readonly number[] => queryCpuid({ leaf, subleaf }, subject, processor)

const shows = (feature: CpuFeature): boolean => {
  const { leaf, subleaf, register, bit } = CPU_FEATURES[feature]
  return ((query(leaf, subleaf)[register]! >>> bit) & 1) === 1
}

describe('a PV guest sees the processor through the hypervisor', () => {
  test.each(['sse4_2', 'popcnt', 'cx16', 'rdrand', 'rdseed', 'erms', 'rdtscp', 'fsgsbase', 'syscall', 'nx', 'lm', 'tsc', 'cmov', 'xsave', 'avx', 'avx2', 'fma'] as const)(
    '%s of the processor', (feature) => expect(shows(feature)).toBe(true))
  test.each(['pse', 'pge', 'sep', 'mtrr', 'smep', 'smap', 'osxsave', 'vmx', 'svm'] as const)(
    'no %s', (feature) => expect(shows(feature)).toBe(false))
  test.each(['mce', 'mca', 'apic', 'pat', 'hypervisor'] as const)(
    '%s, which Xen provides', (feature) => expect(shows(feature)).toBe(true))

  test('AMD\'s copy of leaf 1 hides and shows the same', () => {
    const [copy, original] = [query(0x8000_0001)[3]!, query(1)[3]!]
    expect((copy ^ original) & 0x0183_f3ff).toBe(0)
  })

  test('its vCPUs are cores of one package, whose APIC they cannot tell', () => {
    expect([query(1)[1]! >>> 16, query(0x8000_0008)[2]]).toEqual([2, 1])
    expect(shows('ht')).toBe(true)
  })

  test.each([
    [0x4000_0000, 0, [0x4000_0005, 0x566e_6558, 0x6558_4d4d, 0x4d4d_566e]],
    [0x4000_0001, 0, [0x0004_0011, 0, 0, 0]],
    [0x4000_0003, 0, [6, 0, 1_000_000, 0]],
    [0x4000_0003, 2, [1_000_000, 0, 0, 0]],
    [0x4000_0003, 3, [0, 0, 0, 0]],
    [0x4000_0004, 0, [0, 0, 0, 0]],
    [0x4000_0005, 0, [0, 32, 0, 0]],
    [0x4000_0005, 1, [0, 0, 0, 0]],
    [0x4000_0006, 0, [0, 0, 0, 0]],
    [0x4000_0100, 0, [0, 0, 0, 0]],
    [0x4000_00ff, 0, [0, 0, 0, 0]],
  ])('leaf 0x%x, subleaf %d is Xen\'s own', (leaf, subleaf, answer) => expect(query(leaf, subleaf)).toEqual(answer))

  test.each([
    // What C libraries, compilers' run-time support and Linux ask for: [leaf, what Xen leaves of it on AMD's processors].
    [0, [0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65]], [2, [0, 0, 0, 0]], [4, [0, 0, 0, 0]], [5, [0, 0, 0, 0]], [6, [0, 0, 0, 0]],
    [9, [0, 0, 0, 0]], [0xa, [0, 0, 0, 0]], [0xb, [0, 0, 0, 0]], [0xd, [7, 0, 832, 0]], [0xe, [0, 0, 0, 0]], [0x14, [0, 0, 0, 0]],
    [0x8000_0000, [0x8000_0008, 0x6874_7541, 0x444d_4163, 0x6974_6e65]],
    [0x8000_0007, [0, 0, 0, 0]], [0x8000_000a, [0, 0, 0, 0]], [0x8000_001d, [0, 0, 0, 0]], [0x8000_001f, [0, 0, 0, 0]],
    [0x8000_0021, [0, 0, 0, 0]], [0x8000_0022, [0, 0, 0, 0]], [0xc000_0000, [0, 0, 0, 0]], [0x4000_0200, [0, 0, 0, 0]],
  ])('leaf 0x%x is as Xen bounds it', (leaf, answer) => expect(query(leaf)).toEqual(answer))

  test('a leaf without subleaves is the same whatever ECX holds, as the C library of GNU asks without clearing it', () => {
    const random = new SeededRandom(0xc1d)
    const ranges = [0, 0x4000_0000, 0x4000_0100, 0x8000_0000, 0xc000_0000].flatMap((first) =>
      Array.from({ length: 0x30 }, (_, index) => first + index))
    for (const leaf of [...ranges, ...Array.from({ length: 16 }, () => random.next())].filter((leaf) => !hasSubleaves(leaf))) {
      for (const ecx of [1, 2, 0xffff_ffff, random.next(), random.next()]) {
        expect([leaf, ecx, query(leaf, ecx)]).toEqual([leaf, ecx, query(leaf)])
      }
    }
    expect(query(1, 0xdead_beef)[3]! & 0x0600_0000).toBe(0x0600_0000)
    expect(query(0x8000_0001, 0xdead_beef)[3]! >>> 29 & 1).toBe(1)
  })

  test('a policy of the user\'s is asked by the subleaf where there is one, and by 0 elsewhere', () => {
    const asked: [number, number][] = []
    const cpuidPolicy = (leaf: number, subleaf: number): undefined => void asked.push([leaf, subleaf])
    for (const leaf of [1, 7, 0x4000_0003, 0x8000_0001]) queryCpuid({ leaf, subleaf: 5 }, { ...subject, cpuidPolicy }, processor)
    expect(asked).toEqual([[1, 0], [7, 5], [0x4000_0003, 5], [0x8000_0001, 0]])
  })
})
