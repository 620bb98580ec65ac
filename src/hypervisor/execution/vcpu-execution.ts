/**
 * What makes vCPUs run and stop: blocking and waking, coming online and going offline, pausing and shutting down of
 * whole domains. It keeps scheduler, run states and flags of a vCPU in step.
 * Reference: xen/common/sched/core.c, vcpu_wake, vcpu_sleep, vcpu_block; xen/common/domain.c, domain_shutdown.
 */
import { PAGE_SHIFT } from '../../x86/index.ts'
import { ERRNO, SHUTDOWN, VIRQ, VcpuInfo } from '../../abi/index.ts'
import type { EventHub, Interest } from '../../util/index.ts'
import type { CrashCause, CrashReporter } from '../console/crash-reporter.ts'
import type { CrashReport, TrapNote } from '../domains/crash-report.ts'
import type { Domain, Vcpu } from '../domains/domain.ts'
import type { GuestVcpu } from '../domains/guest-vcpu.ts'
import type { VcpuEntry } from '../domains/vcpu-runner.ts'
import type { DomainRegistry } from '../domains/registry.ts'
import type { EventChannels } from '../events/index.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import { type PhysicalCpus, restingState } from './physical-cpus.ts'
import type { HostClock } from '../time/host-clock.ts'
import type { HypervisorEvent } from '../hypervisor-events.ts'
import type { Affinity, VcpuScheduling } from '../scheduler/index.ts'

/** The two bytes of vcpu_info that say whether an upcall is due. */
const PENDING = VcpuInfo.evtchnUpcallPending.offset
const MASK = VcpuInfo.evtchnUpcallMask.offset

/** What this part works on. */
export interface VcpuExecutionParts {
  readonly memory: Pick<GuestMemory, 'view' | 'markWritten'>
  readonly clock: HostClock
  readonly scheduler: VcpuScheduling<Vcpu>
  readonly events: EventChannels
  readonly domains: DomainRegistry
  readonly hub: EventHub<HypervisorEvent>
  /** Writes down how a domain crashed, and says so on the hypervisor's console. */
  readonly crashes: CrashReporter
  readonly cpus: PhysicalCpus
}

const EVENT: VcpuEntry = /* @__PURE__ */ Object.freeze({ kind: 'event' })

/** Changes what runs. */
export class VcpuExecution {
  private readonly parts: VcpuExecutionParts
  private readonly scheduling: Interest

  constructor(parts: VcpuExecutionParts) {
    this.parts = parts
    this.scheduling = parts.hub.interest('schedule')
  }

  /** Brings the scheduler in step with the vCPU's flags; to be called after any of them has changed. */
  update(vcpu: Vcpu): void {
    const runnable = vcpu.isRunnable
    const { scheduler, clock } = this.parts
    if (runnable !== vcpu.queued) {
      vcpu.queued = runnable
      const now = clock.now()
      if (runnable) {
        const cpu = scheduler.wake(vcpu, now)
        if (cpu >= 0) this.parts.cpus.reschedule(cpu)
      } else {
        scheduler.sleep(vcpu, now)
        if (vcpu.runningOn >= 0) this.parts.cpus.reschedule(vcpu.runningOn)
      }
    }
    if (vcpu.runningOn < 0) this.parts.cpus.changeRunstate(vcpu, restingState(vcpu))
  }

  /** The vCPU has something to do: ends blocking and polling. */
  wake(vcpu: Vcpu): void {
    if (!vcpu.blocked) return
    vcpu.blocked = false
    if (vcpu.polling) this.endPoll(vcpu)
    this.update(vcpu)
    this.tell(vcpu, 'wake')
  }

  /** SCHEDOP_block: sleeps until an event comes, with events enabled; goes on at once when one is waiting. */
  block(vcpu: Vcpu): void {
    const { view } = this.parts.memory
    if (vcpu.infoAddress >= 0) {
      VcpuInfo.evtchnUpcallMask.set(view, vcpu.infoAddress, 0)
      this.parts.memory.markWritten(vcpu.infoAddress >>> PAGE_SHIFT)
    }
    if (vcpu.guest?.hasPending === true || this.hasUpcall(vcpu)) return
    vcpu.blocked = true
    this.update(vcpu)
    this.tell(vcpu, 'block')
  }

