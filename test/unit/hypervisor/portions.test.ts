import { describe, expect, test } from 'vitest'
import {
  CONSOLEIO, DOMID, ERRNO, EVTCHNOP, EVTCHNSTAT, GNTTABOP, GnttabCopy, GnttabCopyPtr, GnttabSwapGrantRef, HYPERVISOR, MMUEXT, MmuUpdate, MmuextOp,
  MulticallEntry, TrapInfo, XENMEM, XenMemoryReservation,
} from '../../../src/abi/index.ts'
import { READ, TABLE, WRITE } from '../../support/hypervisor-host.ts'
import { EXIT } from '../../../src/machine/index.ts'
import { GPR } from '../../../src/x86/index.ts'
import type { Step } from '../../../src/testing/index.ts'
import { PvGuest } from '../../support/pv-guest.ts'

/** Frames of the guest that make a second tree: one L4, two L3, three L2, twelve L1. */
const TREE = { l4: 45, l3: [46, 47], l2: [48, 49, 50], l1: [51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62] } as const

/** Registers of a hypercall's arguments. */
const ARGUMENTS = [GPR.rdi, GPR.rsi, GPR.rdx, GPR.r10] as const

/** Pages of the guest at which its arguments lie. */
const LIST = 2

interface Outcome {
  readonly results: readonly number[]
  readonly portions: number
}

/** Something that a guest does, told by the results of its hypercalls. */
type Scenario = (guest: PvGuest, call: (name: keyof typeof HYPERVISOR, ...args: number[]) => number) => readonly number[]

/** Writes the second tree; nothing in it is a table yet. `bad` makes its last L1 one that is refused. */
function plant(guest: PvGuest, bad = false): void {
  const { frames } = guest
  const f = (index: number): number => frames[index]!
  guest.poke(f(TREE.l4), 1, f(TREE.l3[0]), TABLE)
  guest.poke(f(TREE.l4), 200, f(TREE.l3[1]), TABLE)
  guest.poke(f(TREE.l4), 201, f(TREE.l4), READ)
  guest.poke(f(TREE.l3[0]), 5, f(TREE.l2[0]), TABLE)
  guest.poke(f(TREE.l3[0]), 6, f(TREE.l2[1]), TABLE)
  guest.poke(f(TREE.l3[1]), 511, f(TREE.l2[2]), TABLE)
  TREE.l1.forEach((l1, i) => {
    guest.poke(f(TREE.l2[i >> 2]!), (i & 3) * 100, f(l1), TABLE)
    for (let slot = 0; slot < 40; slot += 1) guest.poke(f(l1), slot * 3, f(slot % 20), slot % 2 === 0 ? WRITE : READ)
  })
  if (bad) guest.poke(f(TREE.l1[11]), 500, f(TREE.l4), WRITE)
}

/** A list of operations of mmuext_op in the guest's page. */
function extended(guest: PvGuest, operations: readonly (readonly [command: number, frame: number])[]): [number, number, number, number] {
  operations.forEach(([command, frame], i) => {
    MmuextOp.cmd.set(guest.view, guest.place(LIST, i * MmuextOp.size), command)
    MmuextOp.mfn.setNumber(guest.view, guest.place(LIST, i * MmuextOp.size), guest.frames[frame]!)
  })
  return [guest.at(LIST), operations.length, 0, DOMID.SELF]
}

/** One request of mmu_update. */
function update(guest: PvGuest, index: number, place: readonly [table: number, slot: number], frame: number, flags: number): void {
  const at = guest.place(LIST, index * MmuUpdate.size)
  MmuUpdate.ptr.setNumber(guest.view, at, guest.frames[place[0]]! * 4096 + place[1] * 8)
  MmuUpdate.val.setParts(guest.view, at, flags === 0 ? 0 : ((guest.frames[frame]! << 12) | flags) >>> 0, 0)
}

/** One copy from frame 7 to frame 8, for grant_table_op. */
function copy(guest: PvGuest, index: number, how: { readonly length: number; readonly from: number; readonly to: number }): void {
  const at = guest.place(LIST, index * GnttabCopy.size)
  const side = (frame: number, offset: number) => ({ gmfn: guest.frames[frame]!, domid: DOMID.SELF, offset })
  GnttabCopy.encode(guest.view, at, { len: how.length, flags: 0, status: 77 })
  for (const [field, { gmfn, domid, offset }] of [[GnttabCopy.source, side(7, how.from)], [GnttabCopy.dest, side(8, how.to)]] as const) {
    GnttabCopyPtr.gmfn.setNumber(guest.view, field.at(at), gmfn)
    GnttabCopyPtr.domid.set(guest.view, field.at(at), domid)
    GnttabCopyPtr.offset.set(guest.view, field.at(at), offset)
  }
}

