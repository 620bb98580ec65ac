import { describe, expect, test } from 'vitest'
import { VcpuGuestContext } from '../../../../src/abi/index.ts'
import { withoutLeaks } from '../../../../src/testing/index.ts'
import { type CpuidLeaf, type ImageRecord, SaveStreamReader, readHead } from '../../../../src/toolstack/stream/index.ts'
import { ByteCollector } from '../../../support/byte-collector.ts'
import { hostsOfTests } from '../../../support/mini.ts'
import { alteredMini, savedMini } from '../../../support/saved-mini.ts'

const boot = hostsOfTests({ memory: 64, dom0Memory: 8, cpu: 'x86-64-v2' })

/** A record; that of the policy with leaves that say more. */
const withMore = (record: ImageRecord, more: readonly Partial<CpuidLeaf>[]): ImageRecord[] => {
  if (record.type !== 'cpuid-policy') return [record]
  const leaves = record.leaves.map((leaf) => {
    const extra = more.find((one) => one.leaf === leaf.leaf)
    const both = (register: 'eax' | 'ebx' | 'ecx' | 'edx'): number => (leaf[register] | (extra?.[register] ?? 0)) >>> 0
    return { ...leaf, eax: both('eax'), ebx: both('ebx'), ecx: both('ecx'), edx: both('edx') }
  })
  return [{ ...record, leaves }]
}

/** The file with a policy in which some leaves say more. */
const showing = (more: readonly Partial<CpuidLeaf>[]): Promise<Uint8Array> => alteredMini((record) => withMore(record, more))

/** The file with a record in front of the first vCPU's. */
const withVcpuRecord = (extra: ImageRecord): Promise<Uint8Array> =>
  alteredMini((record) => (record.type === 'end' ? [extra, record] : [record]))

async function refusal(file: Uint8Array, options: { cpuPolicy?: 'mask' } = {}): Promise<{ code: string; message: string; features: unknown }> {
  const host = await boot()
  let seen: unknown
  await withoutLeaks(host, async () => {
    seen = await host.restore(file, options).then(() => undefined, (error: unknown) => error)
    await host.settled()
  })
  expect(host.domains()).toEqual([])
  const { code, message, details } = seen as { code: string; message: string; details: { features?: unknown } }
  return { code, message, features: details.features }
}

const AVX = 1 << 28
const XSAVE = 1 << 26

