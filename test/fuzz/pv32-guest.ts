/**
 * 32-bit PV guests for the fuzzer of hostile machine code, laid out as those of 64 bits (machine-host.ts): frames mapped one to
 * one at BASE, tables read-only among them, one table of level 1 in force at three windows.
 */
import { COMPAT_FLAT, FIRST_RESERVED_GDT_ENTRY, VGCF, VMASST_TYPE } from '../../src/abi/index.ts'
import type { VcpuContext } from '../../src/hypervisor/index.ts'
import type { DomId, Mfn } from '../../src/util/index.ts'
import { PTE } from '../../src/x86/index.ts'
import { READ, WRITE } from '../support/hypervisor-host.ts'
import { BASE, type MachineHost, WINDOWS } from '../support/machine-host.ts'
import { PLACE, PLAY } from './machine-values.ts'
import { ShortAssembler } from './short-code.ts'
import { SHORT_DATA } from './short-program.ts'

/** Frames of the tables, by number in the guest; the last ones are a second table of level 3 and the one that it may share with no other. */
export const PV32_TABLES = { l3: 40, l2: 41, l2b: 42, l2c: 43, xen: 44, l1: 45, window: 46, other3: 47, otherXen: 48 } as const
/** Frames of descriptor tables that programs write, and the first that they make of what they like. */
export const DESCRIPTORS = { gdt: 49, ldt: 50 } as const
export const LOOSE_FIRST = 51
export const PV32_PAGES = 96
/** Slots of the window table that show tables. */
export const SHOWN = 56

const TABLE = PTE.PRESENT | PTE.WRITABLE | PTE.USER
const VECTORS = Array.from({ length: 20 }, (_, vector) => vector).filter((vector) => vector !== 2 && vector !== 15)

/** One domain of two vCPUs. */
export class Pv32FuzzGuest {
  readonly host: MachineHost
  readonly domid: DomId
  /** By the numbers that its addresses follow; whoever takes frames away puts others in their place. */
  readonly frames: Mfn[]

  constructor(host: MachineHost) {
    this.host = host
    this.domid = host.hypervisor.createDomain({ kind: 'pv32', vcpus: 2, maxPages: PV32_PAGES })
    this.frames = host.hypervisor.populatePhysmap(this.domid, PV32_PAGES, 0)
    this.buildTables()
    for (const vcpu of [0, 1]) this.load(vcpu * PLACE.count + PLACE.trap, this.handler(vcpu))
  }

  private poke(table: number, slot: number, target: number, flags: number): void {
    this.host.machine.memory.view.setBigUint64(this.frames[table]! * 4096 + slot * 8, BigInt(this.frames[target]! * 4096 + flags), true)
  }

  private buildTables(): void {
    const T = PV32_TABLES
    for (const [top, last] of [[T.l3, T.xen], [T.other3, T.otherXen]] as const) {
      // What stands behind the four is nothing to the processors of such guests, and must be nothing to ours.
      [T.l2, T.l2b, T.l2c, last, PLAY.first].forEach((l2, slot) => this.poke(top, slot, l2, PTE.PRESENT))
    }
    this.poke(T.l2, 0, T.l1, TABLE)
    WINDOWS.forEach((address) => this.poke(T.l2, address >>> 21, T.window, TABLE))
    const still: readonly number[] = [...Object.values(T), DESCRIPTORS.gdt, DESCRIPTORS.ldt]
    this.frames.forEach((_, i) => this.poke(T.l1, (BASE >> 12) + i, i, (still.includes(i) ? READ : WRITE) | (i >= PLAY.first || i % PLACE.count === PLACE.user ? PTE.USER : 0)))
    for (let slot = 0; slot < 20; slot += 1) this.poke(T.window, slot, PLAY.first + slot, WRITE | (slot % 2 === 0 ? PTE.USER : 0))
    for (const [i, shown] of [T.window, T.window, T.l1, T.l2].entries()) this.poke(T.window, SHOWN + i, shown, READ)
  }

  /** Address of a byte of one of the guest's frames. */
  at(frame: number, offset = 0): number {
    return BASE + frame * 4096 + offset
  }

  /** Host address of the same. */
  place(frame: number, offset = 0): number {
    return this.frames[frame]! * 4096 + offset
  }

  load(frame: number, bytes: readonly number[], offset = 0): void {
    this.host.machine.memory.bytes.set(bytes, this.place(frame, offset))
    this.host.hypervisor.markWritten(this.frames[frame]!)
  }

  /** Forgets the stack and segments, and goes on with the next piece. */
  private handler(vcpu: number): number[] {
    const first = vcpu * PLACE.count
    const a = new ShortAssembler(this.at(first + PLACE.trap), 'compat, int').raw(0xfc).set('ecx', COMPAT_FLAT.KERNEL_DS)
    for (const segment of [0xd9, 0xc1, 0xe1]) a.raw(0x8e, segment)
    a.raw(0x8e, 0xd1).set('esp', this.at(first + PLACE.stack + 1))
    return a.jumpThrough(this.at(first + PLACE.data, SHORT_DATA.resume)).bytes
  }

  /** Registers of a kernel at the beginning of its code; GS tells which vCPU it is, as a selector for nothing. */
  context(vcpu: number, kernelTable = this.frames[PV32_TABLES.l3]!): VcpuContext {
    const first = vcpu * PLACE.count
    const trap = BigInt(this.at(first + PLACE.trap))
    const stack = BigInt(this.at(first + PLACE.stack + 1))
    return {
      flags: VGCF.in_kernel | VGCF.online, fpu: new Uint8Array(512), ldtBase: 0n, ldtEntries: 0, gdtFrames: [], gdtEntries: 0,
      user: {
        rax: 0n, rbx: 0n, rcx: 0n, rdx: 0n, rsi: 0n, rdi: 0n, rbp: 0n, rsp: stack, r8: 0n, r9: 0n, r10: 0n, r11: 0n, r12: 0n, r13: 0n, r14: 0n, r15: 0n,
        rip: BigInt(this.at(first + PLACE.code)), rflags: 0x202n, cs: COMPAT_FLAT.KERNEL_CS, ss: COMPAT_FLAT.KERNEL_SS,
        ds: COMPAT_FLAT.KERNEL_DS, es: COMPAT_FLAT.KERNEL_DS, fs: 0, gs: vcpu, savedUpcallMask: 0,
      },
      // The first vectors may be raised by software of ring 3 too.
      traps: VECTORS.map((vector) => ({ vector, flags: vector < 6 ? 3 : 1, cs: COMPAT_FLAT.KERNEL_CS, address: trap })),
      kernelSs: COMPAT_FLAT.KERNEL_SS, kernelSp: stack, kernelTable, userTable: 0, cr0: 0n, cr4: 0n, debug: [0n, 0n, 0n, 0n, 0n, 0n, 0n, 0n],
      eventCallback: trap, eventCallbackCs: COMPAT_FLAT.KERNEL_CS, failsafeCallback: trap, failsafeCallbackCs: COMPAT_FLAT.KERNEL_CS,
      syscallCallback: 0n, vmAssist: 1n << BigInt(VMASST_TYPE.writable_pagetables), fsBase: 0n, gsBaseKernel: 0n, gsBaseUser: 0n,
    }
  }
}

/** One past the last entry of a table that a guest may have. */
export const GDT_ENTRIES = FIRST_RESERVED_GDT_ENTRY
