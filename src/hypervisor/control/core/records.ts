/**
 * What operations of the control interface take and give, as plain data. Numbers are exact: bytes, frames, nanoseconds.
 * Reference: xen/include/public/domctl.h, sysctl.h.
 */
import type { AccessFacts } from '../../domains/access.ts'
import type { Width } from '../../../abi/index.ts'
import type { DomId, Mfn } from '../../../util/index.ts'
import type { RunnerFactory } from '../../domains/vcpu-runner.ts'

/** Kinds of guests. A host may have others. */
export type GuestKindName = 'pv' | 'pvh' | 'typescript' | (string & {})

/** What a new domain is; it starts paused, without memory, and without a vCPU that can run. */
export interface CreateDomainOptions {
  /** Wanted identifier; by default the next free one. */
  readonly domid?: DomId
  /**
   * `pv`: a binary guest on the machine's processor. `pvh`: one with ring 0 and physical memory of its own. `typescript`: its
   * vCPUs are made by `createRunner`.
   */
  readonly kind: GuestKindName
  /** Needed for `typescript`. */
  readonly createRunner?: RunnerFactory
  /** vCPUs it may have at most. Default 1. */
  readonly vcpus?: number
  /** Pages it may own at most. Default 0: set it before populating. */
  readonly maxPages?: number
  /** Dom0's power over all others. */
  readonly privileged?: boolean
  /** 16 bytes; XENVER_guest_handle gives it to the guest. */
  readonly handle?: Uint8Array
  readonly maxGrantFrames?: number
  readonly maxMaptrackFrames?: number
  /** Highest event port + 1 it may use. Default: what the ABI allows. */
  readonly maxPorts?: number
  /** Newest version of grant entries that it may choose. Default 2. */
  readonly grantVersion?: 1 | 2
}

/** What domctl asks for beside that. */
export interface DomainOrder extends CreateDomainOptions {
  /** Its vCPUs are asked for later. */
  readonly withoutVcpus?: boolean
  readonly isXenstore?: boolean
}

/** A domain that has shut down or is being taken apart. */
export interface EndedDomain {
  readonly domid: DomId
  /** Why it has shut down; undefined where it was destroyed while it ran. */
  readonly shutdownReason: number | undefined
  readonly dying: boolean
}

/** What `xl list` shows of a domain, and what libxc's xc_dominfo_t holds. */
export interface DomainInfo {
  readonly domid: DomId
  readonly kind: GuestKindName
  /** Its vCPUs have registers: contexts to be saved, watched and shown. */
  readonly hasRegisters: boolean
  /** It numbers its frames itself: they lie where a physical map says. */
  readonly translated: boolean
  /** Bits of its kernel's machine word. Reference: XEN_DOMCTL_get_address_size. */
  readonly addressSize: Width
  readonly privileged: boolean
  /** State letters of `xl list`: r, b, p, s, c, d. `shutdown` and `crashed` exclude each other as they do there. */
  readonly running: boolean
  readonly blocked: boolean
  readonly paused: boolean
  readonly shutdown: boolean
  readonly crashed: boolean
  readonly dying: boolean
  /** SHUTDOWN reason once shut down, otherwise undefined. */
  readonly shutdownReason: number | undefined
  readonly totalPages: number
  readonly maxPages: number
  /** Pages that are kept aside for it: what it has claimed and not been given yet. */
  readonly outstandingPages: number
  /** Frame of shared_info. */
  readonly sharedInfoFrame: Mfn
  /** Nanoseconds of CPU that its vCPUs have used. */
  readonly cpuTime: number
  readonly onlineVcpus: number
  readonly maxVcpu: number
  /** Number of the pool of CPUs that it runs on; -1 when it runs no more. */
  readonly pool: number
  readonly handle: Uint8Array
}

/** One vCPU as `xl vcpu-list` shows it. */
export interface VcpuInfoSnapshot {
  readonly vcpu: number
  readonly online: boolean
  readonly running: boolean
  readonly blocked: boolean
  /** Ports that it waits for in SCHEDOP_poll; undefined while it does not. */
  readonly polling: readonly number[] | undefined
  readonly cpuTime: number
  /** Physical CPU it ran on last. */
  readonly cpu: number
}

/** A pool of physical CPUs. Reference: sysctl.h, XEN_SYSCTL_cpupool_op. */
export interface CpuPoolInfo {
  readonly id: number
  /** Name of its scheduler. */
  readonly scheduler: string
  /** Its CPUs, ascending. */
  readonly cpus: readonly number[]
  /** Domains that run on them. */
  readonly domains: readonly DomId[]
}

/** One frame seen from outside. Reference: xen/include/public/domctl.h, getpageframeinfo3. */
export interface FrameInfo {
  readonly owner: DomId | undefined
  /** Type that it has or had last. */
  readonly type: 'none' | 'l1' | 'l2' | 'l3' | 'l4' | 'segdesc' | 'writable'
  readonly typeCount: number
  readonly references: number
  readonly pinned: boolean
  readonly validated: boolean
}

/**
 * What a frame is, as a toolstack that copies a domain has to know it: 0 for memory, 1 to 4 for a validated page table
 * of that level, with PINNED or not. Reference: domctl.h, XEN_DOMCTL_PFINFO_*, shifted down.
 */
export const FRAME_KIND = /* @__PURE__ */ Object.freeze({ MEMORY: 0, PINNED: 8, NOT_OWNED: 15 })

/** The host as `xl info` shows it. */
export interface HostInfo {
  readonly totalFrames: number
  /** Frames that nobody has; those kept aside for domains are among them. */
  readonly freeFrames: number
  /** Frames that are kept aside for domains which have claimed them. */
  readonly outstandingFrames: number
  readonly physicalCpus: number
  /** CPUs that are in no pool. */
  readonly freeCpus: number
  /** Names of the kinds of guests that it has. */
  readonly guestKinds: readonly string[]
  /** Name of the scheduler. */
  readonly scheduler: string
  /** The policy of access, and what it has refused: what `getenforce` tells of a host with Flask. */
  readonly access: AccessFacts
  /** Host time in nanoseconds. */
  readonly time: number
  /** Time-stamp counter's rate. */
  readonly tscHertz: number
}

/** One range of a domain's memory map: bytes, and a type as in e820 (1: usable memory). */
export interface MemoryRange {
  readonly address: number
  readonly size: number
  readonly type: number
}
