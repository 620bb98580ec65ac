/**
 * The privileged control interface, at the level of libxc: domain by domain, frame by frame. `Hypervisor` implements
 * it; the toolstack builds whole operations (create, save, migrate) on it. Calls throw `XenError`, and a call that
 * throws has changed nothing. 64-bit registers are bigint here: these are control paths. Every call that names a domain
 * throws DOMAIN_NOT_FOUND where there is none.
 * Reference: xen/include/public/domctl.h, sysctl.h, arch-x86/xen.h (vcpu_guest_context).
 */
import type { HypercallPort } from '../../../abi/index.ts'
import type { CacheInspection, ProcessorProfile, Trace, TraceHooks } from '../../../machine/index.ts'
import type { Bitmap, DomId, EventPort, EventSource, GrantRef, Mfn, Random } from '../../../util/index.ts'
import type { CpuPolicy, MsrEntry } from '../../domains/cpu-policy.ts'
import type { CrashReport } from '../../domains/crash-report.ts'
import type { CompatEntries } from '../../domains/guest-vcpu.ts'
import type { VcpuContext } from '../../domains/vcpu-registers.ts'
import type { PortRecord } from '../../events/index.ts'
import type { GrantRecord } from '../../grants/index.ts'
import type { RunLimits, RunResult } from '../../execution/run-limits.ts'
import type { TscInfo } from '../../time/index.ts'
import type { HypervisorEvent } from '../../hypervisor-events.ts'
import type { CpuPoolInfo, CreateDomainOptions, DomainInfo, EndedDomain, FrameInfo, HostInfo, MemoryRange, VcpuInfoSnapshot } from '../core/records.ts'

/** The life of domains. */
export interface DomainControl {
  /** Makes an empty, paused domain with its shared_info. Throws DOMAIN_EXISTS, OUT_OF_MEMORY, INVALID_ARGUMENT. */
  createDomain(options: CreateDomainOptions): DomId
  /** Ends a domain at once and gives back all that it held. Frames that others still map go when they unmap them. */
  destroyDomain(domid: DomId): void
  /**
   * The same in portions of a few milliseconds, as long as a domain with many tables and grants takes: ends the domain and
   * does one portion. False while there is more to do, by calling it again.
   */
  dismantleDomain(domid: DomId): boolean
  /** Counted: as many `unpauseDomain` are needed. A new domain is paused once. */
  pauseDomain(domid: DomId): void
  /** Takes one pause back; throws INVALID_STATE when there is none. */
  unpauseDomain(domid: DomId): void
  /** Marks it shut down for `reason` and stops its vCPUs, as SCHEDOP_shutdown does. */
  shutdownDomain(domid: DomId, reason: number): void
  /** By how many seconds the domain's wall clock is ahead of the host's. Throws INVALID_ARGUMENT. */
  setTimeOffset(domid: DomId, seconds: number): void
  /** How a domain's time-stamp counter runs, and what it has counted: to be saved with it, as XEN_DOMCTL_gettscinfo. */
  getTscInfo(domid: DomId): TscInfo
  /**
   * Has a domain's counter go on from there, at the frequency that it had elsewhere (XEN_DOMCTL_settscinfo); its incarnation is counted on.
   * Throws INVALID_ARGUMENT for a mode that there is not, and for a frequency that no counter here has.
   */
  setTscInfo(domid: DomId, info: TscInfo): void
  /** How the domain crashed: registers, code, stack; undefined while it has not. Throws DOMAIN_NOT_FOUND. */
  crashReport(domid: DomId): CrashReport | undefined
  /** Lets a domain that was shut down (suspended) go on; its `SCHEDOP_shutdown` returns `result` (1: cancelled). */
  resumeDomain(domid: DomId, result?: number): void
  /**
   * Lets a domain that was shut down go on with its memory and registers, but without ports and registered records, and with shared_info
   * out of its physical map (XEN_DOMCTL_soft_reset). Throws NOT_SUPPORTED for a domain without a physical map of its own, INVALID_STATE
   * for one that has not shut down, OUT_OF_MEMORY.
   */
  softResetDomain(domid: DomId): void
  /** A parameter of a translated domain (HVM_PARAM), as its tools see it. Throws INVALID_ARGUMENT, INVALID_STATE. */
  getHvmParam(domid: DomId, index: number): bigint
  /** Sets one; throws INVALID_ARGUMENT for what it does not take, INVALID_STATE for other domains. */
  setHvmParam(domid: DomId, index: number, value: bigint): void
  /**
   * The state of a translated domain's vCPUs as Xen's records (XEN_DOMCTL_gethvmcontext). The domain should be paused or shut
   * down. Throws INVALID_STATE for other domains.
   */
  getHvmContext(domid: DomId): Uint8Array
  /**
   * Takes such records: vCPUs whose registers they hold come up, the others go down (XEN_DOMCTL_sethvmcontext). Throws
   * INVALID_ARGUMENT for what is no context of the domain's.
   */
  setHvmContext(domid: DomId, bytes: Uint8Array): void
  /** What the hypervisor knows of one domain now; throws DOMAIN_NOT_FOUND. */
  domainInfo(domid: DomId): DomainInfo
  /** All domains, by number. */
  listDomains(): DomainInfo[]
  /** Those of them that have shut down or are being taken apart, by number: what whoever hears of ends looks for. */
  endedDomains(): EndedDomain[]
  /** True when no domain can run now: each waits for an event, is paused, or has ended. */
  isQuiet(): boolean
  /** Whether the domain exists, dying ones included. */
  hasDomain(domid: DomId): boolean
}

