/**
 * Random kernels of 32-bit PV guests: they write PAE tables by every means, ask for changes of them, load segments of their own
 * making, change descriptor tables, go to ring 3 and come back, and make hypercalls by `int $0x82`.
 */
import { COMPAT_FLAT, EVTCHNOP, HYPERVISOR, MMU, MMUEXT, MmuUpdate, MmuextOp, MulticallEntry, SCHEDOP, UVMF, VCPUOP, XENMEM } from '../../src/abi/index.ts'
import { BASE, WINDOWS } from '../support/machine-host.ts'
import { littleEndian } from './machine-code.ts'
import { PLACE } from './machine-values.ts'
import { DESCRIPTORS, GDT_ENTRIES, LOOSE_FIRST, PV32_TABLES, type Pv32FuzzGuest, SHOWN } from './pv32-guest.ts'
import { SHORT_DATA, SHORT_SLOTS, ShortProgram, type ShortField } from './short-program.ts'

/** What 32-bit PV programs need beside what all do. */
export interface Pv32Field extends ShortField {
  readonly guest: Pv32FuzzGuest
  tableFrame(): number
}

/** Halves of descriptors near valid ones: code, data, stacks, gates, of any ring. */
const TYPES = [0xf2, 0xb2, 0xb3, 0xfa, 0xba, 0xbb, 0x92, 0x9a, 0xf6, 0xb6, 0xbe, 0xfe, 0xec, 0xac, 0x8c, 0xe4, 0x82, 0x89, 0xb0, 0x00, 0x72] as const
const SEGMENT_MOVES = [0xd8, 0xc0, 0xd0, 0xe0] as const

/** One vCPU's next program. */
export class Pv32Program extends ShortProgram {
  declare protected readonly field: Pv32Field

  /** mov eax, gs; cmp eax, vCPU; je on; jmp here: what GS holds is for this alone. */
  protected override guard(): void {
    this.a.raw(0x8c, 0xe8, 0x3d, ...littleEndian(this.field.vcpu, 4), 0x74, 0x02, 0xeb, 0xfe)
  }

  protected forget(address: number): void {
    this.extended(this.pick([MMUEXT.INVLPG_LOCAL, MMUEXT.INVLPG_LOCAL, MMUEXT.TLB_FLUSH_LOCAL]), { address })
    this.endCheckUnlessDone()
  }

  /** What other pieces have left of a call's arguments may be refused: test eax, eax; je over; no check is under way. */
  private endCheckUnlessDone(): void {
    this.a.raw(0x85, 0xc0, 0x74, 11).put(this.field.data + SHORT_DATA.called, 0)
  }

  protected remap(slot: number, entry: bigint): void {
    const [low, high] = [Number(entry & 0xffff_ffffn), Number(entry >> 32n)]
    this.a.hypercall(HYPERVISOR.update_va_mapping, this.windowOf(slot), low, high, UVMF.NONE)
    this.endCheckUnlessDone()
  }

  private windowOf(slot: number): number {
    // The first window stays; the others may be taken away.
    return slot < SHORT_SLOTS ? this.pick(WINDOWS) + slot * 4096 : WINDOWS[0] + slot * 4096
  }

  private slotAddress(): number {
    return this.chance(2) ? this.field.table + this.below(SHORT_SLOTS) * 8 : this.pick(WINDOWS) + (SHOWN + this.below(4)) * 4096 + this.below(SHORT_SLOTS) * 8
  }

  /** A whole entry in one store of 8 bytes: cmpxchg8b, or by way of xmm0. */
  storeWhole(): void {
    this.attempts += 1
    const { a } = this
    const entry = this.field.entry()
    const [low, high] = [Number(entry & 0xffff_ffffn), Number(entry >> 32n)]
    a.set('edi', this.slotAddress())
    if (this.chance(2)) a.set('ebx', low).set('ecx', high).raw(0x8b, 0x07, 0x8b, 0x57, 0x04, 0xf0, 0x0f, 0xc7, 0x0f)
    else a.set('eax', low).set('edx', high).raw(0x66, 0x0f, 0x6e, 0xc0, 0x66, 0x0f, 0x6e, 0xca, 0x66, 0x0f, 0x62, 0xc1, 0x66, 0x0f, 0xd6, 0x07)
  }

  /** Its halves one after the other, in either order, as kernels without 8-byte stores do. */
  storeHalves(): void {
    this.attempts += 1
    const entry = this.field.entry()
    const at = this.slotAddress()
    const halves = [[at, Number(entry & 0xffff_ffffn)], [at + 4, Number(entry >> 32n)]] as const
    for (const [address, value] of this.chance(2) ? halves : [halves[1], halves[0]]) this.a.set('edi', address).set('eax', value).raw(0x89, 0x07)
  }

