/**
 * The same hypercalls by guests of both widths: the same handlers over the same subjects, each side in its own layout. Each
 * row is played twice, on two hosts that differ in nothing else, and what is observed must be the same.
 */
import { describe, expect, test } from 'vitest'
import {
  COMPAT, COMPAT_HYPERVISOR_VIRT_START, CompatVcpuGuestContext, DOMID, ERRNO, EVTCHNOP, EvtchnAllocUnbound, EvtchnBindIpi, EvtchnBindVirq,
  EvtchnSend, EvtchnUnmask, GNTCOPY, GNTST, GNTTABOP, GTF, type GuestAbi, GnttabCopy, GnttabGetStatusFrames, GnttabQuerySize, GnttabSetVersion,
  GnttabSetupTable, GnttabTransfer, GrantEntryV1, HYPERVISOR, HYPERVISOR_VIRT_START, MulticallEntry, NATIVE, PHYSDEVOP, PhysdevOp,
  PhysdevPirqEoiGmfn, PhysdevSetIobitmap, RUNSTATE, SCHEDOP, SchedPoll, SharedInfo, VCPUOP, VIRQ, VMASST_CMD, VMASST_TYPE, VcpuInfo,
  VcpuRegisterRunstateMemoryArea, VcpuRegisterVcpuInfo, VcpuRunstateInfo, VcpuSetSingleshotTimer, XENMEM, XENVER, XenForeignMemoryMap,
  XenMachphysMapping, XenMachphysMfnList, XenMemoryExchange, XenMemoryMap, XenMemoryReservation, XenPlatformParameters, XenRemoveFromPhysmap,
} from '../../../../src/abi/index.ts'
import { latchAbi } from '../../../../src/hypervisor/domains/shared-info.ts'
import { ABIS, PlayedGuest, TwoWidthHost } from '../../../support/two-widths.ts'

const reservation = (list: number, count: number, more: { order?: number } = {}) => ({
  extentStart: BigInt(list), nrExtents: BigInt(count), extentOrder: more.order ?? 0, memFlags: 0, domid: DOMID.SELF,
})

/** Address at which a structure ends with its page, behind which nothing is the guest's. */
function atEnd({ frames }: PlayedGuest, size: number): number {
  const last = frames.find((frame) => !frames.includes(frame + 1))!
  return (last + 1) * 4096 - size
}

interface Row {
  readonly name: string
  readonly pages?: number
  readonly portion?: number
  readonly privileged?: boolean
  play(guest: PlayedGuest, host: TwoWidthHost): unknown
  /** What is observed, where it is told and not only compared. */
  readonly expected?: unknown
}

