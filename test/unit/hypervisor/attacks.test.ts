/**
 * What a hostile guest may try against another domain, the hypervisor, or its own chains. Each attack is a row: what
 * it does and what it is answered. After each everything is counted, the victim is as it was, and no frame is lost.
 */
import { describe, expect, test } from 'vitest'
import {
  CALLBACKTYPE, CallbackRegister, DOMCTL, DOMCTL_INTERFACE_VERSION, DOMID, Domctl, ERRNO, EVTCHNOP, FLAT, GNTMAP, GNTST, GNTTABOP, GnttabCopy, GnttabMapGrantRef, GnttabTransfer,
  MMU, MMUEXT, MmuextOp, MulticallEntry, HVMOP, HYPERVISOR, SCHEDOP, SYSCTL, SYSCTL_INTERFACE_VERSION, Sysctl, TrapInfo, VCPUOP, XENMEM, XenHvmParam, XenMemAcquireResource, XenMemoryExchange, XenMemoryReservation,
} from '../../../src/abi/index.ts'
import { EXIT } from '../../../src/machine/index.ts'
import type { Mfn } from '../../../src/util/index.ts'
import { PTE, GPR } from '../../../src/x86/index.ts'
import { Attack } from '../../support/attack.ts'
import { READ, TABLE, WRITE } from '../../support/hypervisor-host.ts'

/** An attack, and what its calls answer, in order. */
type Row = readonly [name: string, attack: (a: Attack) => unknown, answer: unknown]

function attacks(rows: readonly Row[]): void {
  test.each(rows)('%s', (_name, attack, answer) => {
    const a = new Attack()
    expect(attack(a)).toEqual(answer)
    expect(a.harm()).toEqual([])
  })
}

const { EACCES, EBUSY, EFAULT, EINVAL, EPERM, ENOSPC, ESRCH, ENOSYS } = ERRNO
const shared = (a: Attack, domid = a.guest.domid): number => a.host.hypervisor.domainInfo(domid).sharedInfoFrame
/** Lowest frame of the hypervisor's own, and one that nobody has. */
const xenFrame = (a: Attack): number => a.host.memory.firstFrame
const freeFrame = (a: Attack): number => a.host.memory.endFrame - 1
/** True while the guest still has the frame. */
const owns = (a: Attack, mfn: number): boolean => a.host.hypervisor.frameInfo(mfn as Mfn).owner === a.guest.domid
const page = (mfn: number, a: Attack): string => Buffer.from(a.host.memory.bytes.subarray(mfn * 4096, mfn * 4096 + 4096)).toString('hex')

describe('mapping a frame that is not the guest\'s', () => {
  const frames: [string, (a: Attack) => number][] = [
    ['another domain\'s page', (a) => a.victim.frames[3]!],
    ['another domain\'s shared_info', (a) => shared(a, a.victim.domid)],
    ['another domain\'s grant table', (a) => (a.host.hypervisor.port(a.victim.domid).setupGrantTable(1) as readonly number[])[0]!],
    ['a page of the machine-to-physical table', (a) => xenFrame(a) + 5],
    ['a frame that nobody owns', freeFrame],
  ]
  attacks(frames.flatMap(([what, frame]): Row[] => [
    [`${what}, by update_va_mapping, to read and to write`, (a) => [a.map(9, frame(a), READ), a.map(9, frame(a), WRITE)], [-EBUSY, -EBUSY]],
    [`${what}, by mmu_update of a live table`, (a) => a.update(a.guest.l1 * 4096 + 9 * 8, (frame(a) << 12) | READ), -EBUSY],
    [`${what}, in a table that is to be pinned`, (a) => a.pin(1, a.loose(0, (set) => set(7, (frame(a) << 12) | READ))), -EBUSY],
    [`${what}, as a table below one's own`, (a) => a.pin(2, a.loose(0, (set) => set(7, (frame(a) << 12) | TABLE))), -EINVAL],
    [`${what}, as root`, (a) => [a.extended(MMUEXT.NEW_BASEPTR, frame(a)), a.extended(MMUEXT.NEW_USER_BASEPTR, frame(a))], [-EINVAL, -EINVAL]],
  ]))
  attacks([
    ['a frame of the machine itself', (a) => [a.map(9, 1, READ), a.map(9, a.host.memory.firstFrame - 1, WRITE)], [-EPERM, -EPERM]],
    ['a frame beyond the host\'s memory', (a) => [a.map(9, a.host.memory.endFrame, READ), a.map(9, 0xfffff, READ)], [-EPERM, -EPERM]],
    ['a frame beyond 4 GiB', (a) => a.call('update_va_mapping', a.guest.at(9), READ + 0x1_0000_0000_0000, 0), -EPERM],
    ['in the name of its owner, of the hypervisor or of devices', (a) => [a.victim.domid, DOMID.XEN, DOMID.IO, 999, a.guest.domid].map((owner) =>
      a.call('update_va_mapping_otherdomain', a.guest.at(9), ((a.victim.frames[3]! << 12) | READ) >>> 0, 0, owner)), [-EPERM, -EPERM, -EBUSY, -ESRCH, -ESRCH]],
    ['by changing another domain\'s tables', (a) => a.update(a.guest.l1 * 4096, 0, { owner: ((a.victim.domid + 1) << 16) | DOMID.SELF }), -EPERM],
    ['with cache attributes, a large page, or a global table', (a) => [
      a.map(9, a.guest.frames[9]!, WRITE | PTE.PCD), a.map(9, a.guest.frames[9]!, WRITE | PTE.PWT),
      a.pin(2, a.loose(0, (set) => set(0, (a.guest.frames[9]! << 12) | TABLE | PTE.LARGE))),
      a.pin(3, a.loose(0, (set) => set(0, (a.guest.frames[9]! << 12) | TABLE | PTE.GLOBAL))),
    ], [-EINVAL, -EINVAL, -EINVAL, -EINVAL]],
  ])
})

