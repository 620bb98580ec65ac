/**
 * 32-bit PV guests: kernels of ring 1 with page tables of three levels, on a processor in long mode. Here their parts are
 * put together. A processor is made when a vCPU gets its registers, and given back when its domain goes.
 * Reference: xen/arch/x86/pv/domain.c, switch_compat.
 */
import { COMPAT, ERRNO } from '../../../abi/index.ts'
import type { CpuidAnswer } from '../../../x86/index.ts'
import type { PrivilegedOperations } from '../paravirtual/privileged.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { CpuidReader, FrameLedger, GrantMappings, TablePins } from '../../domains/domain-kind.ts'
import type { GuestKind } from '../../domains/guest-kind.ts'
import type { HypercallTable } from '../../domains/hypercall.ts'
import { FRAME_FLAG, FRAME_TYPE, OWNER_VCPU } from '../../frames/frame-table.ts'
import { GrantEntries } from '../direct-paging/grant-entries.ts'
import { auditTables } from '../direct-paging/audit.ts'
import type { DescriptorTables } from '../direct-paging/descriptor-tables.ts'
import { RING_1 } from '../direct-paging/descriptors.ts'
import type { MmuExtended } from '../direct-paging/mmu-extended.ts'
import { composePaging } from '../direct-paging/paging.ts'
import { WritableTables } from '../direct-paging/writable-tables.ts'
import { ParavirtualCaches, ParavirtualContext } from '../paravirtual/guest-context.ts'
import { type ParavirtualKindParts, ProcessorKind, composePrivileged } from '../paravirtual/kind.ts'
import { CompatBounce } from './bounce.ts'
import { CompatContexts } from './contexts.ts'
import { PV32_CPUID } from './cpuid.ts'
import { fillCompatHypercallPage } from './hypercall-page.ts'
import { compatIret } from './iret.ts'
import { Pv32Exits } from './pv32-exits.ts'
import { Pv32Guest, type Pv32GuestParts } from './pv32-guest.ts'
import { pv32Hypercalls } from './pv32-hypercalls.ts'
import { type Pv32Vcpu, pv32Of, topEntry } from './pv32-vcpu.ts'
import { CallGates } from './call-gates.ts'
import { CompatSegments } from './segments.ts'

/** Makes the kind `pv32`. */
export const pv32Guests = (parts: ParavirtualKindParts): GuestKind => new Pv32Guests(parts)

class Pv32Guests extends ProcessorKind implements GuestKind {
  readonly name = 'pv32'
  readonly abi = COMPAT
  readonly hasRegisters = true
  readonly pageTableLevels = 3
  readonly hypercalls: HypercallTable
  readonly grants: GrantMappings<Vcpu>
  readonly pins: TablePins
  readonly fillHypercallPage = fillCompatHypercallPage
  private readonly parts: ParavirtualKindParts
  private readonly privileged: PrivilegedOperations
  private readonly mmu: MmuExtended
  private readonly descriptorTables: DescriptorTables
  private readonly guestParts: Pv32GuestParts

  constructor(parts: ParavirtualKindParts) {
    super(parts.processors)
    this.parts = parts
    const { memory, tlb, execution } = parts
    const { mmu, descriptorTables, rows } = composePaging(parts, { abi: COMPAT, rules: RING_1 })
    const segments = new CompatSegments(descriptorTables)
    const privileged = this.privileged = composePrivileged(parts, mmu, { hasLongMode: false, view: PV32_CPUID, fillHypercallPage: fillCompatHypercallPage })
    this.hypercalls = parts.tableOf(() => [
      ...rows, ...pv32Hypercalls({ ...parts, descriptorTables }),
      compatIret({
        segments, memory, crash: (vcpu, reason) => execution.crash(vcpu, reason),
        inject: (vcpu, vector, errorCode) => exits.inject(vcpu, vector, errorCode),
      }),
    ], COMPAT)
    const exits = new Pv32Exits({
      ...parts, privileged, writableTables: new WritableTables(parts), hypercalls: this.hypercalls, gates: new CallGates(descriptorTables),
      crash: (vcpu, reason, exception) => execution.crash(vcpu, reason, exception),
    })
    const contexts = new CompatContexts({ mmu, descriptorTables, segments, privileged, takeRoot: (pv) => this.takeRoot(pv) })
    this.mmu = mmu
    this.pins = mmu
    this.descriptorTables = descriptorTables
    this.grants = new GrantEntries(parts)
    this.guestParts = {
      memory, execution, bounces: new CompatBounce({ memory, segments }), exits,
      contextOf: (vcpu, pv) => new ParavirtualContext(vcpu, pv, {
        ...parts, privileged, contexts: { set: (context) => contexts.set(vcpu, pv, context), get: () => contexts.get(vcpu, pv) },
      }),
      cachesOf: (pv) => new ParavirtualCaches(pv, { memory, tlb }),
      release: (pv) => this.release(pv),
    }
  }

