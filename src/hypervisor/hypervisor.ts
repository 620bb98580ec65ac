/**
 * The hypervisor as its users see it: the privileged control interface over the parts that composition.ts puts
 * together. What is particular to memory and to vCPUs is in control-memory.ts and control-vcpus.ts.
 */
import type { Trace, TraceHooks } from '../machine/index.ts'
import {
  type Bitmap, type DomId, type EventPort, type EventSource, type GrantRef, type Mfn, type Random, XenError, anything, byteArray, callable, checkOptions, flag, having, oneOf, real, text, whole, type Check, type OptionChecks,
} from '../util/index.ts'
import { GNTST } from '../abi/index.ts'
import { type HypervisorOptions, type HypervisorParts, compose } from './composition.ts'
import { MemoryControl } from './control/memory.ts'
import { VcpuContextControl } from './control/vcpus.ts'
import type { CpuPolicy, MsrEntry } from './domains/cpu-policy.ts'
import type {
  ControlInterface, CreateDomainOptions, DomainInfo, FrameInfo, HostInfo, MemoryRange, VcpuInfoSnapshot,
} from './control/control-interface.ts'
import type { VcpuContext } from './domains/vcpu-registers.ts'
import type { RunLimits, RunResult } from './execution/run-limits.ts'
import { describeDomain } from './control/info.ts'
import type { CrashReport } from './domains/crash-report.ts'
import type { Domain } from './domains/domain.ts'
import type { HypervisorEvent } from './hypervisor-events.ts'
import { type Finding, checkInvariants } from './checks/invariants.ts'
import type { DomainPort } from './guests/typescript/port.ts'
import { SCHEDULER_NAMES } from './scheduler/index.ts'
import { hashState } from './checks/state-hash.ts'

const DOMAIN_CHECKS: OptionChecks<CreateDomainOptions> = {
  domid: anything, kind: /* @__PURE__ */ oneOf('pv', 'typescript'), createRunner: callable, vcpus: anything,
  maxPages: /* @__PURE__ */ whole(0, 2 ** 40), privileged: flag, handle: byteArray, maxGrantFrames: /* @__PURE__ */ whole(0, 2 ** 20),
  maxMaptrackFrames: /* @__PURE__ */ whole(0, 2 ** 20), maxPorts: /* @__PURE__ */ whole(1, 2 ** 17),
}

const bigint: Check = (value) => (typeof value === 'bigint' ? undefined : `must be a BigInt, got ${String(value)}`)

const HYPERVISOR_CHECKS: OptionChecks<HypervisorOptions> = {
  memory: /* @__PURE__ */ having('markWritten'), clock: /* @__PURE__ */ having('now'), random: /* @__PURE__ */ having('next'),
  createProcessor: callable, processors: /* @__PURE__ */ whole(0, 2 ** 20), scheduler: /* @__PURE__ */ oneOf(...SCHEDULER_NAMES),
  physicalCpus: /* @__PURE__ */ whole(1, 2 ** 12), tscKilohertz: /* @__PURE__ */ real(1, 1e9), bootTime: bigint,
  commandLine: text, cpuidPolicy: anything, portion: /* @__PURE__ */ real(1, Infinity), onListenerError: callable,
}

/**
 * A hypervisor.
 *
 * @example
 * const machine = new Machine({ memoryBytes: 256 << 20 })
 * const hypervisor = new Hypervisor({
 *   memory: machine.memory, clock: new VirtualClock(), random: new SeededRandom(1),
 *   createProcessor: (options) => machine.createProcessor(options),
 * })
 * const domid = hypervisor.createDomain({ kind: 'pv', maxPages: 8192 })
 */
export class Hypervisor implements ControlInterface {
  readonly events: EventSource<HypervisorEvent>
  readonly random: Random
  private readonly parts: HypervisorParts
  private readonly memory: MemoryControl
  private readonly vcpus: VcpuContextControl

  constructor(options: HypervisorOptions) {
    checkOptions('Hypervisor', options, HYPERVISOR_CHECKS)
    this.parts = compose(options)
    this.events = this.parts.hub
    this.random = options.random
    const find = (domid: DomId): Domain => this.find(domid)
    this.memory = new MemoryControl({ ...this.parts, find, tracking: options.memory })
    this.vcpus = new VcpuContextControl({ ...this.parts, find })
    this.parts.late.check = () => this.checkInvariants()
  }

  createDomain(options: CreateDomainOptions): DomId {
    checkOptions('createDomain', options, DOMAIN_CHECKS)
    if (options.kind === 'typescript' && options.createRunner === undefined) {
      throw new XenError('INVALID_ARGUMENT', 'a guest in TypeScript needs createRunner')
    }
    const { id } = this.parts.lifecycle.create(options)
    this.parts.hub.emit({ type: 'domain-created', domid: id })
    return id
  }

  destroyDomain(domid: DomId): void {
    this.parts.lifecycle.destroy(this.find(domid))
  }