describe('writing a page table', () => {
  const unwritten = (what: (a: Attack) => unknown, answer: unknown) => [
    (a: Attack) => {
      if (a.mapRecursively() !== 0) throw new Error('the recursive map is refused')
      const [l3, l4] = [page(a.guest.frames[41]!, a), page(a.guest.l4, a)]
      const result = what(a)
      return [result, page(a.guest.frames[41]!, a) === l3, page(a.guest.l4, a) === l4]
    },
    [answer, true, true],
  ] as const
  const recursive = (name: string, what: (a: Attack) => unknown, answer: unknown): Row => [name, ...unwritten(what, answer)]
  attacks([
    recursive('through the answer of a hypercall, in a recursive map', (a) => a.call('xen_version', 1, a.recursive('l3', 2048)), -EFAULT),
    recursive('through the counter of a batch', (a) => a.call('mmu_update', a.at(), 0, a.recursive('l4', 8), DOMID.SELF), 0),
    recursive('through the result of a multicall', (a) => {
      MulticallEntry.encode(a.view, a.place(), { op: BigInt(HYPERVISOR.xen_version), result: 0n, args: [0n, 0n, 0n, 0n, 0n, 0n] })
      return a.call('multicall', a.recursive('l3'), 1)
    }, -EFAULT),
    recursive('through a run-state area', (a) => {
      a.view.setBigInt64(a.place(), BigInt(a.recursive('l3', 512)), true)
      const result = a.call('vcpu_op', VCPUOP.register_runstate_memory_area, 0, a.at())
      a.guest.run()
      return result
    }, 0),
    recursive('through a time area', (a) => {
      a.view.setBigInt64(a.place(), BigInt(a.recursive('l3', 512)), true)
      const result = a.call('vcpu_op', VCPUOP.register_vcpu_time_memory_area, 0, a.at())
      a.guest.run()
      return result
    }, 0),
    recursive('through a trap frame on a stack in a recursive map', (a) => {
      a.guest.run((registers) => {
        const stack = a.recursive('l4', 4096)
        registers.set(GPR.rsp, stack >>> 0, Math.floor(stack / 2 ** 32) >>> 0)
        return { reason: EXIT.EXCEPTION, vector: 13, errorCode: 0 }
      })
      return a.host.hypervisor.domainInfo(a.guest.domid).crashed
    }, true),
    ['with a recursive map that is writable', (a) => a.mapRecursively(WRITE | PTE.USER), -EINVAL],
    ['with a mapping of one\'s own', (a) => [a.map(9, a.guest.l1, WRITE), a.map(9, a.guest.l4, WRITE)], [-EBUSY, -EBUSY]],
    ['that is mapped writable when it is to be pinned', (a) => a.pin(1, a.guest.frames[3]!), -EINVAL],
    ['that maps itself writable', (a) => a.pin(1, a.loose(0, (set) => set(3, (a.guest.frames[50]! << 12) | WRITE))), -EBUSY],
    ['by clearing it, or copying over it', (a) => [
      a.extended(MMUEXT.CLEAR_PAGE, a.guest.l1), a.extended(MMUEXT.COPY_PAGE, a.guest.l1, { source: a.guest.frames[3]! }),
    ], [-EINVAL, -EINVAL]],
    ['by clearing another domain\'s page', (a) => [
      a.extended(MMUEXT.CLEAR_PAGE, a.victim.frames[3]!), a.extended(MMUEXT.CLEAR_PAGE, a.victim.frames[3]!, { owner: a.victim.domid }),
      a.extended(MMUEXT.COPY_PAGE, a.guest.frames[3]!, { source: a.victim.frames[3]! }),
    ], [-EINVAL, -EPERM, -EINVAL]],
    ['by copying into it as a grant, or as one\'s own frame', (a) => {
      const copy = (frame: number): number => {
        a.view.setBigUint64(a.place(), BigInt(a.guest.frames[3]!), true)
        GnttabCopy.source.layout.domid.set(a.view, GnttabCopy.source.at(a.place()), DOMID.SELF)
        a.view.setBigUint64(a.place(16), BigInt(frame), true)
        a.view.setUint16(a.place(24), DOMID.SELF, true)
        GnttabCopy.len.set(a.view, a.place(), 64)
        GnttabCopy.flags.set(a.view, a.place(), 0)
        a.call('grant_table_op', GNTTABOP.copy, a.at(), 1)
        return GnttabCopy.status.get(a.view, a.place())
      }
      return [copy(a.guest.l1), copy(a.victim.frames[3]!)]
    }, [GNTST.general_error, GNTST.bad_page]],
    ['by a descriptor, or as a page of descriptors', (a) => [
      a.call('update_descriptor', a.guest.l1 * 4096, 0), a.call('update_descriptor', a.victim.frames[3]! * 4096, 0),
      a.call('update_descriptor', a.guest.frames[3]! * 4096 + 4, 0),
    ], [-EINVAL, -EINVAL, -EINVAL]],
    ['of another level: a frame is one kind of table at a time', (a) => {
      const table = a.loose(0)
      return [a.pin(1, table), a.pin(2, table), a.pin(1, table), a.pin(4, a.guest.frames[41]!)]
    }, [0, -EINVAL, -EINVAL, -EINVAL]],
    ['in the hypervisor\'s slots', (a) => [256, 257, 263, 271].map((slot) =>
      a.update(a.guest.l4 * 4096 + slot * 8, (a.guest.frames[41]! << 12) | TABLE)), [-EINVAL, -EINVAL, -EINVAL, -EINVAL]],
    ['with the hypervisor\'s slots filled before it is pinned', (a) => {
      const top = a.loose(0, (set) => { for (let slot = 256; slot < 272; slot += 1) set(slot, (a.victim.frames[3]! << 12) | TABLE) })
      return [a.pin(4, top), a.guest.peek(top, 257), a.guest.peek(top, 271)]
    }, [0, [0, 0], [0, 0]]],
    ['by the hypervisor\'s own addresses', (a) => [-0x8000_0000_0000, -0x7800_0000_1000, 2 ** 47, -(2 ** 62)].map((address) =>
      a.call('update_va_mapping', address, WRITE, 0)), [-EINVAL, -EINVAL, -EINVAL, -EINVAL]],
  ])
})

