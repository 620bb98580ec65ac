/**
 * PVH guests for the fuzzer of hostile machine code: memory from 0 on with tables for each way of paging, so that the kernel of a
 * vCPU can be entered in any mode. The first 2 MiB are mapped one to one in all of them, and so is the local APIC's page.
 *
 *   gfn 2 + 14 * vCPU   handlers, interrupt tables, descriptors, real mode, code (4), stack, data, own pages (2), user
 *   30..43 tables       44..95 pages to play with     96..111 nothing     112..127 on demand     from 128 nothing
 */
import { COMPAT, type GuestAbi, HVM_SAVE_CODE, HvmHwCpu, NATIVE } from '../../src/abi/index.ts'
import type { DomId, Mfn } from '../../src/util/index.ts'
import type { MachineHost } from '../support/machine-host.ts'
import { hvmContext } from '../support/pvh-guest.ts'
import { littleEndian } from './machine-code.ts'
import { type Convention, ShortAssembler } from './short-code.ts'
import { SHORT_DATA, ownSlot } from './short-program.ts'

/** Frames of one vCPU, by number in the guest, from its first one on. */
export const PVH_PLACE = { handlers: 0, idt: 1, system: 2, real: 3, code: 4, stack: 8, data: 9, ownA: 10, ownB: 11, user: 12, count: 14 } as const
/** Frames of the tables. */
export const PVH_TABLES = { l4: 30, l3: 31, l2: 32, l1: 33, window: 34, pdpt: 35, directory: 36, table: 37, shortWindow: 38, devices: 39, other4: 40, other3: 41, other2: 42, otherWindow: 43 } as const
export const PVH_MEMORY = { play: 44, pages: 96, onDemand: 112, end: 128, most: 144 } as const
/** Linear addresses that the window tables are in force at. */
export const PVH_WINDOWS = [0x40_0000, 0x80_0000, 0xc0_0000] as const
/** Selectors. */
export const SELECTOR = { code64: 0x08, data: 0x10, code32: 0x18, user32: 0x23, userData: 0x2b, user64: 0x33, code16: 0x38, data16: 0x40, tss: 0x48 } as const
/** Offsets: in the page of descriptors, in that of interrupt tables, in that of real mode. */
export const SYSTEM = { tss: 0x100, shortTss: 0x200, gdtr: 0x400, idtr64: 0x410, idtr32: 0x420, idtrReal: 0x430 } as const
const IDT = { short: 0x900, vectors: 0x90 } as const
export const REAL = { enter: 0x400, play: 0x440, handler: 0x700 } as const
/** In the page of handlers: where 64-bit code goes on, 32-bit code, and code that comes back from real mode. */
const HANDLERS = { long: 0, short: 0x80, fromReal: 0x100 } as const

/** Selector of a vCPU's task, by which its programs know it. */
export const taskOf = (vcpu: number): number => SELECTOR.tss + 0x100 * vcpu

/** How a vCPU's kernel runs. */
export const MODES = ['long', 'compatibility', 'pae', 'two levels', 'flat'] as const
export type Mode = (typeof MODES)[number]
export const isLong = (mode: Mode): boolean => mode === 'long' || mode === 'compatibility'
export const isWide = (mode: Mode): boolean => isLong(mode) || mode === 'pae'

const [P, W, U, LARGE] = [1, 2, 4, 0x80] as const
const APIC = 0xfee0_0000
/** Where in their page PAE's pointers lie a second time. */
export const POINTERS = 0x7e0

/** One domain of two vCPUs. */
export class PvhFuzzGuest {
  readonly host: MachineHost
  readonly domid: DomId

  constructor(host: MachineHost) {
    this.host = host
    const { hypervisor } = host
    this.domid = hypervisor.createDomain({ kind: 'pvh', vcpus: 2, maxPages: PVH_MEMORY.most })
    hypervisor.populatePhysmap(this.domid, PVH_MEMORY.pages, 0)
    hypervisor.populateOnDemand(this.domid, PVH_MEMORY.end - PVH_MEMORY.onDemand, PVH_MEMORY.onDemand)
    hypervisor.setOnDemandTarget(this.domid, PVH_MEMORY.pages + 8)
    this.buildTables()
    for (const vcpu of [0, 1]) this.buildSystem(vcpu)
  }

  /** First frame of a vCPU's. */
  first(vcpu: number): number {
    return 2 + vcpu * PVH_PLACE.count
  }

  /** Address of a byte of one of a vCPU's pages, linear and guest-physical. */
  at(vcpu: number, place: keyof typeof PVH_PLACE, offset = 0): number {
    return (this.first(vcpu) + PVH_PLACE[place]) * 4096 + offset
  }

  /** Writes bytes within one page, as a builder does; nothing where the guest has given the page away. */
  write(address: number, bytes: ArrayLike<number>): void {
    const mfn = this.host.hypervisor.frameOfGfn(this.domid, address >>> 12)
    if (mfn === undefined) return
    this.host.machine.memory.bytes.set(Array.from(bytes), mfn * 4096 + (address & 4095))
    this.host.hypervisor.markWritten(mfn)
  }

