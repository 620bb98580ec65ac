/**
 * Random kernels, piece by piece: each piece is a few instructions that store into page tables, ask for changes of
 * them, use what they map, or run it. A piece that faults is over, and the next one begins: the trap handler goes on at
 * the address that the piece has left behind.
 */
import { FLAT, GNTMAP, HYPERVISOR, IretContext, MMU, MMUEXT, MmuUpdate, MmuextOp, MulticallEntry, UVMF, VGCF, XENMEM, XenMemoryReservation } from '../../src/abi/index.ts'
import type { SeededRandom } from '../../src/util/index.ts'
import { TABLES, USER_BASE, WINDOWS } from '../support/machine-host.ts'
import { DATA, PLACE, PLAY, type ProgramField, SELF, SLOTS, Values, privateSlot } from './machine-values.ts'
import { Assembler, STACK_STORES, STORES, type StorePlace, littleEndian } from './machine-code.ts'

/** Top of a program: beyond it no piece is begun. */
const CODE_LIMIT = 4 * 4096 - 1024

const STORE_NAMES = Object.keys(STORES)
const STACK_NAMES = Object.keys(STACK_STORES)
/** One vCPU's next program. */
export class Program extends Values {
  /** Page-table stores that it attempts. */
  attempts = 0
  private readonly a: Assembler

  constructor(random: SeededRandom, field: ProgramField) {
    super(random, field)
    this.a = new Assembler(field.guest.at(this.first + PLACE.code))
  }

  /** Bytes for the vCPU's code pages. */
  finish(): number[] {
    return this.a.raw(0xeb, 0xfe).bytes
  }

  /** Adds up to `count` pieces; `quiet` ones leave page tables alone. */
  fill(count: number, kind: 'hostile' | 'quiet'): this {
    const pieces = kind === 'quiet' ? QUIET : HOSTILE
    for (let i = 0; i < count && this.a.bytes.length < CODE_LIMIT; i += 1) this.piece(this.pick(pieces))
    // The last piece may well be the domain's end.
    if (kind === 'hostile' && this.chance(2)) this.piece((p) => p.storeByStack())
    else if (this.chance(2)) this.piece((p) => p.user('stays'))
    return this
  }

  /** The trap handler of a vCPU: forgets the stack and goes on with the next piece. */
  static handler({ guest, vcpu }: Pick<ProgramField, 'guest' | 'vcpu'>): number[] {
    const first = vcpu * PLACE.count
    return new Assembler(guest.at(first + PLACE.trap)).raw(0xfc).set('rsp', guest.at(first + PLACE.stack + 1))
      .raw(0xff, 0x24, 0x25).raw(...wordOf(guest.at(first + PLACE.data, DATA.resume))).bytes
  }

  private piece(write: (p: Program) => void): void {
    const { a } = this
    const at = a.bytes.length
    a.put(this.data(DATA.resume), 0).set('rsp', this.field.guest.at(this.first + PLACE.stack + 1))
    // cld; xor r15d, r15d
    a.raw(0xfc, 0x45, 0x31, 0xff)
    write(this)
    a.bytes.splice(at + 8, 4, ...wordOf(a.here))
  }

  /** A store into a page table. */
  store(): void {
    this.attempts += 1
    STORES[this.pick(STORE_NAMES)]!(this.a, this.storePlace(this.entryAddress(), this.entry()))
  }

  /** The same as a stack: its entry maps a page just below, now and then. */
  storeByStack(): void {
    this.attempts += 1
    const near = this.pick(WINDOWS) + SELF * 4096 + (SELF - 1 - this.below(12)) * 8
    const value = this.entry(this.chance(2) ? this.playFrame() : undefined)
    STACK_STORES[this.pick(STACK_NAMES)]!(this.a, this.storePlace(this.chance(2) ? near : this.entryAddress(), value))
  }

