/**
 * What the hypervisor tells its observers. Events inform and never steer; each is built only when somebody listens.
 */
import type { EventNames, DomId, Mfn } from '../util/index.ts'
import type { Runstate } from './time/index.ts'
import type { AccessDenied } from './domains/access.ts'
import type { CrashReport } from './domains/crash-report.ts'

/** A vCPU by its numbers. */
export interface VcpuName {
  readonly domid: DomId
  readonly vcpu: number
}

/** Every event of the hypervisor, by `type`. */
export type HypervisorEvent =
  | { readonly type: 'domain-created'; readonly domid: DomId }
  | { readonly type: 'domain-paused'; readonly domid: DomId }
  | { readonly type: 'domain-unpaused'; readonly domid: DomId }
  /** SHUTDOWN reason; the domain stays until it is destroyed. */
  | { readonly type: 'domain-shutdown'; readonly domid: DomId; readonly reason: number }
  | { readonly type: 'domain-resumed'; readonly domid: DomId }
  /** A trace asked to stop: the domain has been paused, once. */
  | { readonly type: 'vcpu-stopped'; readonly domid: DomId; readonly vcpu: number }
  /**
   * A guest did what no guest may, or says itself that it has crashed: why, in words, with its instruction pointer and
   * what stands there (undefined where nothing can be fetched). The shutdown event follows.
   */
  | {
    readonly type: 'domain-crashed'; readonly domid: DomId; readonly vcpu: number
    readonly reason: string; readonly rip: number; readonly instruction: string | undefined
    readonly report: CrashReport
  }
  /** An error of this library, or of a guest in TypeScript, that its domain has crashed of and nobody else. */
  | { readonly type: 'internal-error'; readonly domid: DomId; readonly vcpu: number; readonly error: unknown }
  | { readonly type: 'domain-destroyed'; readonly domid: DomId }
  /** The policy has refused what a domain, or the toolstack, has asked for. */
  | AccessDenied
  /** A hypercall has returned. `number` as in public/xen.h; `args`: its six arguments, as they were when it was made. */
  | {
    readonly type: 'hypercall'; readonly domid: DomId; readonly vcpu: number
    readonly number: number; readonly sub: number; readonly args: readonly bigint[]; readonly result: number
  }
  /** A trap went to the guest's own handler. */
  | {
    readonly type: 'trap-bounced'; readonly domid: DomId; readonly vcpu: number
    readonly vector: number; readonly errorCode: number; readonly address: number
  }
  /** The event callback was entered. */
  | { readonly type: 'upcall'; readonly domid: DomId; readonly vcpu: number }
  /** An event channel was allocated, bound, closed or signalled. */
  | { readonly type: 'event-channel'; readonly domid: DomId; readonly action: string; readonly port: number }
  /** A grant was mapped, unmapped, copied or transferred; status as GNTST. */
  | {
    readonly type: 'grant'; readonly domid: DomId; readonly action: string
    readonly remote: DomId; readonly ref: number; readonly status: number
  }
  /** A vCPU was chosen, blocked, woke or yielded. */
  | {
    readonly type: 'schedule'; readonly domid: DomId; readonly vcpu: number
    readonly action: 'switch' | 'block' | 'wake' | 'yield'
  }
  /** A vCPU runs, waits for a CPU, waits for an event, or is not to run (RUNSTATE), as it did not before. */
  | { readonly type: 'runstate'; readonly domid: DomId; readonly vcpu: number; readonly from: Runstate; readonly to: Runstate }
  /** A physical CPU has changed to another vCPU; undefined where it was idle, or is. */
  | { readonly type: 'cpu-switch'; readonly cpu: number; readonly from: VcpuName | undefined; readonly to: VcpuName | undefined }
  /** A vCPU was brought up, or taken down. */
  | { readonly type: 'vcpu-online'; readonly domid: DomId; readonly vcpu: number; readonly online: boolean }
  /** Pages owned by the domain changed to `pages`. */
  | { readonly type: 'reservation'; readonly domid: DomId; readonly pages: number }
  /** A frame was pinned or unpinned as a page table. */
  | {
    readonly type: 'page-table'; readonly domid: DomId; readonly action: 'pin' | 'unpin'
    readonly frame: Mfn; readonly level: number
  }
  /** Text on the hypervisor's console. */
  | { readonly type: 'console'; readonly domid: DomId; readonly text: string }

/** Names of the events of the hypervisor. */
export const HYPERVISOR_EVENTS: EventNames<HypervisorEvent> = {
  'domain-created': true, 'domain-paused': true, 'domain-unpaused': true, 'domain-shutdown': true,
  'domain-resumed': true, 'vcpu-stopped': true, 'domain-crashed': true, 'internal-error': true,
  'domain-destroyed': true, 'access-denied': true, hypercall: true, 'trap-bounced': true, upcall: true, 'event-channel': true, grant: true,
  schedule: true, runstate: true, 'cpu-switch': true, 'vcpu-online': true, reservation: true, 'page-table': true, console: true,
}
