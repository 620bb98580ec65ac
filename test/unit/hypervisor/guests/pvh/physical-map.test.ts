/** A PVH guest's physical map: what it places there and takes away, under running code too, and what comes on demand. */
import { describe, expect, test, vi } from 'vitest'
import {
  DOMID, ERRNO, GNTMAP, GNTST, GNTTABOP, GnttabMapGrantRef, GnttabUnmapGrantRef, HVMOP, HYPERVISOR, MMU, MmuUpdate, SHUTDOWN, XENMAPSPACE, XENMEM, XenAddToPhysmap,
  XenMemoryReservation, XenRemoveFromPhysmap,
} from '../../../../../src/abi/index.ts'
import type { Layout, Fields } from '../../../../../src/util/index.ts'
import { TestHost } from '../../../../support/hypervisor-host.ts'
import { PvhTestGuest } from '../../../../support/pvh-guest.ts'

// The first machine of a process has its interpreter compiled.
vi.setConfig({ testTimeout: 60_000 })

const D = 0x13_0000
const ARGUMENT = D + 0x100
const END = 'cli; hlt'
const call = (number: number, ...args: readonly number[]): string =>
  `mov $${number},%eax; ${args.map((value, i) => `mov $${value},%${['ebx', 'ecx', 'edx'][i]!};`).join(' ')} vmmcall;`

/** Writes a structure in the layout of 32-bit code. */
function put<T extends Fields>(guest: PvhTestGuest, address: number, structure: Layout<T> & { readonly compat?: Layout<T> }, values: Parameters<Layout<T>['encode']>[2]): void {
  const layout = structure.compat ?? structure
  const bytes = new Uint8Array(layout.size)
  layout.encode(new DataView(bytes.buffer), 0, values)
  guest.write(address, bytes)
}

/** Runs memory_op on a structure, in a listing that leaves the result at `D`. */
const memoryOp = (command: number, more = ''): string => `${call(HYPERVISOR.memory_op, command, ARGUMENT)} mov %eax,${D}; ${more} ${END}`

describe('XENMEM_add_to_physmap', () => {
  const places: readonly [string, { space: number; idx: bigint; gpfn: bigint }, number][] = [
    ['shared_info', { space: XENMAPSPACE.shared_info, idx: 0n, gpfn: 0xf_0000n }, 0],
    ['only the one page of it', { space: XENMAPSPACE.shared_info, idx: 1n, gpfn: 0xf_0000n }, -ERRNO.EINVAL],
    ['a frame of the grant table, which grows', { space: XENMAPSPACE.grant_table, idx: 3n, gpfn: 0xf_0000n }, 0],
    ['none beyond what it may have', { space: XENMAPSPACE.grant_table, idx: 64n, gpfn: 0xf_0000n }, -ERRNO.EINVAL],
    ['a frame of its own somewhere else', { space: XENMAPSPACE.gmfn, idx: 0x20n, gpfn: 0xf_0000n }, 0],
    ['nothing from a hole', { space: XENMAPSPACE.gmfn, idx: 0xe_0000n, gpfn: 0xf_0000n }, -ERRNO.EINVAL],
    ['nothing beyond its addresses', { space: XENMAPSPACE.gmfn, idx: 0x20n, gpfn: 0x1000_0000n }, -ERRNO.EINVAL],
    ['nothing of others', { space: XENMAPSPACE.gmfn_foreign, idx: 0x20n, gpfn: 0xf_0000n }, -ERRNO.ENOSYS],
    ['nothing from an unknown space', { space: 9, idx: 0n, gpfn: 0xf_0000n }, -ERRNO.EINVAL],
  ]
  test.each(places)('places %s', (_, values, result) => {
    const g = new PvhTestGuest(memoryOp(XENMEM.add_to_physmap))
    put(g, ARGUMENT, XenAddToPhysmap, { domid: DOMID.SELF, ...values })
    g.run()
    expect(g.read32(D) | 0).toBe(result)
    expect(g.hypervisor.frameOfGfn(g.domid, 0xf_0000) !== undefined).toBe(result === 0)
    expect(g.problems()).toEqual([])
  })

  test('gives back what lay there, and leaves shared frames to the domain', () => {
    const g = new PvhTestGuest(memoryOp(XENMEM.add_to_physmap, `${call(HYPERVISOR.memory_op, XENMEM.add_to_physmap, ARGUMENT + 0x40)} mov %eax,${D + 4};`))
    put(g, ARGUMENT, XenAddToPhysmap, { domid: DOMID.SELF, space: XENMAPSPACE.shared_info, idx: 0n, gpfn: 0x30n })
    put(g, ARGUMENT + 0x40, XenAddToPhysmap, { domid: DOMID.SELF, space: XENMAPSPACE.gmfn, idx: 0x31n, gpfn: 0x30n })
    const before = g.hypervisor.domainInfo(g.domid).totalPages
    g.run()
    expect([g.read32(D), g.read32(D + 4)]).toEqual([0, 0])
    expect(g.hypervisor.domainInfo(g.domid).totalPages).toBe(before - 1)
    expect([g.hypervisor.frameOfGfn(g.domid, 0x30), g.hypervisor.frameOfGfn(g.domid, 0x31)]).toEqual([g.frames[0x31], undefined])
    expect(g.problems()).toEqual([])
  })
})