  /** A store into ordinary memory by any means, across pages too. */
  storePlain(): void {
    const address = this.windowPage() + (this.chance(3) ? 4096 - this.below(16) : this.below(4000))
    STORES[this.pick(STORE_NAMES)]!(this.a, this.storePlace(address, this.entry()))
  }

  private storePlace(address: number, value: bigint): StorePlace {
    const alias = this.pick(WINDOWS) + (SELF + this.below(2)) * 4096 + (address & 0xff8)
    return { address, value, alias, scratch: this.data(DATA.scratch), variant: this.below(64) }
  }

  /** Reads a page, and writes it. */
  touch(): void {
    const { a } = this
    for (let i = 1 + this.below(10); i > 0; i -= 1) {
      a.set('rdi', this.windowPage() + this.below(512) * 8).raw(0x48, 0x8b, 0x07)
      if (this.chance(2)) a.raw(0x48, 0x89, 0x07)
    }
  }

  /** Reads entries where they are shown: a right to write that was remembered would show, and last. */
  touchTable(): void {
    this.a.set('rdi', this.pick(WINDOWS) + (SELF + this.below(4)) * 4096 + this.below(SLOTS) * 8).raw(0x48, 0x8b, 0x07)
    if (this.chance(2)) return
    this.attempts += 1
    this.a.set('rax', this.entry()).raw(0x48, 0x89, 0x07)
  }

  /** Writes code through one mapping and runs it through another one. */
  runPlay(): void {
    const { a } = this
    const slot = this.below(SLOTS) * 4096
    const offset = this.chance(8) ? 4096 - this.below(5) : this.below(4000)
    a.set('rdi', this.pick(WINDOWS) + slot + offset).set('rax', 0xc3_0000_00b8n | BigInt(this.below(256) << 8)).raw(0x48, 0x89, 0x07)
    a.set('rax', this.pick(WINDOWS) + slot + offset).raw(0xff, 0xd0)
  }

  /**
   * Code in two frames at one address: runs in the first, is remapped without a flush, drops its own translation by a
   * read that stands in the same place, and only then takes a branch within its page.
   */
  runStale(): void {
    const { a, field: { guest } } = this
    const slot = this.below(SELF) * 4096
    const numbers = [PLAY.first + this.below(PLAY.end - PLAY.first), PLAY.first + this.below(PLAY.end - PLAY.first)]
    // mov rdi, alias; mov al, [rdi]; test ecx, ecx; je behind the next; ret; nop (4); ret
    const code = [0x48, 0xbf, ...littleEndian(WINDOWS[2] + slot, 8), 0x8a, 0x07, 0x85, 0xc9, 0x74, 0x05, 0xc3, 0x90, 0x90, 0x90, 0x90, 0xc3, 0x90, 0x90]
    for (const number of numbers) {
      a.set('rdi', guest.at(number))
      for (let i = 0; i < code.length; i += 8) {
        a.raw(0x48, 0xb8, ...code.slice(i, i + 8), 0x48, 0x89, 0x47, i)
      }
    }
    const [first, second] = numbers.map((number) => (BigInt(guest.frames[number]!) << 12n) | 0x63n)
    const visit = (entry: bigint, flush: number, ecx: number): void => {
      a.hypercall(HYPERVISOR.update_va_mapping, WINDOWS[0] + slot, entry, flush)
      a.set('rax', WINDOWS[0] + slot).raw(0xb9, ecx, 0, 0, 0, 0xff, 0xd0)
    }
    visit(second!, UVMF.TLB_FLUSH | UVMF.ALL, 0)
    visit(first!, UVMF.TLB_FLUSH | UVMF.ALL, 1)
    visit(first!, UVMF.NONE, 1)
    visit(second!, UVMF.NONE, 0)
  }

