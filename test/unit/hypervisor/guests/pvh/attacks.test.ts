/**
 * What a hostile PVH guest may try: calls of other kinds, its local APIC in ways that nobody uses it, its physical map under what it shares with
 * others, registers that it has not. Each row is what it does and what it is answered; after each a neighbour has gone on, everything
 * is counted, and no processor remembers what is not so.
 */
import { describe, expect, test, vi } from 'vitest'
import {
  DOMID, ERRNO, GNTMAP, GNTTABOP, GnttabMapGrantRef, HVMOP, HVM_PARAM, HYPERVISOR, SHUTDOWN, VCPUOP, XENMAPSPACE, XENMEM, XenAddToPhysmap, XenHvmEvtchnUpcallVector, XenHvmParam,
  XenMemoryReservation, XenRemoveFromPhysmap,
} from '../../../../../src/abi/index.ts'
import type { Fields, Layout } from '../../../../../src/util/index.ts'
import { PvhTestGuest } from '../../../../support/pvh-guest.ts'

// The first machine of a process has its interpreter compiled.
vi.setConfig({ testTimeout: 60_000 })

const { EFAULT, EINVAL, ENOENT, ENOSYS, EPERM } = ERRNO
/** Where listings put what they find, and where arguments lie. */
const D = 0x13_0000
const ARGUMENT = 0x14_0000
const END = 'cli; hlt'
const APIC = 0xfee0_0000
const SHARED = 0xf_0000

const call = (number: number, ...args: readonly number[]): string =>
  `mov $${number},%eax; ${args.map((value, i) => `mov $${value},%${['ebx', 'ecx', 'edx', 'esi'][i]!};`).join(' ')} vmmcall;`
const keep = (slot: number): string => `mov %eax,${D + slot * 4};`
const wrmsr = (register: number, low: number, high = 0): string => `mov $${register},%ecx; mov $${low},%eax; mov $${high},%edx; wrmsr;`

/** A structure in the layout of 32-bit code, in the guest's memory. */
function put<T extends Fields>(guest: PvhTestGuest, at: number, structure: Layout<T> & { readonly compat?: Layout<T> }, values: Parameters<Layout<T>['encode']>[2]): void {
  const layout = structure.compat ?? structure
  const bytes = new Uint8Array(layout.size)
  layout.encode(new DataView(bytes.buffer), 0, values)
  guest.write(at, bytes)
}

/** Runs a listing beside a neighbour that counts, which it must not keep from that; gives the guest. */
function attack(listing: string, prepare: (guest: PvhTestGuest, neighbour: PvhTestGuest) => void = () => undefined): PvhTestGuest {
  const guest = new PvhTestGuest(`${listing}; ${END}`, { physicalCpus: 2 })
  const neighbour = new PvhTestGuest(`1: incl ${D}; jmp 1b`, { host: guest.host })
  prepare(guest, neighbour)
  guest.run(1_000_000)
  const before = neighbour.read32(D)
  guest.run(20_000)
  expect(neighbour.read32(D)).toBeGreaterThan(before)
  expect(guest.problems()).toEqual([])
  return guest
}

const found = (guest: PvhTestGuest, count: number): number[] => Array.from({ length: count }, (_, slot) => guest.read32(D + slot * 4) | 0)
/** It had no handler for the fault that it got. */
const faulted = (guest: PvhTestGuest): boolean => guest.hypervisor.domainInfo(guest.domid).shutdownReason === SHUTDOWN.reboot

