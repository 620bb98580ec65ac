/**
 * A seeded fuzzer of hypercalls: hostile guests make calls with arguments near valid ones, a victim lies still beside them.
 * Nothing may throw, the victim's memory may not change, and the invariant checker has to find everything counted.
 * A failing run is repeated by its seed.
 */
import {
  DOMID, EVTCHNOP, GNTMAP, GNTTABOP, GrantEntryV1, HYPERVISOR, MMUEXT, MmuextOp, MulticallEntry, SCHEDOP, VCPUOP, XENMEM,
  XenMemoryExchange, XenMemoryReservation,
} from '../../src/abi/index.ts'
import { SeededRandom, below, type DomId, type Mfn } from '../../src/util/index.ts'
import { PTE } from '../../src/x86/index.ts'
import { BASE, MAPPED, PvGuest } from '../support/pv-guest.ts'
import { TestGuest, type TestHost } from '../support/hypervisor-host.ts'

/** What a run did. */
export interface FuzzCounts {
  readonly calls: number
  readonly succeeded: number
  readonly checks: number
  /** Calls by hypercall number that ended well, to see that the fuzzer reaches what it aims at. */
  readonly reached: ReadonlyMap<number, number>
}

/** Calls between two looks at everything. */
const CHECK_EVERY = 500
const FLAGS = [PTE.PRESENT, PTE.WRITABLE, PTE.USER, PTE.ACCESSED, PTE.DIRTY, PTE.LARGE, PTE.GLOBAL, PTE.PCD]

/** One hostile party: how it passes pointers, and where its argument frame lies in host memory. */
interface Attacker {
  readonly guest: TestGuest
  /** Frames that it owns now, but for the one that holds its arguments. */
  frames: readonly Mfn[]
  /** What hypercalls are given as a pointer to byte `offset` of the argument frame. */
  pointer(offset: number): number
}

/** A host with attackers and a victim. */
export class HypercallFuzzer {
  private readonly random: SeededRandom
  private readonly host: TestHost
  private readonly attackers: Attacker[]
  private readonly victim: TestGuest
  private readonly digest: number
  private readonly reached = new Map<number, number>()
  private calls = 0
  private succeeded = 0
  private checks = 0

  constructor(seed: number) {
    this.random = new SeededRandom(seed)
    const pv = PvGuest.boot({}, { maxPages: 80 })
    this.host = pv.host
    this.victim = this.host.guest({ pages: 64 })
    const bare = this.host.guest({ pages: 64, maxPages: 96, vcpus: 2 })
    const third = this.host.guest({ pages: 40, maxPages: 64 })
    this.attackers = [
      { guest: pv, frames: pv.frames, pointer: (offset) => BASE + offset },
      { guest: bare, frames: bare.frames, pointer: (offset) => bare.scratch + offset },
      { guest: third, frames: third.frames, pointer: (offset) => third.scratch + offset },
    ]
    this.lookAgain()
    for (const mfn of this.victim.frames) for (let i = 0; i < 4096; i += 64) this.host.memory.view.setUint32(mfn * 4096 + i, this.random.next(), true)
    this.digest = this.victimDigest()
  }

  /** Makes `calls` hypercalls; throws where a promise is broken. */
  run(calls: number): FuzzCounts {
    for (let i = 0; i < calls; i += 1) {
      this.step()
      if ((i + 1) % CHECK_EVERY === 0) this.check()
    }
    this.check()
    return { calls: this.calls, succeeded: this.succeeded, checks: this.checks, reached: this.reached }
  }

  /** Ends all domains; frames that are free then, and at boot. */
  finish(): { readonly free: number; readonly atBoot: number } {
    const { hypervisor } = this.host
    for (const { domid } of hypervisor.listDomains()) if (hypervisor.hasDomain(domid)) hypervisor.destroyDomain(domid)
    return { free: hypervisor.hostInfo().freeFrames, atBoot: this.host.freeAtBoot }
  }

  private step(): void {
    const attacker = this.pick(this.attackers)
    if (!this.canWrite(attacker)) return
    const generate = this.pick(GENERATORS)
    const [name, ...args] = generate(this.tools(attacker))
    const number = HYPERVISOR[name]
    const result = this.host.hypervisor.port(attacker.guest.domid).hypercall(number, args)
    this.calls += 1
    if (result < 0) return
    this.succeeded += 1
    this.reached.set(number, (this.reached.get(number) ?? 0) + 1)
  }

  /** False once the attacker has given its argument frame away, or made a table of it. */
  private canWrite({ guest }: Attacker): boolean {
    const { owner, type, typeCount } = this.host.hypervisor.frameInfo(guest.frames[0]!)
    return owner === guest.domid && (typeCount === 0 || type === 'writable')
  }

