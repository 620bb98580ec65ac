/**
 * What a host that is to be given back still holds. Its guests have been ended: frames, ports, mappings, watches, transactions,
 * timers and nodes are what they were when it was new, and the hypervisor's own books add up.
 */
import type { Host } from '../../toolstack/index.ts'
import { thrownMessage } from '../../util/index.ts'
import { compareResources, resourceSnapshot, type ResourceSnapshot } from '../resources.ts'

/** Domains that were destroyed and whose frames somebody still holds; as texts. */
const zombies = (host: Host): string[] =>
  host.hypervisor.listDomains().filter(({ dying }) => dying).map(({ domid }) => `domain ${domid} was destroyed and is still there: somebody holds frames of it`)

/** What the hypervisor's own books say against it, as texts. */
function broken(host: Host): string[] {
  try {
    return host.hypervisor.checkInvariants().map((finding) => `invariant: ${JSON.stringify(finding)}`)
  } catch (error) {
    return [`invariant: ${thrownMessage(error)}`]
  }
}

/** Without a snapshot of the time before: what no host without guests has. */
function remains(host: Host): string[] {
  const { dom0Mappings, storeNodes } = resourceSnapshot(host)
  const nodes = storeNodes.filter((path) => /^\/local\/domain\/(?!0(\/|$))|^\/vm\/[^/]+$|^\/local\/domain\/0\/backend\/[^/]+\/[^/]+$/.test(path))
  return [
    ...(dom0Mappings === 0 ? [] : [`dom0 has ${dom0Mappings} grants of others mapped`]),
    ...nodes.filter((path) => path.split('/').length <= 7).map((path) => `XenStore node ${path} was left`),
  ]
}

/** Of nodes that were left below nodes that were left, the upper ones. */
function withoutInner(leaks: readonly string[]): readonly string[] {
  const pattern = /^XenStore node (.*) was left$/
  const left = new Set(leaks.flatMap((leak) => pattern.exec(leak)?.[1] ?? []))
  return leaks.filter((leak) => {
    const path = pattern.exec(leak)?.[1]
    return path === undefined || !left.has(path.slice(0, path.lastIndexOf('/')))
  })
}

/** Ends all guests and lists what is left that was not there before, in words. */
export async function findLeaks(host: Host, before: ResourceSnapshot | undefined): Promise<readonly string[]> {
  // All at once: what ends by itself meanwhile is joined, where one after the other would find it gone.
  await Promise.all(host.domains().map((domain) => domain.destroy()))
  await host.settled()
  return withoutInner([
    ...zombies(host),
    ...(before === undefined ? remains(host) : compareResources(before, resourceSnapshot(host))),
    ...broken(host),
  ])
}