const memory: Row[] = [
  {
    name: 'populate_physmap reads numbers of frames and writes them',
    play: (guest, host) => {
      const at = guest.put(XenMemoryReservation, reservation(guest.list([100, 101, 102]), 3))
      const result = guest.call('memory_op', XENMEM.populate_physmap, at)
      return [result, guest.words(3).map((mfn) => host.parts.machineToPhys.get(mfn)), guest.domain.totalPages]
    },
    expected: [3, [100, 101, 102], 67],
  },
  {
    name: 'populate_physmap goes on where it was interrupted', portion: 2000,
    play: (guest) => {
      const at = guest.put(XenMemoryReservation, reservation(guest.list(Array.from({ length: 60 }, (_, i) => 200 + i), 2), 60))
      return [guest.call('memory_op', XENMEM.populate_physmap, at), guest.again > 3, guest.domain.totalPages]
    },
    expected: [60, true, 124],
  },
  {
    name: 'decrease_reservation gives back what is listed',
    play: (guest) => {
      const list = guest.list(guest.frames.slice(-3))
      return [guest.call('memory_op', XENMEM.decrease_reservation, guest.put(XenMemoryReservation, reservation(list, 3))), guest.domain.totalPages]
    },
    expected: [3, 61],
  },
  {
    name: 'increase_reservation needs no list',
    play: (guest) => [guest.call('memory_op', XENMEM.increase_reservation, guest.put(XenMemoryReservation, reservation(0, 2))), guest.domain.totalPages],
    expected: [2, 66],
  },
  {
    name: 'exchange gives single frames for a run of them and counts what is done',
    play: (guest, host) => {
      const given = guest.list(guest.frames.slice(-8), 1)
      const got = guest.list([500], 2)
      const at = guest.put(XenMemoryExchange, { nrExchanged: 0n })
      const { in: into, out } = guest.abi.of(XenMemoryExchange)
      guest.putAt(into.at(at), XenMemoryReservation, reservation(given, 8))
      guest.putAt(out.at(at), XenMemoryReservation, reservation(got, 1, { order: 3 }))
      const result = guest.call('memory_op', XENMEM.exchange, at)
      const [first] = guest.words(1, 2)
      return [result, guest.get(XenMemoryExchange).nrExchanged, first! % 8, host.parts.machineToPhys.get(first! + 7), guest.domain.totalPages]
    },
    expected: [0, 8n, 0, 507, 64],
  },
  {
    name: 'set_memory_map and memory_map carry entries of 20 bytes',
    play: (guest) => {
      guest.view.setUint32(guest.at(2) + 4, 7, true)
      guest.view.setUint32(guest.at(2) + 36, 2, true)
      const set = guest.put(XenForeignMemoryMap, { domid: DOMID.SELF, map: { nrEntries: 2, buffer: BigInt(guest.at(2)) } })
      const results = [guest.call('memory_op', XENMEM.set_memory_map, set)]
      const tell = guest.put(XenMemoryMap, { nrEntries: 5, buffer: BigInt(guest.at(3)) })
      results.push(guest.call('memory_op', XENMEM.memory_map, tell), guest.get(XenMemoryMap).nrEntries)
      return [...results, guest.view.getUint32(guest.at(3) + 4, true), guest.view.getUint32(guest.at(3) + 36, true)]
    },
    expected: [0, 0, 2, 7, 2],
  },
  {
    name: 'maximum_gpfn looks into shared_info of the guest\'s layout',
    play: (guest) => {
      guest.putAt(guest.abi.of(SharedInfo).arch.at(guest.domain.sharedInfo), guest.abi.of(SharedInfo).arch.layout, { maxPfn: 77n })
      guest.view.setUint16(guest.at(0), DOMID.SELF, true)
      return guest.call('memory_op', XENMEM.maximum_gpfn, guest.at(0))
    },
    expected: 76,
  },
  {
    name: 'remove_from_physmap proves a frame to be the guest\'s own',
    play: (guest) => [guest.frames[9]!, 3].map((frame) =>
      guest.call('memory_op', XENMEM.remove_from_physmap, guest.put(XenRemoveFromPhysmap, { domid: DOMID.SELF, gpfn: BigInt(frame) }))),
    expected: [0, -ERRNO.ENOENT],
  },
  {
    name: 'machphys_mfn_list tells a privileged guest where the table that it sees lies', privileged: true,
    play: (guest, { parts: { machineToPhys } }) => {
      const at = guest.put(XenMachphysMfnList, { maxExtents: 4, extentStart: BigInt(guest.list([0, 0, 0, 0])) })
      const result = guest.call('memory_op', XENMEM.machphys_mfn_list, at)
      const { tableFrame } = guest.abi === NATIVE ? machineToPhys : machineToPhys.compat
      return [result, guest.get(XenMachphysMfnList).nrExtents, guest.words(2)[0] === tableFrame, guest.words(2)[1]]
    },
    expected: [0, 1, true, 0],
  },
  {
    name: 'machphys_compat_mfn_list tells it where that of 32-bit guests lies', privileged: true,
    play: (guest, { parts: { machineToPhys } }) => {
      const at = guest.put(XenMachphysMfnList, { maxExtents: 4, extentStart: BigInt(guest.list([0])) })
      return [guest.call('memory_op', XENMEM.machphys_compat_mfn_list, at), guest.words(1)[0] === machineToPhys.compat.tableFrame]
    },
    expected: [0, true],
  },
]

