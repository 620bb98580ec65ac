/**
 * A PVH domain as a whole: its physical map, the local APICs of its vCPUs and the ways between them, its parameters, and how
 * events are told to it.
 * Reference: xen/arch/x86/include/asm/hvm/domain.h, struct hvm_domain; xen/arch/x86/hvm/irq.c, hvm_set_callback_via.
 */
import { ERRNO, HVM_PARAM, HVM_PARAM_CALLBACK_TYPE } from '../../../abi/index.ts'
import { type DomId, type Part, type StateOf, type Stateful, badState, part, shape, inPlace, sameState } from '../../../util/index.ts'
import type { Vcpu } from '../../domains/domain.ts'
import type { GuestDomain } from '../../domains/guest-domain.ts'
import type { FrameTable } from '../../frames/frame-table.ts'
import type { MachineToPhys } from '../../frames/machine-to-phys.ts'
import { PhysicalMap, physicalMapShape } from '../../frames/physical-map.ts'
import { ApicRouting } from '../../local-apic/apic-routing.ts'
import { LocalApic, localApicShape } from '../../local-apic/local-apic.ts'
import type { HostClock } from '../../time/host-clock.ts'
import { type GuestTime, type TimerQueue, TSC_KILOHERTZ, TscScale } from '../../time/index.ts'
import { MemoryTypes, memoryTypesShape } from './memory-types.ts'
import { type OnDemand, onDemandShape } from './on-demand.ts'
import { Parameters, parametersShape } from './parameters.ts'

const MOST_VCPUS = 128

/** What a saved PVH domain looks like. */
export const pvhDomainShape = /* @__PURE__ */ shape.record({
  physmap: physicalMapShape, onDemand: onDemandShape, parameters: parametersShape,
  apics: /* @__PURE__ */ shape.list(localApicShape, MOST_VCPUS, 1), memoryTypes: /* @__PURE__ */ shape.list(memoryTypesShape, MOST_VCPUS, 1),
  tscKilohertz: /* @__PURE__ */ shape.whole(...TSC_KILOHERTZ),
  upcallVectors: /* @__PURE__ */ shape.array(Uint8Array, 1, MOST_VCPUS), lastLowest: /* @__PURE__ */ shape.whole(0, MOST_VCPUS - 1),
})

type PvhDomainState = StateOf<typeof pvhDomainShape>

/** What a domain is known by while it is made. */
export interface PvhIdentity {
  readonly id: DomId
  readonly vcpuCount: number
  readonly vcpus: readonly Vcpu[]
}

/** What becomes of a domain's vCPUs, by their numbers, by what happens outside of them. */
export interface VcpuLives {
  wake(domain: PvhDomain, vcpu: number): void
  /** Whether an event waits in the vCPU's vcpu_info. */
  hasEvent(domain: PvhDomain, vcpu: number): boolean
  nmi(domain: PvhDomain, vcpu: number): void
  /** False for a vCPU that waits for its start-up already. */
  initialise(domain: PvhDomain, vcpu: number): boolean
  startUp(domain: PvhDomain, vcpu: number, vector: number): void
  crash(domain: PvhDomain, reason: string): void
  /** What lies at a frame number has changed. */
  forgetFrame(domain: PvhDomain, gfn: number): void
}

/** Saves and loads HVM contexts. */
export interface ContextRecords {
  save(domain: PvhDomain): Uint8Array
  load(domain: PvhDomain, bytes: Uint8Array): number
}

/** What a domain's half is made of. */
export interface PvhDomainParts {
  readonly frames: FrameTable
  readonly machineToPhys: MachineToPhys
  readonly timers: TimerQueue
  readonly clock: HostClock
  /** What the domain is shown as the time, and back; absent where that is the host's. */
  readonly guestTime?: GuestTime | undefined
  /** The host's. */
  readonly tsc: TscScale
  readonly life: VcpuLives
  readonly contexts: ContextRecords
  onDemandOf(domain: PvhDomain): OnDemand
}

/** One PVH domain. */
export class PvhDomain implements GuestDomain, Stateful<PvhDomainState> {
  readonly id: DomId
  readonly vcpus: readonly Vcpu[]
  readonly physmap: PhysicalMap
  readonly parameters: Parameters
  readonly apics: readonly LocalApic[]
  readonly memoryTypes: readonly MemoryTypes[]
  readonly onDemand: OnDemand
  readonly routing: ApicRouting
  readonly state: Part
  /** Frequency of its time-stamp counters: the host's, or that of the host that it comes from. */
  tsc: TscScale
  /** Vectors by which vCPUs' local APICs tell of events, 0 for none. */
  readonly upcallVectors: Uint8Array
  /** Vector that tells any vCPU of events, past its local APIC; 0 for none. */
  callbackVector = 0
  private readonly contexts: ContextRecords