  /**
   * Own code at an own address, in one of two frames that nobody else writes: changed, flushed where it was remapped,
   * and run; it has to give the number that was written last.
   */
  checkCode(kind: 'remap' | 'change' = this.chance(2) ? 'remap' : 'change'): void {
    const { a, field: { guest, vcpu } } = this
    const address = this.pick(WINDOWS) + privateSlot(vcpu) * 4096
    const number = 1 + this.below(0x7fff_0000)
    if (kind === 'remap') {
      const frame = guest.frames[this.first + (this.chance(2) ? PLACE.privateA : PLACE.privateB)]!
      const value = (BigInt(frame) << 12n) | 0x63n
      if (this.chance(2)) a.hypercall(HYPERVISOR.update_va_mapping, address, value, UVMF.LOCAL | this.pick([UVMF.TLB_FLUSH, UVMF.INVLPG]))
      else {
        STORES[this.pick(['mov.64', 'xchg.64', 'stos.64', 'movs.64', 'movq.xmm'])]!(a, {
          ...this.storePlace(guest.at(TABLES.window, privateSlot(vcpu) * 8), value), variant: 0,
        })
        this.flush(MMUEXT.TLB_FLUSH_LOCAL)
      }
    }
    this.writeCode(address, number)
    this.expectCode(number)
  }

  /** Own code in both frames: each runs at the same address, one page's translation dropped in between. */
  swapCode(): void {
    const { guest, vcpu } = this.field
    const address = this.pick(WINDOWS) + privateSlot(vcpu) * 4096
    const numbers = [1 + this.below(0x7fff_0000), 1 + this.below(0x7fff_0000)]
    const map = (which: number, flush: number): void => {
      const frame = guest.frames[this.first + (which === 0 ? PLACE.privateA : PLACE.privateB)]!
      this.a.hypercall(HYPERVISOR.update_va_mapping, address, (BigInt(frame) << 12n) | 0x63n, flush)
      this.a.set('rdi', address)
    }
    for (const which of [0, 1]) {
      map(which, UVMF.TLB_FLUSH)
      this.writeCode(address, numbers[which]!)
    }
    for (const which of [0, 0, 1, 1, 0]) {
      map(which, UVMF.INVLPG)
      this.expectCode(numbers[which]!)
    }
  }

  /** A jump within the page, then mov eax, number; ret. The number comes last. */
  private writeCode(address: number, number: number): void {
    this.a.set('rdi', address).set('rax', BigInt(number)).raw(0xc6, 0x07, 0xeb, 0xc6, 0x47, 0x01, 0x3e, 0xc6, 0x47, 0x40, 0xb8)
    this.a.raw(0x89, 0x47, 0x41, 0xc6, 0x47, 0x45, 0xc3)
  }

  /**
   * Calls the code at rdi, which has to give the number. R15 tells that the call was made here: what attackers run by
   * chance may return to this place.
   */
  private expectCode(number: number): void {
    this.a.raw(0x41, 0xbf, ...wordOf(number), 0xff, 0xd7)
    this.a.raw(0x3d, ...wordOf(number), 0x74, 0x11, 0x41, 0x81, 0xff, ...wordOf(number), 0x75, 0x08)
    this.a.raw(0x48, 0xff, 0x04, 0x25, ...wordOf(this.data(DATA.wrong)))
  }

  /** mmu_update with some requests. */
  update(): void {
    this.attempts += 1
    const count = 1 + this.below(3)
    const requests = this.argument(count * 16, (view, at) => {
      for (let i = 0; i < count; i += 1) {
        const command = this.chance(6) ? this.pick(Object.values(MMU)) : MMU.NORMAL_PT_UPDATE
        MmuUpdate.ptr.setNumber(view, at + i * 16, this.entryPlace() + command)
        view.setBigUint64(at + i * 16 + 8, this.entry(this.chance(4) ? this.tableFrame() : undefined), true)
      }
    })
    this.a.hypercall(HYPERVISOR.mmu_update, requests, count, 0, this.chance(20) ? this.field.partner : 0x7ff0)
  }

  /** update_va_mapping, with all kinds of flushes. */
  updateByAddress(): void {
    this.attempts += 1
    const flags = this.pick([UVMF.NONE, UVMF.NONE, UVMF.TLB_FLUSH, UVMF.INVLPG, UVMF.TLB_FLUSH | UVMF.ALL, UVMF.INVLPG | UVMF.ALL])
    this.a.hypercall(HYPERVISOR.update_va_mapping, this.windowPage(), this.entry(), flags)
  }