/** Bits of two-level event channels as the guest finds them. */
function pendingBits(guest: PlayedGuest, port: number): boolean[] {
  const { width, of, word } = guest.abi
  const index = Math.floor(port / width)
  const bit = 1n << BigInt(port % width)
  const { evtchnPending } = of(SharedInfo)
  const info = guest.domain.vcpuInfo(0)
  const pending = word.get(guest.view, evtchnPending.at(guest.domain.sharedInfo, index)) & bit
  const selector = of(VcpuInfo).evtchnPendingSel.get(guest.view, info) & (1n << BigInt(index))
  return [pending !== 0n, selector !== 0n, VcpuInfo.evtchnUpcallPending.get(guest.view, info) === 1]
}

/** A new port that rings when it is sent to. */
function ipi(guest: PlayedGuest): number {
  expect(guest.call('event_channel_op', EVTCHNOP.bind_ipi, guest.put(EvtchnBindIpi, { vcpu: 0 }))).toBe(0)
  return guest.get(EvtchnBindIpi).port
}

const send = (guest: PlayedGuest, port: number): number => guest.call('event_channel_op', EVTCHNOP.send, guest.put(EvtchnSend, { port }))

const events: Row[] = [
  {
    name: 'a sent event is pending in the word of its port, and the word in the selector',
    play: (guest) => {
      const ports = Array.from({ length: 70 }, () => ipi(guest))
      return [1, 31, 32, 40, 63, 64, 70].map((port) => [ports.includes(port), send(guest, port), pendingBits(guest, port)])
    },
    expected: [1, 31, 32, 40, 63, 64, 70].map(() => [true, 0, [true, true, true]]),
  },
  {
    name: 'a masked one waits for unmask',
    play: (guest) => {
      const port = ipi(guest)
      const { of, word } = guest.abi
      word.setNumber(guest.view, of(SharedInfo).evtchnMask.at(guest.domain.sharedInfo, 0), 2 ** port)
      const masked = [send(guest, port), pendingBits(guest, port)]
      const unmasked = [guest.call('event_channel_op', EVTCHNOP.unmask, guest.put(EvtchnUnmask, { port })), pendingBits(guest, port)]
      return [masked, unmasked]
    },
    expected: [[0, [true, false, false]], [0, [true, true, true]]],
  },
  {
    name: 'a registered vcpu_info is told of everything, and of what comes later',
    play: (guest) => {
      const port = ipi(guest)
      const frame = guest.frames[9]!
      const at = guest.put(VcpuRegisterVcpuInfo, { mfn: BigInt(frame), offset: 64 })
      const result = guest.call('vcpu_op', VCPUOP.register_vcpu_info, 0, at)
      const info = frame * 4096 + 64
      const { evtchnPendingSel, arch } = guest.abi.of(VcpuInfo)
      const selector = evtchnPendingSel.get(guest.view, info) === (1n << BigInt(guest.abi.width)) - 1n
      const behind = arch.layout.cr2.get(guest.view, arch.at(info))
      evtchnPendingSel.set(guest.view, info, 0n)
      return [result, selector, behind, send(guest, port), pendingBits(guest, port)]
    },
    expected: [0, true, 0n, 0, [true, true, true]],
  },
  {
    name: 'the poll of a port that is pending returns, of another one waits until its time',
    play: (guest, host) => {
      const [quiet, rung] = [ipi(guest), ipi(guest)]
      VcpuInfo.evtchnUpcallMask.set(guest.view, guest.domain.vcpuInfo(0), 1)
      send(guest, rung)
      const poll = (port: number): number => {
        guest.view.setUint32(guest.at(2), port, true)
        const { size } = guest.abi.of(SchedPoll)
        const at = guest.putAt(atEnd(guest, size), SchedPoll, { ports: BigInt(guest.at(2)), nrPorts: 1, timeout: 5000n })
        return guest.call('sched_op', SCHEDOP.poll, at)
      }
      const vcpu = guest.domain.vcpus[0]!
      const first = [poll(rung), vcpu.polling]
      const second = [poll(quiet), vcpu.polling]
      return [first, second, guest.domain.vcpus[0]!.polledPorts, host.parts.timers.save()]
    },
  },
]

