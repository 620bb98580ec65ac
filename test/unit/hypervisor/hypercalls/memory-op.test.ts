import { beforeEach, describe, expect, test } from 'vitest'
import { DOMID, ERRNO, XENMEM, XenMemoryExchange, XenMemoryReservation, XenMachphysMapping } from '../../../../src/abi/index.ts'
import { TestGuest, TestHost, WRITE } from '../../../support/hypervisor-host.ts'

let host: TestHost
let guest: TestGuest

beforeEach(() => {
  host = new TestHost()
  guest = host.guest({ pages: 32, maxPages: 48 })
})

const free = (): number => host.hypervisor.hostInfo().freeFrames
const pages = (of = guest): number => host.hypervisor.domainInfo(of.domid).totalPages

/** Puts a reservation at the argument frame, its list at 1024 in it. */
function reserve(command: number, list: readonly number[], options: { order?: number; domid?: number; count?: number } = {}): number {
  const { view, scratch } = guest
  list.forEach((value, i) => view.setBigUint64(scratch + 1024 + i * 8, BigInt(value), true))
  XenMemoryReservation.encode(view, scratch, {
    extentStart: BigInt(scratch + 1024), nrExtents: BigInt(options.count ?? list.length), extentOrder: options.order ?? 0,
    memFlags: 0, domid: options.domid ?? DOMID.SELF,
  })
  return guest.call('memory_op', command, scratch)
}

const listed = (count: number): number[] =>
  Array.from({ length: count }, (_, i) => Number(guest.view.getBigUint64(guest.scratch + 1024 + i * 8, true)))

describe('reservations', () => {
  test('grow by what is asked for, named in the machine-to-physical table', () => {
    const before = free()
    expect(reserve(XENMEM.populate_physmap, [100, 101])).toBe(2)
    const frames = listed(2)
    expect(frames.map((mfn) => host.hypervisor.machineToPhys(mfn as never))).toEqual([100, 101])
    expect([pages(), free()]).toEqual([34, before - 2])
    expect(frames.every((mfn) => host.memory.bytes.subarray(mfn * 4096, mfn * 4096 + 4096).every((byte) => byte === 0))).toBe(true)
  })

  test('grow in aligned extents', () => {
    expect(reserve(XENMEM.populate_physmap, [64], { order: 3 })).toBe(1)
    const [first] = listed(1)
    expect(first! % 8).toBe(0)
    expect(pages()).toBe(40)
  })

  test('stop at the domain\'s limit, and say how far they came', () => {
    expect(reserve(XENMEM.populate_physmap, Array.from({ length: 20 }, (_, i) => 200 + i))).toBe(16)
    expect(pages()).toBe(48)
  })

  test('shrink by own frames, once each', () => {
    const before = free()
    const [a, b] = [guest.frames[5]!, guest.frames[6]!]
    expect(reserve(XENMEM.decrease_reservation, [a, b])).toBe(2)
    expect([pages(), free()]).toEqual([30, before + 2])
    expect(reserve(XENMEM.decrease_reservation, [a])).toBe(0)
  })

  test('shrink up to the first frame that is not the domain\'s', () => {
    const other = host.guest()
    expect(reserve(XENMEM.decrease_reservation, [guest.frames[5]!, other.frames[5]!, guest.frames[6]!])).toBe(1)
    expect(pages(other)).toBe(64)
  })

  test('keep a frame that is given back while it is still mapped, until it is unmapped', () => {
    const data = guest.take()
    const { l4, l1 } = guest.tables([[data, WRITE]])
    expect(guest.pin(4, l4)).toBe(0)
    const before = free()
    expect(reserve(XENMEM.decrease_reservation, [data])).toBe(1)
    expect(free()).toBe(before)
    expect(guest.update(l1, 0, [0, 0])).toBe(0)
    expect(free()).toBe(before + 1)
    expect(host.problems()).toEqual([])
  })

  test('of others are for privileged domains', () => {
    const other = host.guest()
    expect(reserve(XENMEM.decrease_reservation, [other.frames[5]!], { domid: other.domid })).toBe(0)
    expect(pages(other)).toBe(64)
  })

  test('refuse extents beyond what a guest may ask for', () => {
    expect(reserve(XENMEM.populate_physmap, [0], { order: 10 })).toBe(0)
    expect(reserve(XENMEM.populate_physmap, [0], { order: 9 })).toBe(0)
  })
})

