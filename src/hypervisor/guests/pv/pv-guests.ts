/**
 * PV guests: binary kernels that know they run on Xen, on processors whose privileged instructions come to the
 * hypervisor. Here their parts are put together. A processor is made when a vCPU gets its registers, and given back when
 * its domain goes.
 */
import { ERRNO } from '../../../abi/index.ts'
import { type EventHub, type Part, part } from '../../../util/index.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { DomainWishes, FrameLedger, GrantMappings, TablePins } from '../../domains/domain-kind.ts'
import type { GuestKind } from '../../domains/guest-kind.ts'
import { type RefusalFacts, because } from '../../domains/refusal-facts.ts'
import type { DomainRegistry } from '../../domains/registry.ts'
import type { VcpuExecution } from '../../execution/vcpu-execution.ts'
import type { FrameTable } from '../../frames/frame-table.ts'
import type { FrameTypes } from '../../frames/frame-types.ts'
import type { MachineToPhys } from '../../frames/machine-to-phys.ts'
import type { TlbClock } from '../../frames/tlb-clock.ts'
import type { HypercallRow, HypercallTable } from '../../domains/hypercall.ts'
import { writeHypercallPage } from '../../control/core/hypercall-page.ts'
import type { HypervisorEvent } from '../../hypervisor-events.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import type { HostClock } from '../../time/host-clock.ts'
import type { TscScale } from '../../time/index.ts'
import type { WorkMeter } from '../../time/work-meter.ts'
import { auditTables } from '../direct-paging/audit.ts'
import { BounceFrames } from './bounce.ts'
import { VcpuContexts } from './contexts.ts'
import { PV_CPUID } from './cpuid.ts'
import type { CpuidPolicy } from '../processors/cpuid.ts'
import type { Processors } from '../processors/processors.ts'
import type { DescriptorTables } from '../direct-paging/descriptor-tables.ts'
import { GrantEntries } from '../direct-paging/grant-entries.ts'
import { fillHypercallPage } from '../../hypercalls/hypercall-page.ts'
import { iret } from './iret.ts'
import type { MmuExtended } from '../direct-paging/mmu-extended.ts'
import { type PageTables, fallingShape } from '../direct-paging/page-tables.ts'
import { composePaging } from '../direct-paging/paging.ts'
import { ParavirtualCaches, ParavirtualContext } from '../paravirtual/guest-context.ts'
import { PrivilegedOperations } from '../paravirtual/privileged.ts'
import { PvExits } from './pv-exits.ts'
import { PvGuest, type PvGuestParts } from './pv-guest.ts'
import { pvHypercalls } from './pv-hypercalls.ts'
import { type PvVcpu, pvOf } from './pv-vcpu.ts'
import { SegmentLoader } from './segments.ts'
import { WritableTables } from '../direct-paging/writable-tables.ts'

/** What PV guests are made of. */
export interface PvParts {
  readonly memory: GuestMemory
  readonly frames: FrameTable
  readonly machineToPhys: MachineToPhys
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
  /** The hypercalls of all kinds with some that are the kind's own. */
  tableOf(own: readonly HypercallRow[]): HypercallTable
  readonly options: { readonly cpuidPolicy?: CpuidPolicy }
}

/** Makes the kind `pv`. */
export const pvGuests = (parts: PvParts): GuestKind => new PvGuests(parts)

class PvGuests implements GuestKind {
  readonly name = 'pv'
  readonly hasRegisters = true
  readonly hypercalls: HypercallTable
  readonly grants: GrantMappings<Vcpu>
  readonly pins: TablePins
  readonly fillHypercallPage = fillHypercallPage
  readonly state: Part
  private readonly parts: PvParts
  private readonly mmu: MmuExtended
  private readonly descriptorTables: DescriptorTables
  private readonly guestParts: PvGuestParts

