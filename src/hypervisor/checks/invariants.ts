/**
 * What the hypervisor promises of isolation, checked against its tables as they stand in memory and against what
 * processors remember of them. Each rule is a file. Kinds of guests bring rules of their own (page tables, say). For tests,
 * and for the host itself where an error was thrown; nothing else depends on it.
 */
import { checkAgreement } from './agreement.ts'
import { checkCoherence } from './coherence.ts'
import { countDomainFrames } from './domain-frames.ts'
import { compareCounts } from './frame-counts.ts'
import { countOwners } from './frame-owners.ts'
import { countForeign } from './foreign-frames.ts'
import { auditKinds } from './guest-kinds.ts'
import type { CheckedParts, Rule } from './parts.ts'
import { type Finding, Recount } from './recount.ts'
import { checkShared } from './shared-frames.ts'

/** In this order: counts are compared when all uses have been found. */
const RULES: readonly Rule[] = [
  countOwners, auditKinds, countForeign, countDomainFrames, checkShared, compareCounts, checkAgreement, checkCoherence,
]

/** Everything that does not add up; empty on a sound host. */
export function checkInvariants(parts: CheckedParts): Finding[] {
  const recount = new Recount(parts.frames)
  for (const rule of RULES) rule(parts, recount)
  return recount.findings
}