const copies: Row[] = [
  {
    name: 'setup_table lists frames of the table',
    play: (guest) => {
      const at = guest.put(GnttabSetupTable, { dom: DOMID.SELF, nrFrames: 2, frameList: BigInt(guest.list([0, 0])) })
      const result = guest.call('grant_table_op', GNTTABOP.setup_table, at, 1)
      return [result, guest.get(GnttabSetupTable).status, guest.words(2).map((frame) => frame > 0 && !guest.frames.includes(frame))]
    },
    expected: [0, GNTST.okay, [true, true]],
  },
  {
    name: 'get_status_frames lists 64-bit numbers',
    play: (guest) => {
      const version = guest.call('grant_table_op', GNTTABOP.set_version, guest.put(GnttabSetVersion, { version: 2 }), 1)
      const at = guest.put(GnttabGetStatusFrames, { dom: DOMID.SELF, nrFrames: 1, frameList: BigInt(guest.at(1)) })
      guest.view.setBigUint64(guest.at(1), ~0n, true)
      const result = guest.call('grant_table_op', GNTTABOP.get_status_frames, at, 1)
      return [version, result, guest.get(GnttabGetStatusFrames).status, guest.view.getUint32(guest.at(1) + 4, true)]
    },
    expected: [0, 0, GNTST.okay, 0],
  },
  {
    name: 'copy takes frames and grants, each where its member stands',
    play: (guest, host) => {
      const from = guest.frames[10]!
      const to = guest.frames[11]!
      host.memory.bytes.set([1, 2, 3, 4], from * 4096 + 8)
      grant(guest, 9, to)
      const own = { domid: DOMID.SELF, offset: 8, gmfn: BigInt(from) }
      const at = guest.put(GnttabCopy, { len: 4, flags: GNTCOPY.dest_gref })
      const { source, dest } = guest.abi.of(GnttabCopy)
      source.layout.encode(guest.view, source.at(at), own)
      dest.layout.encode(guest.view, dest.at(at), { domid: guest.domain.id, offset: 100, gmfn: 0n })
      dest.layout.ref.set(guest.view, dest.at(at), 9)
      const result = guest.call('grant_table_op', GNTTABOP.copy, at, 1)
      return [result, guest.get(GnttabCopy).status, [...host.memory.bytes.subarray(to * 4096 + 100, to * 4096 + 104)]]
    },
    expected: [0, GNTST.okay, [1, 2, 3, 4]],
  },
  {
    name: 'a batch of copies goes on where it was interrupted', portion: 400,
    play: (guest, host) => {
      const layout = guest.abi.of(GnttabCopy)
      const first = guest.frames[8]! * 4096
      for (let i = 0; i < 40; i += 1) {
        const at = guest.putAt(first + i * layout.size, GnttabCopy, { len: 1, flags: 0 })
        layout.source.layout.encode(guest.view, layout.source.at(at), { domid: DOMID.SELF, offset: i, gmfn: BigInt(guest.frames[12]!) })
        layout.dest.layout.encode(guest.view, layout.dest.at(at), { domid: DOMID.SELF, offset: 39 - i, gmfn: BigInt(guest.frames[13]!) })
      }
      host.memory.bytes.set(Array.from({ length: 40 }, (_, i) => i), guest.frames[12]! * 4096)
      const result = guest.call('grant_table_op', GNTTABOP.copy, first, 40)
      return [result, guest.again > 2, [...host.memory.bytes.subarray(guest.frames[13]! * 4096, guest.frames[13]! * 4096 + 40)]]
    },
    expected: [0, true, Array.from({ length: 40 }, (_, i) => 39 - i)],
  },
  {
    name: 'transfer names a frame',
    play: (guest) => {
      const at = guest.put(GnttabTransfer, { mfn: BigInt(guest.frames[20]!), domid: 999, ref: 3 })
      return [guest.call('grant_table_op', GNTTABOP.transfer, at, 1), guest.get(GnttabTransfer).status]
    },
    expected: [0, GNTST.bad_domain],
  },
  {
    name: 'query_size has one layout',
    play: (guest) => {
      const at = guest.put(GnttabQuerySize, { dom: DOMID.SELF })
      return [guest.call('grant_table_op', GNTTABOP.query_size, at, 1), guest.get(GnttabQuerySize)]
    },
  },
]