describe('the machine-to-physical table', () => {
  attacks([
    ['does not take a number for another\'s frame', (a) =>
      [a.victim.frames[3]!, xenFrame(a), freeFrame(a)].map((mfn) => a.update(mfn * 4096 + MMU.MACHPHYS_UPDATE, 7)), [-EINVAL, -EINVAL, -EINVAL]],
    ['is not written by its address', (a) => a.call('xen_version', 1, -0x8000_0000_0000 + 4096), -EFAULT],
    ['is not cleared, copied over or given back', (a) => [
      a.extended(MMUEXT.CLEAR_PAGE, xenFrame(a) + 5), a.extended(MMUEXT.COPY_PAGE, xenFrame(a) + 5, { source: a.guest.frames[3]! }), a.release(xenFrame(a) + 5),
    ], [-EINVAL, -EINVAL, 0]],
  ])
})

describe('giving back a frame', () => {
  const exchange = (a: Attack, mfn: number): number => {
    const side = (list: number) => ({ extentStart: BigInt(a.at(list)), nrExtents: 1n, extentOrder: 0, memFlags: 0, domid: DOMID.SELF })
    XenMemoryReservation.encode(a.view, XenMemoryExchange.in.at(a.place()), side(512))
    XenMemoryReservation.encode(a.view, XenMemoryExchange.out.at(a.place()), side(520))
    XenMemoryExchange.nrExchanged.setNumber(a.view, a.place(), 0)
    a.view.setBigUint64(a.place(512), BigInt(mfn), true)
    return a.call('memory_op', XENMEM.exchange, a.at())
  }
  const transfer = (a: Attack, mfn: number): number => {
    a.view.setBigUint64(a.place(), BigInt(mfn), true)
    a.view.setUint16(a.place(8), a.victim.domid, true)
    a.view.setUint32(a.place(12), 3, true)
    a.call('grant_table_op', GNTTABOP.transfer, a.at(), 1)
    return GnttabTransfer.status.get(a.view, a.place())
  }
  const all = (a: Attack, mfn: number): number[] => [a.release(mfn), exchange(a, mfn), transfer(a, mfn)]
  attacks([
    ['that the hypervisor writes to: shared_info', (a) => [...all(a, shared(a)), owns(a, shared(a))], [0, -EINVAL, GNTST.bad_page, true]],
    ['that the hypervisor writes to: the grant table', (a) => all(a, a.grantFrames()[0]!), [0, -EINVAL, GNTST.bad_page]],
    ['that the hypervisor writes to: the status words of version 2', (a) => {
      a.view.setUint32(a.place(), 2, true)
      a.call('grant_table_op', GNTTABOP.set_version, a.at(), 1)
      a.view.setUint32(a.place(), 1, true)
      a.view.setUint16(a.place(4), DOMID.SELF, true)
      a.view.setBigUint64(a.place(8), BigInt(a.at(128)), true)
      a.call('grant_table_op', GNTTABOP.get_status_frames, a.at(), 1)
      return all(a, a.view.getUint32(a.place(128), true))
    }, [0, -EINVAL, GNTST.bad_page]],
    ['of another domain, of the hypervisor, or of nobody', (a) =>
      [a.victim.frames[3]!, shared(a, a.victim.domid), xenFrame(a), freeFrame(a), 0, 0xffff_ffff].flatMap((mfn) => all(a, mfn)),
      Array.from({ length: 6 }, () => [0, -EINVAL, GNTST.bad_page]).flat()],
    ['twice', (a) => [a.release(a.loose(0), a.loose(0)), a.release(a.loose(1)), a.release(a.loose(1))], [1, 1, 0]],
    ['that is a page table keeps it until it is none', (a) => {
      const table = a.loose(0)
      const pinned = [a.pin(1, table), a.release(table)]
      const between = owns(a, table)
      return [...pinned, between, a.extended(MMUEXT.UNPIN_TABLE, table), owns(a, table)]
    }, [0, 1, true, 0, false]],
    ['that is mapped keeps it until it is not', (a) => {
      const mfn = a.guest.frames[9]!
      const went = a.release(mfn)
      const between = owns(a, mfn)
      return [went, between, a.map(9, 0, 0), owns(a, mfn)]
    }, [1, true, 0, false]],
    ['that is mapped cannot be exchanged or transferred', (a) => [exchange(a, a.guest.frames[9]!), transfer(a, a.guest.frames[9]!)], [-EINVAL, GNTST.bad_page]],
    ['in an extent that reaches into another\'s stops there', (a) => {
      XenMemoryReservation.encode(a.view, a.place(), { extentStart: BigInt(a.at(256)), nrExtents: 1n, extentOrder: 9, memFlags: 0, domid: DOMID.SELF })
      a.view.setBigUint64(a.place(256), BigInt(a.guest.frames[63]!), true)
      return a.call('memory_op', XENMEM.decrease_reservation, a.at())
    }, 0],
  ])
})

