/**
 * Pausing, shutting down and resuming whole domains, as a toolstack asks for it. Nothing throws.
 * Reference: xen/common/domain.c, domain_pause_by_systemcontroller, domain_resume; xen/common/domctl.c.
 */
import { ERRNO } from '../../../abi/index.ts'
import { type EventHub, highPart, lowPart } from '../../../util/index.ts'
import { GPR } from '../../../x86/index.ts'
import type { Domain } from '../../domains/domain.ts'
import type { HypervisorEvent } from '../../hypervisor-events.ts'

/** Most pauses that are counted. */
const MAX_PAUSES = 255

/** What these operations work on. */
export interface ActivityParts {
  readonly execution: {
    /** Pauses a domain once more. */
    pauseDomain(domain: Domain): void
    /** Brings all vCPUs in step after the domain's own state has changed. */
    updateDomain(domain: Domain): void
    shutdown(domain: Domain, reason: number): void
  }
  readonly hub: EventHub<HypervisorEvent>
}

/** Lets domains run, or not. */
export class DomainActivity {
  private readonly parts: ActivityParts

  constructor(parts: ActivityParts) {
    this.parts = parts
  }

  /** One pause more: 0, or -EOVERFLOW when there are as many as are counted. */
  pause(domain: Domain): number {
    if (domain.pauseCount >= MAX_PAUSES) return -ERRNO.EOVERFLOW
    this.parts.execution.pauseDomain(domain)
    return 0
  }

  /** One pause less: 0, or -EINVAL when there is none. */
  unpause(domain: Domain): number {
    if (domain.pauseCount === 0) return -ERRNO.EINVAL
    domain.pauseCount -= 1
    this.parts.execution.updateDomain(domain)
    this.parts.hub.emit({ type: 'domain-unpaused', domid: domain.id })
    return 0
  }

  /** Marks a domain shut down; the first reason counts, and a dying domain has none: 0. */
  shutdown(domain: Domain, reason: number): number {
    this.parts.execution.shutdown(domain, reason)
    return 0
  }

  /**
   * Lets a domain that has shut down go on: 1, or 0 when it has not shut down and so goes on anyway, which is success in
   * Xen. With `result` the hypercall that its first vCPU is in returns that.
   */
  resume(domain: Domain, result?: number): number {
    if (!domain.isShutDown || domain.dying) return 0
    if (result !== undefined) domain.vcpus[0]?.guest?.context?.registers.set(GPR.rax, lowPart(result), highPart(result))
    domain.isShutDown = false
    domain.shutdownCode = -1
    domain.crashReport = undefined
    this.parts.execution.updateDomain(domain)
    this.parts.hub.emit({ type: 'domain-resumed', domid: domain.id })
    return 1
  }
}