/** Writes an entry of a table of version 1. */
function grant(guest: PlayedGuest, ref: number, frame: number, to: number = guest.domain.id): void {
  const at = guest.put(GnttabSetupTable, { dom: DOMID.SELF, nrFrames: 1, frameList: BigInt(guest.list([0], 4)) }, 5)
  expect(guest.call('grant_table_op', GNTTABOP.setup_table, at, 1)).toBe(0)
  const [table] = guest.words(1, 4)
  GrantEntryV1.encode(guest.view, table! * 4096 + ref * GrantEntryV1.size, { flags: GTF.permit_access, domid: to, frame })
}

const small: Row[] = [
  {
    name: 'get_runstate_info writes no more than the guest\'s structure',
    play: (guest) => {
      const { size } = guest.abi.of(VcpuRunstateInfo)
      const at = atEnd(guest, size)
      return [guest.call('vcpu_op', VCPUOP.get_runstate_info, 0, at), guest.abi.of(VcpuRunstateInfo).decode(guest.view, at).state]
    },
  },
  {
    name: 'a registered run state is filled at once, and again when the vCPU comes to run',
    play: (guest, host) => {
      const area = guest.at(3)
      const at = guest.put(VcpuRegisterRunstateMemoryArea, { addr: BigInt(area) })
      const result = guest.call('vcpu_op', VCPUOP.register_runstate_memory_area, 0, at)
      guest.view.setUint32(area + guest.abi.of(VcpuRunstateInfo).size, 0xabcdef, true)
      host.parts.execution.update(guest.domain.vcpus[0]!)
      host.parts.loop.run({ until: 5_000_000 })
      const { state, time } = guest.get(VcpuRunstateInfo, 3)
      return [result, state === RUNSTATE.running, time.length, guest.view.getUint32(area + guest.abi.of(VcpuRunstateInfo).size, true)]
    },
  },
  {
    name: 'set_singleshot_timer reads no more than the guest\'s structure',
    play: (guest) => {
      const { size } = guest.abi.of(VcpuSetSingleshotTimer)
      const at = guest.putAt(atEnd(guest, size), VcpuSetSingleshotTimer, { timeoutAbsNs: 7_000_000_000n, flags: 0 })
      return [guest.call('vcpu_op', VCPUOP.set_singleshot_timer, 0, at), guest.domain.vcpus[0]!.timers.save()]
    },
  },
  {
    name: 'set_timer_op takes 64 bits, in one argument or two',
    play: (guest) => {
      const deadline = 5 * 2 ** 32 + 17
      const args = guest.abi === NATIVE ? [deadline] : [17, 5]
      return [guest.call('set_timer_op', ...args), guest.domain.vcpus[0]!.timers.save()]
    },
  },
  {
    name: 'bind_virq and alloc_unbound have one layout',
    play: (guest) => [
      guest.call('event_channel_op', EVTCHNOP.bind_virq, guest.put(EvtchnBindVirq, { virq: VIRQ.TIMER, vcpu: 0 })), guest.get(EvtchnBindVirq).port,
      guest.call('event_channel_op', EVTCHNOP.alloc_unbound, guest.put(EvtchnAllocUnbound, { dom: DOMID.SELF, remoteDom: 0 })),
      guest.get(EvtchnAllocUnbound).port,
    ],
    expected: [0, 1, 0, 2],
  },
  {
    name: 'console_io writes across pages and portions', portion: 3000,
    play: (guest, host) => {
      host.memory.bytes.fill(0x61, guest.at(1), guest.at(1) + 400)
      host.memory.bytes[guest.at(1) + 400] = 10
      const result = guest.call('console_io', 0, 401, guest.at(1))
      return [result, guest.again > 0, host.parts.console.read(false).includes('a'.repeat(400))]
    },
    expected: [0, true, true],
  },
  {
    name: 'the frame of ends of interrupts and the bitmap of ports are read',
    play: (guest) => [
      guest.call('physdev_op', PHYSDEVOP.pirq_eoi_gmfn_v2, guest.put(PhysdevPirqEoiGmfn, { gmfn: BigInt(guest.frames[9]!) })),
      guest.domain.eoiFrame === guest.frames[9],
      guest.call('physdev_op', PHYSDEVOP.set_iobitmap, guest.put(PhysdevSetIobitmap, { bitmap: BigInt(guest.at(2)), nrPorts: 0x1_0001 })),
    ],
    expected: [0, true, -ERRNO.EINVAL],
  },
  {
    name: 'the physdev_op of 2004 has its argument behind the command',
    play: (guest) => {
      const at = guest.put(PhysdevOp, { cmd: PHYSDEVOP.irq_status_query })
      const { apicOp } = guest.abi.of(PhysdevOp)
      guest.view.setUint32(apicOp.at(at), 3, true)
      return [guest.call('physdev_op_compat', at), guest.view.getUint32(apicOp.at(at) + 4, true)]
    },
    expected: [0, 1],
  },
  {
    name: 'vm_assist knows the types that a word has bits for',
    play: (guest) => Object.values(VMASST_TYPE).filter((type) => type < 32).map((type) => guest.call('vm_assist', VMASST_CMD.enable, type)),
    expected: [0, 0, 0, 0, 0, 0],
  },
]