  /** mmu_update with some requests. */
  update(): void {
    this.attempts += 1
    const { guest } = this.field
    const count = 1 + this.below(3)
    const place = (): number => this.pick([
      () => guest.frames[PV32_TABLES.window]! * 4096 + this.below(SHORT_SLOTS) * 8, () => guest.frames[PV32_TABLES.window]! * 4096 + this.below(SHORT_SLOTS) * 8,
      () => guest.frames[PV32_TABLES.l2]! * 4096 + this.pick([2, 3]) * 8, () => this.field.playFrame() * 4096 + this.below(512) * 8,
      () => guest.frames[this.pick([PV32_TABLES.l3, PV32_TABLES.other3])]! * 4096 + this.below(5) * 8, () => this.field.tableFrame() * 4096 + (300 + this.below(212)) * 8,
    ])()
    const requests = this.argument(count * 16, (view) => {
      for (let i = 0; i < count; i += 1) {
        MmuUpdate.ptr.setNumber(view, i * 16, place() + (this.chance(6) ? this.pick(Object.values(MMU)) : MMU.NORMAL_PT_UPDATE))
        view.setBigUint64(i * 16 + 8, this.chance(4) ? BigInt(this.field.tableFrame() * 4096 + this.pick([1, 0x21, 0x67])) : this.field.entry(), true)
      }
    })
    this.a.hypercall(HYPERVISOR.mmu_update, requests, count, 0, this.chance(20) ? this.field.partner : 0x7ff0)
  }

  /** update_va_mapping, with all kinds of flushes. */
  updateByAddress(): void {
    this.attempts += 1
    const entry = this.field.entry()
    const flags = this.pick([UVMF.NONE, UVMF.NONE, UVMF.TLB_FLUSH, UVMF.INVLPG, UVMF.TLB_FLUSH | UVMF.ALL, UVMF.INVLPG | UVMF.ALL])
    this.a.hypercall(HYPERVISOR.update_va_mapping, this.windowPage(), Number(entry & 0xffff_ffffn), Number(entry >> 32n), flags)
  }

  private extended(command: number, { address = 0, frame = 0, source = 0, entries = 0 }: { readonly address?: number; readonly frame?: number; readonly source?: number; readonly entries?: number }): void {
    const at = this.field.abi.of(MmuextOp)
    const request = this.argument(at.size, (view) => {
      at.cmd.set(view, 0, command)
      if (address === 0) at.mfn.setNumber(view, 0, frame)
      else at.linearAddr.setNumber(view, 0, address)
      if (entries !== 0) at.nrEnts.set(view, 0, entries)
      else if (source !== 0) at.srcMfn.setNumber(view, 0, source)
    })
    this.a.hypercall(HYPERVISOR.mmuext_op, request, 1, 0, 0x7ff0)
  }

  /** Pins, unpins, clears, copies, flushes, other top tables. */
  change(): void {
    const { guest } = this.field
    const [command, frame] = this.pick([
      [MMUEXT.PIN_L1_TABLE, this.field.playFrame()], [MMUEXT.PIN_L1_TABLE, this.field.playFrame()], [MMUEXT.PIN_L2_TABLE, this.field.playFrame()],
      [MMUEXT.PIN_L3_TABLE, this.field.playFrame()], [MMUEXT.PIN_L4_TABLE, this.field.playFrame()], [MMUEXT.UNPIN_TABLE, this.field.playFrame()],
      [MMUEXT.PIN_L1_TABLE, this.field.tableFrame()], [MMUEXT.CLEAR_PAGE, this.field.playFrame()], [MMUEXT.COPY_PAGE, this.field.playFrame()],
      [MMUEXT.CLEAR_PAGE, this.field.anyFrame()], [MMUEXT.NEW_BASEPTR, guest.frames[this.pick([PV32_TABLES.l3, PV32_TABLES.other3])]!],
      [MMUEXT.NEW_BASEPTR, this.field.tableFrame()], [MMUEXT.NEW_USER_BASEPTR, this.field.tableFrame()],
    ] as const)
    this.extended(command, { frame, source: this.field.playFrame() })
  }

  flush(): void {
    this.extended(this.pick([MMUEXT.TLB_FLUSH_LOCAL, MMUEXT.INVLPG_LOCAL, MMUEXT.TLB_FLUSH_ALL, MMUEXT.INVLPG_ALL]), { address: this.windowPage() })
  }

