/**
 * The half of a virtual CPU that its kind of guest owns: what executes it, how it sees memory, what its exits mean. The
 * hypervisor's own half is in domain.ts, and asks this one; what a kind does not have is absent here, and whoever asks
 * for it says so. Nothing here says which kind it is.
 */
import type { CacheInspection, CodeInspection, ProcessorProfile, Registers, Trace, TraceHooks } from '../../machine/index.ts'
import type { CpuidAnswer } from '../../x86/index.ts'
import type { Part } from '../../util/index.ts'
import type { GuestAccess } from '../memory/guest-access.ts'
import type { RecordedTime } from '../time/index.ts'
import type { CpuidTable } from './cpu-policy.ts'
import type { CrashRegisters, TrapNote, WalkStep } from './crash-report.ts'
import type { VcpuContext } from './vcpu-registers.ts'
import type { VcpuExit, VcpuRunner } from './vcpu-runner.ts'

/** One virtual CPU as its kind of guest keeps it. */
export interface GuestVcpu extends VcpuRunner {
  /** The memory that its hypercalls' pointers point into. */
  readonly access: GuestAccess
  /** The guest kernel's memory, whichever mode is in force. */
  readonly kernelAccess: GuestAccess
  /** Something besides events waits to be delivered: the vCPU does not block over it. */
  readonly hasPending: boolean
  /** Enters the guest where something waits for it; false when it cannot be entered, and its domain has crashed of it. */
  deliver(): boolean
  /** An event waits in its vcpu_info that did not before, where its kind tells of that otherwise than by `enter`. */
  raised?(): void
  /** Whether an interrupt would be taken now, where events come as interrupts: its vcpu_info does not tell then. */
  interrupted?(): boolean
  /** Gives an exit that only its kind knows its meaning. It can be entered again unless its domain has crashed. */
  handle(exit: VcpuExit): void
  /** Its registers, where it has some that anybody else can read. */
  readonly context?: GuestContext
  /** What its processor has remembered of page tables and code, for checks. */
  readonly caches?: GuestCaches
  /** Its own time-stamp counter, where that is not the host's. */
  readonly counter?: RecordedTime['counter']
  /** Sets timers that are its kind's own to other host times: what its domain is shown as the time has changed. */
  moveTimers?(change: (deadline: number) => number): void
  /** Its rights to I/O ports, where its kernel sets them by hypercalls. */
  readonly ioRights?: GuestIoRights
  /** Asks for a non-maskable interrupt at the next `deliver`. */
  raiseNmi?(): void
  /** All that it is, beside what the hypervisor keeps of it; empty where whoever runs it keeps its state. */
  readonly state: Part
  /** Frames that it holds a reference and a type reference of, once for each. */
  uses?(): Iterable<FrameUse>
  /** Gives back all that it holds. It never runs again. */
  drop(): void
}

/** The registers of a vCPU: for builders, save and restore, traces, crash reports and core dumps. */
export interface GuestContext {
  /** The processor's own, which a running guest sees changes of. */
  readonly registers: Registers
  /** Gives the vCPU all of its state: 0, or a negative error number with nothing changed. */
  set(context: VcpuContext): number
  /** All of its state. It should not run meanwhile. */
  get(): VcpuContext
  /**
   * XEN_DOMCTL_getvcpuextstate: XCR0, all bits that it ever had, and the state as XSAVE writes it; empty where its processor has
   * no XSAVE.
   */
  extendedState(): Uint8Array
  /** XEN_DOMCTL_setvcpuextstate: 0, or a negative error number with nothing changed. */
  setExtendedState(bytes: Uint8Array): number
  /** XEN_DOMCTL_get_ext_vcpucontext: where system calls of 32-bit code enter, of PV guests. */
  entries?(): CompatEntries
  /** XEN_DOMCTL_set_ext_vcpucontext: 0, or -EINVAL with nothing changed. */
  setEntries?(entries: CompatEntries): number
  /** Bits of XCR0 that its domain is offered; 0 without XSAVE. */
  offeredState(): number
  /** What CPUID tells it under the domain's own policy, or without one. */
  cpuid(leaf: number, subleaf: number, own: CpuidTable | undefined): CpuidAnswer
  /** Begins to watch it. */
  trace(hooks: TraceHooks): Trace
  /** Where it was when it was sampled. */
  profile(): ProcessorProfile
  /** Its registers as a crash report shows them. */
  crashRegisters(): CrashRegisters
  /** The exception that was last sent to its guest. */
  readonly lastTrap: Readonly<TrapNote>
  /** The walk through the page tables in force to an address, from the top on, as far as it goes. */
  walk(address: number): readonly WalkStep[]
}

/** Where a system call of 32-bit code enters a PV guest's kernel. */
export interface CompatEntry {
  readonly address: bigint
  readonly selector: number
  readonly masksEvents: boolean
}

/** Both ways to make one. */
export interface CompatEntries {
  readonly syscall32: CompatEntry
  readonly sysenter: CompatEntry
}

/** Where an address leads, with the rights that all levels of the page tables give together. */
export interface Leaf {
  readonly frame: number
  readonly writable: boolean
  readonly executable: boolean
  readonly user: boolean
  /** In all of its tables. */
  readonly accessed: boolean
  readonly dirty: boolean
}

/** What a vCPU's processor remembers, and what it should agree with. */
export interface GuestCaches {
  inspect(): CacheInspection
  /** Decoded code is shared by all processors. */
  inspectCode(): CodeInspection
  /** Frame of the top-level table that its processor should walk from. */
  readonly root: number
  /** Its processor should have the rights of a process and no more. */
  readonly isUser: boolean
  /** Whether its domain's physical map leads to a frame now, where there is one; then no stale entry is sound. */
  reaches?(frame: number, isWrite: boolean): boolean
  /** True when a flush of what is older than `stamp`, the present unless given, reaches its processor. */
  isDue(stamp?: number): boolean
  /** The page tables in force by a walk that only looks; undefined where an entry is not present. */
  look(address: number): Leaf | undefined
  /** The same under any top-level table, where its processor keeps translations of those that are not in force. */
  lookFrom?(root: number, address: number): Leaf | undefined
  /** The same in its kernel's page tables, whichever mode is in force. */
  lookAsKernel(address: number): Leaf | undefined
}

/** I/O privileges of a guest whose kernel does not run in ring 0. */
export interface GuestIoRights {
  /** PHYSDEVOP_set_iopl: 0 to 3. */
  setPrivilegeLevel(level: number): void
  /** PHYSDEVOP_set_iobitmap: address of the bitmap in halves, and how many ports it speaks of. */
  setBitmap(low: number, high: number, ports: number): void
}

/** One use of a frame. */
export interface FrameUse {
  readonly frame: number
  /** FRAME_TYPE that the use depends on; NONE for a reference alone. */
  readonly type: number
  /** In words, for findings. */
  readonly what: string
}