const scenarios: readonly [string, Scenario][] = [
  ['pins a tree and unpins it', (guest, call) => {
    plant(guest)
    return [
      call('mmuext_op', ...extended(guest, [[MMUEXT.PIN_L4_TABLE, TREE.l4]])),
      call('mmuext_op', ...extended(guest, [[MMUEXT.UNPIN_TABLE, TREE.l4]])),
    ]
  }],
  ['pins a tree that is refused at its last entry', (guest, call) => {
    plant(guest, true)
    return [call('mmuext_op', ...extended(guest, [[MMUEXT.PIN_L4_TABLE, TREE.l4]]))]
  }],
  ['pins, unpins and pins again in one list, and then fails', (guest, call) => {
    plant(guest)
    return [call('mmuext_op', ...extended(guest, [
      [MMUEXT.PIN_L4_TABLE, TREE.l4], [MMUEXT.UNPIN_TABLE, TREE.l4], [MMUEXT.PIN_L3_TABLE, TREE.l3[0]],
      [MMUEXT.UNPIN_TABLE, TREE.l3[0]], [MMUEXT.UNPIN_TABLE, TREE.l3[0]], [MMUEXT.PIN_L3_TABLE, TREE.l3[1]],
    ]))]
  }],
  ['puts subtrees into a live table and takes them out again', (guest, call) => {
    plant(guest)
    update(guest, 0, [40, 7], TREE.l3[0], TABLE)
    update(guest, 1, [40, 7], TREE.l3[1], TABLE)
    update(guest, 2, [40, 8], TREE.l3[0], TABLE)
    update(guest, 3, [40, 8], 0, 0)
    update(guest, 4, [40, 7], 0, 0)
    return [call('mmu_update', guest.at(LIST), 5, 0, DOMID.SELF)]
  }],
  ['switches to another tree and back', (guest, call) => {
    plant(guest)
    // The new tree maps what the guest runs on, too.
    guest.poke(guest.frames[TREE.l4]!, 0, guest.frames[41]!, TABLE)
    return [
      call('mmuext_op', ...extended(guest, [[MMUEXT.NEW_BASEPTR, TREE.l4]])),
      call('mmuext_op', ...extended(guest, [[MMUEXT.NEW_BASEPTR, 40]])),
    ]
  }],
  ['makes calls of many kinds in one multicall', (guest, call) => {
    plant(guest)
    const pin = extended(guest, [[MMUEXT.PIN_L4_TABLE, TREE.l4], [MMUEXT.UNPIN_TABLE, TREE.l4], [MMUEXT.CLEAR_PAGE, 20]])
    guest.view.setUint16(guest.place(5), DOMID.SELF, true)
    guest.host.memory.bytes.fill(0x0a, guest.place(6), guest.place(6) + 4096)
    const calls: readonly (readonly [keyof typeof HYPERVISOR, ...number[]])[] = [
      ['mmuext_op', ...pin], ['event_channel_op', EVTCHNOP.reset, guest.at(5)], ['xen_version', 0, 0],
      ['console_io', CONSOLEIO.write, 4000, guest.at(6)], ['multicall', 0, 0],
    ]
    calls.forEach(([name, ...args], i) => MulticallEntry.encode(guest.view, guest.place(4, i * MulticallEntry.size), {
      op: BigInt(HYPERVISOR[name]), result: 99n, args: [0, 1, 2, 3, 4, 5].map((n) => BigInt(args[n] ?? 0)),
    }))
    const result = call('multicall', guest.at(4), calls.length)
    return [result, ...calls.map((_, i) => Number(guest.view.getBigInt64(guest.place(4, i * MulticallEntry.size + 8), true)))]
  }],
  ['closes all of its ports', (guest, call) => {
    const port = guest.host.hypervisor.port(guest.domid)
    for (let i = 0; i < 300; i += 1) port.allocUnbound(DOMID.SELF as never, 0 as never)
    guest.view.setUint16(guest.place(5), DOMID.SELF, true)
    const results = [call('event_channel_op', EVTCHNOP.reset, guest.at(5))]
    guest.view.setUint32(guest.place(5, 4), 299, true)
    results.push(call('event_channel_op', EVTCHNOP.status, guest.at(5)), guest.view.getUint32(guest.place(5, 8), true))
    return [...results, EVTCHNSTAT.closed]
  }],
  ['copies and swaps grants', (guest, call) => {
    for (let i = 0; i < 60; i += 1) {
      copy(guest, i, { length: 16, from: i, to: i * 16 })
      GnttabSwapGrantRef.encode(guest.view, guest.place(4, i * GnttabSwapGrantRef.size), { refA: i + 8, refB: i + 9, status: 77 })
    }
    guest.host.memory.bytes.forEach((_, i, bytes) => { if (i >= guest.place(7) && i < guest.place(8)) bytes[i] = i & 0xff })
    return [call('grant_table_op', GNTTABOP.copy, guest.at(LIST), 60), call('grant_table_op', GNTTABOP.swap_grant_ref, guest.at(4), 60)]
  }],
  ['gives frames back and takes others', (guest, call) => {
    const reserve = (command: number, count: number): number => {
      XenMemoryReservation.extentStart.setNumber(guest.view, guest.place(5), guest.at(LIST))
      XenMemoryReservation.nrExtents.setNumber(guest.view, guest.place(5), count)
      XenMemoryReservation.extentOrder.set(guest.view, guest.place(5), 0)
      XenMemoryReservation.domid.set(guest.view, guest.place(5), DOMID.SELF)
      return call('memory_op', command, guest.at(5))
    }
    for (let i = 0; i < 12; i += 1) guest.view.setBigUint64(guest.place(LIST, i * 8), BigInt(guest.frames[TREE.l1[i]!]!), true)
    const given = reserve(XENMEM.decrease_reservation, 12)
    for (let i = 0; i < 20; i += 1) guest.view.setBigUint64(guest.place(LIST, i * 8), BigInt(TREE.l1[0] + i), true)
    return [given, reserve(XENMEM.populate_physmap, 20), reserve(XENMEM.increase_reservation, 1)]
  }],
  ['sets a long trap table', (guest, call) => {
    for (let i = 0; i < 100; i += 1) {
      TrapInfo.encode(guest.view, guest.place(LIST, i * TrapInfo.size), { vector: i, flags: 0, cs: 0xe033, address: BigInt(0x1000 + i) })
    }
    return [call('set_trap_table', guest.at(LIST))]
  }],
]