  /** Writes a page, takes its last writable mapping away without a flush, and makes a table of it. */
  retype(): void {
    const { a, field: { guest } } = this
    const number = LOOSE_FIRST + this.below(guest.frames.length - LOOSE_FIRST)
    const frame = guest.frames[number]!
    const map = (flags: number): unknown => a.hypercall(HYPERVISOR.update_va_mapping, guest.at(number), flags === 0 ? 0 : frame * 4096 + flags, 0, UVMF.NONE)
    map(0x63)
    a.set('edi', guest.at(number)).raw(0x31, 0xc0, 0xb9, 0, 4, 0, 0, 0xf3, 0xab)
    map(this.chance(2) ? 0 : 0x21)
    if (this.chance(4)) this.useDescriptors(number)
    const level = this.pick([MMUEXT.PIN_L1_TABLE, MMUEXT.PIN_L1_TABLE, MMUEXT.PIN_L2_TABLE, MMUEXT.PIN_L3_TABLE])
    for (const command of this.chance(2) ? [level] : [MMUEXT.UNPIN_TABLE, level]) this.extended(command, { frame })
    a.set('edi', guest.at(number, this.below(512) * 8)).set('eax', 0x63).raw(0x89, 0x07)
  }

  /** Code in a table that is in force, which walks mark. */
  runTable(): void {
    this.runEntry(BigInt(this.field.guest.frames[PV32_TABLES.window]! * 4096 + 0x21))
  }

  /** Changes entries of level 2, so that two of the windows come and go. */
  remapTables(): void {
    this.attempts += 1
    const { frames } = this.field.guest
    const request = this.argument(16, (view) => {
      MmuUpdate.ptr.setNumber(view, 0, frames[PV32_TABLES.l2]! * 4096 + (2 + this.below(2)) * 8)
      view.setBigUint64(8, BigInt(frames[PV32_TABLES.window]! * 4096 + this.pick([0x21, 0x23, 0x25, 0x27, 0x27, 0x67, 0])), true)
    })
    this.a.hypercall(HYPERVISOR.mmu_update, request, 1, 0, 0x7ff0)
  }

  /** A descriptor near a valid one. */
  private descriptor(): readonly [number, number] {
    const base = this.pick([0, 0, BASE, WINDOWS[0], 0xf580_0000, this.random.next() >>> 0])
    const limit = this.pick([0xf_ffff, 0xf57ff, 0xf_6000, 0, 1, this.below(0x10_0000)])
    const type = this.pick(TYPES)
    const flags = this.pick([0xc, 0xc, 0x4, 0x8, 0, 0xa])
    return [((base & 0xffff) << 16 | (limit & 0xffff)) >>> 0, ((base & 0xff00_0000) | (flags << 20) | (limit & 0xf_0000) | (type << 8) | ((base >>> 16) & 0xff)) >>> 0]
  }

  /** Writes a descriptor into a table of its own, puts the table in force, loads a selector and uses the segment. */
  useDescriptors(number: number = this.pick([DESCRIPTORS.gdt, DESCRIPTORS.ldt])): void {
    const { a, field: { guest } } = this
    const slot = 1 + this.below(30)
    const [low, high] = this.descriptor()
    a.hypercall(HYPERVISOR.update_descriptor, guest.frames[number]! * 4096 + slot * 8, 0, low, high)
    const isLocal = number !== DESCRIPTORS.gdt
    if (isLocal) this.extended(MMUEXT.SET_LDT, { address: guest.at(number), entries: this.pick([32, 512, 0x2000]) })
    else a.hypercall(HYPERVISOR.set_gdt, this.list([guest.frames[number]!]), this.pick([32, 512, GDT_ENTRIES, GDT_ENTRIES + 1]))
    this.loadSegment(slot * 8 + (isLocal ? 4 : 0) + this.pick([0, 1, 1, 1, 2, 3, 3]))
  }

  /** Loads a selector somewhere and uses what it leads to. */
  private loadSegment(selector: number): void {
    const { a } = this
    const kind = this.below(6)
    if (kind === 0) a.raw(0x68, ...littleEndian(selector, 4), 0x68, ...littleEndian(a.here + 11, 4), 0xcb)
    else if (kind === 1) a.raw(this.chance(2) ? 0xea : 0x9a, ...littleEndian(a.here + 7, 4), ...littleEndian(selector, 2))
    else {
      const move = this.pick(SEGMENT_MOVES)
      a.set('eax', selector).raw(0x8e, move)
      // mov eax, fs:[page] and the others by turns
      a.raw(this.pick([0x64, 0x65, 0x26, 0x36, 0x3e]), 0xa1, ...littleEndian(this.windowPage(), 4))
    }
  }