const rows = { memory_op: memory, event_channel_op: events, grant_table_op: copies, 'the others': small }

describe.each(Object.entries(rows))('by guests of both widths: %s', (_family, list) => {
  test.each(list)('$name', ({ play, expected, pages, portion, privileged }) => {
    const [native, compat] = ABIS.map((abi) => {
      const host = new TwoWidthHost(portion)
      const observed = play(host.guest(abi, { ...(pages === undefined ? {} : { pages }), privileged: privileged === true }), host)
      expect(host.problems()).toEqual([])
      return observed
    })
    expect(compat).toEqual(native)
    if (expected !== undefined) expect(native).toEqual(expected)
  })
})

describe('multicall', () => {
  const entries = (guest: PlayedGuest, calls: readonly (readonly [number, ...number[]])[], first: number): void => calls.forEach(([op, ...args], i) => {
    guest.putAt(first + i * guest.abi.of(MulticallEntry).size, MulticallEntry, {
      op: BigInt(op), result: 77n, args: Array.from({ length: 6 }, (_, n) => BigInt(args[n] ?? 0)),
    })
  })
  const results = (guest: PlayedGuest, count: number, first: number): number[] => {
    const layout = guest.abi.of(MulticallEntry)
    return Array.from({ length: count }, (_, i) => layout.result.low(guest.view, first + i * layout.size) | 0)
  }

  test.each(ABIS)('of $name guests stores each result in its entry', (abi) => {
    const guest = new TwoWidthHost().guest(abi)
    const calls = [[HYPERVISOR.xen_version, XENVER.version], [62], [HYPERVISOR.multicall, 0, 1], [HYPERVISOR.vm_assist, 9, 0]] as const
    const first = atEnd(guest, calls.length * guest.abi.of(MulticallEntry).size)
    entries(guest, calls, first)
    expect(guest.call('multicall', first, calls.length)).toBe(0)
    expect(results(guest, calls.length, first)).toEqual([0x4_0011, -ERRNO.ENOSYS, -ERRNO.EINVAL, -ERRNO.ENOSYS])
  })

  test.each(ABIS)('of $name guests goes on within an entry that was interrupted', (abi) => {
    const guest = new TwoWidthHost(2000).guest(abi)
    const list = guest.list(Array.from({ length: 50 }, (_, i) => 300 + i), 2)
    const at = guest.put(XenMemoryReservation, reservation(list, 50), 0)
    entries(guest, [[HYPERVISOR.memory_op, XENMEM.populate_physmap, at], [HYPERVISOR.xen_version, XENVER.version]], guest.at(1))
    expect(guest.call('multicall', guest.at(1), 2)).toBe(0)
    expect(results(guest, 2, guest.at(1))).toEqual([50, 0x4_0011])
    expect(guest.again).toBeGreaterThan(2)
    expect(guest.domain.totalPages).toBe(114)
  })
})