  constructor(identity: PvhIdentity, parts: PvhDomainParts) {
    const { id, vcpuCount, vcpus } = identity
    this.id = id
    this.vcpus = vcpus
    this.contexts = parts.contexts
    this.physmap = new PhysicalMap({
      domid: id, frames: parts.frames, machineToPhys: parts.machineToPhys,
      changed: (gfn) => parts.life.forgetFrame(this, gfn),
      demanded: (gfn) => this.onDemand.fill(gfn),
    })
    this.onDemand = parts.onDemandOf(this)
    this.parameters = new Parameters((index, value) => this.parameterChanged(index, value))
    const { timers, clock, guestTime } = parts
    const now = guestTime === undefined ? () => clock.now() : () => guestTime.shown(id, clock.now())
    const hostTime = guestTime && ((shown: number) => guestTime.hostTime(id, shown))
    const all = Array.from({ length: vcpuCount }, (_, vcpu) => vcpu)
    this.apics = all.map((vcpu) => new LocalApic({
      vcpu, timers, now, hostTime, send: (ipi) => this.routing.send(this.apics[vcpu]!, ipi), wake: () => parts.life.wake(this, vcpu),
      enabled: () => {
        if (parts.life.hasEvent(this, vcpu)) this.raised(vcpu)
      },
    }))
    this.memoryTypes = all.map(() => new MemoryTypes())
    this.upcallVectors = new Uint8Array(vcpuCount)
    this.tsc = parts.tsc
    this.routing = new ApicRouting(this.apics, {
      nmi: (vcpu) => parts.life.nmi(this, vcpu),
      initialise: (vcpu) => parts.life.initialise(this, vcpu),
      startUp: (vcpu, vector) => parts.life.startUp(this, vcpu, vector),
      crash: (reason) => parts.life.crash(this, reason),
    })
    this.state = part({ name: 'pvh', version: 2, shape: pvhDomainShape }, inPlace(this))
  }

  populateOnDemand(firstGfn: number, count: number): number {
    return this.onDemand.place(firstGfn, count)
  }

  setOnDemandTarget(pages: number): number {
    return this.onDemand.setTarget(pages)
  }

  giveBack(gfn: number): boolean {
    return this.onDemand.take(gfn)
  }

  get tscKilohertz(): number {
    return this.tsc.kilohertz
  }

  setTscKilohertz(kilohertz: number): number {
    if (kilohertz < TSC_KILOHERTZ[0] || kilohertz > TSC_KILOHERTZ[1]) return -ERRNO.EINVAL
    if (kilohertz !== this.tsc.kilohertz) this.tsc = new TscScale(kilohertz)
    return 0
  }

  parameter(index: number): bigint | number {
    return this.parameters.get(index, 'tools')
  }

  setParameter(index: number, value: bigint): number {
    return this.parameters.set(index, value, 'tools')
  }

  context(): Uint8Array {
    return this.contexts.save(this)
  }

  setContext(bytes: Uint8Array): number {
    return this.contexts.load(this, bytes)
  }

  /** HVMOP_set_evtchn_upcall_vector: 0, or -ENOENT for a vCPU that there is not. */
  setUpcallVector(vcpu: number, vector: number): number {
    if (vcpu >= this.apics.length) return -ERRNO.ENOENT
    this.upcallVectors[vcpu] = vector
    // One interrupt for nothing does no harm, and nothing that has come before is lost.
    this.raised(vcpu)
    return 0
  }

  /** An event has come for a vCPU. A local APIC that is off takes no interrupt: it is told when it is switched on. */
  raised(vcpu: number): void {
    const vector = this.upcallVectors[vcpu]!
    if (vector !== 0 && this.apics[vcpu]!.isEnabled) this.apics[vcpu]!.receive(vector)
  }

  private parameterChanged(index: number, value: bigint): void {
    if (index !== HVM_PARAM.CALLBACK_IRQ) return
    const isVector = value >> 56n === BigInt(HVM_PARAM_CALLBACK_TYPE.VECTOR)
    this.callbackVector = isVector ? Number(value & 0xffn) : 0
  }

  save(): PvhDomainState {
    return {
      physmap: this.physmap.save(), onDemand: this.onDemand.save(), parameters: this.parameters.save(),
      apics: this.apics.map((apic) => apic.save()), memoryTypes: this.memoryTypes.map((types) => types.save()),
      tscKilohertz: this.tsc.kilohertz, upcallVectors: this.upcallVectors.slice(), lastLowest: this.routing.save(),
    }
  }

  isAsSaved(state: PvhDomainState): boolean {
    return sameState(this.save(), state)
  }

  load(state: PvhDomainState): void {
    const { apics, memoryTypes, upcallVectors } = state
    const count = this.apics.length
    if ([apics, memoryTypes, upcallVectors].some(({ length }) => length !== count)) throw badState(`its vCPUs are not ${count}`)
    this.physmap.load(state.physmap)
    this.onDemand.load(state.onDemand)
    this.parameters.load(state.parameters)
    this.parameterChanged(HVM_PARAM.CALLBACK_IRQ, state.parameters[HVM_PARAM.CALLBACK_IRQ]!)
    apics.forEach((saved, i) => this.apics[i]!.load(saved))
    memoryTypes.forEach((saved, i) => this.memoryTypes[i]!.load(saved))
    this.tsc = new TscScale(state.tscKilohertz)
    this.upcallVectors.set(upcallVectors)
    this.routing.load(state.lastLowest)
  }
}
