/**
 * A PV guest whose kernel is a few bytes of hostile machine code, on the machine's processor in a hypervisor of its own.
 * Its first frames are mapped one to one at BASE, and so is a long run of further frames behind them.
 */
import { DOMID, FLAT, HYPERVISOR, VGCF, VMASST_TYPE } from '../../../src/abi/index.ts'
import { Hypervisor, VirtualClock, type VcpuContext } from '../../../src/hypervisor/index.ts'
import { Machine } from '../../../src/machine/index.ts'
import { SeededRandom, type DomId, type Mfn } from '../../../src/util/index.ts'
import { TABLE, WRITE } from '../../support/hypervisor-host.ts'
import { PTE } from '../../../src/x86/index.ts'

/** Where the guest's frames begin in its address space. */
export const BASE = 0x20_0000
/** Frames of the guest's that are code and handlers; where its stack ends; where a page for arguments lies. */
export const PAGE = { code: 10, fault: 11, upcall: 12, other: 13, list: 100, entries: 99, stackEnd: 31 } as const
/** Frames of its page tables. */
const TABLES = { l4: 40, l3: 41, l2: 42, l1: 43 } as const
/** Frames that are mapped writable; the tables are mapped read-only at their places. */
const MAPPED = 511

/** Little-endian bytes of a number. */
export const little = (value: number | bigint, bytes: number): number[] =>
  Array.from({ length: bytes }, (_, i) => Number(BigInt.asUintN(64, BigInt(value)) >> BigInt(i * 8) & 0xffn))

/** `mov $value, register` by the register's number. */
export const move = (register: number, value: number | bigint): number[] =>
  [register < 8 ? 0x48 : 0x49, 0xb8 + (register & 7), ...little(value, 8)]

/** Registers of a hypercall's arguments by their numbers: rdi, rsi, rdx, r10, r8, r9. */
const ARGUMENTS = [7, 6, 2, 10, 8, 9] as const

/** A hypercall with constant arguments. */
export const call = (name: keyof typeof HYPERVISOR, ...args: (number | bigint)[]): number[] =>
  [...args.flatMap((value, i) => move(ARGUMENTS[i]!, value)), ...move(0, HYPERVISOR[name]), 0x0f, 0x05]

/** What a guest is made of beyond its code. */
export interface HostileOptions {
  readonly setup?: readonly number[]
  readonly vcpus?: number
  readonly pages?: number
  readonly changes?: Partial<VcpuContext>
  /** Prepares frames before the guest starts. */
  prepare?(guest: HostileGuest): void
  /** Prepares the hypervisor's state once the guest exists and is paused. */
  arrange?(guest: HostileGuest): void
}

/** One such guest. */
export class HostileGuest {
  readonly machine: Machine
  readonly clock = new VirtualClock()
  readonly hypervisor: Hypervisor
  readonly domid: DomId
  readonly frames: readonly Mfn[]

  /** Runs `setup`, and then `body` for ever. */
  constructor(body: readonly number[], options: HostileOptions = {}) {
    const pages = options.pages ?? 512
    this.machine = new Machine({ memoryBytes: (pages * 4096) + (16 << 20) })
    this.hypervisor = new Hypervisor({
      memory: this.machine.memory, clock: this.clock, random: new SeededRandom(1),
      createProcessor: (settings) => this.machine.createProcessor({ ...settings, random: new SeededRandom(7) }),
    })
    this.domid = this.hypervisor.createDomain({ kind: 'pv', vcpus: options.vcpus ?? 1, maxPages: pages })
    this.frames = this.hypervisor.populatePhysmap(this.domid, pages, 0)
    this.map()
    const setup = options.setup ?? []
    const loop = [...setup, ...body, 0xe9, ...little(-(body.length + 5), 4)]
    this.bytes.set(loop, this.place(PAGE.code))
    options.prepare?.(this)
    this.hypervisor.setVcpuContext(this.domid, 0, this.context(options.changes))
    options.arrange?.(this)
    this.hypervisor.unpauseDomain(this.domid)
  }

