/**
 * What becomes of an error that was thrown on behalf of a vCPU: handlers do not throw, so it is a fault of this library
 * (or of the code of a guest in TypeScript), and a guest has found it. The domain crashes, and the host goes on, if
 * everything adds up all the same: every frame is counted, both ends of every grant and channel agree, and no processor
 * remembers what its domain may not reach. Where anything does not, isolation is no longer given, and the host stops
 * with the error, as Xen panics.
 *
 * Not here: errors of timers and schedulers, which belong to no vCPU, and those of listeners, which the event hub holds.
 */
import { thrownMessage, type EventHub } from '../../util/index.ts'
import type { HypervisorEvent } from '../hypervisor-events.ts'
import type { VcpuExecution } from './vcpu-execution.ts'
import type { Vcpu } from '../domains/domain.ts'

/** What containment works on. */
export interface ContainmentParts {
  readonly execution: VcpuExecution
  readonly hub: EventHub<HypervisorEvent>
  /** Everything that does not add up. */
  check(): readonly { readonly frame: number; readonly what: string }[]
}

/** Keeps errors with the domain that they came from. */
export class Containment {
  private readonly parts: ContainmentParts

  constructor(parts: ContainmentParts) {
    this.parts = parts
  }

  /** Crashes the domain; throws the error, as the cause of another, where that is not enough. */
  contain(vcpu: Vcpu, error: unknown): void {
    const { execution, hub } = this.parts
    const findings = this.parts.check()
    if (findings.length > 0) {
      const what = findings.map(({ frame, what: words }) => `frame ${frame}: ${words}`).join('; ')
      throw new Error(`an error on behalf of domain ${vcpu.domid} has left the host unsound: ${what}`, { cause: error })
    }
    execution.crash(vcpu, `the hypervisor failed on its behalf: ${thrownMessage(error)}`)
    hub.emit({ type: 'internal-error', domid: vcpu.domid, vcpu: vcpu.vcpu, error })
  }
}
