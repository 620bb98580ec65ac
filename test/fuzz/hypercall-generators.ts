/**
 * Kinds of hypercalls that the fuzzer makes, each with arguments that are often right. A kind stands in the list as often
 * as it is to be tried.
 */
import {
  CALLBACKOP, CallbackRegister, DOMID, EVTCHNOP, EvtchnInitControl, GNTMAP, GNTTABOP, HYPERVISOR, MMUEXT, MmuextOp, MulticallEntry, PHYSDEVOP, SCHEDOP, VCPUOP, XENMEM,
  XenMemoryExchange, XenMemoryReservation,
} from '../../src/abi/index.ts'
import { BASE, MAPPED } from '../support/pv-guest.ts'
import type { Call, Tools } from './hypercall-tools.ts'

/** Makes one call's arguments. */
export type Generator = (tools: Tools) => Call

const mmuUpdate: Generator = (t) => {
  const count = 1 + t.below(4)
  for (let i = 0; i < count; i += 1) {
    const pointer = (t.frame() % 0x10_0000) * 4096 + t.below(t.chance(4) ? 512 : 8) * 8 + (t.chance(4) ? t.below(8) : 0)
    t.view.setUint32(t.at(64 + i * 16), pointer >>> 0, true)
    t.view.setUint32(t.at(68 + i * 16), t.chance(60) ? 1 : 0, true)
    t.view.setUint32(t.at(72 + i * 16), t.chance(3) ? 0 : t.entry(), true)
    t.view.setUint32(t.at(76 + i * 16), t.chance(10) ? t.random.next() : 0, true)
  }
  return ['mmu_update', t.pointer(64), t.chance(100) ? 0xffff_ffff : count, t.chance(4) ? t.pointer(32) : 0, t.domid()]
}

/** A frame that looks like a table, pinned as one of some level, or taken for the root. */
const plantTable: Generator = (t) => {
  const at = t.at(64)
  MmuextOp.cmd.set(t.view, at, t.chance(5) ? MMUEXT.NEW_BASEPTR : t.below(4))
  MmuextOp.mfn.setNumber(t.view, at, t.plant())
  return ['mmuext_op', t.pointer(64), 1, 0, DOMID.SELF]
}

const mmuext: Generator = (t) => {
  const count = 1 + t.below(3)
  for (let i = 0; i < count; i += 1) {
    const at = t.at(64 + i * MmuextOp.size)
    MmuextOp.cmd.set(t.view, at, t.chance(20) ? t.below(32) : t.pick([0, 1, 2, 3, 4, 4, MMUEXT.NEW_BASEPTR, MMUEXT.NEW_USER_BASEPTR, MMUEXT.CLEAR_PAGE, MMUEXT.COPY_PAGE]))
    MmuextOp.mfn.setNumber(t.view, at, t.frame())
    MmuextOp.srcMfn.setNumber(t.view, at, t.frame())
  }
  return ['mmuext_op', t.pointer(64), count, t.chance(4) ? t.pointer(32) : 0, t.domid()]
}

/** An LDT at one of the mapped pages, and the selector that loads from it. */
const ldt: Generator = (t) => {
  if (t.chance(2)) return ['set_segment_base', 3, t.below(256) * 8 + 7]
  MmuextOp.cmd.set(t.view, t.at(64), MMUEXT.SET_LDT)
  t.view.setBigInt64(t.at(64 + MmuextOp.mfn.offset), BigInt(t.chance(6) ? t.pointer(0) : BASE + t.below(MAPPED + 8) * 4096), true)
  t.view.setUint32(t.at(64 + MmuextOp.nrEnts.offset), t.chance(8) ? t.random.next() : t.below(1100), true)
  return ['mmuext_op', t.pointer(64), 1, 0, DOMID.SELF]
}