describe('hypercalls of other kinds', () => {
  const others = [
    'set_trap_table', 'mmu_update', 'set_gdt', 'stack_switch', 'set_callbacks', 'fpu_taskswitch', 'set_debugreg', 'get_debugreg', 'update_descriptor',
    'update_va_mapping', 'update_va_mapping_otherdomain', 'iret', 'set_segment_base', 'nmi_op', 'callback_op', 'physdev_op',
  ] as const
  test('are no calls, whatever their arguments', () => {
    const guest = attack(others.map((name, slot) => `${call(HYPERVISOR[name], ARGUMENT, 1, 0, DOMID.SELF)} ${keep(slot)}`).join(' '))
    expect(found(guest, others.length)).toEqual(others.map(() => -ENOSYS))
    expect(faulted(guest)).toBe(false)
  })

  test('neither is what is behind the last one, nor a PV guest\'s way of calling', () => {
    expect(found(attack(`${call(0x7fff_ffff)} ${keep(0)} ${call(-1 >>> 0)} ${keep(1)}`), 2)).toEqual([-ENOSYS, -ENOSYS])
    expect(faulted(attack(`mov $${HYPERVISOR.xen_version},%eax; xor %ebx,%ebx; int $0x82; ${keep(0)}`))).toBe(true)
  })

  test('pointers lead to memory of its own and nowhere else', () => {
    const pointers = [0x8000_0000, APIC, 0xffff_fffc, 0x1f_fffe]
    const guest = attack(pointers.map((at, slot) => `${call(HYPERVISOR.xen_version, 6, at)} ${keep(slot)}`).join(' '))
    expect(found(guest, pointers.length)).toEqual([-EFAULT, -EFAULT, -EFAULT, -EFAULT])
  })
})

describe('the local APIC\'s page', () => {
  test('takes every value at every place in every size', () => {
    const guest = attack(`
      movl $0x1ff,${APIC + 0xf0}; mov $${APIC},%edi
      1: cmp $${APIC + 0x300},%edi; je 2f; cmp $${APIC + 0x310},%edi; je 2f
      movl $0xffffffff,(%edi); movw $0xffff,1(%edi); movb $0xff,3(%edi); movl $0xffffffff,2(%edi); mov (%edi),%eax; mov 3(%edi),%ax
      2: add $4,%edi; cmp $${APIC + 0x400},%edi; jb 1b; mov $7,%eax; ${keep(0)}`)
    expect(found(guest, 1)).toEqual([7])
  })

  test('is read by strings, in eight bytes and by what reads and writes at once', () => {
    const guest = attack(`
      mov %cr4,%eax; or $0x600,%eax; mov %eax,%cr4
      mov $${APIC + 0x30},%esi; mov $${D + 64},%edi; mov $64,%ecx; rep movsb %ds:(%esi),%es:(%edi)
      movq ${APIC + 0x30},%xmm0; movq %xmm0,${D + 48}
      lock addl $1,${APIC + 0x80}; mov ${APIC + 0x80},%eax; ${keep(0)}
      mov $5,%eax; xchg %eax,${APIC + 0x30}; ${keep(1)}
      mov $${APIC + 0x84},%esp; push $0x44; mov ${APIC + 0x80},%eax; ${keep(2)}`)
    expect(found(guest, 3)).toEqual([1, 0x5_0014, 0x44])
    expect(guest.read32(D + 64)).toBe(0x5_0014)
  })

  test.each([
    ['a vector', `mov %cr4,%eax; or $0x600,%eax; mov %eax,%cr4; movups ${APIC + 0x30},%xmm0`], ['what goes on in the next page', `mov ${APIC + 0xffe},%eax`],
    ['its code', `jmp *1f; 1: .long ${APIC}`], ['its page tables', `mov $${APIC},%eax; mov %eax,%cr3; mov %cr0,%eax; or $0x80000000,%eax; mov %eax,%cr0; nop`],
    ['its descriptors', `mov $${APIC},%eax; movw $0xfff,${D}; mov %eax,${D + 2}; lgdtl ${D}; mov $0x10,%eax; mov %eax,%ss; ljmp $8,$1f; 1: nop`],
  ])('is nothing that %s can lie in: it ends, alone', (_, listing) => {
    expect(faulted(attack(listing))).toBe(true)
  })

  test('sends no interrupt to what is not there, and none with what is no vector', () => {
    const commands = [0x4000, 0x400f, 0x4700, 0x4300, 0x4200, 0xc4500, 0xc4600, 0xffff_efff]
    const guest = attack(`movl $0x1ff,${APIC + 0xf0}; ${commands.map((command) => `movl $0x7f000000,${APIC + 0x310}; movl $${command & ~0xc_0000 | 0xc_0000},${APIC + 0x300};`).join(' ')} mov $7,%eax; ${keep(0)}`)
    expect(found(guest, 1)).toEqual([7])
  })
})