  flush(command: number = this.pick([MMUEXT.TLB_FLUSH_LOCAL, MMUEXT.INVLPG_LOCAL, MMUEXT.TLB_FLUSH_ALL, MMUEXT.INVLPG_ALL])): void {
    this.extended((view, at) => {
      MmuextOp.cmd.set(view, at, command)
      MmuextOp.linearAddr.setNumber(view, at, this.windowPage())
    })
  }

  /** Pins, unpins, clears and copies. */
  change(): void {
    const [command, frame] = this.pick([
      [MMUEXT.PIN_L1_TABLE, this.playFrame()], [MMUEXT.PIN_L1_TABLE, this.playFrame()], [MMUEXT.PIN_L2_TABLE, this.playFrame()],
      [MMUEXT.PIN_L3_TABLE, this.playFrame()], [MMUEXT.PIN_L4_TABLE, this.playFrame()], [MMUEXT.UNPIN_TABLE, this.playFrame()],
      [MMUEXT.PIN_L1_TABLE, this.tableFrame()], [MMUEXT.UNPIN_TABLE, this.playFrame()], [MMUEXT.CLEAR_PAGE, this.playFrame()],
      [MMUEXT.COPY_PAGE, this.playFrame()], [MMUEXT.CLEAR_PAGE, this.anyFrame()],
    ] as const)
    this.extended((view, at) => {
      MmuextOp.cmd.set(view, at, command)
      MmuextOp.mfn.setNumber(view, at, frame)
      MmuextOp.srcMfn.setNumber(view, at, this.playFrame())
    })
  }

  /** Writes a page, takes its last writable mapping away without a flush, and makes a table of it. */
  retype(): void {
    const { a, field: { guest } } = this
    const number = PLAY.looseFirst + this.below(guest.frames.length - PLAY.looseFirst)
    const frame = guest.frames[number]!
    const map = (flags: number): unknown =>
      a.hypercall(HYPERVISOR.update_va_mapping, guest.at(number), flags === 0 ? 0 : (BigInt(frame) << 12n) | BigInt(flags), UVMF.NONE)
    map(0x63)
    a.set('rdi', guest.at(number)).raw(0x31, 0xc0, 0xb9, 0, 2, 0, 0, 0xf3, 0x48, 0xab)
    map(this.chance(2) ? 0 : 0x21)
    if (this.chance(4)) {
      // A page of descriptors: the selector's load gives it that type. mov eax, 15; mov ds, ax
      this.extended((view, at) => {
        MmuextOp.cmd.set(view, at, MMUEXT.SET_LDT)
        MmuextOp.linearAddr.setNumber(view, at, guest.at(number))
        MmuextOp.nrEnts.set(view, at, 512)
      })
      a.raw(0xb8, 15, 0, 0, 0, 0x8e, 0xd8)
    }
    const level = this.pick([MMUEXT.PIN_L1_TABLE, MMUEXT.PIN_L1_TABLE, MMUEXT.PIN_L2_TABLE, MMUEXT.PIN_L4_TABLE])
    for (const command of this.chance(2) ? [level] : [MMUEXT.UNPIN_TABLE, level]) {
      this.extended((view, at) => {
        MmuextOp.cmd.set(view, at, command)
        MmuextOp.mfn.setNumber(view, at, frame)
      })
    }
    a.set('rdi', guest.at(number, this.below(512) * 8)).set('rax', this.entry()).raw(0x48, 0x89, 0x07)
  }