  private check(): void {
    this.checks += 1
    this.lookAgain()
    const problems = this.host.problems()
    if (problems.length > 0) throw new Error(`after ${this.calls} calls: ${problems.slice(0, 5).join('; ')}`)
    if (this.victimDigest() !== this.digest) throw new Error(`after ${this.calls} calls the victim's memory has changed`)
    const { totalPages, shutdown, crashed } = this.host.hypervisor.domainInfo(this.victim.domid)
    if (totalPages !== this.victim.frames.length || shutdown || crashed) throw new Error(`after ${this.calls} calls the victim is not itself`)
  }

  /** What the attackers own changes: they give frames away, get others, and exchange them. */
  private lookAgain(): void {
    for (const attacker of this.attackers) {
      const { guest } = attacker
      attacker.frames = this.host.hypervisor.domainFrames(guest.domid).filter((mfn) => mfn !== guest.frames[0])
    }
  }

  private victimDigest(): number {
    let digest = 0
    for (const mfn of this.victim.frames) {
      for (let i = 0; i < 1024; i += 1) digest = (Math.imul(digest, 31) + this.host.memory.words[mfn * 1024 + i]!) | 0
    }
    return digest
  }

  private pick<T>(list: readonly T[]): T {
    return list[below(this.random, list.length)]!
  }

  private tools(attacker: Attacker): Tools {
    return new Tools(this.random, { host: this.host, attacker, attackers: this.attackers, victim: this.victim })
  }
}

/** What generators build arguments with. */
class Tools {
  readonly random: SeededRandom
  private readonly field: {
    readonly host: TestHost; readonly attacker: Attacker; readonly attackers: readonly Attacker[]; readonly victim: TestGuest
  }

  constructor(random: SeededRandom, field: Tools['field']) {
    this.random = random
    this.field = field
  }

  get view(): DataView {
    return this.field.host.memory.view
  }

  /** Host address of byte `offset` of the argument frame. */
  at(offset: number): number {
    return this.field.attacker.guest.scratch + offset
  }

  /** The same as the caller passes it; now and then something else. */
  pointer(offset: number): number {
    if (this.chance(50)) return this.pick([0, -1, -0x8000_0000_0000, 0x1000, BASE + MAPPED * 4096 - 4, BASE + (MAPPED + 3) * 4096, 2 ** 47])
    return this.field.attacker.pointer(offset)
  }

  below(limit: number): number {
    return below(this.random, limit)
  }

  /** True once in `odds` times. */
  chance(odds: number): boolean {
    return this.below(odds) === 0
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!
  }

  /** A frame: mostly the caller's, else anybody's, the hypervisor's, or none. */
  frame(): number {
    const { attacker, attackers, victim, host } = this.field
    const own = attacker.frames
    if (own.length === 0) return this.below(host.memory.endFrame)
    switch (this.below(8)) {
      case 0: return this.pick(victim.frames)
      case 1: return this.pick(this.pick(attackers).frames) ?? 0
      case 2: return this.below(host.memory.endFrame + 16)
      case 3: return this.pick([0, 0xfffff, 0xffff_ffff, host.memory.firstFrame, host.memory.endFrame])
      // A few frames are used again and again, so that tables come about.
      case 4: case 5: case 6: return own[this.below(Math.min(14, own.length))]!
      default: return this.pick(own)
    }
  }

  /** Low half of an entry. */
  entry(): number {
    let flags: number = PTE.PRESENT
    for (const flag of FLAGS) if (this.chance(flag === PTE.WRITABLE || flag === PTE.USER ? 2 : 6)) flags ^= flag
    return ((this.frame() << 12) | flags) >>> 0
  }

  /** Writes some entries into a frame of the caller's, as its own code may while it is no table; returns the frame. */
  plant(): number {
    const { attacker, host } = this.field
    const mfn = this.pick(attacker.frames) ?? 0
    const info = host.hypervisor.frameInfo(mfn)
    if (info.owner !== attacker.guest.domid || (info.typeCount !== 0 && info.type !== 'writable')) return mfn
    const keep = this.chance(2)
    if (!keep) host.memory.words.fill(0, mfn * 1024, mfn * 1024 + 1024)
    for (let i = this.below(4); i > 0; i -= 1) {
      const at = mfn * 1024 + this.below(this.chance(3) ? 512 : 8) * 2
      host.memory.words[at] = this.chance(5) ? this.entry() : ((this.pick(attacker.frames) << 12) | this.pick([0x21, 0x27, 0x67, 0x63])) >>> 0
      host.memory.words[at + 1] = 0
    }
    return mfn
  }

  domid(): number {
    const { attackers, victim, attacker } = this.field
    return this.pick([DOMID.SELF, DOMID.SELF, DOMID.SELF, attacker.guest.domid, victim.domid, this.pick(attackers).guest.domid, DOMID.IO, DOMID.XEN, 999])
  }

