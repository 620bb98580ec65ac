/**
 * A vCPU of a PVH guest: a virtualised processor behind a local APIC. It runs until it needs the hypervisor; what an exit
 * means is in pvh-exits.ts. Events come as interrupts, which the processor asks for between instructions.
 * Reference: xen/arch/x86/hvm/irq.c, hvm_vcpu_has_pending_irq, hvm_vcpu_ack_pending_irq.
 */
import type { InterruptSource, VirtualisedProcessor } from '../../../machine/index.ts'
import { VcpuInfo } from '../../../abi/index.ts'
import { type Part, inPlace, part, sameFields } from '../../../util/index.ts'
import { ATTRIBUTE, EFER, MSR, RFLAGS, SEGMENT, XCR0 } from '../../../x86/index.ts'
import type { TrapNote } from '../../domains/crash-report.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { GuestCaches, GuestContext, GuestVcpu } from '../../domains/guest-vcpu.ts'
import type { PrivilegedOperation, VcpuExit } from '../../domains/vcpu-runner.ts'
import type { GuestMemory } from '../../memory/guest-memory.ts'
import type { TscScale } from '../../time/index.ts'
import { EXIT } from '../processors/processor-exits.ts'
import { LinearAccess } from './linear-access.ts'
import type { PvhDomain } from './pvh-domain.ts'
import { type PvhVcpuState, pvhVcpuShape } from './pvh-state.ts'

const PENDING = VcpuInfo.evtchnUpcallPending.offset

const BUDGET: VcpuExit = /* @__PURE__ */ Object.freeze({ kind: 'budget' })
const STOPPED: VcpuExit = /* @__PURE__ */ Object.freeze({ kind: 'stopped' })
const HALT: VcpuExit = /* @__PURE__ */ Object.freeze({ kind: 'halt' })
const SHUTDOWN: VcpuExit = /* @__PURE__ */ Object.freeze({ kind: 'shutdown' })

/** What a PVH vCPU is built on. */
export interface PvhVcpuParts {
  readonly memory: GuestMemory
  /** Gives exits their meaning. */
  readonly exits: { handle(pvh: PvhVcpu, exit: VcpuExit): void }
  contextOf(pvh: PvhVcpu): GuestContext
  cachesOf(pvh: PvhVcpu): GuestCaches
  release(pvh: PvhVcpu): void
}

const APART: ReadonlySet<string> = /* @__PURE__ */ new Set(['processor'])

/** One PVH vCPU. */
export class PvhVcpu implements GuestVcpu {
  readonly vcpu: Vcpu
  readonly domain: PvhDomain
  readonly processor: VirtualisedProcessor
  readonly access: LinearAccess
  readonly kernelAccess: LinearAccess
  readonly context: GuestContext
  readonly caches: GuestCaches
  readonly state: Part = part({ name: 'pvh', version: 2, shape: pvhVcpuShape }, inPlace({
    save: () => this.save(), isAsSaved: (state) => sameFields(this, state, APART) && this.processor.isAsSaved(state.processor), load: (state) => this.load(state),
  }))
  /** TLB time of the last full flush; the clock keeps it. */
  flushedAt = 0
  /** What its time-stamp counter is ahead of the ticks of the domain's frequency without what its kernel has added (TSC_ADJUST). */
  timestampBase: readonly [low: number, high: number] = [0, 0]
  /** An NMI that its processor has not been told of yet. */
  nmiPending = false
  /** Exits in a row in which nothing was executed and an exception could not be delivered. */
  failedDeliveries = 0
  readonly lastTrap: TrapNote = { vector: -1, errorCode: 0, address: 0, rip: 0, fromUser: false }
  private readonly parts: PvhVcpuParts
  private readonly privileged: { kind: 'privileged'; request: PrivilegedOperation }
  private readonly physical: VcpuExit & { kind: 'physical' }

  constructor(vcpu: Vcpu, domain: PvhDomain, made: { readonly processor: VirtualisedProcessor; readonly parts: PvhVcpuParts }) {
    const { processor, parts } = made
    this.vcpu = vcpu
    this.domain = domain
    this.processor = processor
    this.parts = parts
    const access = new LinearAccess({ memory: parts.memory, physmap: domain.physmap, registers: processor.registers, isLong: () => this.isLong })
    this.access = access
    this.kernelAccess = access
    this.privileged = { kind: 'privileged', request: processor.exit.request }
    this.physical = { kind: 'physical', access: processor.exit.physical }
    this.context = parts.contextOf(this)
    this.caches = parts.cachesOf(this)
  }

  get executed(): number {
    return this.processor.executed
  }

  get counter(): { readonly tsc: TscScale; readonly timestampOffset: readonly [low: number, high: number] } {
    return this
  }

