/**
 * What the toolstack is told of a domain. Reference: tools/libs/ctrl/xc_domain.c, xc_dominfo; xen/common/domctl.c,
 * getdomaininfo.
 */
import { SHUTDOWN } from '../../abi/index.ts'
import type { Mfn } from '../../util/index.ts'
import type { DomainInfo } from './control-interface.ts'
import type { Domain } from '../domains/domain.ts'

/** A domain's facts at host time `now`. */
export function describeDomain(domain: Domain, now: number): DomainInfo {
  const online = domain.vcpus.filter((vcpu) => vcpu.online)
  const crashed = domain.isShutDown && domain.shutdownReason === SHUTDOWN.crash
  return {
    domid: domain.id,
    kind: domain.kind,
    privileged: domain.privileged,
    running: online.some((vcpu) => vcpu.runningOn >= 0),
    blocked: online.length > 0 && online.every((vcpu) => vcpu.blocked),
    paused: domain.pauseCount > 0,
    shutdown: domain.isShutDown && !crashed,
    crashed,
    dying: domain.dying,
    shutdownReason: domain.isShutDown ? domain.shutdownReason : undefined,
    totalPages: domain.totalPages,
    maxPages: domain.maxPages,
    // The frame was taken from the frame table.
    sharedInfoFrame: domain.sharedInfoFrame as Mfn,
    cpuTime: domain.vcpus.reduce((sum, vcpu) => sum + vcpu.runstate.cpuTime(now), 0),
    onlineVcpus: online.length,
    maxVcpu: domain.vcpuCount - 1,
    handle: domain.handle.slice(),
  }
}
