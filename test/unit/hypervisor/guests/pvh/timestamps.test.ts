/** Time-stamp counters of PVH guests: where they begin, what their kernels change, and how they go on elsewhere. */
import { expect, test, vi } from 'vitest'
import { COMPAT, HVM_SAVE_CODE, HYPERVISOR, HvmHwCpu, HvmSaveDescriptor, HvmSaveHeader, HvmTscAdjust, VcpuTimeInfo, XENMAPSPACE, XENMEM, XenAddToPhysmap } from '../../../../../src/abi/index.ts'
import { type ContextRecord, CODE, PvhTestGuest, entryRecord, hvmContext } from '../../../../support/pvh-guest.ts'

// The first machine of a process has its interpreter compiled.
vi.setConfig({ testTimeout: 60_000 })

const D = 0x13_0000
const ARGUMENT = 0x14_0000
/** Stores what RDTSC reads in 64 bits. */
const read = (at: number): string => `rdtsc; mov %eax,${D + at}; mov %edx,${D + at + 4};`
const write = (register: number, value: bigint): string => `mov $${register},%ecx; mov $${value & 0xffff_ffffn},%eax; mov $${value >> 32n},%edx; wrmsr;`
const readMsr = (register: number, at: number): string => `mov $${register},%ecx; rdmsr; mov %eax,${D + at}; mov %edx,${D + at + 4};`
const [TSC, ADJUST] = [0x10, 0x3b] as const
const END = 'cli; hlt'

const wide = (g: PvhTestGuest, at: number): bigint => BigInt(g.read32(D + at)) + (BigInt(g.read32(D + at + 4)) << 32n)

/** A context's record of a kind, of a vCPU. */
function recordOf(bytes: Uint8Array, code: number, instance = 0): DataView {
  const all = new DataView(bytes.buffer, bytes.byteOffset)
  for (let at = 0; ;) {
    const length = HvmSaveDescriptor.length.get(all, at)
    const body = at + HvmSaveDescriptor.size
    if (HvmSaveDescriptor.typecode.get(all, at) === code && HvmSaveDescriptor.instance.get(all, at) === instance) return new DataView(bytes.buffer, bytes.byteOffset + body, length)
    at = body + length
  }
}

/** A context for the test's code whose counter stands somewhere, of a host of another frequency. */
function elsewhere(tsc: bigint, kilohertz: number, ...records: readonly ContextRecord[]): Uint8Array {
  const context = hvmContext([{ code: HVM_SAVE_CODE.CPU, bytes: entryRecord(CODE, { tsc }) }, ...records])
  HvmSaveHeader.gtscKhz.set(recordOf(context, HVM_SAVE_CODE.HEADER), 0, kilohertz)
  return context
}

const adjustRecord = (value: bigint): ContextRecord => {
  const bytes = new Uint8Array(HvmTscAdjust.size)
  HvmTscAdjust.encode(new DataView(bytes.buffer), 0, { tscAdjust: value })
  return { code: HVM_SAVE_CODE.TSC_ADJUST, bytes }
}

test('a counter begins at zero, however long the host has run', () => {
  const first = new PvhTestGuest(`${read(0)} 1: incl ${D + 8}; jmp 1b`)
  first.run(2_000_000)
  const second = new PvhTestGuest(read(0) + END, { host: first.host })
  second.run(100_000)
  expect([wide(first, 0) < 100_000n, wide(second, 0) < 200_000n, second.hypervisor.hostInfo().time > 1_000_000]).toEqual([true, true, true])
})

test('what is written to the counter shows in TSC_ADJUST, and what is written there moves the counter', () => {
  const far = 0x12_3456_0000_0000n
  const g = new PvhTestGuest(`${write(TSC, far)} ${read(0)} ${readMsr(ADJUST, 8)} ${write(ADJUST, 5n)} ${read(16)} ${readMsr(ADJUST, 24)} ${END}`)
  g.run()
  const [first, adjust, second, last] = [0, 8, 16, 24].map((at) => wide(g, at)) as [bigint, bigint, bigint, bigint]
  expect([first >= far && first < far + 100_000n, adjust <= far && adjust > far - 1_000_000n, second < 1_000_000n, last]).toEqual([true, true, true, 5n])
  const context = g.hypervisor.getHvmContext(g.domid)
  expect(HvmTscAdjust.tscAdjust.get(recordOf(context, HVM_SAVE_CODE.TSC_ADJUST), 0)).toBe(5n)
})

