/**
 * PV guests: binary kernels that know they run on Xen, on processors whose privileged instructions come to the
 * hypervisor. Here their parts are put together. A processor is made when a vCPU gets its registers, and given back when
 * its domain goes.
 */
import { type Part, part } from '../../../util/index.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { CpuidReader, FrameLedger, GrantMappings, TablePins } from '../../domains/domain-kind.ts'
import type { GuestKind } from '../../domains/guest-kind.ts'
import type { HypercallTable } from '../../domains/hypercall.ts'
import { fillHypercallPage } from '../../hypercalls/hypercall-page.ts'
import { GrantEntries } from '../direct-paging/grant-entries.ts'
import { auditTables } from '../direct-paging/audit.ts'
import type { DescriptorTables } from '../direct-paging/descriptor-tables.ts'
import { fallingShape } from '../direct-paging/falling-tables.ts'
import type { MmuExtended } from '../direct-paging/mmu-extended.ts'
import { composePaging } from '../direct-paging/paging.ts'
import { WritableTables } from '../direct-paging/writable-tables.ts'
import { PV_CPUID } from '../paravirtual/cpuid.ts'
import { ParavirtualCaches, ParavirtualContext } from '../paravirtual/guest-context.ts'
import { type ParavirtualKindParts, ProcessorKind, composePrivileged } from '../paravirtual/kind.ts'
import { BounceFrames } from './bounce.ts'
import { VcpuContexts } from './contexts.ts'
import { iret } from './iret.ts'
import { PvExits } from './pv-exits.ts'
import { PvGuest, type PvGuestParts } from './pv-guest.ts'
import { pvHypercalls } from './pv-hypercalls.ts'
import type { PvVcpu } from './pv-vcpu.ts'
import type { PrivilegedOperations } from '../paravirtual/privileged.ts'
import type { CpuidAnswer } from '../../../x86/index.ts'
import { SegmentLoader } from './segments.ts'

/** Makes the kind `pv`. */
export const pvGuests = (parts: ParavirtualKindParts): GuestKind => new PvGuests(parts)

class PvGuests extends ProcessorKind implements GuestKind {
  readonly name = 'pv'
  readonly hasRegisters = true
  readonly hypercalls: HypercallTable
  readonly grants: GrantMappings<Vcpu>
  readonly pins: TablePins
  readonly fillHypercallPage = fillHypercallPage
  readonly state: Part
  private readonly parts: ParavirtualKindParts
  private readonly privileged: PrivilegedOperations
  private readonly mmu: MmuExtended
  private readonly descriptorTables: DescriptorTables
  private readonly guestParts: PvGuestParts

  constructor(parts: ParavirtualKindParts) {
    super(parts.processors)
    this.parts = parts
    const { pageTables } = parts
    this.state = part({ name: 'pv', version: 1, shape: fallingShape }, pageTables.falling)
    const { memory, tlb, execution } = parts
    const { mmu, descriptorTables, rows } = composePaging(parts)
    const segments = new SegmentLoader(descriptorTables)
    const privileged = this.privileged = composePrivileged(parts, mmu, { hasLongMode: true, view: PV_CPUID, fillHypercallPage })
    this.hypercalls = parts.tableOf(() => [
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
    this.grants = new GrantEntries(parts)
    this.guestParts = {
      memory, bounceFrames: new BounceFrames(), execution, exits,
      contextOf: (vcpu, pv) => new ParavirtualContext(vcpu, pv, {
        ...parts, privileged, contexts: { set: (context) => contexts.set(vcpu, pv, context), get: () => contexts.get(vcpu, pv) },
      }),
      cachesOf: (pv) => new ParavirtualCaches(pv, { memory, tlb }),
      release: (pv) => this.release(pv),
    }
  }

  createVcpu(vcpu: Vcpu): PvGuest | number {
    const { descriptorTables, parts } = this
    const processor = parts.processors.create({
      mode: 'hosted', keepsTranslations: true,
      descriptors: {
        read: (selector, out) => descriptorTables.read(vcpu.owner, guest, selector, out),
        isConstant: (selector) => descriptorTables.isConstant(selector),
      },
      topology: { index: vcpu.vcpu, count: vcpu.owner.vcpus.length },
    }, vcpu.owner.tsc)
    if (typeof processor === 'number') return processor
    const guest = new PvGuest(vcpu, processor, this.guestParts)
    parts.tlb.add(guest)
    return guest
  }

  describeProcessor(processor: CpuidReader, leaf: number, subleaf: number): CpuidAnswer {
    return this.privileged.query({ processor }, { leaf, subleaf })
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