/** What domains own and may own, what their frames are and hold, and which of them are written. */
export interface MemoryControl {
  /** Limits what the domain may own; pages above a lowered limit stay. Throws INVALID_ARGUMENT. */
  setMaxPages(domid: DomId, pages: number): void
  /**
   * Keeps frames aside for a domain until it has `pages`, whoever else asks for some; 0 gives up what is left of a claim. Throws
   * OUT_OF_MEMORY, INVALID_ARGUMENT for a second claim, for what it has already and for what it may not have.
   */
  claimPages(domid: DomId, pages: number): void
  /**
   * Gives `count` zeroed frames to a domain and returns them in order; with `firstPfn` their machine-to-physical
   * entries become firstPfn, firstPfn + 1, ... Throws OUT_OF_MEMORY when the host or `maxPages` has no room.
   */
  populatePhysmap(domid: DomId, count: number, firstPfn?: number): Mfn[]
  /** Takes frames back, as XENMEM_decrease_reservation does. Returns how many. */
  releaseFrames(domid: DomId, frames: readonly Mfn[]): number
  /** Writes the machine-to-physical entry of a frame of the domain. */
  setMachineToPhys(domid: DomId, frame: Mfn, pfn: number): void
  /** The pseudo-physical number that the frame has (whatever the guest has written there); undefined when invalid. */
  machineToPhys(frame: Mfn): number | undefined
  /** The same of each of many frames, in order: 2^32 - 1 where there is none, and for numbers that are no frames. */
  framePfns(frames: Uint32Array): Uint32Array
  /** Frames that the domain owns, ascending. */
  domainFrames(domid: DomId): Mfn[]
  /** Owner, type and counts of any frame of the host; throws INVALID_ADDRESS for others. */
  frameInfo(frame: Mfn): FrameInfo
  /**
   * Bytes of a frame of the domain, shared with it. After writing call `markWritten`. Only for frames that are not
   * page tables (building and restoring write tables before they are pinned).
   */
  frameBytes(domid: DomId, frame: Mfn): Uint8Array
  /** Tells of bytes written through `frameBytes`: drops decoded instructions and feeds the dirty log. */
  markWritten(frame: Mfn): void
  /** {@link FRAME_KIND} of each of many frames, in order; NOT_OWNED also for numbers that are no frames. */
  frameKinds(domid: DomId, frames: Uint32Array): Uint8Array
  /**
   * Of each of many frames, in order: 1 for one of the domain's that is all zero as far as the host was told, without a look at it: nobody has written there since it was handed out. 0 for
   * frames that may be written without a word, such as rings that a guest in TypeScript has mapped, and all of such a guest's own, for page tables, and for numbers that are no frames; one of these may be zero, too.
   */
  blankFrames(domid: DomId, frames: Uint32Array): Uint8Array
  /** Copies whole frames of the domain to `into`, one behind the other; throws as `frameBytes` does. */
  readFrames(domid: DomId, frames: Uint32Array, into: Uint8Array): void
  /** Fills whole frames of the domain and marks them written; the rules are those of `frameBytes`. */
  writeFrames(domid: DomId, frames: Uint32Array, from: Uint8Array): void
  /**
   * Validates and pins a page table of the given level, as MMUEXT_PIN_Ln_TABLE on behalf of the domain. Throws
   * INVALID_STATE.
   */
  pinTable(domid: DomId, frame: Mfn, level: 1 | 2 | 3 | 4): void
  /** Takes the pin away; throws INVALID_STATE when the frame is not pinned. */
  unpinTable(domid: DomId, frame: Mfn): void
  /** Fills a frame of the domain with hypercall stubs, where an image has a HYPERCALL_PAGE note. */
  writeHypercallPage(domid: DomId, frame: Mfn): void
  /** Sets what XENMEM_memory_map tells the domain; at most 128 ranges, sizes in bytes, types as in e820. */
  setMemoryMap(domid: DomId, map: readonly MemoryRange[]): void
  /**
   * A frame of another domain for the use of the toolstack, which may write to it; it stays until `unmapForeign`. Throws
   * INVALID_STATE for a page table.
   */
  mapForeign(domid: DomId, frame: Mfn): Mfn
  /** Ends one `mapForeign`; throws INVALID_STATE when the frame is not mapped. */
  unmapForeign(domid: DomId, frame: Mfn): void
  /**
   * Frame of a translated domain's own at a frame number of its; one that is to come on demand comes. Undefined where there is
   * none, and for other domains.
   */
  frameOfGfn(domid: DomId, gfn: number): Mfn | undefined
  /** Highest frame number of a translated domain with something there; -1 for none, and for other domains. */
  highestGfn(domid: DomId): number
  /**
   * Has frames of a translated domain come at `count` places from `firstGfn` on when they are first asked for, out of what
   * `setOnDemandTarget` gives it. Throws INVALID_STATE for other domains, and where something is.
   */
  populateOnDemand(domid: DomId, count: number, firstGfn: number): void
  /**
   * Frame numbers of a translated domain where it has memory, ascending: frames of its reservation, and such as are to come on demand; none for
   * other domains.
   */
  memoryGfns(domid: DomId): Uint32Array
  /**
   * The frame at each of these frame numbers of a translated domain, or what `MEMORY_AT` has for those without one. Nothing comes on demand for it. All
   * `NONE` for other domains.
   */
  memoryAt(domid: DomId, gfns: Uint32Array): Int32Array
  /** Frame numbers of a translated domain where frames are still to come on demand, ascending; none for other domains. */
  onDemandGfns(domid: DomId): readonly number[]
  /** How many frames the domain is to own, those in store for places on demand among them. Throws OUT_OF_MEMORY. */
  setOnDemandTarget(domid: DomId, pages: number): void
  /** Starts noting which frames are written. */
  enableLogDirty(domid: DomId): void
  /** Stops noting writes; `readLogDirty` throws INVALID_STATE from then on. */
  disableLogDirty(domid: DomId): void
  /** Dirty pseudo-physical frames since the last call; `clear` starts anew. */
  readLogDirty(domid: DomId, options?: { readonly clear?: boolean }): Bitmap
}