describe('addresses of 40 bits', () => {
  const [POINTERS, FIRST, SECOND, LAST] = [0x14_07e0, 0x14_1000, 0x14_2000, 0x14_3000]
  const HIGH = 0x10_0000
  /** Paging by three levels, whose four pointers lie in the middle of a page. */
  const paging = `mov %cr4,%eax; or $0x20,%eax; mov %eax,%cr4; mov $${POINTERS},%eax; mov %eax,%cr3; mov %cr0,%eax; or $0x80000000,%eax; mov %eax,%cr0;`

  function withTables(listing: string): PvhTestGuest {
    const g = new PvhTestGuest(`${memoryOp(XENMEM.add_to_physmap, `${paging} ${listing}`)}`)
    put(g, ARGUMENT, XenAddToPhysmap, { domid: DOMID.SELF, space: XENMAPSPACE.gmfn, idx: 0x30n, gpfn: BigInt(HIGH) })
    const entries: readonly (readonly [number, number, number])[] = [
      [POINTERS, FIRST | 1, 0], [POINTERS + 8, SECOND | 1, 0], [FIRST, 0x83, 0], [SECOND, LAST | 3, 0], [SECOND + 8, 0x83, 1], [LAST, 0x3, 1], [LAST + 8, 0x3, 0x100],
    ]
    for (const [at, low, high] of entries) {
      g.write32(at, low)
      g.write32(at + 4, high)
    }
    g.write32(0x3_0000, 0x1234)
    return g
  }

  test('lead above 4 GiB, by small pages and by large ones, for hypercalls too', () => {
    const g = withTables(`mov 0x40000000,%eax; mov %eax,${D + 4}; movl $7,0x40200010; ${call(HYPERVISOR.hvm_op, HVMOP.get_time, 0x4000_0020)} mov %eax,${D + 8};`)
    g.run()
    expect([g.read32(D), g.read32(D + 4), g.read32(D + 8)]).toEqual([0, 0x1234, 0])
    const at = g.frames[0x30]! * 4096
    const { view } = g.host.machine.memory
    expect([view.getUint32(at + 0x10, true), view.getUint32(at + 0x20, true) > 0]).toEqual([7, true])
    expect([g.hypervisor.frameOfGfn(g.domid, HIGH), g.hypervisor.highestGfn(g.domid)]).toEqual([g.frames[0x30], HIGH])
    expect(g.problems()).toEqual([])
  })

  test('are named where nothing lies, and reserved beyond', () => {
    const g = withTables(`mov 0x40201000,%eax; mov %eax,${D + 4}; mov 0x40001000,%eax; mov %eax,${D + 8};`)
    g.run()
    // No device is there: ones. An entry with bit 40 is a fault, for which this guest has no handler.
    expect([g.read32(D + 4), g.read32(D + 8)]).toEqual([0xffff_ffff, 0])
    expect(g.hypervisor.domainInfo(g.domid)).toMatchObject({ shutdown: true, shutdownReason: SHUTDOWN.reboot })
    expect(g.problems()).toEqual([])
  })
})