  /** A guest in TypeScript has nothing to do; unlike {@link VcpuExecution.block} its mask stays as it is. */
  rest(vcpu: Vcpu): void {
    const { view } = this.parts.memory
    if (vcpu.infoAddress >= 0 && VcpuInfo.evtchnUpcallPending.get(view, vcpu.infoAddress) !== 0) return
    vcpu.blocked = true
    this.update(vcpu)
  }

  /** SCHEDOP_poll with ports already read. */
  poll(vcpu: Vcpu, ports: readonly number[], deadline: number): number {
    const result = this.parts.events.of(vcpu.domid)!.poll(vcpu.vcpu, ports)
    if (result <= 0) return result
    vcpu.blocked = true
    vcpu.polling = true
    vcpu.polledPorts = ports
    vcpu.timers.startPoll(deadline)
    this.update(vcpu)
    return 0
  }

  /** SCHEDOP_yield. */
  yield(vcpu: Vcpu): void {
    this.parts.scheduler.yield(vcpu, this.parts.clock.now())
    if (vcpu.runningOn >= 0) this.parts.cpus.reschedule(vcpu.runningOn)
    this.tell(vcpu, 'yield')
  }

  /** VCPUOP_up, and the end of a builder's work. */
  bringUp(vcpu: Vcpu): number {
    if (!vcpu.initialised) return -ERRNO.EINVAL
    if (vcpu.online) return 0
    vcpu.online = true
    this.update(vcpu)
    this.tellOnline(vcpu)
    return 0
  }

  /** VCPUOP_down: the last one to go shuts the domain down. */
  takeDown(vcpu: Vcpu): void {
    if (!vcpu.owner.vcpus.some((other) => other !== vcpu && other.online)) {
      this.shutdown(vcpu.owner, SHUTDOWN.poweroff)
      return
    }
    if (!vcpu.online) return
    vcpu.online = false
    this.update(vcpu)
    this.tellOnline(vcpu)
  }

  /** Changes the physical CPUs that a vCPU may use, and lets the one that is concerned ask again. */
  setAffinity(vcpu: Vcpu, affinity: Partial<Affinity>): void {
    const cpu = this.parts.scheduler.setAffinity(vcpu, affinity, this.parts.clock.now())
    if (cpu >= 0) this.parts.cpus.reschedule(cpu)
  }

  /** The vCPU has left its scheduler, which names a CPU to be asked again. */
  leave(vcpu: Vcpu, ask: number): void {
    this.parts.cpus.forget(vcpu)
    if (ask >= 0) this.parts.cpus.reschedule(ask)
    vcpu.queued = false
    vcpu.pinnedFrom = undefined
  }

  /** SCHEDOP_pin_override: pins a vCPU to one physical CPU for a while; a negative number lets it go again. */
  pinOverride(vcpu: Vcpu, cpu: number): number {
    const { scheduler } = this.parts
    if (cpu < 0) {
      if (vcpu.pinnedFrom === undefined) return -ERRNO.EINVAL
      this.setAffinity(vcpu, { hard: vcpu.pinnedFrom })
      vcpu.pinnedFrom = undefined
      return 0
    }
    if (cpu >= scheduler.cpuCount) return -ERRNO.EINVAL
    if (vcpu.pinnedFrom !== undefined) return -ERRNO.EBUSY
    vcpu.pinnedFrom = scheduler.affinity(vcpu).hard
    this.setAffinity(vcpu, { hard: [cpu] })
    return 0
  }

  /** Brings all vCPUs of a domain in step after its own state has changed. */
  updateDomain(domain: Domain): void {
    for (const vcpu of domain.vcpus) this.update(vcpu)
  }

  /**
   * SCHEDOP_shutdown and its like: the vCPUs stop where they are. The first reason counts. `by` is the vCPU that asked
   * for it; undefined when somebody else did.
   */
  shutdown(domain: Domain, reason: number, by?: Vcpu): void {
    this.end(domain, reason, by === undefined ? { origin: 'outside' } : { origin: 'guest', vcpu: by })
  }