/** Reservations and exchanges, with lists of frames. */
const memoryOp: Generator = (t) => {
  const command = t.chance(10) ? t.below(64) : t.pick([XENMEM.increase_reservation, XENMEM.decrease_reservation, XENMEM.populate_physmap, XENMEM.exchange, XENMEM.current_reservation])
  const reservation = (offset: number, count: number, order: number): void => {
    XenMemoryReservation.encode(t.view, t.at(offset), {
      extentStart: BigInt.asUintN(64, BigInt(t.pointer(1024 + offset))), nrExtents: BigInt(count), extentOrder: order,
      memFlags: 0, domid: t.chance(8) ? t.domid() : DOMID.SELF,
    })
    for (let i = 0; i < 8; i += 1) t.view.setBigUint64(t.at(1024 + offset + i * 8), BigInt(t.frame()), true)
  }
  const order = t.below(3)
  reservation(XenMemoryExchange.in.offset, 1 + t.below(4), order)
  reservation(XenMemoryExchange.out.offset, 1 + t.below(4), t.below(3))
  t.view.setBigUint64(t.at(64), 0n, true)
  return ['memory_op', command, t.pointer(0)]
}

const grants: Generator = (t) => {
  const command = t.chance(6) ? t.below(16) : t.pick([
    GNTTABOP.map_grant_ref, GNTTABOP.map_grant_ref, GNTTABOP.unmap_grant_ref, GNTTABOP.copy, GNTTABOP.copy, GNTTABOP.transfer,
    GNTTABOP.unmap_and_replace, GNTTABOP.swap_grant_ref, GNTTABOP.cache_flush,
  ])
  const ref = t.below(32)
  t.grant(t.below(32))
  for (let i = 0; i < 40; i += 4) t.view.setUint32(t.at(64 + i), t.chance(2) ? t.below(32) : t.random.next(), true)
  if (command === GNTTABOP.map_grant_ref) {
    t.view.setBigUint64(t.at(64), BigInt(BASE + t.below(MAPPED + 4) * 4096), true)
    t.view.setUint32(t.at(72), t.pick([GNTMAP.host_map, GNTMAP.host_map | GNTMAP.readonly, GNTMAP.device_map | GNTMAP.host_map, t.below(64)]), true)
    t.view.setUint32(t.at(76), ref, true)
    t.view.setUint16(t.at(80), t.peer(), true)
  } else if (command === GNTTABOP.unmap_grant_ref || command === GNTTABOP.unmap_and_replace) {
    t.view.setBigUint64(t.at(64), BigInt(BASE + t.below(MAPPED + 4) * 4096), true)
    t.view.setBigUint64(t.at(72), t.chance(2) ? 0n : BigInt(t.frame()) * 4096n, true)
    t.view.setUint32(t.at(80), t.below(8), true)
  } else if (command === GNTTABOP.transfer) {
    t.view.setBigUint64(t.at(64), BigInt(t.frame()), true)
    t.view.setUint16(t.at(72), t.peer(), true)
    t.view.setUint32(t.at(76), ref, true)
  } else if (command === GNTTABOP.copy) {
    t.view.setUint16(t.at(72), t.chance(2) ? DOMID.SELF : t.peer(), true)
    t.view.setUint16(t.at(74), t.below(5000), true)
    t.view.setUint16(t.at(88), t.chance(2) ? DOMID.SELF : t.peer(), true)
    t.view.setUint16(t.at(90), t.below(5000), true)
    t.view.setUint16(t.at(96), t.below(4200), true)
    t.view.setUint16(t.at(98), t.below(4), true)
    if (t.chance(2)) t.view.setBigUint64(t.at(64), BigInt(t.frame()), true)
    if (t.chance(2)) t.view.setBigUint64(t.at(80), BigInt(t.frame()), true)
  }
  return ['grant_table_op', command, t.pointer(64), t.chance(30) ? t.below(5) : 1]
}

/** The grant table itself: its version, its size, its frames. */
const grantTable: Generator = (t) => {
  const command = t.pick([GNTTABOP.set_version, GNTTABOP.set_version, GNTTABOP.setup_table, GNTTABOP.get_status_frames, GNTTABOP.query_size, GNTTABOP.get_version])
  t.view.setBigUint64(t.at(64), 0n, true)
  if (command === GNTTABOP.set_version) t.view.setUint32(t.at(64), t.chance(8) ? t.below(5) : 1 + t.below(2), true)
  else t.view.setUint16(t.at(64), t.domid(), true)
  if (command === GNTTABOP.setup_table || command === GNTTABOP.get_status_frames) t.view.setUint32(t.at(68), t.below(4), true)
  t.view.setBigUint64(t.at(72), BigInt.asUintN(64, BigInt(t.pointer(512))), true)
  t.view.setBigUint64(t.at(80), BigInt.asUintN(64, BigInt(t.pointer(512))), true)
  return ['grant_table_op', command, t.pointer(64), 1]
}