  /** Changes entries of level 2, so that the windows come and go. */
  remapTables(): void {
    this.attempts += 1
    const { frames } = this.field.guest
    const request = this.argument(16, (view, at) => {
      MmuUpdate.ptr.setNumber(view, at, frames[TABLES.l2]! * 4096 + (1 + this.below(4)) * 8)
      view.setBigUint64(at + 8, (BigInt(frames[TABLES.window]!) << 12n) | BigInt(this.pick([0x21, 0x23, 0x23, 0x25, 0x27, 0x27, 0x67, 0])), true)
    })
    this.a.hypercall(HYPERVISOR.mmu_update, request, 1, 0, 0x7ff0)
  }

  /** Takes another top-level table, for the kernel or for user mode. */
  switchTables(): void {
    const { frames } = this.field.guest
    const isUser = this.chance(4)
    this.extended((view, at) => {
      MmuextOp.cmd.set(view, at, isUser ? MMUEXT.NEW_USER_BASEPTR : MMUEXT.NEW_BASEPTR)
      MmuextOp.mfn.setNumber(view, at, isUser ? frames[TABLES.user4]! : this.chance(12) ? this.playFrame() : frames[this.pick([TABLES.l4, TABLES.other4])]!)
    })
  }

  private extended(write: (view: DataView, at: number) => void): void {
    this.a.hypercall(HYPERVISOR.mmuext_op, this.argument(MmuextOp.size, write), 1, 0, 0x7ff0)
  }

  /** Gives frames back and takes others, now and then without having unmapped them. */
  exchangeMemory(): void {
    const isGiving = this.chance(2)
    const frames = Array.from({ length: 1 + this.below(3) }, () => this.playFrame())
    if (isGiving && !this.chance(3)) {
      // Its entry in the linear map of all frames has to go first; remembered translations stay.
      const first = this.field.guest.frames.indexOf(frames[0] as never)
      this.a.set('rdi', this.field.guest.at(first, 8)).raw(0x48, 0x89, 0x07)
      this.a.hypercall(HYPERVISOR.update_va_mapping, this.field.guest.at(first), 0, UVMF.NONE)
    }
    const list = this.argument(frames.length * 8, (view, at) => frames.forEach((mfn, i) => view.setBigUint64(at + i * 8, BigInt(mfn), true)))
    const request = this.argument(XenMemoryReservation.size, (view, at) => {
      XenMemoryReservation.extentStart.setNumber(view, at, list)
      XenMemoryReservation.nrExtents.setNumber(view, at, frames.length)
      XenMemoryReservation.domid.set(view, at, 0x7ff0)
    })
    this.a.hypercall(HYPERVISOR.memory_op, isGiving ? XENMEM.decrease_reservation : XENMEM.populate_physmap, request)
  }

  /** Maps a frame of the partner's and uses it; ends that mapping, or another one. */
  mapGrant(): void {
    const { a } = this
    const address = this.windowPage()
    const mapped = this.argument(32, (view, at) => {
      view.setBigUint64(at, BigInt(address), true)
      view.setUint32(at + 8, GNTMAP.host_map | (this.chance(3) ? GNTMAP.readonly : 0), true)
      view.setUint32(at + 12, 8 + this.below(8), true)
      view.setUint16(at + 16, this.field.partner, true)
    })
    const unmapped = this.argument(24, (view, at) => {
      view.setBigUint64(at, BigInt(this.chance(8) ? this.windowPage() : address), true)
      view.setUint32(at + 16, this.below(4), true)
    })
    a.hypercall(HYPERVISOR.grant_table_op, 0, mapped, 1).set('rdi', address + this.below(512) * 8).raw(0x48, 0x8b, 0x07)
    if (this.chance(2)) a.raw(0x48, 0x89, 0x07)
    if (this.chance(2)) return
    // The handle goes from one structure to the other.
    a.raw(0x8b, 0x04, 0x25, ...wordOf(mapped + 20), 0x89, 0x04, 0x25, ...wordOf(unmapped + 16))
    a.hypercall(HYPERVISOR.grant_table_op, 1, unmapped, 1)
  }