test('a counter goes on from its record, at the frequency that it had, which CPUID tells', () => {
  const g = new PvhTestGuest(`${read(0)} mov $0x100000,%ecx; 1: loop 1b; ${read(8)} ${readMsr(ADJUST, 16)} mov $0x40000003,%eax; xor %ecx,%ecx; cpuid; mov %ecx,${D + 24}; ${END}`)
  const host = g.hypervisor.hostInfo().tscHertz / 1000
  const start = 0xb_f8da_a576n
  g.hypervisor.setHvmContext(g.domid, elsewhere(start, 3 * host, adjustRecord(77n)))
  expect(HvmHwCpu.tsc.get(recordOf(g.hypervisor.getHvmContext(g.domid), HVM_SAVE_CODE.CPU), 0)).toBe(start)
  const before = g.hypervisor.hostInfo().time
  g.run(3_000_000)
  const passed = BigInt(g.hypervisor.hostInfo().time - before) * BigInt(3 * host) / 1_000_000n
  const [first, second] = [wide(g, 0), wide(g, 8)]
  expect([first >= start, first - start < 100_000n, second - first <= passed, second - first > passed * 9n / 10n]).toEqual([true, true, true, true])
  expect([wide(g, 16), g.read32(D + 24)]).toEqual([77n, 3 * host])
  expect(HvmSaveHeader.gtscKhz.get(recordOf(g.hypervisor.getHvmContext(g.domid), HVM_SAVE_CODE.HEADER), 0)).toBe(3 * host)
})

test('the time record gives the host\'s time from such a counter', () => {
  const place = `mov $${XENMEM.add_to_physmap},%ebx; mov $${ARGUMENT},%ecx; mov $${HYPERVISOR.memory_op},%eax; vmmcall;`
  const g = new PvhTestGuest(`${place} mov $0x100000,%ecx; 1: loop 1b; ${read(0)} ${END}`)
  const bytes = new Uint8Array(16)
  const [view, place32] = [new DataView(bytes.buffer), COMPAT.of(XenAddToPhysmap)]
  place32.domid.set(view, 0, 0x7ff0)
  place32.space.set(view, 0, XENMAPSPACE.shared_info)
  place32.gpfn.setNumber(view, 0, 0xf_0000)
  g.write(ARGUMENT, bytes)
  g.hypervisor.setHvmContext(g.domid, elsewhere(0x7777_7777_7777n, 2_596_122))
  g.run(4_000_000)
  const memory = g.host.machine.memory.view
  const at = g.place(0xf000_0020)
  const [stamp, time, multiplier, shift] = [VcpuTimeInfo.tscTimestamp.get(memory, at), VcpuTimeInfo.systemTime.get(memory, at), VcpuTimeInfo.tscToSystemMul.get(memory, at), VcpuTimeInfo.tscShift.get(memory, at)]
  const ticks = wide(g, 0) - stamp
  const shifted = shift < 0 ? ticks >> BigInt(-shift) : ticks << BigInt(shift)
  const told = time + ((shifted * BigInt(multiplier)) >> 32n)
  const now = BigInt(Math.floor(g.hypervisor.hostInfo().time))
  expect([told <= now, now - told < 200_000n, wide(g, 0) > 0x7777_7777_7777n]).toEqual([true, true, true])
})

test('a vCPU that starts up goes along with the first one', () => {
  // The local APIC's page: INIT and start-up of vCPU 1, whose code is at 0x8000 in real mode.
  const icr = (value: number): string => `movl $0x2000000,0xfee00310; movl $${value},0xfee00300;`
  const g = new PvhTestGuest(`movl $0x1ff,0xfee000f0; ${write(TSC, 0x9999_0000_0000n)} ${icr(0x4500)} ${icr(0x4608)} 1: cmpl $0,0x8f04; je 1b; ${read(0)} ${END}`, { vcpus: 2, physicalCpus: 2 })
  // rdtsc; mov [8f00], eax; mov eax, edx; mov [8f04], eax; hlt
  g.write(0x8000, [0x0f, 0x31, 0x66, 0xa3, 0x00, 0x8f, 0x66, 0x89, 0xd0, 0x66, 0xa3, 0x04, 0x8f, 0xf4])
  for (let i = 0; i < 100 && wide(g, 0) === 0n; i += 1) g.run(1_000_000)
  const [first, second] = [wide(g, 0), wide(g, 0x8f00 - D)]
  expect([second > 0x9999_0000_0000n, first - second < 1_000_000n && second - first < 1_000_000n]).toEqual([true, true])
  const adjusts = [0, 1].map((vcpu) => HvmTscAdjust.tscAdjust.get(recordOf(g.hypervisor.getHvmContext(g.domid), HVM_SAVE_CODE.TSC_ADJUST, vcpu), 0))
  expect([adjusts[0]! > 0x9998_0000_0000n, adjusts[1]]).toEqual([true, 0n])
})

test.each([['999', 999], ['more than 100 GHz', 100_000_001]])('a frequency of %s kHz is refused, and nothing has changed', (_, kilohertz) => {
  const g = new PvhTestGuest(END)
  const before = g.hypervisor.getHvmContext(g.domid)
  expect(() => g.hypervisor.setHvmContext(g.domid, elsewhere(1n, kilohertz))).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  expect(g.hypervisor.getHvmContext(g.domid)).toEqual(before)
})