describe('what a 32-bit guest has for itself', () => {
  const guestOf = (abi: GuestAbi, options: { privileged?: boolean } = {}): PlayedGuest => new TwoWidthHost().guest(abi, options)

  test('is the end of its address space', () => {
    const starts = ABIS.map((abi) => {
      const guest = guestOf(abi)
      guest.put(XenPlatformParameters, { virtStart: 0n })
      expect(guest.call('xen_version', XENVER.platform_parameters, guest.at(0))).toBe(0)
      return guest.get(XenPlatformParameters).virtStart
    })
    expect(starts).toEqual([BigInt.asUintN(64, BigInt(HYPERVISOR_VIRT_START)), BigInt(COMPAT_HYPERVISOR_VIRT_START)])
  })

  test('is a machine-to-physical table of words at its end', () => {
    const guest = guestOf(COMPAT)
    expect(guest.call('memory_op', XENMEM.machphys_mapping, guest.put(XenMachphysMapping, {}))).toBe(0)
    expect(guest.get(XenMachphysMapping)).toEqual({ vStart: 0xf580_0000n, vEnd: 0xffe0_0000n, maxMfn: BigInt((0xffe0_0000 - 0xf580_0000) / 4 - 1) })
  })

  test('are 1,024 ports', () => {
    const [native, compat] = ABIS.map((abi) => {
      const host = new TwoWidthHost()
      const { domain } = host.guest(abi)
      for (let made = 0; ; made += 1) if (host.parts.events.bindIpi(domain.id, 0) < 0) return made
    })
    expect([native, compat]).toEqual([4095, 1023])
  })

  test('are no switches beyond its word', () => {
    expect(guestOf(COMPAT).call('vm_assist', VMASST_CMD.enable, VMASST_TYPE.m2p_strict)).toBe(-ERRNO.EINVAL)
    expect(guestOf(NATIVE).call('vm_assist', VMASST_CMD.enable, VMASST_TYPE.m2p_strict)).toBe(0)
  })

  test('are addresses of 32 bits, in 64 where the structure is the same', () => {
    const guest = guestOf(COMPAT)
    const at = guest.put(VcpuRegisterRunstateMemoryArea, { addr: (1n << 32n) + BigInt(guest.at(3)) })
    expect(guest.call('vcpu_op', VCPUOP.register_runstate_memory_area, 0, at)).toBe(-ERRNO.EFAULT)
    expect(guest.call('vcpu_op', VCPUOP.register_vcpu_time_memory_area, 0, at)).toBe(-ERRNO.EFAULT)
    expect(guest.domain.vcpus[0]!.runstateArea).toBeUndefined()
  })

  test('are no more extents than its command can count', () => {
    const guest = guestOf(COMPAT)
    const at = guest.put(XenMemoryReservation, reservation(0, 2 ** 26))
    expect(guest.call('memory_op', XENMEM.increase_reservation, at)).toBe(0)
    expect(guest.domain.totalPages).toBe(64)
  })

  test('is a context of 2,800 bytes', () => {
    const guest = guestOf(COMPAT)
    const at = atEnd(guest, CompatVcpuGuestContext.size)
    // It can be read, but these guests have no registers.
    guest.domain.vcpus[1]!.initialised = false
    expect(guest.call('vcpu_op', VCPUOP.initialise, 1, at)).toBe(-ERRNO.EINVAL)
    expect(guest.call('vcpu_op', VCPUOP.initialise, 1, at + 4)).toBe(-ERRNO.EFAULT)
  })
})

