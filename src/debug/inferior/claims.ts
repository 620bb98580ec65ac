/** Who debugs what: a domain has one debugger at a time, of whatever kind. */
import type { DomainReference, Host } from '../../toolstack/index.ts'
import { XenError, type DomId } from '../../util/index.ts'

/** Domains under a debugger. */
const debugged = new WeakMap<Host, Set<number>>()

/** Domains that one debugger has. */
export interface DomainClaim {
  readonly domids: readonly DomId[]
  /** Lets others have a domain. */
  leave(domid: number): void
}

/** Takes domains for a debugger, which `call` made. Throws DOMAIN_NOT_FOUND, INVALID_STATE for a guest in TypeScript, BUSY where another debugger has one, INVALID_ARGUMENT. */
export function claimDomains(host: Host, call: string, reference: DomainReference | readonly DomainReference[]): DomainClaim {
  const ids = (Array.isArray(reference) ? reference as readonly DomainReference[] : [reference as DomainReference]).map((one) => host.domain(one).id)
  if (ids.length === 0) throw new XenError('INVALID_ARGUMENT', `${call} wants a domain at least`)
  for (const id of ids) {
    if (!host.domain(id).info().hasRegisters) throw new XenError('INVALID_STATE', `domain ${id} has no registers: it is a guest in TypeScript`, { details: { domid: id } })
    if (debugged.get(host)?.has(id) === true) throw new XenError('BUSY', `domain ${id} has a debugger`, { details: { domid: id } })
  }
  const own = debugged.get(host) ?? new Set<number>()
  debugged.set(host, own)
  const domids = [...new Set(ids)]
  for (const id of domids) own.add(id)
  return { domids, leave: (domid) => void own.delete(domid) }
}
