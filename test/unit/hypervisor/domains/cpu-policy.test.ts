import { describe, expect, test } from 'vitest'
import { type CpuidLeaf, missingFeatures } from '../../../../src/hypervisor/domains/cpu-policy.ts'
import { SaveStreamReader, readHead } from '../../../../src/toolstack/stream/index.ts'
import { CodeGuest } from '../../../support/code-guest.ts'
import { savedMini } from '../../../support/saved-mini.ts'

/** The policy that real Xen wrote on a processor of AMD's, emulated and without AVX. */
async function policyOfXen(): Promise<CpuidLeaf[]> {
  const reader = new SaveStreamReader([savedMini()])
  await readHead(reader)
  await reader.readImageHeader()
  for (;;) {
    const record = await reader.readImageRecord()
    if (record.type === 'cpuid-policy') return [...record.leaves]
  }
}

const names = (leaves: readonly CpuidLeaf[]): string[] => leaves.map(({ leaf, subleaf }) => `${leaf.toString(16)}.${subleaf.toString(16)}`)
const policyOf = (guest: CodeGuest) => guest.hypervisor.getCpuPolicy(guest.domid)
const leafOf = (leaves: readonly CpuidLeaf[], leaf: number): CpuidLeaf => leaves.find((one) => one.leaf === leaf)!

/** The highest extended leaf: an ordinary Xen on Intel's processors takes in no domain that was told of more. */
const LAST_LEAF = 0x8000_0008

describe('the CPU policy of a domain', () => {
  test('lists the leaves that real Xen lists for a PV guest on AMD, in its order, up to the last that processors of all makers have', async () => {
    const xen = (await policyOfXen()).filter(({ leaf }) => leaf <= LAST_LEAF)
    expect(names(policyOf(new CodeGuest({ cpu: 'x86-64-v2' })).cpuid)).toEqual(names(xen))
    expect(xen.at(-1)!.leaf).toBe(LAST_LEAF)
  })

  test('says in each leaf what the instruction answers', () => {
    const guest = new CodeGuest()
    for (const { leaf, subleaf, eax, ebx, ecx, edx } of policyOf(guest).cpuid.filter(({ leaf }) => leaf >>> 30 !== 1)) {
      // How much XSAVE writes follows from XCR0, and stands in no policy.
      const now = leaf === 0xd && subleaf < 2 ? 576 : 0
      guest.set('rax', leaf)
      guest.set('rcx', subleaf)
      guest.run('cpuid')
      const answer = (['rax', 'rbx', 'rcx', 'rdx'] as const).map((name) => Number(guest.get(name)))
      expect([leaf.toString(16), answer]).toEqual([leaf.toString(16), [eax, ebx + now, ecx, edx]])
    }
  })

  test('that comes from real Xen misses nothing here, and the guest goes on seeing its old processor', async () => {
    const guest = new CodeGuest()
    const xen = await policyOfXen()
    expect(guest.hypervisor.setCpuPolicy(guest.domid, { cpuid: xen, msrs: [] })).toEqual([])
    const kept = policyOf(guest).cpuid
    for (const leaf of [0, 1, 7, 0x8000_0001, 0x8000_0002, 0x8000_0003, 0x8000_0005]) expect(leafOf(kept, leaf)).toEqual(leafOf(xen, leaf))
    // The maker's name stays; how many leaves there are is bounded by what there is here.
    expect(leafOf(kept, 0x8000_0000)).toEqual({ ...leafOf(xen, 0x8000_0000), eax: LAST_LEAF })
    guest.set('rax', 0x8000_0002)
    expect(guest.run('cpuid').get('rax')).toBe(BigInt(leafOf(xen, 0x8000_0002).eax))
    // Hypervisor leaves are this one's.
    guest.set('rax', 0x4000_0001)
    expect(guest.run('cpuid').get('rax')).toBe(0x4_0011n)
  })

  test('never shows a feature that the host has not, nor one that the policy has not', async () => {
    const guest = new CodeGuest({ cpu: 'x86-64-v2' })
    const all = (await policyOfXen()).map((one) => (one.leaf === 1 || one.leaf === 7 ? { ...one, ebx: one.ebx, ecx: 0xffff_ffff, edx: 0xffff_ffff } : one))
    const own = policyOf(guest).cpuid
    const missing = guest.hypervisor.setCpuPolicy(guest.domid, { cpuid: all, msrs: [] })
    expect(missing).toContain('avx (leaf 0x1, ECX bit 28)')
    const kept = policyOf(guest).cpuid
    expect([leafOf(kept, 1).ecx, leafOf(kept, 1).edx, leafOf(kept, 7).ebx]).toEqual([leafOf(own, 1).ecx, leafOf(own, 1).edx, 1])
  })

  test('of any features at all is told apart bit by bit', () => {
    const every: CpuidLeaf = { leaf: 7, subleaf: 0, eax: 0, ebx: 0xffff_ffff, ecx: 0xffff_ffff, edx: 0xffff_ffff }
    const missing = missingFeatures({ cpuid: [every], msrs: [] }, () => [0, 0, 0, 0])
    expect(new Set(missing).size).toBe(missing.length)
    // 96 bits, but for those of speed, of flaws and of habits.
    expect(missing.length).toBe(96 - 5)
  })
})
