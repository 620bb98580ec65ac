import { beforeEach, describe, expect, test } from 'vitest'
import {
  DOMID, ERRNO, GNTMAP, GNTST, GNTTABOP, GrantEntryV1, GnttabMapGrantRef, GnttabUnmapGrantRef, VCPUOP, VMASST_CMD, VMASST_TYPE,
} from '../../../src/abi/index.ts'
import { grantRef, type Mfn } from '../../../src/util/index.ts'
import { PTE } from '../../../src/x86/index.ts'
import { TestGuest, TestHost, WRITE } from '../../support/hypervisor-host.ts'
import { BASE, MAPPED, PvGuest } from '../../support/pv-guest.ts'

let guest: PvGuest
let host: TestHost
let victim: TestGuest

beforeEach(() => {
  guest = PvGuest.boot()
  host = guest.host
  victim = host.guest()
  for (const mfn of victim.frames) host.memory.bytes.fill(0x5a, mfn * 4096, mfn * 4096 + 4096)
})

/** Everything adds up, the victim is as it was, and nothing is left when all are gone. */
function unharmed(): void {
  expect(host.problems()).toEqual([])
  expect(victim.frames.every((mfn) => host.memory.bytes.subarray(mfn * 4096, mfn * 4096 + 4096).every((byte) => byte === 0x5a))).toBe(true)
  for (const { domid } of host.hypervisor.listDomains()) host.hypervisor.destroyDomain(domid)
  expect(host.hypervisor.hostInfo().freeFrames).toBe(host.freeAtBoot)
}

/** Raw hypercall with virtual addresses of the guest's. */
const call = (name: Parameters<TestGuest['call']>[0], ...args: number[]): number => guest.call(name, ...args)

describe('answers of hypercalls', () => {
  const places: [string, () => number][] = [
    ['a page table that is mapped read-only', () => guest.tableAt(3)],
    ['an address that nothing is mapped at', () => BASE + (MAPPED + 20) * 4096],
    ['the hypervisor\'s range', () => -0x8000_0000_0000],
    ['a non-canonical address', () => 2 ** 47],
    ['the end of the last mapped page', () => guest.tableAt(0) - 8 + 4096 * 5],
  ]
  test.each(places)('never go to %s', (_name, place) => {
    const before = host.memory.bytes.slice(guest.l1 * 4096, guest.l1 * 4096 + 4096)
    expect(call('xen_version', 1, place())).toBe(-ERRNO.EFAULT)
    expect(call('xen_version', 8, place() + 4)).toBe(-ERRNO.EFAULT)
    expect(host.memory.bytes.slice(guest.l1 * 4096, guest.l1 * 4096 + 4096)).toEqual(before)
    unharmed()
  })

  test('stop going to a registered area once it has become a page table', () => {
    // The run state's copy is renewed at every switch, long after its address was checked.
    guest.view.setBigUint64(guest.place(1), BigInt(guest.at(5)), true)
    expect(call('vcpu_op', VCPUOP.register_runstate_memory_area, 0, guest.at(1))).toBe(0)
    const frame = guest.frames[5]!
    host.memory.bytes.fill(0, frame * 4096, frame * 4096 + 4096)
    expect(call('update_va_mapping', guest.at(5), (frame * 4096) | PTE.PRESENT, 0)).toBe(0)
    expect(host.hypervisor.frameInfo(frame).typeCount).toBe(0)
    host.hypervisor.pinTable(guest.domid, frame, 1)
    guest.run()
    host.hypervisor.pauseDomain(guest.domid)
    host.hypervisor.run({ instructions: 10, until: host.clock.now() + 10 })
    host.hypervisor.unpauseDomain(guest.domid)
    guest.run()
    expect(host.memory.bytes.subarray(frame * 4096, frame * 4096 + 4096).every((byte) => byte === 0)).toBe(true)
    unharmed()
  })
})

describe('frames that the hypervisor writes', () => {
  test('cannot become page tables while they are registered', () => {
    guest.view.setBigUint64(guest.place(1), BigInt(guest.frames[6]!), true)
    guest.view.setUint32(guest.place(1, 8), 128, true)
    expect(call('vcpu_op', VCPUOP.register_vcpu_info, 0, guest.at(1))).toBe(0)
    expect(() => host.hypervisor.pinTable(guest.domid, guest.frames[6]!, 1)).toThrow()
    expect(host.hypervisor.port(guest.domid).decreaseReservation([guest.frames[6]!])).toBe(1)
    expect(host.hypervisor.frameInfo(guest.frames[6]!).owner).toBe(guest.domid)
    unharmed()
  })

  test.each([
    ['a page table', () => guest.l1], ['another domain\'s frame', () => victim.frames[3]!], ['no frame at all', () => 0xffff_ffff],
    ['a frame of the hypervisor\'s', () => host.memory.firstFrame],
  ])('are never %s', (_name, frame) => {
    guest.view.setBigUint64(guest.place(1), BigInt(frame()), true)
    guest.view.setUint32(guest.place(1, 8), 0, true)
    expect(call('vcpu_op', VCPUOP.register_vcpu_info, 0, guest.at(1))).toBe(-ERRNO.EINVAL)
    unharmed()
  })
})