/** All that a scenario leaves behind, with a portion of so much work. */
function play(scenario: Scenario, portion: number): Outcome & { readonly left: unknown } {
  const guest = PvGuest.boot({}, { portion, maxPages: 64, frames: 192 })
  const { hypervisor } = guest.host
  let portions = 0
  const call = (name: keyof typeof HYPERVISOR, ...args: number[]): number => {
    const outcome = guest.inPortions(name, args, () => {
      if (!hypervisor.domainInfo(guest.domid).crashed) expect(guest.host.problems()).toEqual([])
    })
    portions += outcome.portions
    return outcome.result
  }
  const results = scenario(guest, call)
  const frames = Array.from({ length: guest.host.memory.endFrame - 8 }, (_, i) => hypervisor.frameInfo((i + 8) as never))
  // Arguments are the guest's to look at, and change as the call goes on; a page of time records is no result.
  const contents = guest.frames.map((mfn, i) => (i >= LIST && i <= 5 ? '' : Buffer.from(guest.host.memory.bytes.subarray(mfn * 4096, mfn * 4096 + 4096)).toString('hex')))
  const left = { frames, contents, console: hypervisor.readConsole(), pages: hypervisor.domainInfo(guest.domid).totalPages }
  return { results, portions, left }
}

describe('a hypercall that pauses', () => {
  test.each(scenarios)('%s, with the same outcome in one go and in portions of any size', (_name, scenario) => {
    const whole = play(scenario, Infinity)
    expect(whole.results.every((result) => Number.isInteger(result))).toBe(true)
    for (const portion of [1, 700, 5_000]) {
      const { portions, ...rest } = play(scenario, portion)
      expect(rest).toEqual({ results: whole.results, left: whole.left })
      if (portion === 1) expect(portions).toBeGreaterThan(whole.portions + 5)
    }
  })

  test('tells what became of a refused tree', () => {
    const results = scenarios.map(([, scenario]) => play(scenario, Infinity).results)
    expect(results[0]).toEqual([0, 0])
    expect(results[1]).toEqual([-ERRNO.EBUSY])
    expect(results[2]).toEqual([-ERRNO.EINVAL])
    expect(results.slice(3, 5)).toEqual([[0], [0, 0]])
    expect(results[5]).toEqual([0, 0, 0, 0x4_0011, 0, -ERRNO.EINVAL])
  })

  test('leaves a half-checked tree to another vCPU, and what nobody goes on with to the end of the domain', () => {
    const guest = PvGuest.boot({}, { portion: 1 })
    plant(guest)
    let portions = 0
    guest.inPortions('mmuext_op', extended(guest, [[MMUEXT.PIN_L4_TABLE, TREE.l4]]), () => {
      portions += 1
      if (portions !== 7) return
      // The toolstack stands for another vCPU: it is never paused.
      guest.host.hypervisor.pinTable(guest.domid, guest.frames[TREE.l3[0]]!, 3)
      expect(guest.host.problems()).toEqual([])
      // No entry of a half-checked table is the guest's to change, and no frame of it is writable.
      const change = (table: number, slot: number, value: number): number => {
        guest.view.setBigUint64(guest.place(9), BigInt(table * 4096 + slot * 8), true)
        guest.view.setBigUint64(guest.place(9, 8), BigInt(value), true)
        return guest.call('mmu_update', guest.at(9), 1, 0, DOMID.SELF)
      }
      expect(change(guest.frames[TREE.l4]!, 150, 0)).toBe(-ERRNO.EINVAL)
      expect(change(guest.l1, 100, guest.frames[TREE.l4]! * 4096 + WRITE)).toBe(-ERRNO.EBUSY)
    })
    expect(guest.host.hypervisor.frameInfo(guest.frames[TREE.l4]!)).toMatchObject({ type: 'l4', pinned: true, validated: true })
    expect(guest.host.problems()).toEqual([])

  })

  test.each([3, 7, 11])('leaves nothing of a tree that is given up after %i portions when its domain ends', (most) => {
    const guest = PvGuest.boot({}, { portion: 1 })
    plant(guest)
    const { domid, host } = guest
    // Half checked, and, another time, half taken apart.
    for (const [command, tree] of [[MMUEXT.PIN_L4_TABLE, TREE.l4], [MMUEXT.UNPIN_TABLE, TREE.l4]] as const) {
      if (command === MMUEXT.UNPIN_TABLE) host.hypervisor.pinTable(domid, guest.frames[tree]!, 4)
      guest.processor.script.push(...Array.from({ length: most }, (_, i): Step => (registers) => {
        if (i === 0) extended(guest, [[command, tree]]).forEach((value, n) => registers.set(ARGUMENTS[n]!, value, 0))
        registers.set(GPR.rax, HYPERVISOR.mmuext_op, 0)
        return { reason: EXIT.SYSCALL }
      }))
      while (guest.processor.script.length > 0) host.hypervisor.run({ instructions: 2000 })
      expect(host.problems()).toEqual([])
    }
    expect(host.hypervisor.frameInfo(guest.frames[TREE.l4]!)).toMatchObject({ validated: false, typeCount: 1 })
    guest.destroy()
    expect(host.problems()).toEqual([])
    expect(host.hypervisor.hostInfo().freeFrames).toBe(host.freeAtBoot)
  })
})