describe('counts that overflow, and counts that are huge', () => {
  const map = (a: Attack, ref: number, flags: number, address: number): number => {
    GnttabMapGrantRef.encode(a.view, a.place(), {
      hostAddr: BigInt(address), flags, ref: ref as never, dom: a.victim.domid, status: 99, handle: 0, devBusAddr: 0n,
    })
    a.call('grant_table_op', GNTTABOP.map_grant_ref, a.at(), 1)
    return GnttabMapGrantRef.status.get(a.view, a.place())
  }
  attacks([
    ['uses of one grant end at 128 of a kind', (a) => {
      a.victimGrants(9, a.victim.frames[7]!)
      const statuses = Array.from({ length: 140 }, () => map(a, 9, GNTMAP.device_map, 0))
      return [statuses.filter((status) => status === GNTST.okay).length, statuses.at(-1)]
    }, [128, GNTST.general_error]],
    ['a multicall, a batch, a list of 2^32 entries end where memory ends', (a) => {
      for (let i = 0; i < 4096; i += 4) a.view.setUint32(a.guest.place(31, i), 0, true)
      const end = a.guest.at(31, 2048)
      return [
        a.call('multicall', a.guest.at(45), 0xffff_ffff), a.call('mmuext_op', a.guest.at(45), 0x7fff_ffff, 0, DOMID.SELF),
        a.call('mmu_update', a.guest.at(45), 0x7fff_ffff, 0, DOMID.SELF), a.call('grant_table_op', GNTTABOP.copy, end, 0xffff_ffff),
        a.call('grant_table_op', GNTTABOP.map_grant_ref, a.guest.at(45), 0x7fff_ffff), a.call('set_gdt', end, 0xffff_ffff),
      ]
    }, [-EFAULT, -EFAULT, -EFAULT, -EINVAL, -EFAULT, -EINVAL]],
    ['a reservation of 2^64 - 1 extents', (a) => {
      XenMemoryReservation.encode(a.view, a.place(), { extentStart: BigInt(a.at(256)), nrExtents: 2n ** 64n - 1n, extentOrder: 9, memFlags: 0, domid: DOMID.SELF })
      return [XENMEM.increase_reservation, XENMEM.populate_physmap, XENMEM.decrease_reservation].map((command) => a.call('memory_op', command, a.at()))
    }, [0, 0, 0]],
    ['a reservation that says it is beyond its end', (a) => {
      XenMemoryReservation.encode(a.view, a.place(), { extentStart: BigInt(a.at(256)), nrExtents: 4n, extentOrder: 0, memFlags: 0, domid: DOMID.SELF })
      return a.call('memory_op', XENMEM.decrease_reservation + 64 * 5, a.at())
    }, 5],
    ['a poll of too many ports, and of ports that are none', (a) => {
      const poll = (ports: number): number => {
        a.view.setBigUint64(a.place(), BigInt(a.at(256)), true)
        a.view.setUint32(a.place(8), ports, true)
        a.view.setBigUint64(a.place(16), 0n, true)
        a.view.setUint32(a.place(256), 0xffff_ffff, true)
        return a.call('sched_op', SCHEDOP.poll, a.at())
      }
      return [poll(129), poll(0xffff_ffff), poll(1)]
    }, [-EINVAL, -EINVAL, -EINVAL]],
    ['more watchdogs than there are, and others than there are', (a) => {
      const watchdog = (id: number, seconds: number): number => {
        a.view.setUint32(a.place(), id, true)
        a.view.setUint32(a.place(4), seconds, true)
        return a.call('sched_op', SCHEDOP.watchdog, a.at())
      }
      return [watchdog(0, 0xffff_ffff), watchdog(0, 5), watchdog(0, 5), watchdog(3, 5), watchdog(1, 0), watchdog(1, 5)]
    }, [1, 2, -ENOSPC, -EINVAL, 0, -EINVAL]],
    ['a flood of the hypervisor\'s console', (a) => {
      for (let i = 0; i < 64; i += 1) a.call('console_io', 0, 32 * 4096, a.guest.at(0))
      return a.host.hypervisor.readConsole().length <= 16384
    }, true],
    ['timers in the past, and beyond all time', (a) => {
      const oneShot = (deadline: bigint): number => {
        a.view.setBigUint64(a.place(), deadline, true)
        a.view.setUint32(a.place(8), 1, true)
        return a.call('vcpu_op', VCPUOP.set_singleshot_timer, 0, a.at())
      }
      const results = [oneShot(0n), oneShot(2n ** 64n - 1n), oneShot(2n ** 63n), a.call('set_timer_op', -1), a.call('set_timer_op', 2 ** 62)]
      a.guest.run()
      return results
    }, [0, 0, 0, 0, 0]],
    ['a period of a nanosecond', (a) => {
      a.view.setBigUint64(a.place(), 1n, true)
      return a.call('vcpu_op', VCPUOP.set_periodic_timer, 0, a.at())
    }, -EINVAL],
  ])
})