  /** The frequency of its time-stamp counter. */
  get tsc(): TscScale {
    return this.domain.tsc
  }

  /** What is added to the ticks of that. */
  get timestampOffset(): readonly [low: number, high: number] {
    return this.processor.system.timestampOffset
  }

  /** Its addresses are translated as in 64-bit mode: EFER.LMA. */
  get isLong(): boolean {
    return this.isLongCode || (this.processor.system.msr(MSR.EFER)![0] & EFER.LMA) !== 0
  }

  /** It executes 64-bit code. */
  get isLongCode(): boolean {
    return (this.processor.registers.attributes(SEGMENT.cs) & ATTRIBUTE.LONG) !== 0
  }

  /** XCR0, which its kernel sets by itself: `ExtendedState` sets the processor's too. */
  get xcr0(): number {
    return this.processor.registers.xcr0()
  }

  set xcr0(value: number) {
    this.processor.registers.setXcr0(value)
  }

  /** Whatever it is offered it may have had. */
  get xcr0Accumulated(): number {
    return XCR0.X87 | XCR0.SSE | this.context.offeredState()
  }

  /** What it had elsewhere is within what it is offered here, or has been refused. */
  set xcr0Accumulated(_value: number) {}

  run(budget: number): VcpuExit {
    switch (this.processor.run(budget)) {
      case EXIT.PRIVILEGED: return this.privileged
      case EXIT.PHYSICAL: return this.physical
      case EXIT.HALT: return HALT
      case EXIT.SHUTDOWN: return SHUTDOWN
      case EXIT.DEBUG: return STOPPED
      default: return BUDGET
    }
  }

  moveTimers(change: (deadline: number) => number): void {
    this.domain.apics[this.vcpu.vcpu]!.moveTimer(change)
  }

  get hasPending(): boolean {
    return this.nmiPending
  }

  raiseNmi(): void {
    this.nmiPending = true
  }

  raised(): void {
    this.domain.raised(this.vcpu.vcpu)
  }

  interrupted(): boolean {
    if (this.nmiPending) return true
    return (this.processor.registers.systemFlags() & RFLAGS.IF) !== 0 && this.pendingVector() >= 0
  }

  /** Vector that the processor is to take: of an event past the local APIC, or the local APIC's. -1 for none. */
  pendingVector(): number {
    const { callbackVector } = this.domain
    return callbackVector !== 0 && this.isEventPending ? callbackVector : this.domain.apics[this.vcpu.vcpu]!.pending()
  }

  private get isEventPending(): boolean {
    const { infoAddress } = this.vcpu
    return infoAddress >= 0 && this.parts.memory.bytes[infoAddress + PENDING] !== 0
  }

  /** The processor asks for interrupts itself. */
  deliver(): boolean {
    if (this.nmiPending) {
      this.nmiPending = false
      this.processor.nmi()
    }
    return true
  }

  /** Nothing enters it otherwise than by interrupts and exceptions. */
  enter(): boolean {
    return false
  }

  handle(exit: VcpuExit): void {
    this.parts.exits.handle(this, exit)
  }

  /** Drops all that its processor has remembered; the TLB clock is to know of it. */
  flushTlb(): void {
    this.processor.flushTlb()
  }

  /** Real mode at `vector` times 4096, as after INIT and start-up. */
  startUp(vector: number): void {
    this.nmiPending = false
    this.failedDeliveries = 0
    this.processor.startUp(vector)
  }

  drop(): void {
    this.parts.release(this)
  }

  private save(): PvhVcpuState {
    const { processor, flushedAt, timestampBase, nmiPending, failedDeliveries, lastTrap } = this
    return { processor: processor.save(), flushedAt, timestampBase, nmiPending, failedDeliveries, lastTrap: { ...lastTrap } }
  }

  private load({ processor, lastTrap, ...own }: PvhVcpuState): void {
    this.processor.load(processor)
    Object.assign(this, own)
    Object.assign(this.lastTrap, lastTrap)
  }
}

/** What a vCPU's processor asks for interrupts, once the vCPU is there. */
export function interruptsOf(find: () => PvhVcpu | undefined): InterruptSource {
  return {
    pending: () => find()?.pendingVector() ?? -1,
    acknowledge: (vector) => {
      const pvh = find()!
      const apic = pvh.domain.apics[pvh.vcpu.vcpu]!
      // An event past the local APIC leaves no trace there.
      if (vector !== pvh.domain.callbackVector || apic.pending() === vector) apic.acknowledge(vector)
    },
  }
}

/** The PVH half of a vCPU; undefined for one of another kind, and for one that has no processor yet. */
export const pvhOf = ({ guest }: Vcpu): PvhVcpu | undefined => (guest instanceof PvhVcpu ? guest : undefined)
