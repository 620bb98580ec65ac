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

/** Those frames, now, in any order; what is so for two reasons stands there twice. */
export function silentFrames({ frames, domains, grants, events, foreignFrames, typedHypercallsOf }: SilentParts): number[] {
  const silent: number[] = []
  // Where there is no such page, the number is none.
  const add = (mfn: number): void => { if (frames.isValid(mfn)) silent.push(mfn) }
  for (const mfn of frames.rows.sharedFrames()) add(mfn)
  for (const mfn of foreignFrames.frames()) add(mfn)
  for (const domain of domains.byAge()) {
    if (domain.kind.grants === undefined) for (const { mfn } of grants.mapped(domain.id)) add(mfn)
    for (const mfn of events.of(domain.id)?.pages() ?? NONE) add(mfn)
    for (const mfn of typedHypercallsOf(domain).foreignFrames()) add(mfn)
    for (const { infoFrame, timeArea, guest } of domain.vcpus) {
      add(infoFrame)
      const record = timeArea === undefined ? undefined : guest?.caches?.lookAsKernel(timeArea)
      if (record !== undefined) add(record.frame)
    }
    add(domain.eoiFrame)
  }
  return silent
}

const NONE: readonly number[] = /* @__PURE__ */ Object.freeze([])
