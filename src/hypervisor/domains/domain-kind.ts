/**
 * What a domain's kind of guest is to the hypervisor around it. `V` is the hypervisor's record of a vCPU, which leads to
 * its domain, and so back to the kind.
 */
import type { GuestAbi } from '../../abi/index.ts'
import type { DomId, Part } from '../../util/index.ts'
import type { CpuidAnswer } from '../../x86/index.ts'
import type { GuestDomain } from './guest-domain.ts'
import type { GuestVcpu } from './guest-vcpu.ts'
import type { RefusalFacts } from './refusal-facts.ts'
import type { RunnerFactory } from './vcpu-runner.ts'

/** A mapping of a granted frame, as the grant table asks for it. */
export interface GrantMapping {
  /** Virtual address, or machine address of a page-table entry with GNTMAP.contains_pte. A signed number. */
  readonly address: number
  readonly mfn: number
  /** GNTMAP flags. */
  readonly flags: number
}

/** How guests of a kind map grants. A kind without this reaches granted frames directly. */
export interface GrantMappings<V> {
  /**
   * Maps the frame for a vCPU, whose references have been taken; those of what stood there are given back. GNTST.okay or
   * general_error.
   */
  install(vcpu: V, mapping: GrantMapping): number
  /**
   * Takes the mapping away, or moves the one at `newAddress` there, after checking that it maps the frame with the same
   * rights. References stay. GNTST.okay or general_error.
   */
  remove(vcpu: V, mapping: GrantMapping & { readonly newAddress: number }): number
  /** The vCPU may use no mapping any more that has been removed. */
  flush(vcpu: V): void
}

/** Page tables that a domain keeps validated though nothing refers to them. Results: 0 or a negative error number. */
export interface TablePins {
  /** Validates and pins a table of a level from 1 to 4. */
  pin(domid: DomId, mfn: number, level: number): number
  unpin(domid: DomId, mfn: number): number
}

/** What a new domain asks of its kind. */
export interface DomainWishes {
  readonly vcpus: number
  readonly createRunner: RunnerFactory | undefined
}

/** A processor as far as CPUID asks it. */
export interface CpuidReader {
  cpuid(leaf: number, subleaf: number): CpuidAnswer
}

/** Where findings of checks go: what does not add up, and uses of frames to be counted. */
export interface FrameLedger {
  /** Something about a frame, or about none (-1), that must not be. */
  report(frame: number, what: string): void
  /** A use that holds a reference, and a type reference unless `type` is NONE. */
  use(frame: number, type: number, what: string): void
}

/** A kind of guest, as domains of that kind know it. */
export interface DomainKind<V> {
  /** As `createDomain` is told. */
  readonly name: string
  /** What its guests speak from the start; the native one where it is absent. */
  readonly abi?: GuestAbi
  /** vCPUs have registers, which are set before they run, and are saved; otherwise they are started as they are. */
  readonly hasRegisters: boolean
  /** Levels of the page tables that guests write, where they do; 4 unless given. */
  readonly pageTableLevels?: 3 | 4
  /**
   * Whether a domain can be of this kind: 0, -EINVAL for what it asks for, -ENOMEM when what its vCPUs execute on is lacking,
   * with the cause in `facts`. Nothing is kept for it.
   */
  admit(wishes: DomainWishes, facts: RefusalFacts): number
  /** Makes the guest's half of a domain, where its frames have numbers of its own; the domain has no vCPU yet. */
  createDomain?(domain: { readonly id: DomId; readonly vcpus: readonly V[] }): GuestDomain
  /** A domain has got a vCPU, without registers as yet. */
  added?(vcpu: V): void
  /** A vCPU goes with its domain; its guest's half has been dropped. */
  removed?(vcpu: V): void
  /** Makes the guest's half of a vCPU; -EOPNOTSUPP on a host without processors for it, -ENOMEM when all are in use. */
  createVcpu(vcpu: V): GuestVcpu | number
  /**
   * What VCPUOP_initialise gives a vCPU of such guests, in place of vcpu_guest_context: its bytes, and what takes them of an
   * equipped vCPU: 0, or a negative error number with nothing changed.
   */
  readonly firstRegisters?: { readonly size: number; set(vcpu: V, view: DataView): number }
  /** What it keeps beside its vCPUs; loaded when the frame table has been. */
  readonly state?: Part
  /** What CPUID would tell a vCPU on such a processor, of a domain without a policy of its own; where its guests run on one. */
  describeProcessor?(processor: CpuidReader, leaf: number, subleaf: number): CpuidAnswer
  readonly grants?: GrantMappings<V>
  readonly pins?: TablePins
  /** Fills a page with the stubs of all hypercalls. */
  fillHypercallPage?(page: Uint8Array): void
  /** Goes through all that guests of this kind have in the frame table, and reports what breaks the kind's own rules. */
  audit?(ledger: FrameLedger): void
}