  /** Several changes at once. */
  multicall(): void {
    const count = 2 + this.below(3)
    this.attempts += count
    const list = this.argument(count * MulticallEntry.size, (view, at) => {
      for (let i = 0; i < count; i += 1) {
        const call = at + i * MulticallEntry.size
        MulticallEntry.op.setNumber(view, call, HYPERVISOR.update_va_mapping)
        const args = [BigInt(this.windowPage()), this.entry(), BigInt(this.pick([0, 1, 2, 5, 6]))]
        args.forEach((value, j) => view.setBigUint64(call + 16 + j * 8, value, true))
      }
    })
    this.a.hypercall(HYPERVISOR.multicall, list, count)
  }

  /** Goes to user mode, whose code touches its pages and comes back by a system call or a fault, or not at all. */
  user(end: 'returns' | 'stays' = 'returns'): void {
    const { guest } = this.field
    const start = USER_BASE + this.field.vcpu * 4096
    const user = new Assembler(start)
    for (let i = 1 + this.below(5); i > 0; i -= 1) {
      const page = USER_BASE + (2 + this.below(14)) * 4096
      user.set('rdi', page + this.below(512) * 8).raw(0x48, 0x8b, 0x07)
      if (this.chance(2)) user.raw(0x48, 0x89, 0x07)
      if (this.chance(4)) user.raw(0xc6, 0x07, 0xc3, 0x48, 0x89, 0xe0, 0xff, 0xd7)
    }
    // The kernel's pages are not there.
    if (end === 'returns' && this.chance(3)) user.set('rdi', this.windowPage()).raw(0x48, 0x8b, 0x07)
    guest.load(this.first + PLACE.user, user.raw(...end === 'returns' ? [0x0f, 0x05] : [0xeb, 0xfe]).bytes)
    const frame = this.argument(IretContext.size, (view, at) => {
      IretContext.flags.setNumber(view, at, this.chance(2) ? VGCF.in_syscall : 0)
      IretContext.rip.setNumber(view, at, start)
      IretContext.cs.setNumber(view, at, FLAT.USER_CS64)
      IretContext.rflags.setNumber(view, at, 0x202)
      IretContext.rsp.setNumber(view, at, start + 4096)
      IretContext.ss.setNumber(view, at, FLAT.USER_SS64)
    })
    this.a.set('rsp', frame).raw(0xb8, ...wordOf(HYPERVISOR.iret), 0x0f, 0x05)
  }

  /** Reads pages whose translations stand where those of the program stand. */
  evict(): void {
    for (let i = this.below(8); i >= 0; i -= 1) {
      this.a.set('rdi', this.pick(WINDOWS) + (this.chance(2) ? privateSlot(this.field.vcpu) : this.below(SLOTS)) * 4096).raw(0x8a, 0x07)
    }
  }
}

const HOSTILE: readonly ((p: Program) => void)[] = [
  ...Array.from({ length: 9 }, () => (p: Program) => p.store()), (p) => p.touchTable(),
  (p) => p.storePlain(), (p) => p.touch(), (p) => p.touch(), (p) => p.runPlay(), (p) => p.runPlay(), (p) => p.runStale(), (p) => p.checkCode(),
  (p) => p.checkCode(), (p) => p.update(), (p) => p.update(), (p) => p.updateByAddress(), (p) => p.updateByAddress(),
  (p) => p.flush(), (p) => p.change(), (p) => p.retype(), (p) => p.swapCode(), (p) => p.remapTables(), (p) => p.switchTables(), (p) => p.exchangeMemory(), (p) => p.exchangeMemory(), (p) => p.mapGrant(),
  (p) => p.mapGrant(),
  (p) => p.multicall(), (p) => p.user(), (p) => p.user(), (p) => p.evict(),
]
const QUIET: readonly ((p: Program) => void)[] = [
  (p) => p.storePlain(), (p) => p.touch(), (p) => p.touch(), (p) => p.runPlay(), (p) => p.checkCode('change'), (p) => p.user(), (p) => p.user(),
  (p) => p.evict(),
]

const wordOf = (value: number): number[] => littleEndian(value, 4)