/** Registers, CPU policy, scheduling of vCPUs. */
export interface VcpuControl {
  /**
   * Makes the processor that a vCPU of a binary guest will run on, which takes long the first time on a host, so that
   * `setVcpuContext` need not. Throws NOT_SUPPORTED, INVALID_STATE for a guest in TypeScript.
   */
  prepareVcpu(domid: DomId, vcpu: number): void
  /** Gives a vCPU its registers and brings it up. Throws INVALID_ARGUMENT where Xen answers -EINVAL. */
  setVcpuContext(domid: DomId, vcpu: number, context: VcpuContext): void
  /** The domain should be paused or shut down. */
  getVcpuContext(domid: DomId, vcpu: number): VcpuContext
  /**
   * What CPUID tells the domain, as XEN_DOMCTL_get_cpu_policy: to be saved with it. Empty for a guest in TypeScript.
   */
  getCpuPolicy(domid: DomId): CpuPolicy
  /**
   * Has CPUID tell a domain what it was told elsewhere, as far as this host offers it; what it does not offer is hidden, and
   * returned by name. For a domain that has not run yet; throws INVALID_STATE for a guest in TypeScript.
   */
  setCpuPolicy(domid: DomId, policy: CpuPolicy): string[]
  /** Model-specific registers of a vCPU that are saved with it, but for those that hold 0, as XEN_DOMCTL_get_vcpu_msrs. */
  getVcpuMsrs(domid: DomId, vcpu: number): MsrEntry[]
  /** Writes such registers. Throws NOT_SUPPORTED for one that this host does not offer, INVALID_ARGUMENT for its value. */
  setVcpuMsrs(domid: DomId, vcpu: number, msrs: readonly MsrEntry[]): void
  /**
   * XCR0 of a vCPU, all bits that it ever had and its state as XSAVE writes it, as XEN_DOMCTL_getvcpuextstate; empty where its
   * processor has no XSAVE, and for a guest in TypeScript.
   */
  getVcpuExtendedState(domid: DomId, vcpu: number): Uint8Array
  /**
   * Gives a vCPU such bytes. Throws NOT_SUPPORTED for state that its domain is not offered and in a form of its own,
   * INVALID_ARGUMENT for what is no such state.
   */
  setVcpuExtendedState(domid: DomId, vcpu: number, bytes: Uint8Array): void
  /**
   * Where system calls of 32-bit code enter a PV guest's kernel, as XEN_DOMCTL_get_ext_vcpucontext; undefined for a guest that has no such
   * entries, and while the vCPU has no registers.
   */
  getVcpuEntries(domid: DomId, vcpu: number): CompatEntries | undefined
  /** Sets them. Throws INVALID_ARGUMENT for addresses that there are not, NOT_SUPPORTED for a guest that has no such entries. */
  setVcpuEntries(domid: DomId, vcpu: number, entries: CompatEntries): void
  /** Bits of XCR0 that a domain is offered; 0 without XSAVE and for a guest in TypeScript. */
  offeredState(domid: DomId): number
  /** Brings up vCPU `vcpu` of a TypeScript guest (it needs no registers). */
  startVcpu(domid: DomId, vcpu: number): void
  /**
   * Watches a vCPU of a binary guest instruction by instruction. A hook that answers 'stop' pauses the domain; the event
   * `vcpu-stopped` tells, and `unpauseDomain` lets it go on. Throws INVALID_STATE for a vCPU without registers.
   */
  traceVcpu(domid: DomId, vcpu: number, hooks: TraceHooks): Trace
  /** What the processor of a vCPU of a binary guest has remembered of page tables. Not while it runs. Throws INVALID_STATE for a vCPU without registers. */
  inspectVcpu(domid: DomId, vcpu: number): CacheInspection
  /**
   * Where a binary guest's vCPUs were when they were sampled, by number; undefined for one that has never been prepared. Throws
   * INVALID_STATE for a guest without registers.
   */
  profileVcpus(domid: DomId): readonly (ProcessorProfile | undefined)[]
  /** Sends a vCPU a non-maskable interrupt, as XEN_DOMCTL_sendtrigger. Throws NOT_SUPPORTED for a guest that knows none. */
  sendNmi(domid: DomId, vcpu: number): void
  /** State, CPU time in nanoseconds and place of one vCPU. */
  vcpuInfo(domid: DomId, vcpu: number): VcpuInfoSnapshot
  /** Weight, cap and the like in the names of the scheduler in use. */
  schedulerParameters(domid: DomId, vcpu?: number): Readonly<Record<string, number>>
  /** Changes the given ones and keeps the others; INVALID_ARGUMENT for what the scheduler does not take. */
  setSchedulerParameters(domid: DomId, parameters: Readonly<Record<string, number>>, vcpu?: number): void
  /** Physical CPUs a vCPU may run on (hard) and should run on (soft), ascending; none of one that has stopped for good. */
  affinity(domid: DomId, vcpu: number): { readonly hard: readonly number[]; readonly soft: readonly number[] }
  /** Changes them. Throws INVALID_ARGUMENT for CPUs that there are not, and for hard ones of which none is in the domain's pool. */
  setAffinity(domid: DomId, vcpu: number, affinity: { hard?: readonly number[]; soft?: readonly number[] }): void
  /** Translates a virtual address of the domain's vCPU 0 through its kernel page tables, in which nothing is marked; undefined when not mapped. */
  translate(domid: DomId, address: bigint): { readonly frame: Mfn; readonly offset: number } | undefined
}

