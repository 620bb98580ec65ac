/** Asking a guest to power off or to reboot, and waiting until it has. */
import type { ShutdownReasonName } from '../domains/shutdown-reason.ts'
import type { ShutdownRequests } from '../domains/shutdown-requests.ts'
import { tryRead, type DomId } from '../../util/index.ts'
import type { Operation } from '../run/operation.ts'
import type { Operations } from '../run/operations.ts'
import type { RunLoop, UntilOptions } from '../run/run-loop.ts'
import { checkCall } from './call-options.ts'
import type { DomainFate } from './domain-fate.ts'

/** What it needs of the host. */
export interface AskHost {
  readonly loop: RunLoop
  readonly operations: Operations
  readonly requests: ShutdownRequests
  /** True while the action on a domain's end is being carried out. */
  isActing(domid: DomId): boolean
}

/** Steps of ending a domain. */
export type ShutdownProgress =
  /** The request stands in XenStore. */
  | { readonly type: 'requested' }
  /** The guest has taken it. */
  | { readonly type: 'acknowledged' }

/** Asks a guest to end; resolves with how it has. Rejects with DOMAIN_NOT_FOUND for one that ends in another way. */
export function askToEnd(
  host: AskHost, fate: DomainFate, { what, options }: { readonly what: 'poweroff' | 'reboot', readonly options: UntilOptions },
): Operation<ShutdownReasonName, ShutdownProgress> {
  const name = `${what} of domain ${fate.id}`
  const check = (): void => checkCall(what === 'poweroff' ? 'shutdown' : what, options)
  return host.operations.start<ShutdownReasonName, ShutdownProgress>({ name, signal: tryRead(() => options?.signal), check }, async (context) => {
    if (fate.ended !== undefined) throw fate.gone()
    host.operations.checkFree(fate.id, 'ending', name)
    const request = host.requests.place(fate.id, what)
    // Whoever gives up waiting takes the request back, if the guest has not seen it.
    context.undo(() => void (fate.destroyed === undefined && request.withdraw()))
    context.report({ type: 'requested' })
    let acknowledged = false
    await host.loop.until(name, () => {
      if (!acknowledged && request.taken()) {
        acknowledged = true
        // It goes to its end now, whoever waits for that.
        context.commit()
        context.report({ type: 'acknowledged' })
      }
      // Whatever follows its end has been done: its name is free, or its successor's.
      return fate.ended !== undefined && !host.isActing(fate.id)
    }, { ...options, signal: context.signal })
    const { ended } = fate
    if (ended === undefined || ended === 'destroyed' || ended === 'saved' || ended === 'migrated') throw fate.gone()
    return ended
  })
}
