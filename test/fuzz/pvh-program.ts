/**
 * Random kernels of PVH guests: they write their page tables as they like, change modes, use the local APIC and its timer, MSRs,
 * ports, real mode and ring 3, and ask the hypervisor to change what lies at their frame numbers.
 */
import { EVTCHNOP, HVMOP, HYPERVISOR, SCHEDOP, VCPUOP, XENMEM, XENMAPSPACE, XenAddToPhysmap, XenRemoveFromPhysmap } from '../../src/abi/index.ts'
import { littleEndian } from './machine-code.ts'
import { type Mode, POINTERS, PVH_MEMORY, PVH_TABLES, type PvhFuzzGuest, REAL, SELECTOR, SYSTEM, backFromReal, isLong, isWide, loadTable, taskOf } from './pvh-guest.ts'
import { noise } from './short-code.ts'
import { SHORT_DATA, SHORT_SLOTS, ShortProgram, type ShortField, ownSlot } from './short-program.ts'

const APIC = 0xfee0_0000
/** Registers of the local APIC, real ones and holes. */
const APIC_OFFSETS = [0x20, 0x30, 0x80, 0xb0, 0xd0, 0xe0, 0xf0, 0x100, 0x200, 0x280, 0x2f0, 0x300, 0x310, 0x320, 0x350, 0x360, 0x370, 0x380, 0x390, 0x3e0, 0x3f0, 0x400, 0xff0] as const
const MSRS = [
  0x10, 0x1b, 0x3b, 0x8b, 0xce, 0xfe, 0x174, 0x175, 0x176, 0x179, 0x17a, 0x1d9, 0x200, 0x201, 0x250, 0x26f, 0x277, 0x2ff, 0x400, 0x401, 0x6e0, 0x802, 0x808,
  0x80b, 0x80f, 0x830, 0x832, 0x838, 0x83f, 0xc000_0080, 0xc000_0081, 0xc000_0082, 0xc000_0084, 0xc000_0100, 0xc000_0101, 0xc000_0102, 0xc000_0103, 0xc001_0015, 0x4000_0000,
] as const
const [CR0, CR4] = [0xc0, 0xe0] as const

/** What PVH programs need beside what all do. */
export interface PvhField extends ShortField {
  readonly guest: PvhFuzzGuest
  readonly mode: Mode
}

/** One vCPU's next program. */
export class PvhProgram extends ShortProgram {
  declare protected readonly field: PvhField

  /** str eax; cmp eax, its task; je on; jmp here */
  protected override guard(): void {
    this.a.raw(0x0f, 0x00, 0xc8, 0x3d, ...littleEndian(taskOf(this.field.vcpu), 4), 0x74, 0x02, 0xeb, 0xfe)
  }

  protected forget(address: number): void {
    if (this.field.mode !== 'flat') this.a.raw(0x0f, 0x01, 0x3c, 0x25, ...littleEndian(address, 4))
  }

  protected remap(slot: number, entry: bigint): void {
    const { mode, table } = this.field
    if (mode === 'flat') return
    const at = table + slot * (isWide(mode) ? 8 : 4)
    this.a.put(at, Number(entry & 0xffff_ffffn))
    if (isWide(mode)) this.a.put(at + 4, Number(entry >> 32n))
  }

  /** Without paging there is one frame only at an address. */
  override swapCode(): void {
    if (this.field.mode !== 'flat') super.swapCode()
  }

  /** An entry of a window, whole, with or without a word to the processor. */
  changeEntry(): void {
    this.attempts += 1
    const slot = this.below(SHORT_SLOTS)
    this.remap(slot, this.field.entry())
    if (this.chance(2)) this.forget(this.pick(this.field.windows) + slot * 4096)
  }

  /** Other tables, the same ones again, with bits that mean something and bits that do not. */
  switchTables(): void {
    const { mode } = this.field
    const T = PVH_TABLES
    const tables = isLong(mode) ? [T.l4, T.other4] : mode === 'pae' ? [T.pdpt, T.pdpt + POINTERS / 4096] : [T.directory]
    const value = this.pick(tables) * 4096 + this.pick([0, 0, 0x18])
    this.a.set('eax', value).raw(0x0f, 0x22, 0xd8)
  }