describe('registers that it has not', () => {
  test.each([
    ['a model-specific register that nobody knows', wrmsr(0x1234, 1)], ['x2APIC\'s while the page is there', wrmsr(0x80b, 0)],
    ['a hypercall page beyond its memory', wrmsr(0x4000_0000, 0x7000_0000)], ['reserved bits of EFER', wrmsr(0xc000_0080, 0x2)],
    ['reserved bits of CR4', 'mov %cr4,%eax; or $0x40000000,%eax; mov %eax,%cr4;'], ['paging without protection', 'mov $0x80000010,%eax; mov %eax,%cr0;'],
    ['a memory type that there is not', wrmsr(0x277, 0x0706_0203)], ['an APIC that is off and on at once', wrmsr(0x1b, 0xfee0_0400)],
    ['extended state that is not offered', 'mov %cr4,%eax; or $0x40000,%eax; mov %eax,%cr4; xor %ecx,%ecx; xor %edx,%edx; mov $0xe7,%eax; xsetbv;'],
  ])('%s: a fault of its own', (_, listing) => {
    expect(faulted(attack(listing))).toBe(true)
  })

  test('parameters and vectors that it may not set, of itself and of others', () => {
    const [own, others, none] = [ARGUMENT, ARGUMENT + 0x20, ARGUMENT + 0x40]
    const vectors = [ARGUMENT + 0x60, ARGUMENT + 0x80]
    const guest = attack(`
      ${[own, others, none].map((at, slot) => `${call(HYPERVISOR.hvm_op, HVMOP.set_param, at)} ${keep(slot)}`).join(' ')}
      ${vectors.map((at, slot) => `${call(HYPERVISOR.hvm_op, HVMOP.set_evtchn_upcall_vector, at)} ${keep(3 + slot)}`).join(' ')}
      ${call(HYPERVISOR.hvm_op, HVMOP.flush_tlbs, 1)} ${keep(5)} ${call(HYPERVISOR.hvm_op, HVMOP.flush_tlbs, 0)} ${keep(6)}
      ${call(HYPERVISOR.vcpu_op, VCPUOP.up, 1, 0)} ${keep(7)} ${call(HYPERVISOR.vcpu_op, VCPUOP.initialise, 77, ARGUMENT)} ${keep(8)}`, (g, neighbour) => {
      put(g, own, XenHvmParam, { domid: DOMID.SELF, index: HVM_PARAM.STORE_PFN, value: 1n })
      put(g, others, XenHvmParam, { domid: neighbour.domid, index: HVM_PARAM.CALLBACK_IRQ, value: 1n })
      put(g, none, XenHvmParam, { domid: DOMID.SELF, index: 0xffff, value: 1n })
      put(g, vectors[0]!, XenHvmEvtchnUpcallVector, { vcpu: 0, vector: 15 })
      put(g, vectors[1]!, XenHvmEvtchnUpcallVector, { vcpu: 9, vector: 0xf3 })
    })
    expect(found(guest, 9)).toEqual([-EPERM, -EPERM, -EINVAL, -EINVAL, -ENOENT, -EINVAL, 0, -ENOENT, -ENOENT])
  })
})