  dismantleDomain(domid: DomId): boolean {
    return this.parts.lifecycle.dismantle(this.find(domid))
  }

  pauseDomain(domid: DomId): void {
    const domain = this.find(domid)
    domain.pauseCount += 1
    this.parts.execution.updateDomain(domain)
    this.parts.hub.emit({ type: 'domain-paused', domid })
  }

  unpauseDomain(domid: DomId): void {
    const domain = this.find(domid)
    if (domain.pauseCount === 0) {
      throw new XenError('INVALID_STATE', `domain ${domid} is not paused`, {
        details: { domid },
      })
    }
    domain.pauseCount -= 1
    this.parts.execution.updateDomain(domain)
    this.parts.hub.emit({ type: 'domain-unpaused', domid })
  }

  shutdownDomain(domid: DomId, reason: number): void {
    this.parts.execution.shutdown(this.find(domid), reason)
  }

  crashReport(domid: DomId): CrashReport | undefined {
    return this.find(domid).crashReport
  }

  resumeDomain(domid: DomId, result?: number): void {
    const domain = this.find(domid)
    if (!domain.isShutDown || domain.dying) {
      throw new XenError('INVALID_STATE', `domain ${domid} has not shut down`, { details: { domid } })
    }
    if (result !== undefined) this.vcpus.setHypercallResult(domain, result)
    domain.isShutDown = false
    domain.shutdownCode = -1
    domain.crashReport = undefined
    this.parts.execution.updateDomain(domain)
    this.parts.hub.emit({ type: 'domain-resumed', domid })
  }

  domainInfo(domid: DomId): DomainInfo {
    return describeDomain(this.find(domid), this.parts.clock.now())
  }

  listDomains(): DomainInfo[] {
    return this.parts.domains.all().map((domain) => describeDomain(domain, this.parts.clock.now()))
  }

  hasDomain(domid: DomId): boolean {
    return this.parts.domains.get(domid) !== undefined
  }

  hostInfo(): HostInfo {
    const { memory, domainMemory, scheduler, clock, tsc } = this.parts
    return {
      totalFrames: memory.endFrame - memory.firstFrame, freeFrames: domainMemory.free,
      physicalCpus: scheduler.cpuCount, scheduler: scheduler.name, time: clock.now(), tscHertz: tsc.kilohertz * 1000,
    }
  }

  setMaxPages(domid: DomId, pages: number): void {
    this.memory.setMaxPages(domid, pages)
  }

  populatePhysmap(domid: DomId, count: number, firstPfn?: number): Mfn[] {
    return this.memory.populate(domid, count, firstPfn)
  }

  releaseFrames(domid: DomId, frames: readonly Mfn[]): number {
    return this.port(domid).decreaseReservation(frames)
  }

  setMachineToPhys(domid: DomId, frame: Mfn, pfn: number): void {
    this.memory.setMachineToPhys(domid, frame, pfn)
  }

  machineToPhys(frame: Mfn): number | undefined {
    return this.memory.machineToPhys(frame)
  }

  domainFrames(domid: DomId): Mfn[] {
    return this.memory.framesOf(domid)
  }

  frameInfo(frame: Mfn): FrameInfo {
    return this.memory.frameInfo(frame)
  }

  frameBytes(domid: DomId, frame: Mfn): Uint8Array {
    return this.memory.frameBytes(domid, frame)
  }

  frameKinds(domid: DomId, frames: Uint32Array): Uint8Array {
    return this.memory.frameKinds(domid, frames)
  }

  readFrames(domid: DomId, frames: Uint32Array, into: Uint8Array): void {
    this.memory.readFrames(domid, frames, into)
  }

  writeFrames(domid: DomId, frames: Uint32Array, from: Uint8Array): void {
    this.memory.writeFrames(domid, frames, from)
  }

  markWritten(frame: Mfn): void {
    this.parts.memory.markWritten(frame)
  }

  pinTable(domid: DomId, frame: Mfn, level: 1 | 2 | 3 | 4): void {
    this.memory.pin(domid, frame, level)
  }

  unpinTable(domid: DomId, frame: Mfn): void {
    this.memory.unpin(domid, frame)
  }

  writeHypercallPage(domid: DomId, frame: Mfn): void {
    this.memory.writeHypercallPage(domid, frame)
  }

  setMemoryMap(domid: DomId, map: readonly MemoryRange[]): void {
    this.memory.setMemoryMap(domid, map)
  }

  translate(domid: DomId, address: bigint): { readonly frame: Mfn; readonly offset: number } | undefined {
    return this.vcpus.translate(domid, address)
  }

  mapForeign(domid: DomId, frame: Mfn): Mfn {
    return this.memory.mapForeign(domid, frame)
  }

  unmapForeign(domid: DomId, frame: Mfn): void {
    this.memory.unmapForeign(domid, frame)
  }