describe('two vCPUs at one batch', () => {
  /** A batch of 5,000 changes of one entry; `between` runs where the hypervisor pauses in it, as another vCPU would. */
  const batch = (a: Attack, between: () => void): { result: number; done: number } => {
    // The requests fill pages 3 to 22; the counter lies in page 2.
    for (let i = 0; i < 5000; i += 1) {
      a.view.setBigUint64(a.guest.place(3 + (i >> 8), (i & 255) * 16), BigInt(a.guest.l1 * 4096 + 8 * 8), true)
      a.view.setBigUint64(a.guest.place(3 + (i >> 8), (i & 255) * 16 + 8), 0n, true)
    }
    a.view.setUint32(a.guest.place(2), 0, true)
    let result = Number.NaN
    a.guest.run(
      (registers) => {
        const values = [a.guest.at(3), 5000, a.guest.at(2), DOMID.SELF]
        ;[GPR.rdi, GPR.rsi, GPR.rdx, GPR.r10].forEach((register, i) => registers.set(register, values[i]!, 0))
        registers.set(GPR.rax, HYPERVISOR.mmu_update, 0)
        return { reason: EXIT.SYSCALL }
      },
      () => {
        between()
        return { reason: EXIT.SYSCALL }
      },
      (registers) => {
        result = (registers.high(GPR.rax) | 0) * 2 ** 32 + registers.low(GPR.rax)
        return undefined
      },
    )
    return { result, done: a.view.getUint32(a.guest.place(2), true) }
  }
  attacks([
    ['goes on where it was', (a) => batch(a, () => undefined), { result: 0, done: 5000 }],
    ['takes no request that was changed meanwhile to what it may not', (a) => batch(a, () => {
      a.view.setBigUint64(a.guest.place(3 + (4500 >> 8), (4500 & 255) * 16 + 8), BigInt((a.victim.frames[3]! << 12) | WRITE), true)
    }), { result: -EBUSY, done: 4500 }],
    ['takes none from a page that was unmapped meanwhile', (a) => batch(a, () => {
      a.call('update_va_mapping', a.guest.at(3 + (4608 >> 8)), 0, 2)
    }), { result: -EFAULT, done: 4608 }],
    ['takes none for a table that has become another', (a) => {
      const table = a.loose(0)
      a.pin(1, table)
      return [a.update(table * 4096, (a.guest.frames[9]! << 12) | READ), a.extended(MMUEXT.UNPIN_TABLE, table), a.pin(2, table)]
    }, [0, 0, -EINVAL]],
    ['is paused between tables that are a lot of work, and loses none of them', (a) => {
      // 300 times pinned and unpinned: more tables than are checked without a pause.
      const table = a.loose(0)
      for (let i = 0; i < 600; i += 1) {
        const field = (offset: number): number => a.guest.place(3 + ((i * MmuextOp.size + offset) >> 12), (i * MmuextOp.size + offset) & 0xfff)
        a.view.setUint32(field(MmuextOp.cmd.offset), i % 2 === 0 ? MMUEXT.PIN_L1_TABLE : MMUEXT.UNPIN_TABLE, true)
        a.view.setBigUint64(field(MmuextOp.mfn.offset), BigInt(table), true)
      }
      return [a.call('mmuext_op', a.guest.at(3), 600, a.guest.at(2), DOMID.SELF), a.view.getUint32(a.guest.place(2), true)]
    }, [0, 600]],
    ['says that it was begun before when it was not', (a) => [
      a.call('mmu_update', a.at(), 0x8000_0000, 0, DOMID.SELF), a.call('mmuext_op', a.at(), 0x8000_0000, a.guest.at(45), DOMID.SELF),
    ], [0, 0]],
  ])
})

