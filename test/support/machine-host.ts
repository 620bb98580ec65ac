/**
 * A hypervisor over the real machine, and PV guests whose kernel is machine code given as bytes: TLB, code cache and
 * page walks are those that guests meet. The library may be another build of the same source (mutants.ts).
 */
import { FLAT, HYPERVISOR, VGCF, VMASST_TYPE } from '../../src/abi/index.ts'
import * as hypervisorLayer from '../../src/hypervisor/index.ts'
import type { Hypervisor, PolicyChoice, VcpuContext } from '../../src/hypervisor/index.ts'
import * as machineLayer from '../../src/machine/index.ts'
import type { Machine, MachineOptions, Processor } from '../../src/machine/index.ts'
import { SeededRandom, type DomId, type Mfn } from '../../src/util/index.ts'
import { READ, TABLE, WRITE } from './hypervisor-host.ts'

/** The layers that a build consists of. */
export interface Library {
  readonly hypervisor: Pick<typeof hypervisorLayer, 'Hypervisor' | 'VirtualClock'>
  readonly machine: Pick<typeof machineLayer, 'Machine'>
}

/** The source as it stands. */
export const SOURCE: Library = { hypervisor: hypervisorLayer, machine: machineLayer }

/** Where guests' frames are mapped: frame i of a guest at BASE + i * 4096. */
export const BASE = 0x10_0000
/** Frames of a guest's tables, by number in the guest; behind them lie free frames. */
export const TABLES = { l4: 40, l3: 41, l2: 42, l1: 43, window: 44, user4: 45, user3: 46, user2: 47, user1: 48, other4: 49 } as const
/** Address that the window table maps its first page at, by slot of the level-2 table: the same entries thrice. */
export const WINDOWS = [0x20_0000, 0x40_0000, 0x60_0000] as const
/** Address that the user's table maps its first page at. */
export const USER_BASE = 0x1_0000_0000

/** Vectors that a guest handles, all at one place. */
const VECTORS = Array.from({ length: 20 }, (_, vector) => vector).filter((vector) => vector !== 2 && vector !== 15)

/** Where a vCPU's kernel is entered. */
export interface Entries {
  readonly start: number
  readonly trap: number
  readonly stack: number
}

/** How a host is made. */
export interface MachineHostOptions {
  readonly physicalCpus?: number
  readonly memoryBytes?: number
  /** How processors count; by default in instructions alone, so that runs are measured out whatever work they are. */
  readonly accounting?: 'instructions' | 'work'
  /** What the machine's processors compile; by default what a machine does by default. */
  readonly compiler?: MachineOptions['compiler']
  readonly policy?: PolicyChoice
  /** Work after which long hypercalls pause; by default the hypervisor's own. */
  readonly portion?: number
}

/** Machine and hypervisor. */
export class MachineHost {
  readonly machine: Machine
  readonly hypervisor: Hypervisor
  readonly freeAtBoot: number
  /** Processors made so far, those of ended domains too. */
  readonly processors: Processor[] = []
  /** Instructions that all of them have executed. */
  executed = 0

  constructor(library: Library = SOURCE, options: MachineHostOptions = {}) {
    this.machine = new library.machine.Machine({
      memoryBytes: options.memoryBytes ?? 8 << 20, processors: 6, ...(options.compiler === undefined ? {} : { compiler: options.compiler }),
    })
    this.hypervisor = new library.hypervisor.Hypervisor({
      memory: this.machine.memory, clock: new library.hypervisor.VirtualClock(), random: new SeededRandom(1),
      physicalCpus: options.physicalCpus ?? 1, policy: options.policy ?? 'dummy',
      ...(options.portion === undefined ? {} : { portion: options.portion }),
      createProcessor: (settings) => {
        const accounting = options.accounting ?? 'instructions'
        const processor = this.machine.createProcessor({ ...settings, accounting, random: new SeededRandom(7) })
        this.processors.push(processor)
        return this.counting(processor)
      },
    })
    this.freeAtBoot = this.hypervisor.hostInfo().freeFrames
  }

  private counting(processor: Processor): Processor {
    const run = processor.run.bind(processor)
    return Object.assign(processor, {
      run: (budget: number) => {
        const reason = run(budget)
        this.executed += processor.executed
        return reason
      },
    })
  }

  /** What does not add up, in words. */
  problems(): string[] {
    return this.hypervisor.checkInvariants().map(({ frame, what }) => `frame ${frame}: ${what}`)
  }
}

/** A PV domain with its tables, not yet given registers. */
export class MachineGuest {
  readonly host: MachineHost
  readonly domid: DomId
  /** By the numbers that the guest's addresses follow; whoever takes frames away puts others in their place. */
  readonly frames: Mfn[]

