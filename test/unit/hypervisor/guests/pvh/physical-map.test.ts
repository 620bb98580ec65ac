/** A PVH guest's physical map: what it places there and takes away, under running code too, and what comes on demand. */
import { describe, expect, test, vi } from 'vitest'
import {
  DOMID, ERRNO, GNTMAP, GNTST, GNTTABOP, GnttabMapGrantRef, GnttabUnmapGrantRef, HYPERVISOR, MMU, MmuUpdate, SHUTDOWN, XENMAPSPACE, XENMEM, XenAddToPhysmap,
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
    ['nothing beyond its addresses', { space: XENMAPSPACE.gmfn, idx: 0x20n, gpfn: 0x10_0000n }, -ERRNO.EINVAL],
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