  /** Another attacker's number. */
  peer(): DomId {
    return this.pick(this.field.attackers).guest.domid
  }

  /** Sets one grant entry of the caller's table, as it may at any time. */
  grant(ref: number): void {
    const { host, attacker } = this.field
    const table = host.hypervisor.port(attacker.guest.domid).setupGrantTable(1)
    if (typeof table === 'number') return
    GrantEntryV1.encode(this.view, table[0]! * 4096 + ref * 8, {
      flags: this.pick([0, 1, 1, 1, 2, 5, 0x19]), domid: this.peer(), frame: this.frame() >>> 0,
    })
  }
}

type Call = [keyof typeof HYPERVISOR, ...number[]]
type Generator = (tools: Tools) => Call

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
    MmuextOp.cmd.set(t.view, at, t.chance(20) ? t.below(32) : t.pick([0, 1, 2, 3, 4, 4, MMUEXT.NEW_BASEPTR, MMUEXT.NEW_USER_BASEPTR, MMUEXT.CLEAR_PAGE, MMUEXT.COPY_PAGE, MMUEXT.SET_LDT]))
    MmuextOp.mfn.setNumber(t.view, at, t.frame())
    MmuextOp.srcMfn.setNumber(t.view, at, t.frame())
  }
  return ['mmuext_op', t.pointer(64), count, t.chance(4) ? t.pointer(32) : 0, t.domid()]
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
  const command = t.chance(6) ? t.below(16) : t.pick([GNTTABOP.map_grant_ref, GNTTABOP.unmap_grant_ref, GNTTABOP.copy, GNTTABOP.transfer, GNTTABOP.unmap_and_replace])
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

const vcpus: Generator = (t) => {
  for (let i = 0; i < 16; i += 4) t.view.setUint32(t.at(64 + i), t.chance(3) ? t.frame() : t.below(5000), true)
  // Going down for good, or shutting down, would end the fun.
  const command = t.pick([VCPUOP.up, VCPUOP.is_up, VCPUOP.initialise, VCPUOP.register_vcpu_info, VCPUOP.register_runstate_memory_area, VCPUOP.set_periodic_timer, VCPUOP.stop_periodic_timer, VCPUOP.set_singleshot_timer, VCPUOP.send_nmi, VCPUOP.get_runstate_info, VCPUOP.register_vcpu_time_memory_area, t.below(4) === 0 ? 99 : VCPUOP.is_up])
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

const misc: Generator = (t) => {
  for (let i = 0; i < 24; i += 4) t.view.setUint32(t.at(64 + i), t.chance(2) ? t.below(256) : t.random.next(), true)
  const sched = t.pick([SCHEDOP.yield, SCHEDOP.poll, SCHEDOP.watchdog, SCHEDOP.pin_override, SCHEDOP.remote_shutdown, 9])
  if (sched === SCHEDOP.watchdog) t.view.setUint32(t.at(68), 0xffff_fff, true)
  return t.pick<Call>([
    ['sched_op', sched, t.pointer(64)],
    ['xen_version', t.below(12), t.pointer(64)],
    ['vm_assist', t.below(3), t.below(40)],
    ['physdev_op', t.below(32), t.pointer(64)],
    ['set_trap_table', t.pointer(64)],
    ['callback_op', t.below(3), t.pointer(64)],
    ['set_segment_base', t.below(5), t.random.next()],
    ['set_debugreg', t.below(9), t.random.next()],
    ['stack_switch', t.random.next(), t.random.next()],
    ['console_io', t.below(3), t.below(256), t.pointer(64)],
    ['set_timer_op', t.random.next()],
    ['nmi_op', t.below(3), t.pointer(64)],
  ])
}

/** Two calls in one, the second of which finds what the first has made. */
const multicall: Generator = (t) => {
  const calls = [mmuUpdate, mmuext, vaMapping].slice(t.below(3)).map((generate) => generate(t))
  calls.forEach(([name, ...args], i) => {
    MulticallEntry.encode(t.view, t.at(2048 + i * 64), {
      op: BigInt(t.chance(30) ? t.below(80) : HYPERVISOR[name]), result: 0n,
      args: [0, 1, 2, 3, 4, 5].map((n) => BigInt.asUintN(64, BigInt(args[n] ?? 0))),
    })
  })
  return ['multicall', t.pointer(2048), calls.length]
}

const GENERATORS: readonly Generator[] = [
  mmuUpdate, mmuUpdate, mmuUpdate, mmuext, mmuext, plantTable, plantTable, plantTable, memoryOp, grants, grants, events, vcpus, vaMapping, vaMapping, descriptors, misc, multicall,
]