  /** The same address by both ways through the tables: each shows its own page, as soon as CR3 says so. */
  checkTables(): void {
    const { mode, vcpu, own } = this.field
    if (!isLong(mode)) return
    const address = this.field.windows[1]! + ownSlot(vcpu) * 4096
    const numbers = [1 + this.below(0x7fff_0000), 1 + this.below(0x7fff_0000)] as const
    this.beginCheck(numbers[0])
    this.remap(ownSlot(vcpu), this.field.whole(own[0]))
    for (const which of [0, 1, 0, 1] as const) {
      this.a.set('eax', (which === 0 ? PVH_TABLES.l4 : PVH_TABLES.other4) * 4096).raw(0x0f, 0x22, 0xd8)
      this.writeCode(address, numbers[which])
      this.expectCode({ address, number: numbers[which], check: numbers[0] })
    }
    for (const which of [0, 1, 0] as const) {
      this.a.set('eax', (which === 0 ? PVH_TABLES.l4 : PVH_TABLES.other4) * 4096).raw(0x0f, 0x22, 0xd8)
      this.expectCode({ address, number: numbers[which], check: numbers[0] })
    }
  }

  /** Bits of CR0 or CR4 come and go; most of them take all translations along. */
  changeControl(): void {
    const [register, bit] = this.pick([[CR0, 16], [CR0, 1], [CR0, 3], [CR0, 2], [CR0, 29], [CR4, 7], [CR4, 4], [CR4, 9], [CR4, 2], [CR4, 8], [CR4, 20], [CR4, 16], [CR4, 18], [CR4, 12], [CR4, 17]] as const)
    const back = this.chance(2)
    // mov eax, cr; btc eax, bit; mov cr, eax; some work; the same again
    const toggle = [0x0f, 0x20, register, 0x0f, 0xba, 0xf8, bit, 0x0f, 0x22, register]
    this.a.raw(...toggle)
    this.touch()
    if (back) this.a.raw(...toggle)
  }

  /** Without paging for a while, which from long mode is a way out of it and back. */
  withoutPaging(): void {
    const { a, field: { mode, guest, vcpu } } = this
    if (mode === 'flat') return
    const long = isLong(mode)
    if (mode === 'long') {
      a.farReturn(SELECTOR.code32, a.here + 12, true)
    }
    if (long) a.raw(...loadTable(guest.at(vcpu, 'system', SYSTEM.idtr32)))
    a.raw(0x0f, 0x20, 0xc0, 0x0f, 0xba, 0xf0, 31, 0x0f, 0x22, 0xc0)
    for (let i = this.below(4); i > 0; i -= 1) a.set('edi', this.field.playFrame() * 4096 + this.below(1024) * 4).raw(0x8b, 0x07, 0x89, 0x07)
    if (this.chance(4)) this.callMemory()
    a.raw(0x0f, 0x20, 0xc0, 0x0f, 0xba, 0xe8, 31, 0x0f, 0x22, 0xc0)
    if (long) a.raw(...loadTable(guest.at(vcpu, 'system', SYSTEM.idtr64)))
    if (mode === 'long') a.raw(0xea, ...littleEndian(a.here + 7, 4), ...littleEndian(SELECTOR.code64, 2))
  }

  /** 32-bit code within long mode, and back. */
  compatibility(): void {
    const { a, field: { mode } } = this
    if (mode !== 'long') return
    a.farReturn(SELECTOR.code32, a.here + 12, true)
    this.touch()
    this.storePlain()
    a.set('esp', this.field.stack).raw(0xea, ...littleEndian(a.here + 7, 4), ...littleEndian(SELECTOR.code64, 2))
  }

  /** Real mode: its own interrupt table, noise or calls of interrupts, and back by itself or by a fault. */
  realMode(): void {
    const { a, random, field: { mode, guest, vcpu } } = this
    if (mode !== 'flat') return
    const real = guest.at(vcpu, 'real')
    const play = this.pick([
      () => noise(random, 24), () => [0xcd, this.below(256)], () => [0xe4, this.below(256), 0xe6, 0xe9], () => [0x8e, 0xd8, 0xa1, 0, 0, 0xa3, 0, 0],
      () => [0x66, 0xb8, ...littleEndian(random.next() >>> 0, 4), 0x67, 0x66, 0x89, 0x04, 0x25, ...littleEndian(guest.at(vcpu, 'ownA'), 4)], () => [0xfb, 0x90, 0xfa],
    ])()
    // mov eax, cr0; and al, fe; mov cr0, eax; jmp far to a segment of real mode
    guest.write(real + REAL.enter, [0x0f, 0x20, 0xc0, 0x24, 0xfe, 0x0f, 0x22, 0xc0, 0xea, ...littleEndian(REAL.play, 2), ...littleEndian(real >>> 4, 2)])
    const back = a.here + 10 + 7
    guest.write(real + REAL.play, [...play, ...backFromReal(back)])
    a.raw(...loadTable(guest.at(vcpu, 'system', SYSTEM.idtrReal)), 0x90, 0x90)
    a.raw(0xea, ...littleEndian(REAL.enter, 4), ...littleEndian(SELECTOR.code16, 2))
    a.set('ecx', SELECTOR.data).raw(0x8e, 0xd9, 0x8e, 0xc1, 0x8e, 0xd1, ...loadTable(guest.at(vcpu, 'system', SYSTEM.idtr32)))
  }

