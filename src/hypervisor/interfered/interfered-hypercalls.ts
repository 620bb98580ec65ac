/** Hypercalls that are asked for before they are made, those of a multicall too. */
import type { Vcpu } from '../domains/domain.ts'
import type { HypercallHandler } from '../domains/hypercall.ts'
import type { HypercallDispatcher } from '../hypercalls/dispatch.ts'
import type { HypervisorInterference } from '../interference.ts'
import { CALL_AGAIN } from '../time/work-meter.ts'

/**
 * Has the hypercalls of one kind of guests asked for. While nobody is to ask they are those of a dispatcher that knows of nobody: it is asked
 * so often that a look would show.
 */
export function interfereWith(dispatcher: HypercallDispatcher, interference: HypervisorInterference): void {
  /** vCPUs whose call has paused: what follows is the same call. */
  const paused = new Set<Vcpu>()
  const asking = (handler: HypercallHandler, number: number): HypercallHandler => (caller, args) => {
    if (!paused.delete(caller)) {
      const answer = interference.hypercall?.({ domid: caller.domid, vcpu: caller.vcpu, number, sub: args.low[0]! })
      if (answer !== undefined) return answer
    }
    const result = handler(caller, args)
    if (result === CALL_AGAIN) paused.add(caller)
    return result
  }
  dispatcher.surround(asking)
  interference.follow?.((asks) => dispatcher.surround(asks ? asking : undefined))
}
