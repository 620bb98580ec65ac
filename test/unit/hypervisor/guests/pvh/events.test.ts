/** How events reach a PVH guest: by a vector of its local APIC's, by a callback vector past it, by the end of a halt; and NMIs. */
import { describe, expect, test, vi } from 'vitest'
import {
  DOMID, EVTCHNOP, EvtchnBindIpi, EvtchnSend, HVMOP, HVM_PARAM, HYPERVISOR, VCPUOP, XENMAPSPACE, XENMEM, XenAddToPhysmap, XenHvmEvtchnUpcallVector,
  XenHvmParam,
} from '../../../../../src/abi/index.ts'
import { PvhTestGuest } from '../../../../support/pvh-guest.ts'

// The first machine of a process has its interpreter compiled.
vi.setConfig({ testTimeout: 60_000 })

const D = 0x13_0000
const IDT = 0x15_0000
const ARGUMENTS = 0x16_0000
const SHARED = 0xf000_0000
const VECTOR = 0xf3

const call = (number: number, ...args: readonly number[]): string =>
  `mov $${number},%eax; ${args.map((value, i) => `mov $${value},%${['ebx', 'ecx', 'edx'][i]!};`).join(' ')} vmmcall;`
const wrmsr = (register: number, low: number): string => `mov $${register},%ecx; mov $${low},%eax; mov $0,%edx; wrmsr;`
/** Segments, an interrupt table, a local APIC in x2APIC mode, shared_info, and a port to itself. */
const SETUP = `
  lidtl ${IDT + 0x900}; lgdtl ${IDT + 0x910}; ljmp $8,$9f; 9: mov $16,%eax; mov %eax,%ss; mov $0x11f000,%esp
  mov $0x1b,%ecx; rdmsr; or $0xc00,%eax; wrmsr; ${wrmsr(0x80f, 0x1ff)}
  ${call(HYPERVISOR.memory_op, XENMEM.add_to_physmap, ARGUMENTS)} ${call(HYPERVISOR.event_channel_op, EVTCHNOP.bind_ipi, ARGUMENTS + 0x40)}`
const SEND = call(HYPERVISOR.event_channel_op, EVTCHNOP.send, ARGUMENTS + 0x80)
const BY_APIC = call(HYPERVISOR.hvm_op, HVMOP.set_evtchn_upcall_vector, ARGUMENTS + 0xc0)
const BY_CALLBACK = call(HYPERVISOR.hvm_op, HVMOP.set_param, ARGUMENTS + 0x100)
/** The handler counts at `D`, takes the event, and ends the interrupt where the local APIC has brought it. */
const handler = (end: string): string => `handler: incl ${D}; movl $0,${SHARED}; movl $0,${SHARED + 4}; movl $0,${SHARED + 8}; movl $0,${SHARED + 0x800}; ${end} iret`

/** A guest whose vector and NMI lead to the end of its listing. */
function guest(listing: string, end: string): PvhTestGuest {
  const g = new PvhTestGuest(`${SETUP} ${listing} cli; hlt; .byte 0x90,0x90,0x90,0x90; ${handler(end)}`)
  const code = [...g.code]
  const at = 0x10_0000 + code.findIndex((_, i) => [0xf4, 0x90, 0x90, 0x90, 0x90].every((byte, j) => code[i + j] === byte)) + 5
  for (const vector of [VECTOR, 2]) g.write(IDT + vector * 8, [at & 255, (at >> 8) & 255, 8, 0, 0, 0x8e, (at >> 16) & 255, at >>> 24])
  g.write(IDT + 0x900, [0xff, 7, 0, 0, 0x15, 0])
  g.write(IDT + 0x910, [0x17, 0, 0, 0x0a, 0x15, 0])
  g.write(IDT + 0xa08, [0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0, 0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0])
  const put = (offset: number, size: number, fill: (view: DataView) => void): void => {
    const bytes = new Uint8Array(size)
    fill(new DataView(bytes.buffer))
    g.write(ARGUMENTS + offset, bytes)
  }
  put(0, 16, (view) => XenAddToPhysmap.compat.encode(view, 0, { domid: DOMID.SELF, space: XENMAPSPACE.shared_info, gpfn: BigInt(SHARED / 4096) }))
  put(0x40, EvtchnBindIpi.size, () => undefined)
  put(0x80, EvtchnSend.size, (view) => EvtchnSend.encode(view, 0, { port: 1 }))
  put(0xc0, XenHvmEvtchnUpcallVector.size, (view) => XenHvmEvtchnUpcallVector.encode(view, 0, { vcpu: 0, vector: VECTOR }))
  put(0x100, XenHvmParam.size, (view) => XenHvmParam.encode(view, 0, { domid: DOMID.SELF, index: HVM_PARAM.CALLBACK_IRQ, value: (2n << 56n) | BigInt(VECTOR) }))
  return g
}

