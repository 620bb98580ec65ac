/**
 * What a host was before it was brought back, closed: nobody who still holds something of it reaches the machine, which the
 * host that goes on has now. The guests do not run, and no store is asked for anything.
 */
import type { XenError } from '../../util/index.ts'
import type { HostInsides } from './host-state.ts'

/** Closes all doors; whoever waits for something is rejected with `why`. */
export function retire({ parts }: HostInsides, why: XenError): void {
  const { inputs, control, plan, programs, loop } = parts
  inputs.close(why)
  plan.retire(why)
  programs.retire(why)
  const refuse = (): never => { throw why }
  const operations = control as unknown as Record<string, unknown>
  for (const name of Object.keys(operations)) if (typeof operations[name] === 'function') operations[name] = refuse
  loop.stop(why)
}