describe('a domain that dies', () => {
  const dying = (a: Attack): void => {
    // The attacker maps a page of it, and so keeps it.
    a.victimGrants(9, a.victim.frames[7]!)
    GnttabMapGrantRef.encode(a.view, a.place(), {
      hostAddr: BigInt(a.guest.at(20)), flags: GNTMAP.host_map, ref: 9 as never, dom: a.victim.domid, status: 99, handle: 0, devBusAddr: 0n,
    })
    a.call('grant_table_op', GNTTABOP.map_grant_ref, a.at(), 1)
    a.victim.destroy()
  }
  const event = (a: Attack, command: number, ...words: number[]): number => {
    words.forEach((word, i) => a.view.setUint32(a.place(i * 4), word, true))
    return a.call('event_channel_op', command, a.at())
  }
  attacks([
    ['grants nothing more', (a) => {
      dying(a)
      GnttabMapGrantRef.encode(a.view, a.place(), {
        hostAddr: BigInt(a.guest.at(21)), flags: GNTMAP.host_map, ref: 9 as never, dom: a.victim.domid, status: 99, handle: 0, devBusAddr: 0n,
      })
      a.call('grant_table_op', GNTTABOP.map_grant_ref, a.at(), 1)
      return [GnttabMapGrantRef.status.get(a.view, a.place()), a.host.hypervisor.domainInfo(a.victim.domid).dying]
    }, [GNTST.bad_gntref, true]],
    ['lets nobody copy, and takes no page', (a) => {
      dying(a)
      a.view.setBigUint64(a.place(), 9n, true)
      a.view.setUint16(a.place(8), a.victim.domid, true)
      a.view.setBigUint64(a.place(16), BigInt(a.guest.frames[3]!), true)
      a.view.setUint16(a.place(24), DOMID.SELF, true)
      GnttabCopy.len.set(a.view, a.place(), 64)
      GnttabCopy.flags.set(a.view, a.place(), 1)
      a.call('grant_table_op', GNTTABOP.copy, a.at(), 1)
      return GnttabCopy.status.get(a.view, a.place())
    }, GNTST.bad_gntref],
    ['has no port to bind to, and gets none', (a) => {
      const port = a.host.hypervisor.allocUnbound(a.victim.domid, a.guest.domid)
      dying(a)
      return [event(a, EVTCHNOP.bind_interdomain, a.victim.domid, port), event(a, EVTCHNOP.alloc_unbound, a.victim.domid), event(a, EVTCHNOP.status, a.victim.domid, port)]
    }, [-EINVAL, -EINVAL, -EPERM]],
    ['leaves its peers an end that nobody hears', (a) => {
      const port = a.host.hypervisor.allocUnbound(a.victim.domid, a.guest.domid)
      event(a, EVTCHNOP.bind_interdomain, a.victim.domid, port)
      const local = a.view.getUint32(a.place(8), true)
      dying(a)
      return [event(a, EVTCHNOP.send, local), event(a, EVTCHNOP.close, local), event(a, EVTCHNOP.send, local)]
    }, [0, 0, -EINVAL]],
  ])
})