describe('the end of a domain', () => {
  test('comes in portions, with everything counted right after each, and leaves nothing', () => {
    const guest = PvGuest.boot({}, { maxPages: 1400, frames: 2048 })
    const { hypervisor } = guest.host
    const more = hypervisor.populatePhysmap(guest.domid, 1100, 64)
    // As many tables as there are frames: 900 level-1 tables of 512 entries, and what names them.
    for (const l1 of more.slice(0, 900)) for (let slot = 0; slot < 512; slot += 1) guest.poke(l1, slot, guest.frames[9]!, READ)
    more.slice(0, 900).forEach((l1, i) => guest.poke(more[1000 + (i >> 9)]!, i & 511, l1, TABLE))
    for (let i = 0; i < 2; i += 1) hypervisor.pinTable(guest.domid, more[1000 + i]!, 2)
    const port = hypervisor.port(guest.domid)
    for (let i = 0; i < 2000; i += 1) port.allocUnbound(DOMID.SELF as never, 0 as never)
    let portions = 1
    for (; !hypervisor.dismantleDomain(guest.domid); portions += 1) {
      expect(guest.host.problems()).toEqual([])
      expect(hypervisor.domainInfo(guest.domid).dying).toBe(true)
    }
    // 900 tables of 512 entries at 8 each are nearly four million, in portions of two.
    expect(portions).toBeGreaterThan(2)
    expect(hypervisor.hasDomain(guest.domid)).toBe(false)
    expect(hypervisor.hostInfo().freeFrames).toBe(guest.host.freeAtBoot)
  })
})

