/**
 * What a toolstack is told of domains, vCPUs and the host. Nothing here changes anything or can fail.
 * Reference: tools/libs/ctrl/xc_domain.c, xc_dominfo; xen/common/domctl.c, getdomaininfo, XEN_DOMCTL_getvcpuinfo;
 * xen/common/sysctl.c, XEN_SYSCTL_physinfo.
 */
import type { AccessFacts } from '../../domains/access.ts'
import { NATIVE, SHUTDOWN } from '../../../abi/index.ts'
import type { Mfn } from '../../../util/index.ts'
import type { Domain, Vcpu } from '../../domains/domain.ts'
import type { DomainInfo, HostInfo, VcpuInfoSnapshot } from './records.ts'

/** How many of a domain's vCPUs are online, and of these running and blocked, and what all have used. */
function sumOf(vcpus: readonly Vcpu[], now: number): { readonly online: number; readonly running: number; readonly blocked: number; readonly cpuTime: number } {
  let [online, running, blocked, cpuTime] = [0, 0, 0, 0]
  for (const vcpu of vcpus) {
    cpuTime += vcpu.runstate.cpuTime(now)
    if (!vcpu.online) continue
    online += 1
    if (vcpu.runningOn >= 0) running += 1
    if (vcpu.blocked) blocked += 1
  }
  return { online, running, blocked, cpuTime }
}

/** A domain's facts at host time `now`, in the pool of a number, or -1. */
export function describeDomain(domain: Domain, { now, pool }: { readonly now: number; readonly pool: number }): DomainInfo {
  const { online, running, blocked, cpuTime } = sumOf(domain.vcpus, now)
  const crashed = domain.isShutDown && domain.shutdownReason === SHUTDOWN.crash
  return {
    domid: domain.id,
    kind: domain.kind.name,
    hasRegisters: domain.kind.hasRegisters,
    translated: domain.guest !== undefined,
    addressSize: (domain.kind.abi ?? NATIVE).width,
    privileged: domain.privileged,
    running: running > 0,
    blocked: online > 0 && blocked === online,
    paused: domain.pauseCount > 0,
    shutdown: domain.isShutDown && !crashed,
    crashed,
    dying: domain.dying,
    shutdownReason: domain.isShutDown ? domain.shutdownReason : undefined,
    totalPages: domain.totalPages,
    maxPages: domain.maxPages,
    outstandingPages: domain.outstandingPages,
    // The frame was taken from the frame table.
    sharedInfoFrame: domain.sharedInfoFrame as Mfn,
    cpuTime,
    onlineVcpus: online,
    maxVcpu: domain.vcpuCount - 1,
    pool,
    handle: domain.handle.slice(),
  }
}

/** A vCPU's facts at host time `now`. */
export function describeVcpu(vcpu: Vcpu, now: number): VcpuInfoSnapshot {
  return {
    vcpu: vcpu.vcpu, online: vcpu.online, running: vcpu.runningOn >= 0, blocked: vcpu.blocked,
    polling: vcpu.blocked ? vcpu.polledPorts : undefined, cpuTime: vcpu.runstate.cpuTime(now), cpu: vcpu.lastCpu,
  }
}

/** What the host's facts are read from. */
export interface HostParts {
  readonly access: { facts(): AccessFacts }
  readonly kinds: { all(): readonly { readonly name: string }[] }
  readonly memory: { readonly firstFrame: number; readonly endFrame: number }
  readonly domainMemory: { readonly free: number; readonly claimed: number }
  readonly scheduler: { readonly cpuCount: number; readonly name: string; freeCpus(): readonly number[] }
  readonly clock: { now(): number }
  readonly tsc: { readonly kilohertz: number }
}

/** The host's facts now. */
export function describeHost({ kinds, memory, domainMemory, scheduler, clock, tsc, access }: HostParts): HostInfo {
  return {
    totalFrames: memory.endFrame - memory.firstFrame, freeFrames: domainMemory.free, outstandingFrames: domainMemory.claimed,
    physicalCpus: scheduler.cpuCount, freeCpus: scheduler.freeCpus().length, guestKinds: kinds.all().map(({ name }) => name), scheduler: scheduler.name, access: access.facts(), time: clock.now(), tscHertz: tsc.kilohertz * 1000,
  }
}