describe('what is taken away', () => {
  test('is gone from under running code and data at once', () => {
    // The page that is removed has been read through, so that its translation is remembered.
    const g = new PvhTestGuest(`mov 0x30000,%eax; movl $7,0x30000; ${memoryOp(XENMEM.remove_from_physmap, `mov 0x30000,%eax; mov %eax,${D + 4}; ${call(HYPERVISOR.memory_op, XENMEM.remove_from_physmap, ARGUMENT)} mov %eax,${D + 8};`)}`)
    put(g, ARGUMENT, XenRemoveFromPhysmap, { domid: DOMID.SELF, gpfn: 0x30n })
    g.run()
    expect([g.read32(D), g.read32(D + 4), g.read32(D + 8) | 0]).toEqual([0, 0xffff_ffff, -ERRNO.ENOENT])
    expect(g.hypervisor.domainInfo(g.domid).totalPages).toBe(512)
    expect(g.problems()).toEqual([])
  })

  test('may be the code itself: the guest ends, and nobody else', () => {
    const g = new PvhTestGuest(memoryOp(XENMEM.remove_from_physmap))
    put(g, ARGUMENT, XenRemoveFromPhysmap, { domid: DOMID.SELF, gpfn: 0x100n })
    g.run()
    expect(g.hypervisor.domainInfo(g.domid)).toMatchObject({ shutdown: true, shutdownReason: SHUTDOWN.reboot })
    expect(g.problems()).toEqual([])
    g.hypervisor.destroyDomain(g.domid)
    expect(g.hypervisor.hostInfo().freeFrames).toBe(g.host.freeAtBoot)
  })

  test('goes back to the host by a balloon, and comes back', () => {
    const g = new PvhTestGuest(memoryOp(XENMEM.decrease_reservation, `mov 0x40000,%eax; mov %eax,${D + 4}; ${call(HYPERVISOR.memory_op, XENMEM.populate_physmap, ARGUMENT)} mov %eax,${D + 8}; mov 0x40000,%eax; mov %eax,${D + 12};`))
    g.write32(0x4_0000, 9)
    g.write32(D + 0x200, 0x40)
    put(g, ARGUMENT, XenMemoryReservation, { domid: DOMID.SELF, extentStart: BigInt(D + 0x200), nrExtents: 1n })
    g.run()
    expect([0, 4, 8, 12].map((offset) => g.read32(D + offset))).toEqual([1, 0xffff_ffff, 1, 0])
    expect(g.read32(D + 0x200)).toBe(0x40)
    expect(g.problems()).toEqual([])
  })
})

describe('a granted frame', () => {
  const map = { hostAddr: 0xf000_0000n, ref: 9 }
  /** A guest that maps a grant at f0000000, does something with it, and unmaps it. */
  function scene(flags: number, use: string): PvhTestGuest {
    const g = new PvhTestGuest(`
      ${call(HYPERVISOR.grant_table_op, GNTTABOP.map_grant_ref, ARGUMENT, 1)} ${use}
      ${call(HYPERVISOR.grant_table_op, GNTTABOP.unmap_grant_ref, ARGUMENT + 0x80, 1)} mov 0xf0000000,%eax; mov %eax,${D + 12}; ${END}`)
    const giver = new PvhTestGuest('jmp .', { host: g.host })
    g.hypervisor.pauseDomain(giver.domid)
    giver.write32(0x5_0000, 0x1234)
    g.hypervisor.seedGrant(giver.domid, map.ref as never, { remote: g.domid, frame: 0x50 as never })
    put(g, ARGUMENT, GnttabMapGrantRef, { ...map, flags, dom: giver.domid })
    put(g, ARGUMENT + 0x80, GnttabUnmapGrantRef, { hostAddr: map.hostAddr, handle: 0 })
    g.run()
    g.write32(D + 16, giver.read32(0x5_0000))
    expect(g.problems()).toEqual([])
    return g
  }

  test('is mapped at a place of the physical map, and leaves it', () => {
    const g = scene(GNTMAP.host_map, `mov 0xf0000000,%eax; mov %eax,${D}; movl $5,0xf0000000;`)
    expect([g.read32(D), g.read32(D + 12), g.read32(D + 16)]).toEqual([0x1234, 0xffff_ffff, 5])
  })

  test('that may only be read takes no writes', () => {
    const g = scene(GNTMAP.host_map | GNTMAP.readonly, `movl $5,0xf0000000; mov 0xf0000000,%eax; mov %eax,${D};`)
    expect([g.read32(D), g.read32(D + 16)]).toEqual([0x1234, 0x1234])
  })

  test('is refused where others\' memory lies already, and with what page tables are for', () => {
    const g = scene(GNTMAP.host_map | GNTMAP.contains_pte, `mov ${ARGUMENT + GnttabMapGrantRef.status.offset},%eax; mov %eax,${D};`)
    expect((g.read32(D) << 16) >> 16).toBe(GNTST.general_error)
  })
})

