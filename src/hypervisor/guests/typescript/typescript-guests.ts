/**
 * Guests written in TypeScript: what runs a vCPU is the caller's own, which reaches the hypervisor by the domain's port.
 * It has no registers and no page tables; addresses in its raw hypercalls are those of host memory.
 */
import { ERRNO } from '../../../abi/index.ts'
import { type Part, part, shape } from '../../../util/index.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { DomainWishes, TablePins } from '../../domains/domain-kind.ts'
import type { GuestKind } from '../../domains/guest-kind.ts'
import type { HypercallRow, HypercallTable } from '../../domains/hypercall.ts'
import type { GuestVcpu } from '../../domains/guest-vcpu.ts'
import { type RefusalFacts, because } from '../../domains/refusal-facts.ts'
import type { ReadyOrder, VcpuEntry, VcpuExit, VcpuRunner } from '../../domains/vcpu-runner.ts'
import type { VcpuExecution } from '../../execution/vcpu-execution.ts'
import type { GuestAccess } from '../../memory/guest-access.ts'
import type { Director } from '../../scheduler/index.ts'
import { fillHypercallPage } from '../../hypercalls/hypercall-page.ts'
import { type PagingParts, composePaging } from '../direct-paging/paging.ts'
import type { TypedHypercallsByDomain } from './typed-hypercalls-by-domain.ts'

/** What guests in TypeScript are made of. */
export interface TypeScriptParts extends PagingParts {
  /** The hypercalls of all kinds with some that are the kind's own. */
  tableOf(own: () => readonly HypercallRow[]): HypercallTable
  readonly execution: VcpuExecution
  readonly typedHypercalls: TypedHypercallsByDomain
  readonly scheduler: { readonly director: Director | undefined }
}

/** Makes the kind `typescript`. */
export const typescriptGuests = (parts: TypeScriptParts): GuestKind => new TypeScriptGuests(parts)

class TypeScriptGuests implements GuestKind {
  readonly name = 'typescript'
  readonly hasRegisters = false
  readonly hypercalls: HypercallTable
  readonly pins: TablePins
  readonly fillHypercallPage = fillHypercallPage
  private readonly parts: TypeScriptParts

  constructor(parts: TypeScriptParts) {
    this.parts = parts
    const { rows, mmu } = composePaging(parts)
    this.hypercalls = parts.tableOf(() => rows)
    this.pins = mmu
  }

  admit({ createRunner }: DomainWishes, facts: RefusalFacts): number {
    return createRunner === undefined ? because(facts, { cause: 'runner' }, -ERRNO.EINVAL) : 0
  }

  /** It sets its own timers; a tick that nobody has asked for would only wake it. */
  added(vcpu: Vcpu): void {
    vcpu.timers.stopPeriodic()
  }

  createVcpu(vcpu: Vcpu): GuestVcpu | number {
    const { createRunner } = vcpu.owner
    if (createRunner === undefined) return -ERRNO.EOPNOTSUPP
    const { typedHypercalls, execution } = this.parts
    return new TypeScriptGuest(vcpu, createRunner(typedHypercalls.of(vcpu.owner), vcpu.vcpu, this.orderOf(vcpu.domid)), execution)
  }

  /** As whoever directs the scheduler at the time has it. */
  private orderOf(domid: number): ReadyOrder {
    return new DirectedOrder(this.parts.scheduler, domid)
  }
}

/** The order in which a domain's kernel takes things that are ready. */
class DirectedOrder implements ReadyOrder {
  private readonly scheduler: TypeScriptParts['scheduler']
  private readonly domid: number

  constructor(scheduler: TypeScriptParts['scheduler'], domid: number) {
    this.scheduler = scheduler
    this.domid = domid
  }

  get isDirected(): boolean {
    return this.scheduler.director?.first !== undefined
  }

  first(count: number): number {
    const chosen = Math.floor(this.scheduler.director?.first?.({ domid: this.domid, count }) ?? 0)
    return chosen > 0 && chosen < count ? chosen : 0
  }
}

/** One vCPU of a guest in TypeScript. */
class TypeScriptGuest implements GuestVcpu {
  readonly access: GuestAccess
  readonly kernelAccess: GuestAccess
  readonly hasPending = false
  /** Whoever gave its runner keeps its state. */
  readonly state: Part = part({ name: 'typescript', version: 1, shape: shape.record({}) }, { save: () => ({}), isAsSaved: () => true, load: () => undefined })
  private readonly vcpu: Vcpu
  private readonly runner: VcpuRunner
  private readonly execution: VcpuExecution

  constructor(vcpu: Vcpu, runner: VcpuRunner, execution: VcpuExecution) {
    this.vcpu = vcpu
    this.runner = runner
    this.execution = execution
    this.access = vcpu.access
    this.kernelAccess = vcpu.access
  }

  get executed(): number {
    return this.runner.executed
  }

  run(budget: number): VcpuExit {
    return this.runner.run(budget)
  }

  enter(entry: VcpuEntry): boolean {
    return this.runner.enter(entry)
  }

  deliver(): boolean {
    return this.execution.deliverUpcall(this.vcpu, this)
  }

  /** Nothing that it does leaves the hypervisor with something to carry out: it makes calls. */
  handle(): void {}

  /** Its runner holds nothing of the hypervisor's. */
  drop(): void {}
}