describe('a domain whose guest comes to speak the other ABI', () => {
  test('finds the wall clock at its new place, and events in its new words', () => {
    const host = new TwoWidthHost()
    const guest = host.guest(NATIVE)
    const port = Array.from({ length: 40 }, () => ipi(guest)).at(-1)!
    latchAbi({ ...host.parts, wallClock: { bootTime: 5_000_000_000n * 1_000_000_000n } }, guest.domain, COMPAT)
    const { wcSecHi, wcSec } = COMPAT.of(SharedInfo)
    expect(wcSecHi.get(guest.view, guest.domain.sharedInfo) * 2 ** 32 + wcSec.get(guest.view, guest.domain.sharedInfo)).toBe(5_000_000_000)
    expect(host.parts.events.send(guest.domain.id, port)).toBe(0)
    expect(pendingBits(guest, port)).toEqual([true, true, true])
    expect(guest.domain.save().abi).toBe(32)
  })
})

describe('guests of both widths on one host', () => {
  test('send each other events and copy by each other\'s grants', () => {
    const host = new TwoWidthHost()
    const [wide, narrow] = ABIS.map((abi) => host.guest(abi)) as [PlayedGuest, PlayedGuest]
    const { events: channels } = host.parts
    const remote = channels.allocUnbound(wide.domain.id, DOMID.SELF as never, narrow.domain.id)
    const local = channels.bindInterdomain(narrow.domain.id, wide.domain.id, remote as never)
    expect([send(narrow, local), send(wide, remote)]).toEqual([0, 0])
    expect([pendingBits(wide, remote), pendingBits(narrow, local)]).toEqual([[true, true, true], [true, true, true]])
    for (const [giver, taker] of [[wide, narrow], [narrow, wide]] as const) {
      grant(giver, 9, giver.frames[11]!, taker.domain.id)
      host.memory.bytes[giver.frames[11]! * 4096 + 5] = 0x77
      const { source, dest } = taker.abi.of(GnttabCopy)
      const at = taker.put(GnttabCopy, { len: 1, flags: GNTCOPY.source_gref })
      source.layout.encode(taker.view, source.at(at), { domid: giver.domain.id, offset: 5, gmfn: 0n })
      source.layout.ref.set(taker.view, source.at(at), 9)
      dest.layout.encode(taker.view, dest.at(at), { domid: DOMID.SELF, offset: 6, gmfn: BigInt(taker.frames[12]!) })
      expect([taker.call('grant_table_op', GNTTABOP.copy, at, 1), taker.get(GnttabCopy).status]).toEqual([0, GNTST.okay])
      expect(host.memory.bytes[taker.frames[12]! * 4096 + 6]).toBe(0x77)
    }
    expect(host.problems()).toEqual([])
  })
})
