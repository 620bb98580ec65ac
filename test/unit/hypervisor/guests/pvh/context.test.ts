/** HVM contexts of PVH guests: what tools get, give back, and what is refused; parameters; a whole host's state. */
import { describe, expect, test, vi } from 'vitest'
import {
  HVM_PARAM, HVM_SAVE_CODE, HvmHwCpu, HvmHwLapic, HvmHwMtrr, HvmSaveDescriptor, HvmSaveHeader, HvmTscAdjust, HvmVmceVcpu,
} from '../../../../../src/abi/index.ts'
import { VirtualClock, Hypervisor } from '../../../../../src/hypervisor/index.ts'
import { SeededRandom } from '../../../../../src/util/index.ts'
import { type ContextRecord, PvhTestGuest, entryRecord, hvmContext } from '../../../../support/pvh-guest.ts'

// The first machine of a process has its interpreter compiled.
vi.setConfig({ testTimeout: 60_000 })

const D = 0x13_0000
const COUNT = `1: incl ${D}; jmp 1b`

/** The records of a context, with their descriptors. */
function recordsOf(bytes: Uint8Array): { code: number; instance: number; length: number; view: DataView }[] {
  const all = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const records = []
  for (let at = 0; at < bytes.length;) {
    const length = HvmSaveDescriptor.length.get(all, at)
    records.push({
      code: HvmSaveDescriptor.typecode.get(all, at), instance: HvmSaveDescriptor.instance.get(all, at), length,
      view: new DataView(bytes.buffer, bytes.byteOffset + at + HvmSaveDescriptor.size, length),
    })
    at += HvmSaveDescriptor.size + length
  }
  return records
}

describe('an HVM context', () => {
  test('has the records of a guest with nothing but a local APIC, in Xen\'s order', () => {
    const g = new PvhTestGuest(COUNT, { vcpus: 2 })
    g.run(1000)
    const records = recordsOf(g.hypervisor.getHvmContext(g.domid))
    const C = HVM_SAVE_CODE
    // The second vCPU is down: it has no registers, and no extended state before its first start.
    expect(records.map(({ code, instance }) => [code, instance])).toEqual([
      [C.HEADER, 0], [C.CPU, 0], [C.LAPIC, 0], [C.LAPIC, 1], [C.LAPIC_REGS, 0], [C.LAPIC_REGS, 1], [C.PCI_IRQ, 0], [C.ISA_IRQ, 0],
      [C.PCI_LINK, 0], [C.MTRR, 0], [C.MTRR, 1], [C.CPU_XSAVE, 0], [C.VMCE_VCPU, 0], [C.VMCE_VCPU, 1], [C.TSC_ADJUST, 0], [C.TSC_ADJUST, 1], [C.END, 0],
    ])
    const at = (code: number): DataView => records.find((record) => record.code === code)!.view
    expect([HvmHwLapic.apicBaseMsr.number(at(C.LAPIC), 0), HvmHwLapic.disabled.get(at(C.LAPIC), 0)]).toEqual([0xfee0_0900, 2])
    expect([HvmHwMtrr.msrMtrrCap.number(at(C.MTRR), 0), HvmHwMtrr.msrPatCr.get(at(C.MTRR), 0)]).toEqual([0x508, 0x7040600070406n])
    expect([HvmVmceVcpu.caps.number(at(C.VMCE_VCPU), 0), HvmTscAdjust.tscAdjust.number(at(C.TSC_ADJUST), 0)]).toEqual([2, 0])
    expect(HvmSaveHeader.cpuid.get(at(C.HEADER), 0)).toBe(0x663)
    const cpu = at(C.CPU)
    expect([HvmHwCpu.csArbytes, HvmHwCpu.dsArbytes, HvmHwCpu.trArbytes, HvmHwCpu.trLimit, HvmHwCpu.csLimit].map((field) => field.get(cpu, 0)))
      .toEqual([0xc9b, 0xc93, 0x8b, 0x67, 0xffff_ffff])
    expect([HvmHwCpu.cr0.get(cpu, 0), HvmHwCpu.dr6.get(cpu, 0), HvmHwCpu.flags.get(cpu, 0)]).toEqual([0x11n, 0xffff_0ff0n, 1])
  })

  test('carries a guest to another domain, where it goes on', () => {
    const g = new PvhTestGuest(COUNT)
    g.run(1000)
    g.hypervisor.pauseDomain(g.domid)
    const context = g.hypervisor.getHvmContext(g.domid)
    const other = new PvhTestGuest(COUNT, { host: g.host })
    other.write32(D, 0)
    g.hypervisor.setHvmContext(other.domid, context)
    expect(g.hypervisor.getHvmContext(other.domid).slice(40)).toEqual(context.slice(40))
    other.run(1000)
    expect(other.read32(D)).toBeGreaterThan(100)
    expect(g.problems()).toEqual([])
  })

  const cpu = (changes: Parameters<typeof entryRecord>[1]): ContextRecord => ({ code: HVM_SAVE_CODE.CPU, bytes: entryRecord(0x10_0000, changes) })
  const bad: readonly [string, () => Uint8Array][] = [
    ['nothing', () => new Uint8Array(0)],
    ['no end', () => hvmContext([]).slice(0, -8)],
    ['no beginning', () => hvmContext([]).slice(32)],
    ['a header of another form', () => hvmContext([]).map((byte, i) => (i === 8 ? byte ^ 1 : byte))],
    ['a record that goes beyond it', () => hvmContext([{ code: HVM_SAVE_CODE.LAPIC, bytes: new Uint8Array(24) }]).slice(0, -20)],
    ['a record of no kind', () => hvmContext([{ code: 99, bytes: new Uint8Array(8) }])],
    ['one of a chip that is not there', () => hvmContext([{ code: HVM_SAVE_CODE.PIT, bytes: new Uint8Array(56) }])],
    ['one of a vCPU that is not there', () => hvmContext([{ ...cpu({}), instance: 1 }])],
    ['registers cut short', () => hvmContext([{ code: HVM_SAVE_CODE.CPU, bytes: entryRecord(0x10_0000).slice(0, 1000) }])],
    ['control registers with reserved bits', () => hvmContext([cpu({ cr4: 1n << 31n })])],
    ['paging without protected mode', () => hvmContext([cpu({ cr0: 0x8000_0010n })])],
    ['long mode that does not follow', () => hvmContext([cpu({ msrEfer: 0x400n })])],
    ['a local APIC in a mode that there is not', () => {
      const bytes = new Uint8Array(HvmHwLapic.size)
      HvmHwLapic.encode(new DataView(bytes.buffer), 0, { apicBaseMsr: 0xfee0_0400n })
      return hvmContext([{ code: HVM_SAVE_CODE.LAPIC, bytes }])
    }],
    ['an extended state that is none', () => hvmContext([cpu({ rax: 5n }), { code: HVM_SAVE_CODE.CPU_XSAVE, bytes: new Uint8Array(40).fill(255) }])],
    ['model-specific registers that are not offered', () => hvmContext([{ code: HVM_SAVE_CODE.CPU_MSR, bytes: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 0x48, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0) }])],
  ]
  const shared = new PvhTestGuest(COUNT)
  test.each(bad)('with %s is refused, and nothing has changed', (_, context) => {
    const before = shared.hypervisor.getHvmContext(shared.domid)
    expect(() => shared.hypervisor.setHvmContext(shared.domid, context())).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    expect(shared.hypervisor.getHvmContext(shared.domid)).toEqual(before)
    expect(shared.hypervisor.vcpuInfo(shared.domid, 0).online).toBe(true)
  })
})

