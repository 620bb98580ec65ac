/** What the two kinds of PV guests are made of, and how each puts together what does not depend on the kernel's width. */
import { ERRNO, type GuestAbi } from '../../../abi/index.ts'
import type { EventHub } from '../../../util/index.ts'
import type { DomainWishes } from '../../domains/domain-kind.ts'
import { type RefusalFacts, because } from '../../domains/refusal-facts.ts'
import type { DomainRegistry } from '../../domains/registry.ts'
import type { HypercallRow, HypercallTable } from '../../domains/hypercall.ts'
import type { VcpuExecution } from '../../execution/vcpu-execution.ts'
import type { DomainMemory } from '../../frames/domain-memory.ts'
import type { FrameTable } from '../../frames/frame-table.ts'
import type { FrameTypes } from '../../frames/frame-types.ts'
import type { MachineToPhys } from '../../frames/machine-to-phys.ts'
import type { TlbClock } from '../../frames/tlb-clock.ts'
import type { MachineDevices } from '../../devices/machine-ports.ts'
import { writeHypercallPage } from '../../control/core/hypercall-page.ts'
import type { HypervisorEvent } from '../../hypervisor-events.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import type { HostClock } from '../../time/host-clock.ts'
import type { TscScale } from '../../time/index.ts'
import type { WorkMeter } from '../../time/work-meter.ts'
import type { MmuExtended } from '../direct-paging/mmu-extended.ts'
import type { PageTables } from '../direct-paging/page-tables.ts'
import type { CpuidPolicy, CpuidView } from '../processors/cpuid.ts'
import type { Processors } from '../processors/processors.ts'
import { PrivilegedOperations } from './privileged.ts'

/** What PV guests are made of. */
export interface ParavirtualKindParts {
  readonly memory: GuestMemory
  readonly frames: FrameTable
  readonly machineToPhys: MachineToPhys
  readonly domainMemory: DomainMemory
  readonly pageTypes: FrameTypes
  readonly pageTables: PageTables
  readonly domains: DomainRegistry
  readonly tlb: TlbClock
  readonly meter: WorkMeter
  readonly clock: HostClock
  readonly tsc: TscScale
  readonly hub: EventHub<HypervisorEvent>
  readonly execution: VcpuExecution
  readonly processors: Processors
  readonly devices: MachineDevices
  /** The hypercalls of all kinds with some that are the kind's own, for callers of one ABI; the native one unless given. */
  tableOf(own: () => readonly HypercallRow[], abi?: GuestAbi): HypercallTable
  readonly options: { readonly cpuidPolicy?: CpuidPolicy }
}

/** A kind of guest of which each vCPU needs one of the machine's processors. */
export abstract class ProcessorKind {
  private readonly processors: Processors

  constructor(processors: Processors) {
    this.processors = processors
  }

  admit({ vcpus }: DomainWishes, facts: RefusalFacts): number {
    const { free } = this.processors
    return vcpus <= free ? 0 : because(facts, { cause: 'processors', free }, -ERRNO.ENOMEM)
  }

  added(): void {
    this.processors.reserve()
  }

  removed(): void {
    this.processors.release()
  }
}

/** What differs between the kinds in what is carried out in a guest's place. */
export interface PrivilegedFlavour {
  readonly hasLongMode: boolean
  readonly view: CpuidView
  /** Fills a page with the stubs of all hypercalls. */
  fillHypercallPage(page: Uint8Array): void
}

/** What carries out a kind's privileged instructions. */
export function composePrivileged(parts: ParavirtualKindParts, mmu: MmuExtended, flavour: PrivilegedFlavour): PrivilegedOperations {
  const { clock, tsc, memory, devices } = parts
  return new PrivilegedOperations({
    devices,
    hasLongMode: flavour.hasLongMode, view: flavour.view, tscKilohertz: tsc.kilohertz, cpuidPolicy: parts.options.cpuidPolicy,
    addressBits: Math.ceil(Math.log2(memory.endFrame)) + 12,
    timestamp: (vcpu) => vcpu.owner.tsc.countAt(clock.now(), tsc),
    setKernelTable: (vcpu, mfn) => mmu.setKernelTable(vcpu, mfn),
    writeHypercallPage: (domid, frame) => writeHypercallPage(parts, { domid, frame }, flavour.fillHypercallPage) === 0,
  })
}