  /** A word of 32 bits; undefined where nothing is. */
  read(address: number): number | undefined {
    const mfn = this.host.hypervisor.frameOfGfn(this.domid, address >>> 12)
    return mfn === undefined ? undefined : this.host.machine.memory.view.getUint32(mfn * 4096 + (address & 4095), true)
  }

  private wide(table: number, slot: number, entry: number | bigint): void {
    this.write(table * 4096 + slot * 8, littleEndian(entry, 8))
  }

  private short(table: number, slot: number, entry: number): void {
    this.write(table * 4096 + slot * 4, littleEndian(entry, 4))
  }

  private buildTables(): void {
    const T = PVH_TABLES
    // Each second way through the tables sees other pages at the second and third window.
    for (const [top, next] of [[T.l4, T.l3], [T.other4, T.other3]] as const) this.wide(top, 0, (next << 12) | P | W | U)
    for (const [table, first, next, flags] of [[T.l3, 0, T.l2, P | W | U], [T.other3, 0, T.other2, P | W | U], [T.pdpt, 0, T.other2, P], [T.pdpt, POINTERS / 8, T.l2, P]] as const) {
      this.wide(table, first, (next << 12) | flags)
      this.wide(table, first + 3, (T.devices << 12) | flags)
    }
    for (const table of [T.l2, T.other2]) this.wide(table, 0, (T.l1 << 12) | P | W | U)
    this.wide(T.devices, (APIC >>> 21) & 511, APIC + (P | W | LARGE))
    this.short(T.directory, 0, (T.table << 12) | P | W | U)
    this.short(T.directory, APIC >>> 22, 0xfec0_0000 + (P | W | LARGE))
    for (const [i, window] of PVH_WINDOWS.entries()) {
      this.wide(T.l2, window >>> 21, (T.window << 12) | P | W | U)
      this.wide(T.other2, window >>> 21, ((i === 0 ? T.window : T.otherWindow) << 12) | P | W | U)
      this.short(T.directory, i + 1, (T.shortWindow << 12) | P | W | U)
    }
    for (let gfn = 0; gfn < PVH_MEMORY.end; gfn += 1) {
      this.wide(T.l1, gfn, (gfn << 12) | P | W | U)
      this.short(T.table, gfn, (gfn << 12) | P | W | U)
    }
    for (let slot = 0; slot < 52; slot += 1) {
      this.wide(T.window, slot, ((PVH_MEMORY.play + slot) << 12) | P | W)
      this.short(T.shortWindow, slot, ((PVH_MEMORY.play + slot) << 12) | P | W)
      this.wide(T.otherWindow, slot, ((PVH_MEMORY.play + 51 - slot) << 12) | P | W)
    }
    for (const vcpu of [0, 1]) this.wide(T.otherWindow, ownSlot(vcpu), ((this.first(vcpu) + PVH_PLACE.ownB) << 12) | P | W)
  }

  /** Descriptors, interrupt tables and handlers of one vCPU. */
  private buildSystem(vcpu: number): void {
    const system = this.at(vcpu, 'system')
    const real = this.at(vcpu, 'real')
    const code = (base: number, flags: number): number[] => [0xff, 0xff, base & 255, (base >> 8) & 255, (base >> 16) & 255, flags & 255, flags >> 8, 0]
    const tss = system + SYSTEM.tss
    const descriptors = [
      code(0, 0), code(0, 0xaf9b), code(0, 0xcf93), code(0, 0xcf9b), code(0, 0xcffb), code(0, 0xcff3), code(0, 0xaffb), code(real, 0x009b), code(real, 0x0093),
      [0xff, 0, tss & 255, (tss >> 8) & 255, (tss >> 16) & 255, 0x89, 0, 0], littleEndian(0, 8),
    ]
    this.write(system, descriptors.flat())
    const stack = this.at(vcpu, 'stack', 4096)
    // RSP0 and IST1 of the 64-bit task; ESP0 and SS0 of the 32-bit one.
    this.write(tss + 4, littleEndian(stack, 8))
    this.write(tss + 0x24, littleEndian(stack, 8))
    this.write(system + SYSTEM.shortTss + 4, [...littleEndian(stack, 4), ...littleEndian(SELECTOR.data, 4)])
    const table = (base: number, limit: number): number[] => [...littleEndian(limit, 2), ...littleEndian(base, 8)]
    const idt = this.at(vcpu, 'idt')
    this.write(system + SYSTEM.gdtr, table(system, 0x57))
    this.write(system + SYSTEM.idtr64, table(idt, IDT.vectors * 16 - 1))
    this.write(system + SYSTEM.idtr32, table(idt + IDT.short, IDT.vectors * 8 - 1))
    this.write(system + SYSTEM.idtrReal, table(real, 0x3ff))
    this.buildHandlers(vcpu)
    // What follows from real mode: segment and offset of one handler, for every vector.
    this.write(real, Array.from({ length: 256 }, () => [...littleEndian(REAL.handler, 2), ...littleEndian(real >>> 4, 2)]).flat())
    this.write(real + REAL.handler, [0xfa, ...backFromReal(this.at(vcpu, 'handlers', HANDLERS.fromReal))])
  }