describe('exchange', () => {
  function exchange(given: readonly number[], into: { order: number; names: readonly number[]; outOrder: number; count?: number }): number {
    const { view, scratch } = guest
    given.forEach((value, i) => view.setBigUint64(scratch + 1024 + i * 8, BigInt(value), true))
    into.names.forEach((value, i) => view.setBigUint64(scratch + 2048 + i * 8, BigInt(value), true))
    XenMemoryReservation.encode(view, XenMemoryExchange.in.at(scratch), {
      extentStart: BigInt(scratch + 1024), nrExtents: BigInt(given.length), extentOrder: into.order, memFlags: 0, domid: DOMID.SELF,
    })
    XenMemoryReservation.encode(view, XenMemoryExchange.out.at(scratch), {
      extentStart: BigInt(scratch + 2048), nrExtents: BigInt(into.count ?? into.names.length), extentOrder: into.outOrder, memFlags: 0,
      domid: DOMID.SELF,
    })
    XenMemoryExchange.nrExchanged.setNumber(view, scratch, 0)
    return guest.call('memory_op', XENMEM.exchange, scratch)
  }

  test('gives single frames for a run of frames in a row, and keeps the reservation', () => {
    const given = guest.frames.slice(4, 8)
    expect(exchange(given, { order: 0, names: [50], outOrder: 2 })).toBe(0)
    const first = Number(guest.view.getBigUint64(guest.scratch + 2048, true))
    expect(first % 4).toBe(0)
    expect([0, 1, 2, 3].map((i) => host.hypervisor.machineToPhys((first + i) as never))).toEqual([50, 51, 52, 53])
    expect(pages()).toBe(32)
    expect(host.problems()).toEqual([])
  })

  test.each([
    ['frames that are mapped', () => {
      const data = guest.take()
      const { l4 } = guest.tables([[data, WRITE]])
      expect(guest.pin(4, l4)).toBe(0)
      return exchange([guest.frames[10]!, data], { order: 0, names: [50], outOrder: 1 })
    }, -ERRNO.EINVAL],
    ['frames of others', () => {
      const other = host.guest()
      return exchange([guest.frames[10]!, other.frames[1]!], { order: 0, names: [50], outOrder: 1 })
    }, -ERRNO.EINVAL],
    ['sizes that differ', () => exchange([guest.frames[10]!], { order: 0, names: [50], outOrder: 1 }), -ERRNO.EINVAL],
    ['extents beyond the limit', () => exchange([guest.frames[10]!], { order: 10, names: [50], outOrder: 10 }), -ERRNO.EPERM],
  ])('refuses %s, and leaves all as it was', (_name, attempt, error) => {
    const before = free()
    const had = pages()
    expect(attempt()).toBe(error)
    expect(pages()).toBe(had)
    expect(free() <= before).toBe(true)
    expect(host.problems()).toEqual([])
  })
})

describe('questions', () => {
  test('about oneself are answered, about others refused, about nobody an error', () => {
    const other = host.guest()
    const ask = (command: number, domid: number): number => {
      guest.view.setUint16(guest.scratch, domid, true)
      return guest.call('memory_op', command, guest.scratch)
    }
    expect(ask(XENMEM.current_reservation, DOMID.SELF)).toBe(32)
    expect(ask(XENMEM.maximum_reservation, DOMID.SELF)).toBe(48)
    expect(ask(XENMEM.current_reservation, other.domid)).toBe(-ERRNO.EPERM)
    expect(ask(XENMEM.current_reservation, 1234)).toBe(-ERRNO.ESRCH)
  })

  test('tell where the machine-to-physical table lies', () => {
    expect(guest.call('memory_op', XENMEM.machphys_mapping, guest.scratch)).toBe(0)
    const { vStart, vEnd, maxMfn } = XenMachphysMapping.decode(guest.view, guest.scratch)
    expect([vStart, vEnd, maxMfn]).toEqual([0xffff_8000_0000_0000n, 0xffff_8040_0000_0000n, 0x7_ffff_ffffn])
  })

  const answers: [string, number, number][] = [
    ['memory_map without a map', XENMEM.memory_map, -ERRNO.ENOSYS],
    ['add_to_physmap', XENMEM.add_to_physmap, -ERRNO.EACCES],
    ['machine_memory_map', XENMEM.machine_memory_map, -ERRNO.EPERM],
    ['a command that does not exist', 63, -ERRNO.ENOSYS],
  ]
  test.each(answers)('%s', (_name, command, answer) => expect(guest.call('memory_op', command, guest.scratch)).toBe(answer))
})
