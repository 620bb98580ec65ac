/**
 * Frames into which the host writes words without telling of it (see GuestMemory.markWritten): what the hypervisor
 * shares with a domain, pages that domains have registered for its records, and what guests in TypeScript have mapped. A
 * guest that runs such words runs what it was shown first; an image of memory has to look at them.
 */
import type { Domain, Vcpu } from '../domains/domain.ts'
import type { DomainRegistry } from '../domains/registry.ts'
import type { EventChannels } from '../events/index.ts'
import type { FrameTable } from '../frames/frame-table.ts'
import type { GrantTables } from '../grants/index.ts'

/** What they are found in. */
export interface SilentParts {
  readonly frames: FrameTable
  readonly domains: DomainRegistry
  readonly grants: GrantTables<Vcpu>
  readonly events: EventChannels
  readonly foreignFrames: { frames(): Iterable<number> }
  typedHypercallsOf(domain: Domain): { foreignFrames(): Iterable<number> }
}

/** Those frames, now. */
export function silentFrames({ frames, domains, grants, events, foreignFrames, typedHypercallsOf }: SilentParts): Set<number> {
  const silent = new Set<number>(frames.rows.sharedFrames())
  for (const mfn of foreignFrames.frames()) silent.add(mfn)
  for (const domain of domains.all()) {
    if (domain.kind.grants === undefined) for (const { mfn } of grants.mapped(domain.id)) silent.add(mfn)
    for (const mfn of events.of(domain.id)?.pages() ?? []) silent.add(mfn)
    for (const mfn of typedHypercallsOf(domain).foreignFrames()) silent.add(mfn)
    for (const { infoFrame, timeArea, guest } of domain.vcpus) {
      silent.add(infoFrame)
      const record = timeArea === undefined ? undefined : guest?.caches?.lookAsKernel(timeArea)
      if (record !== undefined) silent.add(record.frame)
    }
    silent.add(domain.eoiFrame)
  }
  // Where there is no such page, the number is none.
  for (const mfn of silent) if (!frames.isValid(mfn)) silent.delete(mfn)
  return silent
}