/** Virtual time of one hypercall. */
function priceOf(prepare: (guest: PvGuest) => readonly [keyof typeof HYPERVISOR, ...number[]]): number {
  const guest = PvGuest.boot()
  const [name, ...args] = prepare(guest)
  const start = guest.host.clock.now()
  const { result } = guest.inPortions(name, args)
  expect(result).toBeGreaterThanOrEqual(0)
  return guest.host.clock.now() - start
}

describe('virtual time', () => {
  const clear = (count: number) => (guest: PvGuest): [keyof typeof HYPERVISOR, ...number[]] =>
    ['mmuext_op', ...extended(guest, Array.from({ length: count }, () => [MMUEXT.CLEAR_PAGE, 20] as const))]
  const pin = (entries: number) => (guest: PvGuest): [keyof typeof HYPERVISOR, ...number[]] => {
    for (let slot = 0; slot < entries; slot += 1) guest.poke(guest.frames[50]!, slot, guest.frames[9]!, READ)
    return ['mmuext_op', ...extended(guest, [[MMUEXT.PIN_L1_TABLE, 50]])]
  }
  const ports = (count: number) => (guest: PvGuest): [keyof typeof HYPERVISOR, ...number[]] => {
    const port = guest.host.hypervisor.port(guest.domid)
    for (let i = 0; i < count; i += 1) port.allocUnbound(DOMID.SELF as never, 0 as never)
    guest.view.setUint16(guest.place(5), DOMID.SELF, true)
    return ['event_channel_op', EVTCHNOP.reset, guest.at(5)]
  }
  const write = (count: number) => (guest: PvGuest): [keyof typeof HYPERVISOR, ...number[]] =>
    ['console_io', CONSOLEIO.write, count, guest.at(6)]
  test.each([
    ['pages cleared', clear, [1, 41], 150], ['entries checked', pin, [0, 400], 8], ['ports closed', ports, [10, 1010], 60],
    ['characters on the console', write, [8, 1008], 10],
  ] as const)('grows with %s', (_name, prepare, [few, many], least) => {
    expect(priceOf(prepare(many)) - priceOf(prepare(few))).toBeGreaterThanOrEqual((many - few) * least)
  })

  test('grows with the closed ports that a guest keeps linked', () => {
    const price = (linked: number): number => priceOf((guest) => {
      const port = guest.host.hypervisor.port(guest.domid)
      const { view } = guest
      view.setBigUint64(guest.place(5), BigInt(guest.frames[10]!), true)
      view.setUint32(guest.place(5, 8), 0, true)
      expect(guest.call('event_channel_op', EVTCHNOP.init_control, guest.at(5))).toBe(0)
      view.setBigUint64(guest.place(5), BigInt(guest.frames[11]!), true)
      expect(guest.call('event_channel_op', EVTCHNOP.expand_array, guest.at(5))).toBe(0)
      const made = Array.from({ length: 1000 }, () => port.allocUnbound(DOMID.SELF as never, 0 as never))
      for (const one of made) port.closePort(one as never)
      for (let i = 1; i <= linked; i += 1) view.setUint32(guest.place(11, i * 4), 1 << 29, true)
      view.setUint16(guest.place(5), DOMID.SELF, true)
      view.setUint16(guest.place(5, 2), 0, true)
      return ['event_channel_op', EVTCHNOP.alloc_unbound, guest.at(5)]
    })
    expect(price(1000) - price(0)).toBeGreaterThanOrEqual(1000 * 4)
  })

  test('no exit of a guest takes more than a portion and one step beyond it', () => {
    // 64 copies of whole lists, which used to hold the host for a tenth of a second at 100 instructions.
    const guest = PvGuest.boot()
    for (let i = 0; i < 60; i += 1) {
      copy(guest, i, { length: 4096, from: 0, to: 0 })
    }
    for (let i = 0; i < 60; i += 1) {
      MulticallEntry.encode(guest.view, guest.place(4, i * MulticallEntry.size), {
        op: BigInt(HYPERVISOR.grant_table_op), result: 0n, args: [GNTTABOP.copy, guest.at(LIST), 60, 0, 0, 0].map(BigInt),
      })
    }
    let [last, most] = [guest.host.clock.now(), 0]
    const { portions } = guest.inPortions('multicall', [guest.at(4), 60], () => {
      most = Math.max(most, guest.host.clock.now() - last)
      last = guest.host.clock.now()
    })
    expect(portions).toBe(Math.ceil((60 * 60 * 250) / 200_000))
    expect(most).toBeLessThan(200_000 + 3_000)
  })
})