describe('addresses, segments and entry points', () => {
  const callback = (a: Attack, type: number, address: bigint): number => {
    CallbackRegister.encode(a.view, a.place(), { type, flags: 0, address })
    return a.call('callback_op', 0, a.at())
  }
  const traps = (a: Attack, address: bigint): number => {
    TrapInfo.encode(a.view, a.place(), { vector: 14, flags: 0, cs: FLAT.KERNEL_CS64, address })
    a.view.setBigUint64(a.place(TrapInfo.size + 8), 0n, true)
    return a.call('set_trap_table', a.at())
  }
  const descriptor = (a: Attack, low: number, high: number): unknown => {
    const mfn = a.loose(0)
    const result = a.call('update_descriptor', mfn * 4096 + 8, low + high * 2 ** 32)
    return [result, a.guest.peek(mfn, 1)[1]]
  }
  attacks([
    ['callbacks that are not canonical', (a) => Object.values(CALLBACKTYPE).map((type) => callback(a, type, 1n << 47n)).filter((result) => result === 0), []],
    ['callbacks and traps in the hypervisor\'s range only fault there', (a) => {
      const results = [callback(a, CALLBACKTYPE.event, 0xffff_8000_0000_0000n), traps(a, 0xffff_8000_0000_1000n)]
      a.guest.run(() => ({ reason: EXIT.EXCEPTION, vector: 14, errorCode: 4, address: 0 }))
      return [...results, a.host.hypervisor.domainInfo(a.guest.domid).crashed]
    }, [0, 0, false]],
    ['traps that are not canonical', (a) => traps(a, 1n << 60n), -EINVAL],
    ['bases that are not canonical', (a) => [0, 1, 2].map((which) => a.call('set_segment_base', which, 2 ** 47)), [-EINVAL, -EINVAL, -EINVAL]],
    ['breakpoints in the hypervisor', (a) => [0, 3].map((n) => a.call('set_debugreg', n, -0x8000_0000_0000)), [-EPERM, -EPERM]],
    ['breakpoints on ports, and on the debug registers', (a) => [a.call('set_debugreg', 7, 0x2_0001), a.call('set_debugreg', 7, 0x2000)], [-EPERM, -EPERM]],
    ['an LDT in the hypervisor\'s range, between pages, or too long', (a) => [[-0x8000_0000_0000, 1], [0x10_0010, 1], [0x10_0000, 8193]].map(([address, entries]) => {
      a.view.setBigInt64(a.place(8), BigInt(address!), true)
      a.view.setUint32(a.place(0), MMUEXT.SET_LDT, true)
      a.view.setUint32(a.place(16), entries!, true)
      return a.call('mmuext_op', a.at(), 1, 0, DOMID.SELF)
    }), [-EINVAL, -EINVAL, -EINVAL]],
    ['a code segment of privilege level 0 becomes one of level 3', (a) => descriptor(a, 0xffff, 0x00af_9b00), [0, 0x00af_fb00]],
    ['a task state segment, an LDT, a trap gate, an interrupt gate', (a) => [0x8900, 0x8200, 0x8f00, 0x8e00].map((high) => (descriptor(a, 0xffff, high) as number[])[0]), [-EINVAL, -EINVAL, -EINVAL, -EINVAL]],
    ['a call gate into the hypervisor\'s segments', (a) => (descriptor(a, 0xe008 << 16, 0x8c00) as number[])[0], -EINVAL],
    ['a GDT with a task state segment in it', (a) => {
      const mfn = a.loose(0, (set) => set(5, 0xffff, 0x8900))
      a.view.setBigUint64(a.place(), BigInt(mfn), true)
      return a.call('set_gdt', a.at(), 512)
    }, -EINVAL],
    ['a GDT of another domain\'s page, or of a page table', (a) => [a.victim.frames[3]!, a.guest.l1, shared(a)].map((mfn) => {
      a.view.setBigUint64(a.place(), BigInt(mfn), true)
      return a.call('set_gdt', a.at(), 512)
    }), [-EINVAL, -EINVAL, -EINVAL]],
    ['a return to privilege level 0, and to nowhere', (a) => {
      const values = [0n, 0n, 0n, 0n, 1n << 63n, 0xe008n, 0x3000n, 0n, 0xe010n]
      values.forEach((value, i) => a.view.setBigUint64(a.guest.place(25, i * 8), value, true))
      a.guest.run((registers) => {
        registers.set(GPR.rsp, a.guest.at(25), 0)
        registers.set(GPR.rax, HYPERVISOR.iret, 0)
        return { reason: EXIT.SYSCALL }
      })
      const { registers } = a.guest.processor
      return [registers.segment(1).selector & 3, registers.flags() & 0x3000, registers.flags() & 0x200]
    }, [3, 0, 0x200]],
  ])
})

