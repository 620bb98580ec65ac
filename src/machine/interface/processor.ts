/**
 * What a processor looks like from outside: the interface that the x86 runner, debuggers and tests use.
 * A processor is one logical x86-64 CPU whose whole state lies in linear memory; how it executes is not said here.
 * Values of 64 bits are two unsigned 32-bit halves; virtual addresses are signed numbers (util's `signedFromParts`).
 */

import type { Random } from '../../util/index.ts'
import type { CpuidAnswer } from '../../x86/index.ts'
import type { Disassembled } from './disassembled.ts'
import type { CacheInspection, CodeInspection } from './inspection.ts'
import type { ProcessorProfile } from './profile.ts'
import type { Registers, SystemView } from './registers.ts'
import type { ProcessorState } from './saved-state.ts'
import type {
  CpuidSource, DescriptorSource, InterruptSource, MemoryDevice, PhysicalSource, PortSource, TimestampSource,
} from './sources.ts'
import type { Trace, TraceHooks } from './trace.ts'

/** Why {@link Processor.run} came back. */
export const EXIT = {
  /** The instruction budget is spent. */
  BUDGET: 0,
  /**
   * A fault or trap: `vector`, `errorCode`, `address` say which. For a fault rip is at the instruction and nothing
   * else changed.
   */
  EXCEPTION: 1,
  /** SYSCALL in a hosted processor; rip is behind it, rcx, r11, CS and SS are untouched. */
  SYSCALL: 2,
  /** INT n, INT3, INTO in a hosted processor; rip is behind it, `vector` says which. */
  INTERRUPT: 3,
  /** An instruction that a hosted processor leaves to its host; rip is at it, `request` describes it. */
  PRIVILEGED: 4,
  /**
   * Ring 0 of a bare processor has executed HLT and no interrupt is there that may end it; rip is behind the
   * instruction. Each further run ends the same way until one is.
   */
  HALT: 5,
  /** A debugger's breakpoint, hook or single step stops here; rip is at the next instruction. */
  DEBUG: 6,
  /** A bare processor could not deliver a double fault (triple fault) and has stopped for good. */
  SHUTDOWN: 7,
  /**
   * A virtualised processor's access to physical memory that its host does not allow; rip is at the instruction, which has
   * had no effect, and `physical` describes it. An interrupt that was being delivered still waits.
   */
  PHYSICAL: 8,
} as const
/** One of the {@link EXIT} numbers. */
export type ExitReason = (typeof EXIT)[keyof typeof EXIT]

/** What an instruction that the host has to carry out does. */
export type RequestedOperation =
  | 'cpuid' | 'rdmsr' | 'wrmsr' | 'rdtsc' | 'rdtscp' | 'read-cr' | 'write-cr' | 'read-dr' | 'write-dr' | 'clts' | 'lmsw'
  | 'in' | 'out' | 'ins' | 'outs' | 'cli' | 'sti' | 'hlt' | 'invlpg' | 'wbinvd' | 'xsetbv' | 'swapgs' | 'vmcall' | 'other'

/** A decoded instruction that the host has to carry out. */
export interface PrivilegedRequest {
  readonly operation: RequestedOperation
  /** Bytes of the instruction, to be added to rip once it has been carried out. */
  readonly length: number
  /** Operand size of `in`, `out`, `ins`, `outs` in bytes. */
  readonly size: number
  /** Number of the control, debug or model-specific register. */
  readonly register: number
  /** General register that takes or gives the value. */
  readonly general: number
  /** Port of `in`, `out`, `ins`, `outs`. */
  readonly port: number
}

/** An access to guest-physical memory that the host of a virtualised processor does not allow. */
export interface PhysicalAccess {
  /** Guest-physical address; of a page table the page's. */
  readonly address: number
  readonly access: 'read' | 'write' | 'execute'
  /** The host lets something else be done with the page. */
  readonly isPresent: boolean
  /** The guest's own page table was to be read, and to be marked. */
  readonly isTable: boolean
}

/** Details of the last exit; one object per processor, overwritten by the next run. */
export interface ProcessorExit {
  readonly reason: ExitReason
  readonly vector: number
  readonly errorCode: number
  /** Faulting address of a page fault (what CR2 would hold). */
  readonly address: number
  readonly request: PrivilegedRequest
  readonly physical: PhysicalAccess
}