/** Event channels and grants on behalf of a domain. */
export interface SharingControl {
  /** EVTCHNOP_alloc_unbound in `domid` for `remote`; the new port. */
  allocUnbound(domid: DomId, remote: DomId): EventPort
  /** Closes a port of the domain; throws HYPERCALL_FAILED when it is not open. */
  closePort(domid: DomId, port: EventPort): void
  /** Sends through a port of `domid`, as the domain itself would. */
  sendEvent(domid: DomId, port: EventPort): void
  /** Raises a per-domain or per-vCPU VIRQ, e.g. VIRQ.DOM_EXC to dom0. */
  sendVirq(domid: DomId, virq: number, vcpu?: number): void
  /** Writes a grant entry into a domain's table, as the builder does for console and XenStore. */
  seedGrant(domid: DomId, ref: GrantRef, entry: { readonly remote: DomId; readonly frame: Mfn }): void
  /** Ports of the domain that are in use. Changes nothing. */
  listPorts(domid: DomId): readonly PortRecord[]
  /** What it grants, and what of it others have mapped. Changes nothing. */
  listGrants(domid: DomId): readonly GrantRecord[]
  /** The typed hypercall door of a domain. */
  port(domid: DomId): HypercallPort
}

/** The host as a whole. */
export interface HostControl {
  readonly events: EventSource<HypervisorEvent>
  /** Memory, CPUs and time of the host now. */
  hostInfo(): HostInfo
  /** Text that guests and the hypervisor wrote to the hypervisor's console; `clear` empties it. */
  readConsole(options?: { readonly clear?: boolean }): string
  /** Writes lines of a tool's on the hypervisor's console. */
  log(lines: readonly string[]): void
  /** Types at the hypervisor's console, which a privileged domain reads: how many bytes there was room for. */
  typeConsole(bytes: Uint8Array): number
  /** Bytes that can be typed at it before some are read. */
  consoleRoom(): number
  /** How often binary guests made each hypercall, by name, since the host was booted or stood up; those that nobody made are left out. */
  hypercallCounts(): Readonly<Record<string, number>>
  /** Runs whatever is runnable until a limit, or until there is nothing to do. */
  run(limits?: RunLimits): RunResult
  /** True while a run stands in its midst ({@link RunLimits.stand}). */
  isStanding(): boolean
  /**
   * Instructions that guests have executed since the hypervisor was made, those that take much longer than others counted for as many: what a
   * run that stands is told by.
   */
  executedInstructions(): number
  /** Whether the host's policy lets the toolstack have a call of this interface, of a domain where the call names one. */
  allows(operation: string, domid?: DomId): boolean
  /** Random numbers of this host, for handles and the like. */
  readonly random: Random
}