test('a granted frame that is mapped for writing and for reading loses each place with its own mapping only', () => {
  const [writable, readOnly, wrong] = [ARGUMENT, ARGUMENT + 0x40, ARGUMENT + 0x80]
  const unmap = (at: number): string => call(HYPERVISOR.grant_table_op, GNTTABOP.unmap_grant_ref, at, 1)
  const g = new PvhTestGuest(`
    ${[writable, readOnly].map((at) => call(HYPERVISOR.grant_table_op, GNTTABOP.map_grant_ref, at, 1)).join(' ')}
    ${unmap(wrong)} movl $6,0xf0000000; mov 0xf0001000,%eax; mov %eax,${D}; ${unmap(wrong + 0x40)} mov 0xf0000000,%eax; mov %eax,${D + 4};
    mov 0xf0001000,%eax; mov %eax,${D + 8}; ${END}`)
  const giver = new PvhTestGuest('jmp .', { host: g.host })
  g.hypervisor.pauseDomain(giver.domid)
  g.hypervisor.seedGrant(giver.domid, 9 as never, { remote: g.domid, frame: 0x50 as never })
  put(g, writable, GnttabMapGrantRef, { hostAddr: 0xf000_0000n, ref: 9, flags: GNTMAP.host_map, dom: giver.domid })
  put(g, readOnly, GnttabMapGrantRef, { hostAddr: 0xf000_1000n, ref: 9, flags: GNTMAP.host_map | GNTMAP.readonly, dom: giver.domid })
  put(g, wrong, GnttabUnmapGrantRef, { hostAddr: 0xf000_1000n, handle: 0 })
  put(g, wrong + 0x40, GnttabUnmapGrantRef, { hostAddr: 0xf000_0000n, handle: 0 })
  g.run()
  const status = (at: number): number => (g.read32(at + GnttabUnmapGrantRef.status.offset) << 16) >> 16
  expect([status(wrong), status(wrong + 0x40)]).toEqual([GNTST.general_error, GNTST.okay])
  expect([0, 4, 8].map((offset) => g.read32(D + offset))).toEqual([6, 0xffff_ffff, 6])
  expect(g.problems()).toEqual([])
})