  createVcpu(vcpu: Vcpu): Pv32Guest | number {
    const { descriptorTables, parts } = this
    const processor = parts.processors.create({
      mode: 'hosted', kernelRing: 1,
      descriptors: { read: (selector, out) => descriptorTables.read(vcpu.owner, guest, selector, out) },
      topology: { index: vcpu.vcpu, count: vcpu.owner.vcpus.length },
    }, vcpu.owner.tsc)
    if (typeof processor === 'number') return processor
    const guest = new Pv32Guest(vcpu, processor, this.guestParts)
    parts.tlb.add(guest)
    return guest
  }

  /** Tables of its guests, and that each table of level 4 is one vCPU's and leads to what that runs on, and to nothing else. */
  describeProcessor(processor: CpuidReader, leaf: number, subleaf: number): CpuidAnswer {
    return this.privileged.query({ processor }, { leaf, subleaf })
  }

  audit(ledger: FrameLedger): void {
    auditTables(this.parts, ledger, 3)
    const { frames, domains, memory: { words } } = this.parts
    const seen = new Set<number>()
    for (const pv of domains.all().flatMap(({ vcpus }) => vcpus.map(pv32Of))) {
      if (pv === undefined || pv.rootFrame === 0) continue
      const { rootFrame } = pv
      const isOwn = frames.owner[rootFrame] === OWNER_VCPU && frames.type[rootFrame] === FRAME_TYPE.L4 && !seen.has(rootFrame)
      seen.add(rootFrame)
      const isRight = words[rootFrame << 10] === topEntry(pv.topTable) && words.subarray((rootFrame << 10) + 1, (rootFrame + 1) << 10).every((word) => word === 0)
      if (!isOwn || !isRight) ledger.report(rootFrame, 'is not the table of level 4 that its vCPU should run on')
    }
  }

  /** Gives the vCPU a table of level 4 of its own, as long as it has none. */
  private takeRoot(pv: Pv32Vcpu): number {
    if (pv.rootFrame !== 0) return 0
    const { domainMemory, frames } = this.parts
    const mfn = domainMemory.takeRaw()
    if (mfn < 0) return -ERRNO.ENOMEM
    frames.assign(mfn, OWNER_VCPU, FRAME_FLAG.ALLOCATED | FRAME_FLAG.VALIDATED)
    frames.rows.setType(mfn, FRAME_TYPE.L4)
    frames.rows.setTypeCount(mfn, 1)
    pv.rootFrame = mfn
    return 0
  }

  /** Takes a vCPU's state away: tables, descriptor tables, processor. */
  private release(pv: Pv32Vcpu): void {
    const { tlb, frames, domainMemory } = this.parts
    this.mmu.dropTables(pv)
    this.descriptorTables.dropGdt(pv)
    this.descriptorTables.dropLdt(pv)
    tlb.remove(pv)
    pv.processor.destroy()
    if (pv.rootFrame === 0) return
    frames.rows.setStamp(pv.rootFrame, tlb.now())
    domainMemory.discard(pv.rootFrame)
    pv.rootFrame = 0
  }
}