describe('the machine-to-physical table', () => {
  test('is seen read-only by the kernel, and its frames can be had by nobody', () => {
    const slot = host.memory.words[guest.l4 * 1024 + 512]!
    expect(slot & (PTE.PRESENT | PTE.WRITABLE | PTE.USER)).toBe(PTE.PRESENT | PTE.USER)
    const frames = Array.from({ length: 11 }, (_, i) => host.memory.firstFrame + i)
    const own = frames.filter((mfn) => host.hypervisor.frameInfo(mfn as Mfn).owner === undefined)
    // Table and mapping for 64-bit guests, and for 32-bit ones.
    expect(own.length).toBe(7 + 3)
    for (const mfn of own) {
      const value = ((mfn << 12) | PTE.PRESENT) >>> 0
      expect(call('update_va_mapping', guest.at(3), value, 0)).toBe(-ERRNO.EBUSY)
      expect(call('update_va_mapping_otherdomain', guest.at(3), value, 0, DOMID.XEN)).toBe(-ERRNO.EPERM)
    }
    unharmed()
  })

  test('can be hidden from user mode', () => {
    expect(call('vm_assist', VMASST_CMD.enable, VMASST_TYPE.m2p_strict)).toBe(0)
    guest.view.setUint32(guest.place(1), 15, true)
    guest.view.setBigUint64(guest.place(1, 8), BigInt(guest.user), true)
    expect(call('mmuext_op', guest.at(1), 1, 0, DOMID.SELF)).toBe(0)
    expect(host.memory.words[guest.user * 1024 + 512]).toBe(0)
    unharmed()
  })
})

describe('grants in page tables', () => {
  const PAGE = 20

  /** The victim grants its frame 7 to the guest under reference 9. */
  function grant(flags: number): void {
    const table = host.hypervisor.port(victim.domid).setupGrantTable(1)
    if (typeof table === 'number') throw new Error('no grant table')
    GrantEntryV1.encode(host.memory.view, table[0]! * 4096 + 9 * 8, { flags, domid: guest.domid, frame: victim.frames[7]! })
  }

  function map(flags: number, address = guest.at(PAGE)): { status: number; handle: number } {
    GnttabMapGrantRef.encode(guest.view, guest.place(1), {
      hostAddr: BigInt(address), flags, ref: grantRef(9), dom: victim.domid, status: 99, handle: 0, devBusAddr: 0n,
    })
    expect(call('grant_table_op', GNTTABOP.map_grant_ref, guest.at(1), 1)).toBe(0)
    const { status, handle } = GnttabMapGrantRef.decode(guest.view, guest.place(1))
    return { status, handle }
  }

  function unmap(handle: number, address = guest.at(PAGE)): number {
    GnttabUnmapGrantRef.encode(guest.view, guest.place(1), { hostAddr: BigInt(address), devBusAddr: 0n, handle, status: 99 })
    expect(call('grant_table_op', GNTTABOP.unmap_grant_ref, guest.at(1), 1)).toBe(0)
    return GnttabUnmapGrantRef.status.get(guest.view, guest.place(1))
  }

  const entry = (): number => guest.peek(guest.l1, (guest.at(PAGE) >>> 12) & 511)[0]

  test('map and unmap by virtual address, with the frame that stood there given back', () => {
    grant(1)
    const { status, handle } = map(GNTMAP.host_map)
    expect(status).toBe(GNTST.okay)
    expect(entry() >>> 12).toBe(victim.frames[7])
    expect(host.hypervisor.frameInfo(guest.frames[PAGE]!)).toMatchObject({ references: 1, typeCount: 0 })
    expect(host.problems()).toEqual([])
    expect(unmap(handle)).toBe(GNTST.okay)
    expect(entry()).toBe(0)
    unharmed()
  })

  test('map and unmap by machine address of the entry', () => {
    grant(5)
    const place = guest.l1 * 4096 + ((guest.at(PAGE) >>> 12) & 511) * 8
    expect(map(GNTMAP.host_map | GNTMAP.contains_pte, place).status).toBe(GNTST.general_error)
    const { status, handle } = map(GNTMAP.host_map | GNTMAP.readonly | GNTMAP.contains_pte, place)
    expect(status).toBe(GNTST.okay)
    expect(entry() & PTE.WRITABLE).toBe(0)
    expect(host.problems()).toEqual([])
    expect(unmap(handle, place)).toBe(GNTST.okay)
    unharmed()
  })

  test('cannot be put into an entry of another domain\'s, nor into the hypervisor\'s range', () => {
    grant(1)
    for (const address of [victim.frames[3]! * 4096, host.memory.firstFrame * 4096, -8, host.memory.endFrame * 4096]) {
      expect(map(GNTMAP.host_map | GNTMAP.contains_pte, address).status).toBe(GNTST.general_error)
    }
    expect(map(GNTMAP.host_map, -0x8000_0000_0000).status).toBe(GNTST.general_error)
    unharmed()
  })

  test('stay counted when the guest clears the entry behind the table\'s back, or dies with it', () => {
    grant(1)
    const { handle } = map(GNTMAP.host_map)
    expect(call('update_va_mapping', guest.at(PAGE), 0, 0)).toBe(0)
    expect(unmap(handle)).toBe(GNTST.general_error)
    expect(host.problems()).toEqual([])
    unharmed()
  })

  test('keep a dying granter\'s frame until they are gone', () => {
    grant(1)
    expect(map(GNTMAP.host_map).status).toBe(GNTST.okay)
    victim.destroy()
    expect(host.hypervisor.domainInfo(victim.domid)).toMatchObject({ dying: true, totalPages: 1 })
    expect(host.problems()).toEqual([])
    guest.destroy()
    expect(host.hypervisor.listDomains()).toEqual([])
    expect(host.hypervisor.hostInfo().freeFrames).toBe(host.freeAtBoot)
  })

  test('are refused where nothing was granted, and writing where only reading was', () => {
    expect(map(GNTMAP.host_map).status).toBeLessThan(0)
    grant(5)
    expect(map(GNTMAP.host_map).status).toBe(GNTST.general_error)
    expect(entry() >>> 12).toBe(guest.frames[PAGE])
    unharmed()
  })
})