  /** A selector that was there before, of any table and ring. */
  useSelector(): void {
    this.loadSegment(this.chance(3) ? this.below(0x1_0000) : this.pick([0, 1, 3, ...Object.values(COMPAT_FLAT), 0xe008, 0xe010, 0xe018, 0xe020, 0xe02c]))
  }

  /** Ring 3, whose code touches its pages and comes back by an interrupt, a hypercall that it may not make, or a fault. */
  user(): void {
    const { a, field: { guest, vcpu } } = this
    const user = guest.at(vcpu * PLACE.count + PLACE.user)
    const code: number[] = []
    for (let i = 1 + this.below(5); i > 0; i -= 1) {
      code.push(0xbf, ...littleEndian(this.windowPage() + this.below(1024) * 4, 4), 0x8b, 0x07)
      if (this.chance(2)) code.push(0x89, 0x07)
      if (this.chance(4)) code.push(0xc6, 0x07, 0xc3, 0xff, 0xd7)
    }
    code.push(...this.pick([[0xcd, 0x03], [0xcd, 0x82], [0x0f, 0x05], [0x0f, 0x34], [0xcc], [0xf4]]), 0xcd, 0x04, 0x0f, 0x0b)
    guest.load(vcpu * PLACE.count + PLACE.user, code)
    const frame = [user, COMPAT_FLAT.USER_CS, 0x202, user + 4096, COMPAT_FLAT.USER_SS]
    if (this.chance(8)) frame[this.below(5)] = this.pick([0, 0x1_0000, 0xe019, 0xe021, 0x3202, 0x2_0202, this.random.next() >>> 0])
    // By the processor's own iret, or by the hypercall, which takes eax along.
    if (this.chance(2)) {
      for (const value of [...frame].reverse()) a.raw(0x68, ...littleEndian(value, 4))
      a.raw(0xcf)
    } else {
      for (const value of [0, ...frame].reverse()) a.raw(0x68, ...littleEndian(value, 4))
      a.raw(0xb8, ...littleEndian(HYPERVISOR.iret, 4), 0xcd, 0x82)
    }
  }

  /** Several changes at once. */
  multicall(): void {
    const count = 2 + this.below(3)
    this.attempts += count
    const at = this.field.abi.of(MulticallEntry)
    const list = this.argument(count * at.size, (view) => {
      for (let i = 0; i < count; i += 1) {
        const entry = this.field.entry()
        at.op.setNumber(view, i * at.size, HYPERVISOR.update_va_mapping)
        const args = [this.windowPage(), Number(entry & 0xffff_ffffn), Number(entry >> 32n), this.pick([0, 1, 2, 5, 6])]
        args.forEach((value, j) => view.setUint32(i * at.size + 8 + j * 4, value, true))
      }
    })
    this.a.hypercall(HYPERVISOR.multicall, list, count)
  }

  /** A frame of the partner's at a page of its own. */
  mapGrant(): void {
    const address = this.windowPage()
    this.grant(address, address, this.windowPage())
  }

  /** Gives frames back and takes others, now and then without having unmapped them. */
  override exchangeMemory(): void {
    const frames = Array.from({ length: 1 + this.below(3) }, () => this.field.playFrame())
    if (this.chance(2)) return this.reserve(XENMEM.populate_physmap, [this.below(256)])
    if (!this.chance(3)) {
      const { guest } = this.field
      const first = guest.frames.indexOf(frames[0] as never)
      if (first >= 0) this.a.set('edi', guest.at(first, 8)).raw(0x8b, 0x07).hypercall(HYPERVISOR.update_va_mapping, guest.at(first), 0, 0, UVMF.NONE)
    }
    this.reserve(XENMEM.decrease_reservation, frames)
  }