  /** Ring 3, whose code touches its pages and comes back by an interrupt or a fault. */
  user(): void {
    const { a, field: { mode, guest, vcpu } } = this
    const user = guest.at(vcpu, 'user')
    const code: number[] = []
    for (let i = 1 + this.below(4); i > 0; i -= 1) {
      code.push(0xbf, ...littleEndian(this.chance(2) ? this.windowPage() : this.field.playFrame() * 4096, 4), 0x8b, 0x07)
      if (this.chance(2)) code.push(0x89, 0x07)
      if (this.chance(4)) code.push(0xff, 0xd7)
    }
    guest.write(user, [...code, 0xcd, 0x80])
    const wide = mode === 'long'
    const selector = wide && this.chance(2) ? SELECTOR.user64 : SELECTOR.user32
    for (const value of [SELECTOR.userData, user + 4096, 0x2, selector, user]) a.raw(0x68, ...littleEndian(value, 4))
    a.raw(...wide ? [0x48, 0xcf] : [0xcf])
  }

  /** The local APIC's page: writes, reads, of any size and at any place. */
  useApic(): void {
    const { a } = this
    for (let i = 1 + this.below(4); i > 0; i -= 1) {
      const address = APIC + this.pick(APIC_OFFSETS) + (this.chance(10) ? this.below(16) : 0)
      const value = this.pick([0, 0x31, 0x2_0032, 0x1_0000, 0x1ff, 0x4_0033, 0xc_0034, 0x8_0400, 0xb, 0x3e8, 0xffff_ffff, this.random.next() >>> 0])
      a.set('edi', address).set('eax', value)
      a.raw(...this.pick([[0x89, 0x07], [0x89, 0x07], [0x8b, 0x07], [0x88, 0x07], [0x66, 0x89, 0x07], [0x87, 0x07], [0xa5], [0x0f, 0x11, 0x07], [0xf0, 0x01, 0x07], [0xff, 0x37]]))
    }
  }

  /** A timer and a wait for it. */
  waitForTimer(): void {
    const { a } = this
    a.putHigh(APIC + 0xf0, 0x1ff).putHigh(APIC + 0x3e0, this.pick([0, 3, 0xb])).putHigh(APIC + 0x320, this.pick([0x40, 0x2_0041, 0x1_0042]))
    a.putHigh(APIC + 0x380, 1 + this.below(20_000)).raw(...this.chance(3) ? [0xfb, 0xf4, 0xfa] : [0xfb, 0x90, 0x90, 0xfa])
  }

  /** Something for the other vCPU, or for oneself. */
  interrupt(): void {
    const { a } = this
    const command = this.pick([0x50, 0x51, 0x400, 0x4_0052, 0xc_0053, 0x8_0054, 0x150, ...this.chance(6) ? [0x4500, 0x4600 | (this.field.guest.first(0) + 3)] : []])
    a.putHigh(APIC + 0x310, this.pick([0, 2, 0xff, 4]) << 24).putHigh(APIC + 0x300, command).raw(...this.chance(2) ? [0xfb, 0x90, 0xfa] : [])
  }

  /** Reads or writes a model-specific register. */
  useMsr(): void {
    const { a } = this
    const register = this.chance(8) ? this.below(0x1000) : this.pick(MSRS)
    const value = this.pick([0, 1, 0xfee0_0800, 0xfee0_0d00, 0xfee0_0900, 0x0007_0406, 0xd00, 0x500, 0x800, 0x32, this.field.playFrame() * 4096, this.random.next() >>> 0])
    a.set('ecx', register).set('edx', this.chance(6) ? this.random.next() >>> 0 : 0).set('eax', value).raw(0x0f, this.chance(3) ? 0x32 : 0x30)
  }