const EOI = wrmsr(0x80b, 0)

describe('an event', () => {
  test('comes by the vCPU\'s own vector through its local APIC, once for each time', () => {
    const g = guest(`${BY_APIC} ${SEND} sti; nop; nop; ${SEND} nop; mov ${D},%eax; mov %eax,${D + 4};`, EOI)
    g.run()
    expect([g.read32(D), g.read32(D + 4)]).toEqual([2, 2])
    expect(g.problems()).toEqual([])
  })

  test('waits in service until the interrupt is ended', () => {
    const g = guest(`${BY_APIC} sti; ${SEND} nop; nop; ${SEND} nop; nop; mov ${D},%eax; mov %eax,${D + 4}; ${EOI} nop; nop;`, '')
    g.run()
    expect([g.read32(D + 4), g.read32(D)]).toEqual([1, 2])
  })

  test('comes past the local APIC by a callback vector, for as long as it waits', () => {
    const g = guest(`${BY_CALLBACK} ${SEND} sti; nop; nop; ${SEND} nop; nop;`, '')
    g.run()
    expect(g.read32(D)).toBe(2)
    expect(g.problems()).toEqual([])
  })

  test('that came before there was a vector is told when there is one', () => {
    const g = guest(`${SEND} sti; nop; ${BY_APIC} nop; nop;`, EOI)
    g.run()
    expect(g.read32(D)).toBe(1)
  })

  test('ends a halt, and a block by hypercall', () => {
    const g = guest(`${BY_APIC} sti; hlt; incl ${D + 8}; ${call(HYPERVISOR.sched_op, 1, 0)} incl ${D + 8};`, EOI)
    g.run(200_000)
    const { hypervisor, domid } = g
    // The one interrupt that comes with the vector has ended the halt.
    expect(hypervisor.domainInfo(domid)).toMatchObject({ blocked: true, shutdown: false })
    expect([g.read32(D), g.read32(D + 8)]).toEqual([1, 1])
    hypervisor.sendEvent(domid, 1 as never)
    g.run(200_000)
    expect([g.read32(D), g.read32(D + 8)]).toEqual([2, 2])
    expect(g.problems()).toEqual([])
  })

  test('leaves a guest with interrupts off alone, which polls on', () => {
    const g = guest(`${BY_APIC} ${SEND} movl $0,${ARGUMENTS + 0x140}; movl $0,${ARGUMENTS + 0x144}; ${call(HYPERVISOR.sched_op, 3, ARGUMENTS + 0x140)} incl ${D + 8};`, EOI)
    g.run(200_000)
    // Nothing interrupts it: it waits for the event that came before it polled, which no other one follows.
    expect([g.read32(D), g.read32(D + 8)]).toEqual([0, 0])
    g.hypervisor.sendVirq(g.domid, 1)
    expect(g.problems()).toEqual([])
  })
})

test('an NMI comes whether interrupts are on or not', () => {
  const g = guest(`${call(HYPERVISOR.vcpu_op, VCPUOP.send_nmi, 0, 0)} nop; nop; mov ${D},%eax; mov %eax,${D + 4};`, '')
  g.run()
  expect([g.read32(D), g.read32(D + 4)]).toEqual([1, 1])
  expect(g.problems()).toEqual([])
})
