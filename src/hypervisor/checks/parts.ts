/** What the rules look at, and what a rule is. */
import type { Domain, Vcpu } from '../domains/domain.ts'
import type { GuestKind } from '../domains/guest-kind.ts'
import type { DomainRegistry } from '../domains/registry.ts'
import type { EventChannels } from '../events/index.ts'
import type { FrameAllocator } from '../frames/frame-allocator.ts'
import type { FrameTable } from '../frames/frame-table.ts'
import type { MachineToPhys } from '../frames/machine-to-phys.ts'
import type { GrantTables } from '../grants/index.ts'
import type { GuestMemory } from '../memory/guest-memory.ts'
import type { Recount } from './recount.ts'

/** All that a host's state consists of, as far as rules go. */
export interface CheckedParts {
  readonly memory: GuestMemory
  readonly frames: FrameTable
  readonly allocator: FrameAllocator
  readonly domains: DomainRegistry
  readonly machineToPhys: MachineToPhys
  readonly events: EventChannels
  readonly grants: GrantTables<Vcpu>
  readonly kinds: { all(): readonly GuestKind[] }
  /** What the toolstack has mapped of domains. */
  readonly foreignFrames: { frames(): Iterable<number> }
  /** What a domain has mapped of others by its port. */
  typedHypercallsOf(domain: Domain): { foreignFrames(): Iterable<number> }
}

/**
 * One thing that always holds. A rule reports what breaks it; the rules on counts note the uses that they find, which the
 * last of them compares.
 */
export type Rule = (parts: CheckedParts, recount: Recount) => void