const events: Generator = (t) => {
  for (let i = 0; i < 24; i += 4) t.view.setUint32(t.at(64 + i), t.chance(12) ? t.random.next() : t.below(16), true)
  const command = t.below(15)
  if (command === EVTCHNOP.alloc_unbound || command === EVTCHNOP.bind_interdomain || command === EVTCHNOP.status) {
    t.view.setUint16(t.at(64), t.chance(2) ? DOMID.SELF : t.peer(), true)
    t.view.setUint16(t.at(66), t.peer(), true)
  }
  if (command === EVTCHNOP.init_control || command === EVTCHNOP.expand_array) t.view.setBigUint64(t.at(64), BigInt(t.frame()), true)
  return ['event_channel_op', command, t.pointer(64)]
}

/** The FIFO ABI, and the form of 2004 of event_channel_op. */
const otherEvents: Generator = (t) => {
  if (t.chance(3)) {
    for (let i = 0; i < 24; i += 4) t.view.setUint32(t.at(64 + i), t.below(16), true)
    return ['event_channel_op_compat', t.pointer(64)]
  }
  const command = t.pick([EVTCHNOP.init_control, EVTCHNOP.expand_array, EVTCHNOP.expand_array, EVTCHNOP.set_priority, EVTCHNOP.bind_ipi, EVTCHNOP.send, EVTCHNOP.reset])
  t.view.setBigUint64(t.at(64), BigInt(command === EVTCHNOP.init_control || command === EVTCHNOP.expand_array ? t.frame() : t.below(1100)), true)
  if (command === EVTCHNOP.set_priority) t.view.setUint32(t.at(68), t.below(18), true)
  if (command === EVTCHNOP.reset) t.view.setUint16(t.at(64), DOMID.SELF, true)
  if (command === EVTCHNOP.init_control) {
    t.view.setUint32(t.at(64 + EvtchnInitControl.offset.offset), t.chance(8) ? t.below(5000) : t.below(500) * 8, true)
    t.view.setUint32(t.at(64 + EvtchnInitControl.vcpu.offset), t.below(3), true)
  }
  return ['event_channel_op', command, t.pointer(64)]
}

const vcpus: Generator = (t) => {
  for (let i = 0; i < 16; i += 4) t.view.setUint32(t.at(64 + i), t.chance(3) ? t.frame() : t.below(5000), true)
  const command = t.pick([VCPUOP.up, VCPUOP.up, VCPUOP.down, VCPUOP.stop_singleshot_timer, VCPUOP.get_physid, VCPUOP.is_up, VCPUOP.initialise, VCPUOP.register_vcpu_info, VCPUOP.register_runstate_memory_area, VCPUOP.set_periodic_timer, VCPUOP.stop_periodic_timer, VCPUOP.set_singleshot_timer, VCPUOP.send_nmi, VCPUOP.get_runstate_info, VCPUOP.register_vcpu_time_memory_area, t.below(4) === 0 ? 99 : VCPUOP.is_up])
  return ['vcpu_op', command, t.below(3), t.pointer(64)]
}

const vaMapping: Generator = (t) => [
  'update_va_mapping', BASE + t.below(MAPPED + 8) * 4096, t.chance(3) ? 0 : t.entry(), t.chance(10) ? t.random.next() : t.below(8),
]

const descriptors: Generator = (t) => {
  if (t.chance(2)) return ['update_descriptor', (t.frame() % 0x10_0000) * 4096 + t.below(512) * 8, t.random.next()]
  for (let i = 0; i < 4; i += 1) t.view.setBigUint64(t.at(64 + i * 8), BigInt(t.frame()), true)
  return ['set_gdt', t.pointer(64), t.chance(10) ? t.random.next() : t.below(1600)]
}