  constructor(parts: PvParts) {
    this.parts = parts
    const { pageTables } = parts
    this.state = part({ name: 'pv', version: 1, shape: fallingShape }, { save: () => pageTables.save(), load: (state) => pageTables.load(state) })
    const { memory, tlb, execution } = parts
    const { mmu, descriptorTables, rows } = composePaging(parts)
    const segments = new SegmentLoader(descriptorTables)
    const privileged = composePrivileged(parts, mmu)
    this.hypercalls = parts.tableOf([
      ...rows, ...pvHypercalls({ ...parts, descriptorTables, segments }),
      iret({
        segments, memory, crash: (vcpu, reason) => execution.crash(vcpu, reason),
        inject: (vcpu, vector, errorCode) => exits.inject(vcpu, vector, errorCode),
      }),
    ])
    const exits = new PvExits({
      ...parts, privileged, writableTables: new WritableTables(parts), hypercalls: this.hypercalls,
      crash: (vcpu, reason, exception) => execution.crash(vcpu, reason, exception),
    })
    const contexts = new VcpuContexts({ mmu, descriptorTables, segments, privileged })
    this.mmu = mmu
    this.pins = mmu
    this.descriptorTables = descriptorTables
    this.grants = grantsOf(parts)
    this.guestParts = {
      memory, bounceFrames: new BounceFrames(), execution, exits,
      contextOf: (vcpu, pv) => new ParavirtualContext(vcpu, pv, {
        ...parts, privileged, contexts: { set: (context) => contexts.set(vcpu, pv, context), get: () => contexts.get(vcpu, pv) },
      }),
      cachesOf: (pv) => new ParavirtualCaches(pv, { memory, tlb }),
      release: (pv) => this.release(pv),
    }
  }

  admit({ vcpus }: DomainWishes, facts: RefusalFacts): number {
    const { free } = this.parts.processors
    return vcpus <= free ? 0 : because(facts, { cause: 'processors', free }, -ERRNO.ENOMEM)
  }

  added(): void {
    this.parts.processors.reserve()
  }

  removed(): void {
    this.parts.processors.release()
  }

  createVcpu(vcpu: Vcpu): PvGuest | number {
    const { descriptorTables, parts } = this
    const processor = parts.processors.create({
      mode: 'hosted',
      descriptors: { read: (selector, out) => descriptorTables.read(vcpu.owner, guest, selector, out) },
      topology: { index: vcpu.vcpu, count: vcpu.owner.vcpus.length },
    })
    if (typeof processor === 'number') return processor
    const guest = new PvGuest(vcpu, processor, this.guestParts)
    parts.tlb.add(guest)
    return guest
  }

  audit(ledger: FrameLedger): void {
    auditTables(this.parts, ledger, 4)
  }

  /** Takes a vCPU's state away: tables, descriptor tables, processor. */
  private release(pv: PvVcpu): void {
    this.mmu.dropTables(pv)
    this.descriptorTables.dropGdt(pv)
    this.descriptorTables.dropLdt(pv)
    this.parts.tlb.remove(pv)
    pv.processor.destroy()
  }
}

function composePrivileged(parts: PvParts, mmu: MmuExtended): PrivilegedOperations {
  const { clock, tsc, memory } = parts
  return new PrivilegedOperations({
    hasLongMode: true, view: PV_CPUID, tscKilohertz: tsc.kilohertz, cpuidPolicy: parts.options.cpuidPolicy,
    addressBits: Math.ceil(Math.log2(memory.endFrame)) + 12,
    timestamp: () => tsc.ticksAt(clock.now()),
    setKernelTable: (vcpu, mfn) => mmu.setKernelTable(vcpu, mfn),
    writeHypercallPage: (domid, frame) => writeHypercallPage(parts, { domid, frame }, fillHypercallPage) === 0,
  })
}

function grantsOf(parts: PvParts): GrantMappings<Vcpu> {
  const entries = new GrantEntries(parts)
  return {
    install: (vcpu, mapping) => entries.install(vcpu, mapping),
    remove: (vcpu, mapping) => entries.remove(vcpu, mapping),
    flush: (vcpu) => {
      const pv = pvOf(vcpu)
      if (pv !== undefined) parts.tlb.flush(pv)
    },
  }
}