describe('what only a privileged domain may', () => {
  attacks([
    ['is refused by every hypercall of its', (a) => (['domctl', 'sysctl', 'platform_op', 'kexec_op', 'hypfs_op'] as const).map((name) => a.call(name, a.at())), [-EACCES, -EACCES, -EACCES, -EPERM, -EPERM]],
    ['every operation of domctl, on another domain and on oneself', (a) => [...new Set(Object.values(DOMCTL).flatMap((cmd) => [a.victim.domid, a.guest.domid].map((domain) => {
      a.host.memory.bytes.fill(0, a.place(), a.place() + Domctl.size)
      Domctl.encode(a.view, a.place(), { cmd, interfaceVersion: DOMCTL_INTERFACE_VERSION, domain })
      return a.call('domctl', a.at())
    })))], [-EPERM]],
    ['every operation of sysctl', (a) => [...new Set(Object.values(SYSCTL).map((cmd) => {
      a.host.memory.bytes.fill(0, a.place(), a.place() + Sysctl.size)
      Sysctl.encode(a.view, a.place(), { cmd, interfaceVersion: SYSCTL_INTERFACE_VERSION })
      return a.call('sysctl', a.at())
    }))], [-EPERM]],
    ['the frames of another\'s grant table', (a) => {
      XenMemAcquireResource.encode(a.view, a.place(), { domid: a.victim.domid, type: 1, id: 0, nrFrames: 1, pad: 0, frame: 0n, frameList: BigInt(a.at(64)) })
      return [a.call('memory_op', XENMEM.acquire_resource, a.at()), a.view.getUint32(a.place(64), true)]
    }, [-EPERM, 0]],
    ['a parameter of a translated domain', (a) => {
      const domid = a.host.hypervisor.createDomain({ kind: 'pvh', maxPages: 4 })
      const ask = (op: number): number => {
        XenHvmParam.encode(a.view, a.place(), { domid, index: 1, value: 7n })
        return a.call('hvm_op', op, a.at())
      }
      const answers = [ask(HVMOP.get_param), ask(HVMOP.set_param)]
      a.host.hypervisor.destroyDomain(domid)
      return answers
    }, [-EPERM, -EPERM]],
    ['shutting another domain down, or pinning a CPU', (a) => {
      a.view.setUint16(a.place(), a.victim.domid, true)
      a.view.setUint32(a.place(4), 0, true)
      return [a.call('sched_op', SCHEDOP.remote_shutdown, a.at()), a.call('sched_op', SCHEDOP.pin_override, a.at())]
    }, [-EPERM, -EPERM]],
    ['asking for another\'s ports, grants and memory', (a) => {
      a.view.setUint16(a.place(), a.victim.domid, true)
      a.view.setUint16(a.place(2), a.guest.domid, true)
      const port = a.call('event_channel_op', EVTCHNOP.alloc_unbound, a.at())
      a.view.setUint16(a.place(), a.victim.domid, true)
      a.view.setUint32(a.place(4), 1, true)
      const rest = [a.call('event_channel_op', EVTCHNOP.reset, a.at()), a.call('memory_op', XENMEM.current_reservation, a.at())]
      a.view.setUint16(a.place(), a.victim.domid, true)
      return [port, ...rest, a.call('grant_table_op', GNTTABOP.get_version, a.at(), 1)]
    }, [-EPERM, -EPERM, -EPERM, -EPERM]],
    ['numbers that no hypercall has', (a) => [47, 63, 64, 0xffff].map((number) => a.host.hypervisor.port(a.guest.domid).hypercall(number, [a.at()])), [-ENOSYS, -ENOSYS, -ENOSYS, -ENOSYS]],
  ])
})
