/**
 * What a host has given away: compared before and after, it shows what an operation has left behind.
 */
import type { Host } from '../toolstack/index.ts'
import { XenError } from '../util/index.ts'
import type { LocalStore } from '../xenstore/index.ts'

/** Counts of everything that can leak. */
export interface ResourceSnapshot {
  /** Frames that nobody owns. */
  readonly freeFrames: number
  /** Domains, dom0 included. */
  readonly domains: number
  /** Event channel ports in use in dom0. */
  readonly dom0Ports: number
  /** Grants of others that dom0 has mapped. */
  readonly dom0Mappings: number
  /** Paths of all XenStore nodes. */
  readonly storeNodes: readonly string[]
  /** Connections to XenStore. */
  readonly storeClients: number
  /** Watches of all connections to XenStore, but for those of dom0's services. */
  readonly watches: number
  /** Transactions that are open on all connections to XenStore. */
  readonly transactions: number
  /** Pages that dom0 has granted to others. */
  readonly dom0Grants: number
  /** Timers of programs that are set in dom0. */
  readonly dom0Timers: number
}

/** Everything that is a number. */
const COUNTS = ['freeFrames', 'domains', 'dom0Ports', 'dom0Mappings', 'dom0Grants', 'dom0Timers', 'storeClients', 'watches', 'transactions'] as const

function paths(store: LocalStore, path: string): string[] {
  return store.list(path === '' ? '/' : path).flatMap((name) => [`${path}/${name}`, ...paths(store, `${path}/${name}`)])
}

/** Counts what is in use now. The host should have settled. */
export function resourceSnapshot(host: Host): ResourceSnapshot {
  return {
    freeFrames: host.hypervisor.hostInfo().freeFrames,
    domains: host.hypervisor.listDomains().length,
    dom0Ports: host.dom0.kernel.events.open,
    dom0Mappings: host.dom0.kernel.grants.mappings,
    storeNodes: paths(host.store, '').sort(),
    storeClients: host.dom0.server.clients,
    watches: host.xenstore.watchCount - host.dom0.kernel.keptWatches,
    transactions: host.xenstore.transactionCount,
    dom0Grants: host.dom0.kernel.grants.granted,
    dom0Timers: host.dom0.kernel.openTimers,
  }
}

/** Differences between two snapshots, in words; none when nothing has leaked. */
export function compareResources(before: ResourceSnapshot, after: ResourceSnapshot): readonly string[] {
  const counts = COUNTS
    .filter((name) => before[name] !== after[name])
    .map((name) => `${name}: ${before[name]} before, ${after[name]} after`)
  const known = new Set(before.storeNodes)
  const present = new Set(after.storeNodes)
  return [
    ...counts,
    ...after.storeNodes.filter((path) => !known.has(path)).map((path) => `XenStore node ${path} was left`),
    ...before.storeNodes.filter((path) => !present.has(path)).map((path) => `XenStore node ${path} is gone`),
  ]
}

/**
 * Runs `work` and throws INVALID_STATE when it leaves anything behind on the host, whether it succeeds or fails, or
 * when the hypervisor's own books no longer add up.
 */
export async function withoutLeaks<T>(host: Host, work: () => Promise<T>): Promise<T> {
  await host.settled()
  const before = resourceSnapshot(host)
  const check = async (cause?: unknown): Promise<void> => {
    await host.settled()
    const wrong = host.hypervisor.checkInvariants().map((finding) => JSON.stringify(finding))
    const leaks = [...compareResources(before, resourceSnapshot(host)), ...wrong]
    if (leaks.length === 0) return
    throw new XenError('INVALID_STATE', `resources leaked: ${leaks.join('; ')}`, { details: { leaks }, cause })
  }
  let result: T
  try {
    result = await work()
  } catch (error) {
    await check(error)
    throw error
  }
  await check()
  return result
}