describe('its physical map under what is shared', () => {
  const memory = (command: number, at: number, slot: number): string => `${call(HYPERVISOR.memory_op, command, at)} ${keep(slot)}`
  const [PLACE, REMOVE, GIVE, LIST, OTHER] = [ARGUMENT, ARGUMENT + 0x40, ARGUMENT + 0x80, ARGUMENT + 0xc0, ARGUMENT + 0x100]

  /** Arguments that name a place of the map, whatever lies there. */
  function naming(gpfn: number) {
    return (g: PvhTestGuest): void => {
      put(g, REMOVE, XenRemoveFromPhysmap, { domid: DOMID.SELF, gpfn: BigInt(gpfn) })
      g.write32(LIST, gpfn)
      put(g, GIVE, XenMemoryReservation, { domid: DOMID.SELF, extentStart: BigInt(LIST), nrExtents: 1n })
    }
  }

  test.each([['shared_info', XENMAPSPACE.shared_info], ['a frame of the grant table', XENMAPSPACE.grant_table]])('%s is taken away, given back and moved, and stays what it is', (_, space) => {
    const guest = attack(`
      ${memory(XENMEM.add_to_physmap, PLACE, 0)} ${memory(XENMEM.remove_from_physmap, REMOVE, 1)} ${memory(XENMEM.add_to_physmap, PLACE, 2)}
      ${memory(XENMEM.decrease_reservation, GIVE, 3)} ${memory(XENMEM.add_to_physmap, PLACE, 4)} ${memory(XENMEM.add_to_physmap, OTHER, 5)}
      ${memory(XENMEM.populate_physmap, GIVE, 6)} mov ${SHARED * 4096},%eax; movl $9,${SHARED * 4096}`, (g) => {
      naming(SHARED)(g)
      put(g, PLACE, XenAddToPhysmap, { domid: DOMID.SELF, space, idx: 0n, gpfn: BigInt(SHARED) })
      put(g, OTHER, XenAddToPhysmap, { domid: DOMID.SELF, space: XENMAPSPACE.gmfn, idx: 0x60n, gpfn: BigInt(SHARED) })
    })
    const [placed, removed, again] = found(guest, 7)
    expect([placed, removed, again]).toEqual([0, 0, 0])
    expect(faulted(guest)).toBe(false)
    guest.hypervisor.destroyDomain(guest.domid)
    expect(guest.problems()).toEqual([])
  })

  test('a neighbour\'s granted frame is taken away, given back, moved and written over: the neighbour keeps it', () => {
    let giver: PvhTestGuest | undefined
    const guest = attack(`
      ${call(HYPERVISOR.grant_table_op, GNTTABOP.map_grant_ref, PLACE, 1)} ${keep(0)}
      ${memory(XENMEM.remove_from_physmap, REMOVE, 1)} ${memory(XENMEM.decrease_reservation, GIVE, 2)} ${memory(XENMEM.add_to_physmap, OTHER, 3)}
      ${memory(XENMEM.populate_physmap, GIVE, 4)} movl $5,${SHARED * 4096}`, (g, neighbour) => {
      giver = neighbour
      naming(SHARED)(g)
      neighbour.write32(0x5_0000, 0x1234)
      g.hypervisor.seedGrant(neighbour.domid, 9 as never, { remote: g.domid, frame: 0x50 as never })
      put(g, PLACE, GnttabMapGrantRef, { hostAddr: BigInt(SHARED * 4096), ref: 9, flags: GNTMAP.host_map | GNTMAP.readonly, dom: neighbour.domid })
      put(g, OTHER, XenAddToPhysmap, { domid: DOMID.SELF, space: XENMAPSPACE.gmfn, idx: BigInt(SHARED), gpfn: 0x60n })
    })
    expect(found(guest, 1)).toEqual([0])
    expect(giver!.read32(0x5_0000)).toBe(0x1234)
    expect(guest.hypervisor.frameOfGfn(guest.domid, 0x60)).not.toBe(giver!.frames[0x50])
    guest.hypervisor.destroyDomain(guest.domid)
    expect([giver!.read32(0x5_0000), guest.problems()]).toEqual([0x1234, []])
  })

  test('every page that it has goes while it runs there', () => {
    const guest = attack(`mov $0,%edi; 1: mov %edi,${LIST}; ${call(HYPERVISOR.memory_op, XENMEM.decrease_reservation, GIVE)} inc %edi; cmp $512,%edi; jb 1b`, naming(0))
    expect(faulted(guest)).toBe(true)
    guest.hypervisor.destroyDomain(guest.domid)
    expect(guest.problems()).toEqual([])
  })
})
