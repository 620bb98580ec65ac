/** Looking for something on all vCPUs of a host's binary guests, also on those that come online meanwhile. */
import type { Trace, TraceHooks } from '../../machine/index.ts'
import type { Host } from '../../toolstack/index.ts'
import { XenError, type DomId } from '../../util/index.ts'

/** What is looked for on a vCPU of a host that runs; undefined for nothing. */
export type HooksOf = (domid: number, vcpu: number, host: Host) => TraceHooks | undefined

/** Follows vCPUs until the returned function is called. */
export function followVcpus(host: Host, hooksOf: HooksOf): () => void {
  const traces = new Map<string, Trace>()
  const follow = (domid: number, vcpu: number): void => {
    const key = `${domid}.${vcpu}`
    if (traces.get(key)?.active === true) return
    const hooks = hooksOf(domid, vcpu, host)
    const trace = hooks && traceOf(host, { domid, vcpu, hooks })
    if (trace !== undefined) traces.set(key, trace)
  }
  const forget = host.hypervisorEvents.on('vcpu-online', ({ domid, vcpu, online }) => { if (online) follow(domid, vcpu) })
  for (const { domid, maxVcpu } of host.hypervisor.listDomains()) for (let vcpu = 0; vcpu <= maxVcpu; vcpu += 1) follow(domid, vcpu)
  return () => {
    forget()
    for (const trace of traces.values()) trace.stop()
  }
}

/** Undefined for a vCPU that has no registers, or is not there. */
function traceOf(host: Host, { domid, vcpu, hooks }: { readonly domid: number; readonly vcpu: number; readonly hooks: TraceHooks }): Trace | undefined {
  try {
    // A domain that is being created has no handle yet.
    const domain = host.domains().find(({ id }) => id === domid)
    return domain === undefined ? host.hypervisor.traceVcpu(domid as DomId, vcpu, hooks) : domain.trace(hooks, { vcpu })
  } catch (error) {
    if (XenError.is(error)) return undefined
    throw error
  }
}
