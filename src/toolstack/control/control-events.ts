/** What a host tells of changes in how its domains are scheduled, and of what was done to them from outside. */
import type { EventNames } from '../../util/index.ts'

/** Events of this room, by `type`. */
export type ControlEvent =
  /** A domain has another name. */
  | { readonly type: 'domain-renamed'; readonly domid: number; readonly name: string; readonly before: string }
  /** A domain runs on the CPUs of another pool. */
  | { readonly type: 'domain-pool'; readonly domid: number; readonly pool: number }
  /** A vCPU may, or should, run on other physical CPUs. */
  | { readonly type: 'vcpu-affinity'; readonly domid: number; readonly vcpu: number; readonly hard: readonly number[]; readonly soft: readonly number[] }
  /** A domain has other parameters of its scheduler; `vcpu` where they are one vCPU's. */
  | { readonly type: 'domain-scheduling'; readonly domid: number; readonly vcpu?: number; readonly parameters: Readonly<Record<string, number>> }
  /** A domain was sent an NMI or the like, or a key. */
  | { readonly type: 'domain-trigger'; readonly domid: number; readonly trigger: string; readonly vcpu: number }
  | { readonly type: 'domain-sysrq'; readonly domid: number; readonly letter: string }
  /** A pool of CPUs was made, has other CPUs, another name or other parameters, or is gone. */
  | { readonly type: 'cpu-pool'; readonly pool: number; readonly change: 'created' | 'cpus' | 'renamed' | 'parameters' | 'destroyed' }

/** Names of these events. */
export const CONTROL_EVENTS: EventNames<ControlEvent> = {
  'domain-renamed': true, 'domain-pool': true, 'vcpu-affinity': true, 'domain-scheduling': true, 'domain-trigger': true, 'domain-sysrq': true,
  'cpu-pool': true,
}