/**
 * What a hosted processor that keeps translations (`keepsTranslations`) has to be told of the page tables under any of the top-level tables that it
 * has walked from: each change of an entry that was present, in whatever way. One that keeps none may be told the same.
 */
export interface TableNews {
  /** An entry of a level-1 table is another: its index in the table, and the high half of what it was. */
  entryChanged(index: number, highBefore: number): void
  /**
   * Something else is: entries of higher tables, tables that are to hold other things. `root`: physical address of the only top-level
   * table under which that can be.
   */
  tablesChanged(root?: number): void
}

/** One logical CPU. */
export interface Processor {
  readonly registers: Registers
  readonly exit: ProcessorExit
  /** Where whoever changes page tables tells of it. */
  readonly tables: TableNews
  /**
   * Executes until `budget` instructions are done or an exit is due; the count is exact. Never throws on the guest's
   * behalf.
   */
  run(budget: number): ExitReason
  /** Instructions that the last run completed. */
  readonly executed: number
  /**
   * Of a hosted processor: executes the instruction at rip for its host, without its store reaching memory. `entry` holds
   * the two words that stand at `address`, a multiple of 8, and then what the instruction makes of them. True when it is
   * done (of a repeated one, a repetition) and has stored 1, 2, 4 or 8 naturally aligned bytes there and nothing
   * elsewhere; otherwise registers are as before. Debug traps are the host's to raise.
   */
  storeAside(address: number, entry: Uint32Array): boolean
  /** Takes back what the last `storeAside` has done to the registers, if nothing has run since. */
  undoAside(): void
  /** Drops all translations. */
  flushTlb(): void
  /** Drops the translations of the page that holds `address`. */
  flushPage(address: number): void
  /**
   * Forgets the debug trap that is held back until the next instruction is done (behind MOV SS and POP SS); the DR6 bits
   * that it would have shown, 0 for none. For a host that the instruction has entered in between.
   */
  takeDebugTrap(): number
  /** What CPUID of the processor itself answers; a host shows its guests what it likes of it. */
  cpuid(leaf: number, subleaf: number): CpuidAnswer
  /** The instruction at rip, disassembled; undefined where it cannot be fetched. */
  instruction(): Disassembled | undefined
  /**
   * Begins to watch the processor; several traces may be under way. It executes instruction by instruction until the last
   * of them ends.
   */
  trace(hooks: TraceHooks): Trace
  /** Where it was when it was sampled, for a profile; without samples where nothing is compiled. */
  profile(): ProcessorProfile
  /** What it has remembered of page tables and code, for checks; not while it runs. */
  inspect(): CacheInspection
  /** The decoded code that it shares with the machine's other processors, for checks; not while one runs. */
  inspectCode(): CodeInspection
  /** All architectural state as plain data. */
  save(): ProcessorState
  /** True only where `save` would give the same; told at once of what it has given or taken back last, and false for any other. */
  isAsSaved(state: ProcessorState): boolean
  /** Takes back what `save` gave; hostile input throws INVALID_STATE and changes nothing. */
  load(state: ProcessorState): void
  /** FXSAVE image, 512 bytes. */
  saveFpu(): Uint8Array
  /** Takes x87, MMX and SSE state out of an FXSAVE image of 512 bytes, without the checks of FXRSTOR. */
  loadFpu(image: Uint8Array): void
  /** State of x87, SSE and AVX as XSAVE writes it in its standard form, 832 bytes; its header tells what differs from after reset. */
  saveExtendedState(): Uint8Array
  /**
   * Takes such an area: what its header does not name is as after reset. False, with nothing changed, where MXCSR has reserved
   * bits. Upper halves of vectors are for processors that have them.
   */
  loadExtendedState(image: Uint8Array): boolean
  /** Gives back its memory; it must not run afterwards. */
  destroy(): void
}

/**
 * A processor with a kernel of its own. Each delivery of an exception or interrupt counts as one instruction of the
 * budget, so that handlers that fault again and again come to its end too.
 */
export interface BareProcessor extends Processor {
  readonly system: SystemView
  /**
   * Requests an external interrupt. It is delivered before an instruction as soon as RFLAGS.IF, CR8 and the interrupt
   * shadow allow; of several the highest vector first.
   */
  interrupt(vector: number): void
  /** Requests a non-maskable interrupt. */
  nmi(): void
}