  private end(domain: Domain, reason: number, cause: CrashCause): void {
    if (domain.isShutDown || domain.dying) return
    if (domain.shutdownCode < 0) domain.shutdownCode = reason & 0xff
    domain.shutdownReason = domain.shutdownCode
    domain.isShutDown = true
    this.updateDomain(domain)
    const report = isCrash(domain.shutdownReason) ? this.parts.crashes.report(domain, cause) : undefined
    domain.crashReport = report
    this.parts.events.raiseGlobalVirq(VIRQ.DOM_EXC, 0 as Domain['id'])
    if (report !== undefined) this.parts.hub.emit(crashEvent(report))
    this.parts.hub.emit({ type: 'domain-shutdown', domid: domain.id, reason: domain.shutdownReason })
  }

  /** Pauses a domain once more. */
  pauseDomain(domain: Domain): void {
    domain.pauseCount += 1
    this.updateDomain(domain)
    this.parts.hub.emit({ type: 'domain-paused', domid: domain.id })
  }

  /** Pauses the domain of a vCPU whose trace asked for it, as Xen does for a debugger. */
  stopForTrace(vcpu: Vcpu): void {
    this.pauseDomain(vcpu.owner)
    this.parts.hub.emit({ type: 'vcpu-stopped', domid: vcpu.domid, vcpu: vcpu.vcpu })
  }

  /** A guest did what no guest may; `exception` is what it could not take, where that is why. */
  crash(vcpu: Vcpu, reason: string, exception?: TrapNote): void {
    this.end(vcpu.owner, SHUTDOWN.crash, { origin: 'hypervisor', vcpu, reason, exception })
  }

  /** True when the vCPU has an upcall to take: pending and not masked, or an interrupt where events come as such. */
  hasUpcall(vcpu: Vcpu): boolean {
    return vcpu.guest?.interrupted?.() ?? this.isUpcallDue(vcpu)
  }

  private isUpcallDue(vcpu: Vcpu): boolean {
    const { view } = this.parts.memory
    const at = vcpu.infoAddress
    return at >= 0 && view.getUint8(at + PENDING) !== 0 && view.getUint8(at + MASK) === 0
  }

  /** Enters the event callback where an event waits for it; false when the guest has none, and has crashed of it. */
  deliverUpcall(vcpu: Vcpu, guest: GuestVcpu): boolean {
    if (!this.isUpcallDue(vcpu)) return true
    const { hub } = this.parts
    if (hub.wants('upcall')) hub.emit({ type: 'upcall', domid: vcpu.domid, vcpu: vcpu.vcpu })
    if (guest.enter(EVENT)) return true
    this.crash(vcpu, 'no event callback or no stack for it')
    return false
  }

  private endPoll(vcpu: Vcpu): void {
    vcpu.polling = false
    vcpu.polledPorts = undefined
    vcpu.timers.stopPoll()
    this.parts.events.of(vcpu.domid)?.endPoll(vcpu.vcpu)
  }

  private tellOnline({ domid, vcpu, online }: Vcpu): void {
    const { hub } = this.parts
    if (hub.wants('vcpu-online')) hub.emit({ type: 'vcpu-online', domid, vcpu, online })
  }

  private tell(vcpu: Vcpu, action: 'block' | 'wake' | 'yield'): void {
    if (this.scheduling.isThere) this.parts.hub.emit({ type: 'schedule', domid: vcpu.domid, vcpu: vcpu.vcpu, action })
  }
}

/** Reasons that toolstacks take for a crash: the one of that name, and all that Xen does not know. */
const isCrash = (reason: number): boolean => reason === SHUTDOWN.crash || reason > SHUTDOWN.soft_reset

const crashEvent = (report: CrashReport): HypervisorEvent => ({
  type: 'domain-crashed', domid: report.domid, vcpu: report.vcpu, reason: report.reason,
  rip: report.state === undefined ? 0 : Number(BigInt.asIntN(64, report.state.registers.rip)),
  instruction: report.state?.instruction, report,
})