  /** Other hypercalls that change how the vCPU goes on. */
  callOthers(): void {
    const { a, field: { guest, vcpu } } = this
    const words = (...values: readonly number[]): number => this.argument(values.length * 4, (view) => values.forEach((value, i) => view.setUint32(i * 4, value >>> 0, true)))
    const trap = guest.at(vcpu * PLACE.count + PLACE.trap)
    const selector = this.pick([COMPAT_FLAT.KERNEL_CS, COMPAT_FLAT.KERNEL_CS, 0xe018, COMPAT_FLAT.USER_CS, 0xe008, 0, 0x0c])
    this.pick([
      () => a.hypercall(HYPERVISOR.set_trap_table, words(this.below(32) | (selector << 16), trap, 0x80 | (3 << 8) | (COMPAT_FLAT.KERNEL_CS << 16), trap, 0, 0)),
      () => a.hypercall(HYPERVISOR.stack_switch, this.pick([COMPAT_FLAT.KERNEL_SS, 0xe020, COMPAT_FLAT.USER_SS, 0]), this.field.stack),
      () => a.hypercall(HYPERVISOR.set_callbacks, selector, trap, COMPAT_FLAT.KERNEL_CS, trap),
      () => a.hypercall(HYPERVISOR.fpu_taskswitch, this.below(2)),
      () => a.hypercall(HYPERVISOR.set_debugreg, this.below(9), this.pick([0, 0x400, 0x1_0401, this.windowPage()])),
      () => a.hypercall(HYPERVISOR.vcpu_op, this.pick([VCPUOP.is_up, VCPUOP.up, VCPUOP.down]), this.below(3), 0),
      () => a.hypercall(HYPERVISOR.vcpu_op, VCPUOP.register_vcpu_info, vcpu, words(this.field.playFrame(), this.below(64) * 64, 0, 0)),
      () => a.hypercall(HYPERVISOR.vcpu_op, VCPUOP.register_runstate_memory_area, vcpu, words(this.windowPage(), 0)),
      () => a.hypercall(HYPERVISOR.sched_op, this.pick([SCHEDOP.yield, SCHEDOP.yield, SCHEDOP.block]), 0),
      () => a.hypercall(HYPERVISOR.set_timer_op, 1 + this.below(1000), 0),
      () => a.hypercall(HYPERVISOR.event_channel_op, EVTCHNOP.bind_ipi, words(this.below(2), 0)),
      () => a.hypercall(HYPERVISOR.event_channel_op, EVTCHNOP.send, words(this.below(6))),
      () => a.hypercall(HYPERVISOR.vm_assist, this.below(2), this.below(6)),
      () => a.hypercall(this.below(64), this.windowPage(), this.windowPage(), this.below(8)),
    ])()
  }

  /** Instructions of ring 0, which the hypervisor carries out, or does not. */
  privileged(): void {
    const { a } = this
    a.set('ecx', this.pick([0x10, 0x1b, 0x277, 0xc000_0080, 0xc000_0100, 0x174])).set('eax', this.windowPage()).set('edx', 0)
    a.raw(...this.pick([[0x0f, 0x20, 0xc0], [0x0f, 0x22, 0xd8], [0x0f, 0x20, 0xd8], [0x0f, 0x32], [0x0f, 0x30], [0xec], [0xfa], [0xfb], [0xf4], [0x0f, 0x06], [0x0f, 0xa2], [0x0f, 0x01, 0xf8], [0x0f, 0x22, 0xe0], [0x9c, 0x9d], [0x0f, 0x01, 0x38]]))
  }
}

/** What hostile programs are put together of, and those that leave page tables alone. */
export const PV32_HOSTILE: readonly ((program: Pv32Program) => void)[] = [
  (p) => p.storeEntry(), (p) => p.storeEntry(), (p) => p.storeEntry(), (p) => p.storeWhole(), (p) => p.storeWhole(), (p) => p.storeWhole(), (p) => p.storeHalves(), (p) => p.storeHalves(),
  (p) => p.storePlain(), (p) => p.touch(), (p) => p.touch(), (p) => p.runPlay(), (p) => p.runPlay(), (p) => p.runTable(), (p) => p.checkCode(), (p) => p.checkCode(), (p) => p.swapCode(), (p) => p.evict(),
  (p) => p.update(), (p) => p.update(), (p) => p.updateByAddress(), (p) => p.updateByAddress(), (p) => p.change(), (p) => p.flush(), (p) => p.retype(), (p) => p.remapTables(),
  (p) => p.useDescriptors(), (p) => p.useDescriptors(), (p) => p.useSelector(), (p) => p.user(), (p) => p.user(), (p) => p.multicall(), (p) => p.mapGrant(), (p) => p.mapGrant(),
  (p) => p.exchangeMemory(), (p) => p.exchangeMemory(), (p) => p.callOthers(), (p) => p.callOthers(), (p) => p.privileged(), (p) => p.noise(), (p) => p.jumpAnywhere(),
]
export const PV32_QUIET: readonly ((program: Pv32Program) => void)[] = [
  (p) => p.storePlain(), (p) => p.touch(), (p) => p.touch(), (p) => p.runPlay(), (p) => p.checkCode('change'), (p) => p.user(), (p) => p.evict(), (p) => p.privileged(),
]