/**
 * A bare processor within a host: its physical memory is what the host says (`physical`), and what concerns more than the
 * processor itself comes back as an exit before anything has happened. EXIT.PRIVILEGED: VMCALL and VMMCALL, IN, OUT, INS and
 * OUTS that ring and task allow (unless `ports` is given), RDMSR and WRMSR of registers that are not the processor's own, and
 * MOV to and from CR8. EXIT.HALT: HLT. EXIT.PHYSICAL: memory. CPUID is what `cpuid` answers.
 */
export interface VirtualisedProcessor extends BareProcessor {
  /** Forgets what the host has said of a guest-physical frame, and all translations; `flushTlb` forgets all frames. */
  flushFrame(gfn: number): void
  /**
   * Has an exception delivered before anything else, as if the instruction at rip had raised it. CR2 is the host's to set.
   */
  raise(vector: number, errorCode?: number): void
  /**
   * Executes the instruction at rip, which an exit has left to the host, over the host's devices: `memory` in place of the
   * page of the last EXIT.PHYSICAL, `ports`. True when it is done, of a repeated one a repetition, or has raised an
   * exception, which is delivered next. False, with nothing changed, when it wants something else of the host.
   */
  carryOut(devices: { readonly memory?: MemoryDevice; readonly ports?: PortSource }): boolean
  /**
   * Puts it into the state behind INIT and a start-up interrupt: real mode at `vector` times 4096, everything else as after
   * reset, nothing waiting. What the host has said of memory stays.
   */
  startUp(vector: number): void
}

/** How a processor is made. */
export interface ProcessorOptions {
  /**
   * `hosted`: everything privileged comes back as an exit and code runs in outer rings (a PV guest);
   * `bare`: the processor runs a kernel of its own and delivers its exceptions and interrupts through its IDT. It
   * starts in ring 0 and 64-bit mode with paging on, flat segments and interrupts off; its host loads memory and sets
   * CR3, rip and rsp. Physical address 0 is the first byte of the machine's memory;
   * `virtualised`: the same, with physical memory by `physical` and exits as {@link VirtualisedProcessor} says (a PVH guest).
   */
  readonly mode: 'hosted' | 'bare' | 'virtualised'
  /**
   * Of a hosted processor: the innermost ring of its code. 3, the default: a 64-bit PV guest, kernel and all. 1: a 32-bit PV
   * guest, whose kernel page tables tell from its processes; it starts there, in 32-bit code, and its host's descriptor
   * tables hold no 64-bit code.
   */
  readonly kernelRing?: 1 | 3
  /**
   * What a budget and `executed` count. `instructions`, the default: exactly those. `work`: an instruction that takes the
   * machine much longer than a plain one counts for so many, and so does fresh code, so that the wall time of a budget is
   * bounded whatever runs. Both depend on nothing but what the code does.
   */
  readonly accounting?: 'instructions' | 'work'
  /**
   * Of a hosted processor whose kernel is in ring 3: loading CR3 drops no translations but those that are not as the tables are by now, and the last few
   * top-level tables' are kept. Its host has to tell of all changes (`tables`). Default: false, and loading CR3 drops them.
   */
  readonly keepsTranslations?: boolean
  /** For hosted processors: the host's descriptor tables. */
  readonly descriptors?: DescriptorSource
  /** What RDTSC reads; without one it counts executed instructions. */
  readonly timestamp?: TimestampSource
  /** What RDRAND and RDSEED read; without one a fixed sequence, the same for every processor. */
  readonly random?: Random
  /** Which core of how many in its package it is, as CPUID tells; the only one unless given. */
  readonly topology?: { readonly index: number; readonly count: number }
  /**
   * What CPUID answers instead of the processor's own table. A kernel in ring 0 can switch on what is offered; an
   * instruction that is not implemented stays undefined.
   */
  readonly cpuid?: CpuidSource
  /** I/O ports; without it reads of a bare processor give ones and writes go nowhere, a virtualised one leaves them to its host. */
  readonly ports?: PortSource
  /** Of a virtualised processor: its physical memory. */
  readonly physical?: PhysicalSource
  /** Of a bare or virtualised processor: a controller that is asked for interrupts when none has been requested by `interrupt`. */
  readonly interrupts?: InterruptSource
}