  private buildHandlers(vcpu: number): void {
    const handlers = this.at(vcpu, 'handlers')
    const gate = (address: number, selector: number, ist: number): number[] =>
      [...littleEndian(address & 0xffff, 2), ...littleEndian(selector, 2), ist, 0xee, ...littleEndian(address >>> 16, 2)]
    const idt = this.at(vcpu, 'idt')
    for (let vector = 0; vector < IDT.vectors; vector += 1) {
      this.write(idt + vector * 16, [...gate(handlers + HANDLERS.long, SELECTOR.code64, 1), ...littleEndian(0, 8)])
      this.write(idt + IDT.short + vector * 8, gate(handlers + HANDLERS.short, SELECTOR.code32, 0))
    }
    const goOn = (offset: number, reload: boolean): void => {
      const a = new ShortAssembler(handlers + offset, 'compat, vmcall').raw(0xfc).set('ecx', SELECTOR.data)
      for (const segment of [0xd9, 0xc1, 0xd1, 0xe1, 0xe9]) a.raw(0x8e, segment)
      if (reload) a.raw(...loadTable(this.at(vcpu, 'system', SYSTEM.idtr32)))
      a.set('esp', this.at(vcpu, 'stack', 4096)).putHigh(APIC + 0xb0, 0).jumpThrough(this.at(vcpu, 'data', SHORT_DATA.resume))
      this.write(handlers + offset, a.bytes)
    }
    goOn(HANDLERS.long, false)
    goOn(HANDLERS.short, false)
    goOn(HANDLERS.fromReal, true)
  }

  /** How programs of a mode make hypercalls. */
  convention(mode: Mode): Convention {
    return mode === 'long' ? 'native, vmcall' : 'compat, vmcall'
  }

  abi(mode: Mode): GuestAbi {
    return mode === 'long' ? NATIVE : COMPAT
  }

  /** Registers of both vCPUs, each at the beginning of its code in a mode of its own. */
  context(modes: readonly [Mode, Mode], noWriteProtection: boolean): Uint8Array {
    return hvmContext(modes.map((mode, vcpu) => ({ code: HVM_SAVE_CODE.CPU, instance: vcpu, bytes: this.record(vcpu, mode, noWriteProtection) })))
  }

  private record(vcpu: number, mode: Mode, noWriteProtection: boolean): Uint8Array {
    const bytes = new Uint8Array(HvmHwCpu.size)
    const [limit, data] = [0xffff_ffff, 0xc93]
    const code = mode === 'long' ? 0xa9b : 0xc9b
    const idt = this.at(vcpu, 'idt')
    const pages = { long: PVH_TABLES.l4, compatibility: PVH_TABLES.l4, pae: PVH_TABLES.pdpt, 'two levels': PVH_TABLES.directory, flat: 0 }[mode]
    HvmHwCpu.encode(new DataView(bytes.buffer), 0, {
      rip: BigInt(this.at(vcpu, 'code')), rsp: BigInt(this.at(vcpu, 'stack', 4096)), rflags: 2n, dr6: 0xffff_0ff0n, dr7: 0x400n,
      cr0: (mode === 'flat' ? 0x31n : 0x8000_0031n) | (noWriteProtection ? 0n : 0x1_0000n), cr3: BigInt(pages * 4096 + (mode === 'pae' ? POINTERS : 0)),
      cr4: isWide(mode) ? 0x2b0n : 0x290n, msrEfer: isLong(mode) ? 0xd00n : 0x800n,
      csSel: mode === 'long' ? SELECTOR.code64 : SELECTOR.code32, dsSel: SELECTOR.data, esSel: SELECTOR.data, ssSel: SELECTOR.data,
      csLimit: limit, dsLimit: limit, esLimit: limit, ssLimit: limit, csArbytes: code, dsArbytes: data, esArbytes: data, ssArbytes: data,
      fsArbytes: 0x1_0000, gsArbytes: 0x1_0000, ldtrArbytes: 0x1_0000,
      trSel: taskOf(vcpu), trLimit: 0xff, trBase: BigInt(this.at(vcpu, 'system', isLong(mode) ? SYSTEM.tss : SYSTEM.shortTss)), trArbytes: 0x8b,
      gdtrBase: BigInt(this.at(vcpu, 'system')), gdtrLimit: 0x57,
      idtrBase: BigInt(isLong(mode) ? idt : idt + IDT.short), idtrLimit: IDT.vectors * (isLong(mode) ? 16 : 8) - 1,
    })
    return bytes
  }

  /** The frames that the domain has, by their numbers for the guest. */
  frames(): readonly Mfn[] {
    return this.host.hypervisor.domainFrames(this.domid)
  }
}

/** lidt [address] */
export const loadTable = (address: number): number[] => [0x0f, 0x01, 0x1c, 0x25, ...littleEndian(address, 4)]

/** In 16-bit code: mov eax, cr0; or al, 1; mov cr0, eax; jmp far to 32-bit code. */
export const backFromReal = (address: number): number[] =>
  [0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, 0x66, 0xea, ...littleEndian(address, 4), ...littleEndian(SELECTOR.code32, 2)]