/** Entry points, and what a kernel without devices asks of them. */
const entryPoints: Generator = (t) => {
  if (t.chance(2)) {
    const address = t.chance(4) ? BigInt(t.random.next()) << 32n : BigInt(t.below(0x1_0000))
    CallbackRegister.encode(t.view, t.at(64), { type: t.below(9), flags: t.below(2), address })
    return ['callback_op', t.chance(6) ? t.below(4) : CALLBACKOP.register, t.pointer(64)]
  }
  t.view.setBigUint64(t.at(64), BigInt(t.chance(2) ? t.below(5) : t.frame()), true)
  t.view.setUint32(t.at(72), t.below(70_000), true)
  if (t.chance(4)) {
    t.view.setBigUint64(t.at(56), BigInt(t.below(32)), true)
    return ['physdev_op_compat', t.pointer(56)]
  }
  return ['physdev_op', t.pick([PHYSDEVOP.set_iopl, PHYSDEVOP.set_iobitmap, PHYSDEVOP.pirq_eoi_gmfn_v1, PHYSDEVOP.pirq_eoi_gmfn_v2, PHYSDEVOP.irq_status_query, PHYSDEVOP.eoi]), t.pointer(64)]
}

/** Any number with anything: what is refused has to be refused whatever comes with it. */
const anything: Generator = (t) => {
  const names = Object.keys(HYPERVISOR) as (keyof typeof HYPERVISOR)[]
  const argument = (): number => t.pick([t.pointer(64), t.below(64), t.random.next(), t.frame(), -1])
  for (let i = 0; i < 64; i += 4) t.view.setUint32(t.at(64 + i), t.chance(2) ? t.below(64) : t.random.next(), true)
  return [t.pick(names), argument(), argument(), argument(), argument(), argument(), argument()]
}

const misc: Generator = (t) => {
  for (let i = 0; i < 24; i += 4) t.view.setUint32(t.at(64 + i), t.chance(2) ? t.below(256) : t.random.next(), true)
  const sched = t.pick([SCHEDOP.yield, SCHEDOP.poll, SCHEDOP.watchdog, SCHEDOP.pin_override, SCHEDOP.remote_shutdown, SCHEDOP.block, SCHEDOP.shutdown, SCHEDOP.shutdown_code, 9])
  if (sched === SCHEDOP.watchdog) t.view.setUint32(t.at(68), 0xffff_fff, true)
  return t.pick<Call>([
    ['sched_op', sched, t.pointer(64)],
    ['xen_version', t.below(12), t.pointer(64)],
    ['xen_version', t.below(12), t.wildPointer()],
    ['vcpu_op', VCPUOP.get_runstate_info, t.below(2), t.wildPointer()],
    ['vm_assist', t.below(3), t.below(40)],
    ['physdev_op', t.below(32), t.pointer(64)],
    ['set_trap_table', t.pointer(64)],
    ['callback_op', t.below(3), t.pointer(64)],
    ['set_segment_base', t.below(5), t.random.next()],
    ['set_debugreg', t.below(9), t.random.next()],
    ['get_debugreg', t.below(9)],
    ['fpu_taskswitch', t.below(2)],
    ['sched_op_compat', t.below(4), t.below(8)],
    ['set_callbacks', t.random.next(), t.pointer(0), t.random.next()],
    ['xenpmu_op', t.below(8), t.pointer(64)],
    ['hvm_op', t.below(8), t.pointer(64)],
    ['stack_switch', t.random.next(), t.random.next()],
    ['console_io', t.below(3), t.below(256), t.pointer(64)],
    ['set_timer_op', t.random.next()],
    ['nmi_op', t.below(3), t.pointer(64)],
  ])
}

/** Two calls in one, the second of which finds what the first has made. */
const multicall: Generator = (t) => {
  const calls = (t.chance(3) ? [anything, grants, otherEvents, memoryOp] : [mmuUpdate, mmuext, vaMapping]).slice(t.below(3)).map((generate) => generate(t))
  calls.forEach(([name, ...args], i) => {
    MulticallEntry.encode(t.view, t.at(2048 + i * 64), {
      op: BigInt(t.chance(30) ? t.below(80) : HYPERVISOR[name]), result: 0n,
      args: [0, 1, 2, 3, 4, 5].map((n) => BigInt.asUintN(64, BigInt(args[n] ?? 0))),
    })
  })
  return ['multicall', t.pointer(2048), calls.length]
}

/** All kinds. */
export const GENERATORS: readonly Generator[] = [
  mmuUpdate, mmuUpdate, mmuUpdate, mmuext, mmuext, plantTable, plantTable, plantTable, memoryOp, memoryOp, grants, grants, grants, grantTable,
  events, events, otherEvents, otherEvents, vcpus, vaMapping, vaMapping, descriptors, ldt, entryPoints, misc, misc, multicall, multicall, anything,
]