  /** Ports, one or a string of them. */
  usePort(): void {
    this.a.set('edx', this.pick([0xe9, 0x3f8, 0x60, 0xb008, 0xcf8, 0xffff])).set('edi', this.windowPage()).set('esi', this.windowPage() + 4090).set('ecx', this.below(20))
    this.a.raw(...this.pick([[0xec], [0xee], [0xed], [0x66, 0xef], [0xf3, 0x6c], [0xf3, 0x6e], [0xf3, 0x6d]]))
  }

  /** A number for what has to lie somewhere else: nothing is there yet, or something is. */
  private place(): number {
    return this.chance(2) ? PVH_MEMORY.pages + this.below(PVH_MEMORY.most - PVH_MEMORY.pages) : this.field.anyFrame()
  }

  /** Changes what lies at a frame number, and looks there. */
  callMemory(): void {
    const { abi } = this.field
    const gfn = this.place()
    const add = abi.of(XenAddToPhysmap)
    const remove = abi.of(XenRemoveFromPhysmap)
    const kind = this.below(10)
    if (kind < 3) return this.reserve(XENMEM.decrease_reservation, [gfn])
    if (kind < 6) return this.reserve(XENMEM.populate_physmap, [gfn, this.place()])
    if (kind < 7) {
      const request = this.argument(remove.size, (view) => {
        remove.domid.set(view, 0, 0x7ff0)
        remove.gpfn.setNumber(view, 0, gfn)
      })
      this.a.hypercall(HYPERVISOR.memory_op, XENMEM.remove_from_physmap, request)
      return
    }
    const space = this.pick([XENMAPSPACE.shared_info, XENMAPSPACE.grant_table, XENMAPSPACE.gmfn, XENMAPSPACE.gmfn, XENMAPSPACE.gmfn_range])
    const request = this.argument(add.size, (view) => {
      add.domid.set(view, 0, 0x7ff0)
      add.count.set(view, 0, this.below(4))
      add.space.set(view, 0, space)
      add.idx.setNumber(view, 0, space === XENMAPSPACE.gmfn || space === XENMAPSPACE.gmfn_range ? this.field.playFrame() : this.below(3))
      add.gpfn.setNumber(view, 0, gfn)
    })
    this.a.hypercall(HYPERVISOR.memory_op, XENMEM.add_to_physmap, request)
  }

  /** Uses a place by way of a window, changes what lies there, and uses it again by what is remembered. */
  changeUnderFoot(): void {
    const { a } = this
    const gfn = this.field.playFrame()
    const [slot, address] = this.slot()
    this.remap(slot, this.field.whole(gfn))
    this.forget(address)
    const use = (): unknown => a.set('edi', address).raw(0xc6, 0x07, 0xc3, 0x89, 0x47, 0x10, 0xff, 0xd7)
    use()
    if (this.chance(3)) this.callMemory()
    else this.reserve(XENMEM.decrease_reservation, [gfn])
    if (this.chance(3)) this.reserve(XENMEM.populate_physmap, [gfn])
    use()
  }

  private slot(): readonly [number, number] {
    const slot = this.below(SHORT_SLOTS)
    return [slot, this.pick(this.field.windows) + slot * 4096]
  }

  /** A frame of the partner's at a number of one's own. */
  mapGrant(): void {
    const gfn = this.place()
    const [slot, address] = this.slot()
    this.remap(slot, this.field.whole(gfn))
    this.forget(address)
    this.grant(gfn * 4096, this.field.mode === 'flat' ? gfn * 4096 : address, this.place() * 4096)
  }

  mapGrantTwice(): void {
    this.grantTwice([this.place() * 4096, this.place() * 4096])
  }