  get bytes(): Uint8Array {
    return this.machine.memory.bytes
  }

  get view(): DataView {
    return this.machine.memory.view
  }

  /** Virtual address of a byte of a frame. */
  at(frame: number, offset = 0): number {
    return BASE + frame * 4096 + offset
  }

  /** Host address of a byte of a frame; frames follow each other only by chance. */
  place(frame: number, offset = 0): number {
    return this.frames[frame + (offset >> 12)]! * 4096 + (offset & 4095)
  }

  /** Writes an entry of a table. */
  poke(table: number, slot: number, mfn: number, flags: number): void {
    this.view.setUint32(table * 4096 + slot * 8, ((mfn << 12) | flags) >>> 0, true)
    this.view.setUint32(table * 4096 + slot * 8 + 4, 0, true)
  }

  /** Writes bytes that may cross frames. */
  write(frame: number, bytes: ArrayLike<number>): void {
    for (let i = 0; i < bytes.length; i += 1) this.bytes[this.place(frame, i)] = bytes[i]!
  }

  private map(): void {
    const [l4, l3, l2, l1] = [TABLES.l4, TABLES.l3, TABLES.l2, TABLES.l1].map((frame) => this.frames[frame]!)
    this.poke(l4!, 0, l3!, TABLE)
    this.poke(l3!, 0, l2!, TABLE)
    this.poke(l2!, 1, l1!, TABLE)
    const tables: readonly number[] = Object.values(TABLES)
    for (let frame = 0; frame < Math.min(MAPPED, this.frames.length); frame += 1) {
      this.poke(l1!, frame, this.frames[frame]!, tables.includes(frame) ? PTE.PRESENT | PTE.ACCESSED : WRITE)
    }
  }

  /** Registers of the first vCPU; `changes` replace some. */
  context(changes: Partial<VcpuContext> = {}): VcpuContext {
    const big = (frame: number): bigint => BigInt(this.at(frame))
    const stack = big(PAGE.stackEnd)
    return {
      flags: VGCF.in_kernel | VGCF.online,
      user: {
        rax: 0n, rbx: 0n, rcx: 0n, rdx: 0n, rsi: 0n, rdi: 0n, rbp: 0n, rsp: stack, r8: 0n, r9: 0n, r10: 0n, r11: 0n, r12: 0n, r13: 0n,
        r14: 0n, r15: 0n, rip: big(PAGE.code), rflags: 0x202n, cs: FLAT.KERNEL_CS64, ss: FLAT.KERNEL_SS, ds: 0, es: 0, fs: 0, gs: 0,
        savedUpcallMask: 0,
      },
      fpu: new Uint8Array(512), ldtBase: 0n, ldtEntries: 0, gdtFrames: [], gdtEntries: 0, kernelSs: FLAT.KERNEL_SS, kernelSp: stack,
      kernelTable: this.frames[TABLES.l4]!, userTable: 0, cr0: 0n, cr4: 0n, debug: [0n, 0n, 0n, 0n, 0n, 0n, 0n, 0n],
      eventCallback: big(PAGE.upcall), failsafeCallback: 0n, syscallCallback: 0n, fsBase: 0n, gsBaseKernel: 0n, gsBaseUser: 0n,
      vmAssist: 1n << BigInt(VMASST_TYPE.writable_pagetables),
      traps: [
        { vector: 14, flags: 4, cs: FLAT.KERNEL_CS64, address: big(PAGE.fault) },
        { vector: 6, flags: 4, cs: FLAT.KERNEL_CS64, address: big(PAGE.other) },
      ],
      ...changes,
    }
  }

  /** A hypercall by the guest from outside of its code, with host addresses or virtual ones as its kernel has them. */
  hypercall(name: keyof typeof HYPERVISOR, ...args: number[]): number {
    return this.hypervisor.port(this.domid).hypercall(HYPERVISOR[name], args)
  }

  /** The domain's own number as hypercalls take it. */
  readonly self = DOMID.SELF
}