  enableLogDirty(domid: DomId): void {
    this.memory.enableLogDirty(domid)
  }

  disableLogDirty(domid: DomId): void {
    this.memory.disableLogDirty(domid)
  }

  readLogDirty(domid: DomId, options: { readonly clear?: boolean } = {}): Bitmap {
    return this.memory.readLogDirty(domid, options.clear ?? false)
  }

  prepareVcpu(domid: DomId, vcpu: number): void {
    this.vcpus.prepare(domid, vcpu)
  }

  setVcpuContext(domid: DomId, vcpu: number, context: VcpuContext): void {
    this.vcpus.set(domid, vcpu, context)
  }

  getVcpuContext(domid: DomId, vcpu: number): VcpuContext {
    return this.vcpus.get(domid, vcpu)
  }

  getCpuPolicy(domid: DomId): CpuPolicy {
    return this.vcpus.policy(domid)
  }

  setCpuPolicy(domid: DomId, policy: CpuPolicy): string[] {
    return this.vcpus.setPolicy(domid, policy)
  }

  getVcpuMsrs(domid: DomId, vcpu: number): MsrEntry[] {
    return this.vcpus.msrs(domid, vcpu)
  }

  setVcpuMsrs(domid: DomId, vcpu: number, msrs: readonly MsrEntry[]): void {
    this.vcpus.setMsrs(domid, vcpu, msrs)
  }

  startVcpu(domid: DomId, vcpu: number): void {
    this.vcpus.start(domid, vcpu)
  }

  traceVcpu(domid: DomId, vcpu: number, hooks: TraceHooks): Trace {
    return this.vcpus.trace(domid, vcpu, hooks)
  }

  vcpuInfo(domid: DomId, vcpu: number): VcpuInfoSnapshot {
    return this.vcpus.info(domid, vcpu)
  }

  schedulerParameters(domid: DomId, vcpu?: number): Readonly<Record<string, number>> {
    this.find(domid)
    return this.parts.scheduler.parameters(domid, vcpu)
  }

  setSchedulerParameters(domid: DomId, parameters: Readonly<Record<string, number>>, vcpu?: number): void {
    this.find(domid)
    this.parts.scheduler.setParameters(domid, parameters, vcpu)
  }

  setAffinity(domid: DomId, vcpu: number, affinity: { hard?: readonly number[]; soft?: readonly number[] }): void {
    this.vcpus.setAffinity(domid, vcpu, affinity)
  }

  allocUnbound(domid: DomId, remote: DomId): EventPort {
    this.find(domid)
    const port = this.parts.events.allocUnbound(domid, domid, remote)
    return this.checked(port, 'EVTCHNOP_alloc_unbound', domid) as EventPort
  }

  closePort(domid: DomId, port: EventPort): void {
    this.find(domid)
    this.checked(this.parts.events.close(domid, port), 'EVTCHNOP_close', domid)
  }

  sendEvent(domid: DomId, port: EventPort): void {
    this.find(domid)
    this.checked(this.parts.events.send(domid, port), 'EVTCHNOP_send', domid)
  }

  sendVirq(domid: DomId, virq: number, vcpu = 0): void {
    this.find(domid)
    this.parts.events.raiseVirq(domid, virq, vcpu)
  }

  seedGrant(domid: DomId, ref: GrantRef, entry: { readonly remote: DomId; readonly frame: Mfn }): void {
    this.find(domid)
    this.parts.grants.seed(domid, ref, entry)
  }

  port(domid: DomId): DomainPort {
    return this.parts.portOf(this.find(domid))
  }

  readConsole(options: { readonly clear?: boolean } = {}): string {
    return this.parts.console.read(options.clear ?? false)
  }

  run(limits: RunLimits = {}): RunResult {
    return this.parts.loop.run(limits)
  }

  /** Recounts frame table, page tables, ports and grants; what does not add up. For tests and fault finding. */
  checkInvariants(): Finding[] {
    return checkInvariants(this.parts, this.memory.references())
  }

  /** 16 digits for all that guests can see: the same inputs give the same, at every moment. */
  stateHash(): string {
    return hashState(this.parts)
  }

  /** Numbers of the hypercalls that some kind of guest has. */
  get hypercallNumbers(): readonly number[] {
    return [...new Set(Object.values(this.parts.hypercalls).flatMap(({ numbers }) => numbers))]
  }

  private find(domid: DomId): Domain {
    const domain = this.parts.domains.get(domid)
    if (domain === undefined) {
      throw new XenError('DOMAIN_NOT_FOUND', `there is no domain ${domid}`, {
        details: { domid },
      })
    }
    return domain
  }

  private checked(result: number, call: string, domid: DomId): number {
    if (result >= GNTST.okay) return result
    throw new XenError('HYPERCALL_FAILED', `${call} for domain ${domid} failed with ${result}`, {
      details: { call, domid, result },
    })
  }
}