describe('a vCPU context', () => {
  const changes: [string, Parameters<typeof PvGuest.context>[1]][] = [
    ['a root that is no table', { kernelTable: -1 }],
    ['a non-canonical instruction pointer', { user: { ...PvGuest.context(0).user, rip: 0x8000_0000_0000n } }],
    ['a non-canonical callback', { eventCallback: 1n << 50n }],
    ['an LDT in the hypervisor\'s range', { ldtBase: 0xffff_8000_0000_0000n, ldtEntries: 5 }],
    ['a GDT of frames that are mapped writable', { gdtFrames: [1], gdtEntries: 10 }],
    ['user mode without user tables', { flags: 0 }],
  ]
  test.each(changes)('with %s is refused for a second vCPU', (_name, change) => {
    const { gdtFrames, kernelTable } = change ?? {}
    const context = PvGuest.context(guest.l4, {
      ...change,
      ...(gdtFrames === undefined ? {} : { gdtFrames: [guest.frames[3]!] }),
      ...(kernelTable === undefined ? {} : { kernelTable: guest.frames[3]! }),
    })
    expect(() => host.hypervisor.setVcpuContext(guest.domid, 1, context)).toThrow(/cannot have this context/)
    expect(host.hypervisor.vcpuInfo(guest.domid, 1).online).toBe(false)
    unharmed()
  })

  test('of a sound second vCPU is taken, shares the tables, and comes back as it was given', () => {
    const given = PvGuest.context(guest.l4, { flags: 4 | 32, kernelSp: 0x7777n, fsBase: 5n, gsBaseUser: 0x1234n })
    host.hypervisor.setVcpuContext(guest.domid, 1, given)
    const { user, kernelTable, kernelSp, fsBase, gsBaseUser, gsBaseKernel } = host.hypervisor.getVcpuContext(guest.domid, 1)
    expect({ rip: user.rip, kernelTable, kernelSp, fsBase, gsBaseUser, gsBaseKernel }).toEqual({
      rip: given.user.rip, kernelTable: guest.l4, kernelSp: 0x7777n, fsBase: 5n, gsBaseUser: 0x1234n, gsBaseKernel: given.gsBaseKernel,
    })
    expect(host.hypervisor.frameInfo(guest.l4)).toMatchObject({ typeCount: 2 })
    unharmed()
  })
})

describe('page tables of a running guest', () => {
  test('can have any own frame mapped, and none of the tables writable', () => {
    const free = guest.frames[50]!
    expect(call('update_va_mapping', guest.at(9), (free * 4096) | WRITE, 0)).toBe(0)
    for (const table of [guest.l1, guest.l4, guest.user === 0 ? guest.l4 : guest.l1]) {
      expect(call('update_va_mapping', guest.at(9), (table * 4096) | WRITE, 0)).toBe(-ERRNO.EBUSY)
      expect(call('update_va_mapping', guest.at(9), (table * 4096) | PTE.PRESENT, 0)).toBe(0)
    }
    unharmed()
  })
})