describe('a stream whose domain was shown more than this host offers', () => {
  test('is refused with each feature by name and place, and leaves nothing behind', async () => {
    const { code, message, features } = await refusal(await showing([
      { leaf: 1, ecx: AVX | XSAVE }, { leaf: 7, ebx: 1 << 5 | 1 << 22 }, { leaf: 0x8000_0001, ecx: 1 << 6 },
    ]))
    expect(code).toBe('NOT_SUPPORTED')
    expect(features).toEqual([
      'xsave (leaf 0x1, ECX bit 26)', 'avx (leaf 0x1, ECX bit 28)', 'avx2 (leaf 0x7, EBX bit 5)', 'a feature (leaf 0x7, EBX bit 22)',
      'sse4a (leaf 0x80000001, ECX bit 6)',
    ])
    expect(message).toMatch(/avx \(leaf 0x1, ECX bit 28\).*`cpuPolicy: 'mask'`/)
  })

  test('goes on by `cpuPolicy: \'mask\'`; it then sees them no longer, nor what it did not see before', async () => {
    const host = await boot()
    const domain = await host.restore(await showing([{ leaf: 1, ecx: AVX }]), { cpuPolicy: 'mask' })
    await domain.console.waitFor('mini: restored')
    const { cpuid } = host.hypervisor.getCpuPolicy(domain.id)
    const [features, structured, extended] = [1, 7, 0x8000_0001].map((leaf) => cpuid.find((one) => one.leaf === leaf)!)
    expect([features!.ecx & AVX, structured!.ebx, extended!.edx >>> 27 & 1]).toEqual([0, 1, 0])
    expect(features!.ecx).toBe(0x8000_2001)
  })

  test('any other word for it is refused', async () => {
    const host = await boot()
    await expect(host.restore(savedMini(), { cpuPolicy: 'ignore' as 'mask' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  test.each([
    ['speed and flaws', [{ leaf: 7, ebx: 1 << 9, edx: 1 << 4 | 1 << 10 }, { leaf: 0x8000_0008, ebx: 1 << 26 }]],
    ['the package, and Xen itself', [{ leaf: 1, ecx: 1 << 21, edx: 1 << 28 | 1 << 27 }, { leaf: 0x8000_0001, ecx: 2 }]],
  ] as [string, Partial<CpuidLeaf>[]][])('is welcome when all that it misses tells of %s', async (_, leaves) => {
    const host = await boot()
    await (await host.restore(await showing(leaves))).console.waitFor('mini: restored')
  })

  test('CPUID faulting is named', async () => {
    const file = await alteredMini((record) =>
      [record.type === 'msr-policy' ? { ...record, msrs: [{ index: 0xce, value: 1n << 31n }] } : record])
    expect((await refusal(file)).features).toEqual(['cpuid_faulting (MSR 0xce, bit 31)'])
  })

  test('a policy without end is no policy', async () => {
    const leaf = { leaf: 0, subleaf: 0xffff_ffff, eax: 0, ebx: 0, ecx: 0, edx: 0 }
    const file = await alteredMini((record) =>
      [record.type === 'cpuid-policy' ? { ...record, leaves: Array.from({ length: 257 }, () => leaf) } : record])
    expect((await refusal(file)).code).toBe('INVALID_STREAM')
  })
})

describe('a vCPU that proves what it uses', () => {
  /** XCR0 and all that it ever was; then as much state. */
  const xsave = (accumulated: bigint): ImageRecord => {
    const blob = new Uint8Array(16 + 832)
    new DataView(blob.buffer).setBigUint64(0, 3n, true)
    new DataView(blob.buffer).setBigUint64(8, accumulated, true)
    return { type: 'vcpu-xsave', vcpu: 0, blob }
  }

  test('is refused for AVX in its extended state, whatever is to become of its policy', async () => {
    expect(await refusal(await withVcpuRecord(xsave(7n)), { cpuPolicy: 'mask' })).toMatchObject({
      code: 'NOT_SUPPORTED', features: ['avx (XCR0 bit 2)'],
    })
    expect((await refusal(await withVcpuRecord(xsave(0xe7n)))).features).toEqual(
      ['avx (XCR0 bit 2)', 'avx512f (XCR0 bit 5)', 'avx512f (XCR0 bit 6)', 'avx512f (XCR0 bit 7)'])
  })

  test('goes on when its extended state is x87 and SSE alone, or none', async () => {
    for (const extra of [xsave(3n), { type: 'vcpu-xsave', vcpu: 0, blob: new Uint8Array(0) } as const]) {
      const host = await boot()
      await (await host.restore(await withVcpuRecord(extra))).console.waitFor('mini: restored')
    }
  })

  test('goes on with AVX in its extended state where the host has AVX, and is saved with it', async () => {
    const host = await boot({ cpu: 'x86-64-v3' })
    const more = [{ leaf: 1, ecx: AVX | XSAVE }, { leaf: 0xd, eax: 7, ecx: 832 }]
    const file = await alteredMini((record) => (record.type === 'end' ? [xsave(7n), record] : withMore(record, more)))
    const domain = await host.restore(file)
    await domain.console.waitFor('mini: restored')
    const { cpuid } = host.hypervisor.getCpuPolicy(domain.id)
    expect(cpuid.find(({ leaf }) => leaf === 1)!.ecx & (AVX | XSAVE)).toBe(AVX | XSAVE)
    expect(host.hypervisor.offeredState(domain.id)).toBe(7)
    const state = host.hypervisor.getVcpuExtendedState(domain.id, 0)
    expect([state.length, state[0], state[8]]).toEqual([16 + 832, 3, 7])
    const saved = new ByteCollector()
    await domain.save(saved)
    await expect((await boot({ seed: 2 })).restore(saved.bytes())).rejects.toMatchObject({ code: 'NOT_SUPPORTED' })
    await (await (await boot({ seed: 2, cpu: 'x86-64-v3' })).restore(saved.bytes())).console.waitFor('mini: restored')
  })

  test('is refused for CR4.OSXSAVE', async () => {
    const file = await alteredMini((record) => {
      if (record.type !== 'vcpu-basic') return [record]
      const blob = record.blob.slice()
      new DataView(blob.buffer).setUint32(VcpuGuestContext.ctrlreg.at(0, 4), 1 << 18, true)
      return [{ ...record, blob }]
    })
    expect(await refusal(file, { cpuPolicy: 'mask' })).toMatchObject({ code: 'NOT_SUPPORTED', features: ['xsave'] })
  })

  test('is refused for a register of a feature that is not here, by both names', async () => {
    const { code, message } = await refusal(await withVcpuRecord({ type: 'vcpu-msrs', vcpu: 0, msrs: [{ index: 0x48, value: 1n }] }))
    expect([code, message]).toEqual(['NOT_SUPPORTED', expect.stringMatching(/IBRS \(SPEC_CTRL\), register 0x48/)])
  })

  test('keeps TSC_AUX from one host to the next, and its policy with it', async () => {
    const first = await boot()
    const domain = await first.restore(await withVcpuRecord({ type: 'vcpu-msrs', vcpu: 0, msrs: [{ index: 0xc000_0103, value: 0x1234n }] }))
    await domain.console.waitFor('mini: restored')
    const before = first.hypervisor.getCpuPolicy(domain.id)
    const file = new ByteCollector()
    await domain.save(file)
    const second = await boot({ seed: 2 })
    const again = await second.restore(file.bytes())
    expect(second.hypervisor.getVcpuMsrs(again.id, 0)).toEqual([{ index: 0xc000_0103, value: 0x1234n }])
    expect(second.hypervisor.getCpuPolicy(again.id)).toEqual(before)
  })

  test('cannot have more in TSC_AUX than fits', async () => {
    expect((await refusal(await withVcpuRecord({ type: 'vcpu-msrs', vcpu: 0, msrs: [{ index: 0xc000_0103, value: 1n << 32n }] }))).code)
      .toBe('INVALID_STREAM')
  })
})

describe('what a PV guest has of its own beside its registers', () => {
  /** Where its kernel takes 32-bit system calls: an address of its own, and that events are masked then. */
  const SYSCALL32 = 0xffff_ffff_8102_7f10n
  const extended = (change: (view: DataView, blob: Uint8Array) => Uint8Array | void): Promise<Uint8Array> => alteredMini((record) => {
    if (record.type !== 'vcpu-extended') return [record]
    const blob = record.blob.slice()
    const view = new DataView(blob.buffer)
    view.setBigUint64(8, SYSCALL32, true)
    view.setUint8(28, 1)
    return [{ ...record, blob: change(view, blob) ?? blob }]
  })
  const recordsOf = async (file: Uint8Array): Promise<ImageRecord[]> => {
    const reader = new SaveStreamReader([file])
    await readHead(reader)
    await reader.readImageHeader()
    const all: ImageRecord[] = []
    do all.push(await reader.readImageRecord()); while (all.at(-1)!.type !== 'end')
    return all
  }

  test('goes along to the next host and on: entries of 32-bit system calls, and the time-stamp counter at its frequency', async () => {
    const host = await boot()
    const original = await recordsOf(await extended(() => undefined))
    let running = await host.restore(await extended(() => undefined))
    const was = original.find((record) => record.type === 'tsc-info')!
    const entriesOf = (all: readonly ImageRecord[]): number[] => all.flatMap((record) => (record.type === 'vcpu-extended' ? [...record.blob] : []))
    for (const round of [1, 2]) {
      await running.console.waitFor('mini: restored')
      expect(host.hypervisor.getVcpuEntries(running.id, 0)!.syscall32).toEqual({ address: SYSCALL32, selector: 0, masksEvents: true })
      expect(host.hypervisor.getTscInfo(running.id)).toMatchObject({ mode: was.mode, kilohertz: was.khz, incarnation: was.incarnation + round })
      const file = new ByteCollector()
      await running.save(file)
      const now = await recordsOf(file.bytes())
      const own = now.find((record) => record.type === 'tsc-info')!
      expect(own).toMatchObject({ mode: was.mode, khz: was.khz, incarnation: was.incarnation + round })
      expect(own.nanoseconds > was.nanoseconds).toBe(true)
      expect(entriesOf(now)).toEqual(entriesOf(original))
      if (round === 1) running = await host.restore(file.bytes())
    }
  })

  test('is not asked for: a record of no length is one of Xen 4.6 to 4.8, and an older structure is shorter', async () => {
    for (const [file, address] of [[await extended(() => new Uint8Array(0)), 0n], [await extended((view, blob) => {
      view.setUint32(4, 32, true)
      return blob.subarray(0, 32)
    }), SYSCALL32]] as const) {
      const host = await boot()
      const domain = await host.restore(file)
      expect(host.hypervisor.getVcpuEntries(domain.id, 0)!.syscall32.address).toBe(address)
    }
  })

  test.each([
    ['a size that is more than there is', (view: DataView) => view.setUint32(4, 65, true)],
    ['a size that holds no entries', (view: DataView) => view.setUint32(4, 31, true)],
    ['an address that is none', (view: DataView) => view.setBigUint64(8, 1n << 50n, true)],
  ])('is refused with %s', async (_, change) => {
    expect((await refusal(await extended((view) => change(view)))).code).toBe('INVALID_STREAM')
  })

  test.each([[{ mode: 3 }], [{ khz: 1 }]])('is refused with a counter of %o', async (wrong) => {
    const file = await alteredMini((record) => [record.type === 'tsc-info' ? { ...record, ...wrong } : record])
    expect((await refusal(file)).code).toBe('INVALID_STREAM')
  })
})