/** Pools of physical CPUs, each with a scheduler of its own. Calls that name a pool throw POOL_NOT_FOUND where there is none. */
export interface CpuPoolControl {
  /** All pools, by number. */
  cpuPools(): CpuPoolInfo[]
  /** Makes a pool without CPUs; its number. Throws POOL_EXISTS, INVALID_ARGUMENT for a scheduler that there is not, OUT_OF_RESOURCES. */
  createCpuPool(options?: { readonly id?: number | undefined; readonly scheduler?: string | undefined }): number
  /** Ends one without CPUs and domains. Throws BUSY, INVALID_ARGUMENT for pool 0. */
  destroyCpuPool(id: number): void
  /** Puts a CPU that is in no pool into one. Throws BUSY where it is in one, INVALID_ARGUMENT for a CPU that there is not. */
  addPoolCpu(id: number, cpu: number): void
  /** Takes a CPU out of a pool. Throws BUSY for the last one of a pool with domains and of pool 0, INVALID_ARGUMENT for one that is not in it. */
  removePoolCpu(id: number, cpu: number): void
  /** Moves a domain; its vCPUs may use all CPUs there. Throws INVALID_STATE for a pool without CPUs, INVALID_ARGUMENT for dom0. */
  moveToCpuPool(domid: DomId, id: number): void
  /** Parameters of a pool's scheduler as a whole: `ratelimit` in microseconds, `tslice` in milliseconds, `slice` in microseconds. */
  poolParameters(id: number): Readonly<Record<string, number>>
  /** Changes the given ones. Throws INVALID_ARGUMENT for what the scheduler does not take. */
  setPoolParameters(id: number, parameters: Readonly<Record<string, number>>): void
}

/** Everything a toolstack may ask of the hypervisor. */
export interface ControlInterface extends DomainControl, MemoryControl, VcpuControl, SharingControl, CpuPoolControl, HostControl {}