  constructor(
    host: MachineHost,
    options: { readonly pages?: number; readonly vcpus?: number; readonly maxPages?: number; readonly domid?: DomId | undefined } = {},
  ) {
    const { pages = 64, vcpus = 1, domid } = options
    this.host = host
    this.domid = host.hypervisor.createDomain({ kind: 'pv', vcpus, maxPages: options.maxPages ?? pages, ...(domid === undefined ? {} : { domid }) })
    this.frames = host.hypervisor.populatePhysmap(this.domid, pages, 0)
    this.buildTables()
  }

  private buildTables(): void {
    const frame = (name: keyof typeof TABLES): Mfn => this.frames[TABLES[name]]!
    const tables: readonly number[] = Object.values(TABLES)
    for (const top of ['l4', 'other4'] as const) this.poke(frame(top), 0, frame('l3'), TABLE)
    this.poke(frame('l3'), 0, frame('l2'), TABLE)
    this.poke(frame('l2'), 0, frame('l1'), TABLE)
    WINDOWS.forEach((_, i) => this.poke(frame('l2'), i + 1, frame('window'), TABLE))
    this.frames.forEach((mfn, i) => this.poke(frame('l1'), (BASE >> 12) + i, mfn, tables.includes(i) ? READ : WRITE))
    // The kernel sees the user's pages where the user does; the user sees none of the kernel's.
    this.poke(frame('l3'), USER_BASE / 2 ** 30, frame('user2'), TABLE)
    this.poke(frame('user4'), 0, frame('user3'), TABLE)
    this.poke(frame('user3'), USER_BASE / 2 ** 30, frame('user2'), TABLE)
    this.poke(frame('user2'), 0, frame('user1'), TABLE)
  }

  /** Writes an entry into a frame that is no table yet. */
  poke(table: number, slot: number, frame: number, flags: number): void {
    const { words } = this.host.machine.memory
    words[table * 1024 + slot * 2] = ((frame << 12) | flags) >>> 0
    words[table * 1024 + slot * 2 + 1] = 0
  }

  /** Virtual address of a byte of one of the guest's frames. */
  at(frame: number, offset = 0): number {
    return BASE + frame * 4096 + offset
  }

  /** Host address of the same. */
  place(frame: number, offset = 0): number {
    return this.frames[frame]! * 4096 + offset
  }

  /** Puts bytes where the guest may run them, as a builder does. */
  load(frame: number, bytes: readonly number[] | Uint8Array, offset = 0): void {
    this.host.machine.memory.bytes.set(bytes, this.place(frame, offset))
    this.host.machine.memory.markWritten(this.frames[frame]!)
  }

  /** Gives a vCPU its registers: kernel mode at `start`, every trap and system call at `trap`. */
  start(vcpu: number, entries: Entries): void {
    this.host.hypervisor.setVcpuContext(this.domid, vcpu, this.context(entries))
  }

  /** Registers of a kernel with writable page tables. */
  context({ start, trap, stack }: Entries): VcpuContext {
    const address = BigInt(trap)
    return {
      flags: VGCF.in_kernel | VGCF.online, fpu: new Uint8Array(512), ldtBase: 0n, ldtEntries: 0, gdtFrames: [], gdtEntries: 0,
      user: {
        rax: 0n, rbx: 0n, rcx: 0n, rdx: 0n, rsi: 0n, rdi: 0n, rbp: 0n, rsp: BigInt(stack), r8: 0n, r9: 0n, r10: 0n, r11: 0n,
        r12: 0n, r13: 0n, r14: 0n, r15: 0n, rip: BigInt(start), rflags: 0x202n, cs: FLAT.KERNEL_CS64, ss: FLAT.KERNEL_SS,
        ds: 0, es: 0, fs: 0, gs: 0, savedUpcallMask: 0,
      },
      traps: VECTORS.map((vector) => ({ vector, flags: 4, cs: FLAT.KERNEL_CS64, address })),
      kernelSs: FLAT.KERNEL_SS, kernelSp: BigInt(stack), kernelTable: this.frames[TABLES.l4]!,
      userTable: this.frames[TABLES.user4]!, cr0: 0n, cr4: 0n, debug: [0n, 0n, 0n, 0n, 0n, 0n, 0n, 0n],
      eventCallback: address, failsafeCallback: address, syscallCallback: address,
      vmAssist: 1n << BigInt(VMASST_TYPE.writable_pagetables), fsBase: 0n, gsBaseKernel: 0n, gsBaseUser: 0n,
    }
  }

  /** A hypercall by the side door, without the guest's registers. */
  call(name: keyof typeof HYPERVISOR, ...args: number[]): number {
    return this.host.hypervisor.port(this.domid).hypercall(HYPERVISOR[name], args)
  }

  run(instructions: number): void {
    this.host.hypervisor.run({ instructions })
  }
}