  /** Other hypercalls that change how the vCPU goes on. */
  callOthers(): void {
    const { a } = this
    const words = (...values: readonly number[]): number => this.argument(values.length * 4, (view) => values.forEach((value, i) => view.setUint32(i * 4, value >>> 0, true)))
    this.pick([
      () => a.hypercall(HYPERVISOR.hvm_op, HVMOP.set_evtchn_upcall_vector, words(this.below(3), this.pick([0x60, 0x61, 3]))),
      () => a.hypercall(HYPERVISOR.hvm_op, HVMOP.set_param, words(0x7ff0, this.below(40), this.random.next() >>> 0, this.pick([0, 0x0200_0000]))),
      () => a.hypercall(HYPERVISOR.hvm_op, HVMOP.set_param, words(0x7ff0, 0, 0x60 + this.below(4), 0x0200_0000)),
      () => a.hypercall(HYPERVISOR.hvm_op, HVMOP.get_param, words(0x7ff0, this.below(40), 0, 0)),
      () => a.hypercall(HYPERVISOR.hvm_op, HVMOP.flush_tlbs, 0),
      () => a.hypercall(HYPERVISOR.vcpu_op, this.pick([VCPUOP.is_up, VCPUOP.up, VCPUOP.down]), this.below(3), 0),
      () => a.hypercall(HYPERVISOR.vcpu_op, VCPUOP.register_vcpu_info, this.field.vcpu, words(this.field.playFrame(), 0, this.below(64) * 64, 0)),
      () => a.hypercall(HYPERVISOR.vcpu_op, VCPUOP.register_runstate_memory_area, this.field.vcpu, words(this.windowPage(), 0)),
      () => a.hypercall(HYPERVISOR.sched_op, this.pick([SCHEDOP.yield, SCHEDOP.block]), 0),
      () => a.hypercall(HYPERVISOR.set_timer_op, 0, 0),
      () => a.hypercall(HYPERVISOR.event_channel_op, EVTCHNOP.bind_ipi, words(this.below(2), 0)),
      () => a.hypercall(HYPERVISOR.event_channel_op, EVTCHNOP.send, words(this.below(6))),
      () => a.hypercall(this.below(64), this.windowPage(), this.windowPage(), this.below(8)),
    ])()
    if (this.chance(3)) a.raw(0xfb, 0x90, 0xfa)
  }

  /** Code in a table that is in force, which walks mark. */
  runTable(): void {
    if (isWide(this.field.mode)) this.runEntry(this.field.whole(this.field.table / 4096))
  }

  /** Has the hypervisor's stubs written over a page that may hold code, and calls them. */
  writeStubs(): void {
    const gfn = this.field.playFrame()
    const [slot, address] = this.slot()
    this.remap(slot, this.field.whole(gfn))
    this.forget(address)
    this.a.set('edi', address).raw(0xc6, 0x07, 0xc3, 0xff, 0xd7).set('ecx', 0x4000_0000).set('edx', 0).set('eax', gfn * 4096).raw(0x0f, 0x30)
    this.a.set('edi', address + 17 * 32).set('ebx', 0).raw(0xff, 0xd7)
  }

  /** Puts the stack's segment, or another one, somewhere it may not be. */
  useSegments(): void {
    this.a.set('eax', this.pick([0, 0x10, 0x18, 0x23, 0x2b, 0x38, 0x40, 0x48, 0x50, 0xffff])).raw(0x8e, this.pick([0xd8, 0xc0, 0xd0, 0xe0, 0xe8]))
    this.touch()
    this.a.put(this.field.data + SHORT_DATA.scratch, 0)
  }
}

/** What hostile programs are put together of, and those that leave page tables alone. */
export const PVH_HOSTILE: readonly ((program: PvhProgram) => void)[] = [
  (p) => p.changeEntry(), (p) => p.changeEntry(), (p) => p.changeEntry(), (p) => p.changeEntry(), (p) => p.storeEntry(), (p) => p.storeEntry(), (p) => p.storeEntry(),
  (p) => p.storePlain(), (p) => p.touch(), (p) => p.touch(), (p) => p.touch(), (p) => p.runPlay(), (p) => p.runPlay(), (p) => p.runTable(), (p) => p.checkCode(), (p) => p.checkCode(), (p) => p.swapCode(),
  (p) => p.evict(), (p) => p.switchTables(), (p) => p.checkTables(), (p) => p.changeControl(), (p) => p.withoutPaging(), (p) => p.compatibility(), (p) => p.realMode(), (p) => p.realMode(),
  (p) => p.user(), (p) => p.user(), (p) => p.useApic(), (p) => p.waitForTimer(), (p) => p.interrupt(), (p) => p.useMsr(), (p) => p.usePort(),
  (p) => p.callMemory(), (p) => p.callMemory(), (p) => p.changeUnderFoot(), (p) => p.changeUnderFoot(), (p) => p.mapGrant(), (p) => p.mapGrant(), (p) => p.mapGrantTwice(), (p) => p.callOthers(), (p) => p.callOthers(), (p) => p.callOthers(),
  (p) => p.exchangeMemory(), (p) => p.writeStubs(), (p) => p.useSegments(), (p) => p.noise(), (p) => p.jumpAnywhere(),
]
export const PVH_QUIET: readonly ((program: PvhProgram) => void)[] = [
  (p) => p.storePlain(), (p) => p.touch(), (p) => p.touch(), (p) => p.runPlay(), (p) => p.checkCode('change'), (p) => p.user(), (p) => p.evict(), (p) => p.useApic(),
]