describe('parameters', () => {
  const g = new PvhTestGuest(COUNT)
  const set: readonly [string, number, bigint, 'taken' | 'refused'][] = [
    ['a frame for XenStore', HVM_PARAM.STORE_PFN, 0xfeffcn, 'taken'], ['a mode of timers', HVM_PARAM.TIMER_MODE, 3n, 'taken'],
    ['no such mode', HVM_PARAM.TIMER_MODE, 4n, 'refused'], ['views of memory', HVM_PARAM.ALTP2M, 1n, 'refused'],
    ['a reason', HVM_PARAM.TRIPLE_FAULT_REASON, 3n, 'taken'], ['no such reason', HVM_PARAM.TRIPLE_FAULT_REASON, 9n, 'refused'],
    ['Hyper-V', HVM_PARAM.VIRIDIAN, 1n, 'refused'], ['what is deprecated', 13, 0n, 'refused'], ['none', 39, 0n, 'refused'],
  ]
  test.each(set)('%s', (_, index, value, answer) => {
    if (answer === 'refused') expect(() => g.hypervisor.setHvmParam(g.domid, index, value)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    else {
      g.hypervisor.setHvmParam(g.domid, index, value)
      expect(g.hypervisor.getHvmParam(g.domid, index)).toBe(value)
    }
  })

  test('are of translated domains', () => {
    const pv = g.hypervisor.createDomain({ kind: 'pv' })
    expect(() => g.hypervisor.getHvmParam(pv, HVM_PARAM.STORE_PFN)).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }))
    expect(() => g.hypervisor.getHvmContext(pv)).toThrow(expect.objectContaining({ code: 'INVALID_STATE' }))
  })
})

test('a host that is saved and loaded runs its PVH guests on as if nothing had been', () => {
  const g = new PvhTestGuest(`${COUNT}`, { vcpus: 2 })
  g.hypervisor.populateOnDemand(g.domid, 4, 0x1000)
  g.run(5000)
  const { machine } = g.host
  const saved = { hypervisor: g.hypervisor.save(), memory: machine.memory.bytes.slice() }
  g.run(5000)
  const hash = g.hypervisor.stateHash()
  machine.memory.bytes.set(saved.memory)
  const again = new Hypervisor({
    memory: machine.memory, clock: new VirtualClock(), random: new SeededRandom(1), createProcessor: (settings) => machine.createProcessor({ ...settings, accounting: 'instructions', random: new SeededRandom(7) }),
  })
  machine.memory.bytes.set(saved.memory)
  again.load(saved.hypervisor)
  expect(again.frameOfGfn(g.domid, 0x100)).toBe(g.frames[0x100])
  again.run({ instructions: 5000 })
  expect(again.stateHash()).toBe(hash)
  expect(again.checkInvariants()).toEqual([])
})