describe('frames that come on demand', () => {
  /** A domain with `stored` frames for 16 places from 1 MiB on in its memory's middle. */
  function scene(listing: string, stored: number): PvhTestGuest {
    const g = new PvhTestGuest(listing)
    g.hypervisor.populateOnDemand(g.domid, 16, 0x1000)
    g.hypervisor.setOnDemandTarget(g.domid, 512 + stored)
    return g
  }

  test('come with the first access, and are counted from the beginning', () => {
    const g = scene(`movl $1,0x1000000; mov 0x1001000,%eax; mov %eax,${D}; ${END}`, 4)
    expect(g.hypervisor.domainInfo(g.domid).totalPages).toBe(516)
    g.run()
    expect([g.read32(D), g.read32(0x100_0000)]).toEqual([0, 1])
    expect(g.hypervisor.domainInfo(g.domid).totalPages).toBe(516)
    expect(g.problems()).toEqual([])
  })

  test('are given back before they have come', () => {
    const g = scene(memoryOp(XENMEM.decrease_reservation), 4)
    g.write32(D + 0x200, 0x1003)
    put(g, ARGUMENT, XenMemoryReservation, { domid: DOMID.SELF, extentStart: BigInt(D + 0x200), nrExtents: 1n })
    g.run()
    expect(g.read32(D)).toBe(1)
    expect(g.hypervisor.frameOfGfn(g.domid, 0x1003)).toBeUndefined()
    expect(g.problems()).toEqual([])
  })

  test('come out of what the guest gives back, while more are to come than there are', () => {
    const fill = Array.from({ length: 16 }, (_, i) => `movl $1,0x${(0x100_0000 + i * 4096).toString(16)};`).join(' ')
    const g = scene(`movl $5,0x70000; ${memoryOp(XENMEM.decrease_reservation, fill)}`, 14)
    // Four of the guest's own: two are kept for the places that lack a frame, two go to the host.
    for (let i = 0; i < 4; i += 1) g.write32(D + 0x200 + i * 4, 0x70 + i)
    put(g, ARGUMENT, XenMemoryReservation, { domid: DOMID.SELF, extentStart: BigInt(D + 0x200), nrExtents: 4n })
    expect(g.hypervisor.domainInfo(g.domid).totalPages).toBe(526)
    expect(g.hypervisor.onDemandGfns(g.domid)).toEqual(Array.from({ length: 16 }, (_, i) => 0x1000 + i))
    const places = Uint32Array.of(0x70, 0x1000, 0x2000, 0xffff_ffff)
    expect([...g.hypervisor.memoryAt(g.domid, places)]).toEqual([g.hypervisor.frameOfGfn(g.domid, 0x70), -2, -1, -1])
    const memory = g.hypervisor.memoryGfns(g.domid)
    expect(memory).toEqual(memory.slice().sort())
    expect([...memory.subarray(-16)]).toEqual(g.hypervisor.onDemandGfns(g.domid))
    // All of it, and what is shared with it at some place is not among it.
    expect(memory).toHaveLength(g.hypervisor.domainFrames(g.domid).filter((frame) => g.hypervisor.machineToPhys(frame) !== undefined).length + 16)
    g.run(1_000_000)
    expect(g.read32(D)).toBe(4)
    expect(g.hypervisor.domainInfo(g.domid).totalPages).toBe(524)
    expect([g.hypervisor.frameOfGfn(g.domid, 0x70), g.hypervisor.onDemandGfns(g.domid)]).toEqual([undefined, []])
    expect(g.problems()).toEqual([])
  })

  test('are taken from where only zeros are, and a guest that needs more than there are ends', () => {
    const fill = Array.from({ length: 16 }, (_, i) => `movl $1,0x${(0x100_0000 + i * 4096).toString(16)};`).join(' ')
    const g = scene(`mov $0x70000,%edi; mov $0x24000,%ecx; mov $1,%eax; rep stos %eax,%es:(%edi); ${fill} ${END}`, 2)
    g.run(1_000_000)
    // Pages of zeros below the code have served, down to the code that runs.
    expect(g.hypervisor.domainInfo(g.domid).totalPages).toBe(514)
    expect(g.problems()).toEqual([])
  })
})

test('no tools say where a PVH guest\'s frames lie, nor a privileged guest', () => {
  const host = new TestHost()
  const { hypervisor } = host
  const domid = hypervisor.createDomain({ kind: 'pvh', maxPages: 16 })
  const [frame] = hypervisor.populatePhysmap(domid, 16, 0)
  const dom0 = host.guest({ privileged: true })
  expect(() => hypervisor.setMachineToPhys(domid, frame!, 5)).toThrow()
  MmuUpdate.ptr.setNumber(dom0.view, dom0.scratch, frame! * 4096 + MMU.MACHPHYS_UPDATE)
  MmuUpdate.val.setNumber(dom0.view, dom0.scratch, 5)
  expect(dom0.call('mmu_update', dom0.scratch, 1, 0, domid)).toBe(-ERRNO.EINVAL)
  expect(host.problems()).toEqual([])
})
